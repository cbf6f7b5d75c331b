//===- TestArtifact.cpp - hand-written artifacts for tests ----------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tests/runtime/TestArtifact.h"
#include <bit>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <elf.h>

namespace r1c::runtime::test {

TemporaryDirectory::TemporaryDirectory() {
  std::string pattern =
      (fs::temp_directory_path() / "r1c-test-XXXXXX").string();
  if (!::mkdtemp(pattern.data()))
    throw Error("mkdtemp failed");
  path = pattern;
}

TemporaryDirectory::~TemporaryDirectory() { fs::remove_all(path); }

TestManifest::TestManifest() {
  json = {{"format", {{"major", formatMajor}, {"minor", formatMinor}}},
          {"producer", "test"},
          {"target", {{"kind", "cpu"}, {"cpu", "any"}, {"features", ""}}},
          {"arenas", Json::array()},
          {"buffers", Json::array()},
          {"kernels", Json::array()},
          {"params", Json::array()},
          {"policies", Json::array()},
          {"data", Json::array()},
          {"externs", Json::array()},
          {"programs", Json::object()},
          {"stages", Json::array()}};
}

void TestManifest::buffer(const std::string &name, const std::string &dtype,
                          int64_t count) {
  int64_t bytes = count * (dtype == "f64" || dtype == "i64" ? 8 : 4);
  json["arenas"].push_back({{"name", "arena." + name}, {"bytes", bytes}});
  json["buffers"].push_back({{"name", name},
                             {"arena", "arena." + name},
                             {"offset", 0},
                             {"bytes", bytes},
                             {"dtype", dtype}});
}

void TestManifest::kernel(const std::string &name, int64_t operands) {
  json["kernels"].push_back(
      {{"name", name}, {"symbol", name}, {"operands", operands}});
}

Json ref(const std::string &buffer, int64_t offset, int64_t stride) {
  Json json = {{"buffer", buffer}};
  if (offset)
    json["offset"] = offset;
  if (stride)
    json["stride"] = stride;
  return json;
}

Json dispatch(const std::string &kernel, const std::vector<Json> &args) {
  return {{"op", "dispatch"}, {"kernel", kernel}, {"args", args}};
}

void addHashPolicy(TestManifest &m, int64_t slots, int64_t capacity,
                   int64_t rows) {
  for (const char *name : {"tokens", "positions", "bases", "previous", "ids"})
    m.buffer(std::string("r.") + name, "i32", rows);
  m.buffer("r.sample_rows", "i32", slots);
  m.buffer("r.noise", "i32", 4 * slots);
  m.buffer("r.key", "i32", 2);
  m.buffer("r.temperature", "f32", 1);
  m.buffer("r.row_count", "i64", 1);
  m.buffer("r.sample_count", "i64", 1);
  m.buffer("r.token", "i32", slots);
  m.buffer("r.logp", "f32", slots);
  m.buffer("r.cache", "i32", slots * capacity);
  m.buffer("actor.weights", "f32", 16);
  m.buffer("actor.moments", "f32", 16);
  m.buffer("actor.packed", "f32", 16);
  m.buffer("actor.updates", "f64", 1);
  m.kernel("choose_ids", 5);
  m.kernel("store_rows", 5);
  m.kernel("draw", 11);
  m.kernel("pack", 2);
  m.json["programs"]["actor.rollout"] = {
      dispatch("choose_ids",
               {ref("r.tokens"), ref("r.previous"), ref("r.token"),
                ref("r.ids"), ref("r.row_count")}),
      dispatch("store_rows", {ref("r.ids"), ref("r.positions"), ref("r.bases"),
                              ref("r.cache"), ref("r.row_count")}),
      dispatch("draw", {ref("r.cache"), ref("r.positions"), ref("r.bases"),
                        ref("r.sample_rows"), ref("r.noise"), ref("r.key"),
                        ref("r.temperature"), ref("actor.packed"),
                        ref("r.token"), ref("r.logp"), ref("r.sample_count")})};
  m.json["programs"]["actor.pack"] = {
      dispatch("pack", {ref("actor.weights"), ref("actor.packed")})};
  Json rollout = {{"slots", slots}, {"capacity", capacity}, {"rows", rows}};
  for (const char *name :
       {"tokens", "previous", "positions", "bases", "sample_rows", "noise",
        "key", "temperature", "row_count", "sample_count", "token", "logp"})
    rollout[name] = std::string("r.") + name;
  rollout["cache"] = {{{"buffer", "r.cache"},
                       {"layers", 1},
                       {"layer_stride", 0},
                       {"row_bytes", 4}}};
  m.json["policies"].push_back(
      {{"name", "actor"},
       {"source", {{"kind", "llama"}}},
       {"model",
        {{"layers", 2}, {"hidden", 8}, {"heads", 2}, {"vocabulary", 12}}},
       {"tokenizer", {{"kind", "characters"}, {"alphabet", "0123456789+"}}},
       {"trained", true},
       {"parameters",
        {{{"name", "model.layers.{}.weight"},
          {"shape", {8}},
          {"layers", 2},
          {"buffer", "actor.weights"},
          {"offset", 0},
          {"stride", 32},
          {"init", {{"kind", "normal"}, {"std", 0.5}}}}}},
       {"state", {"actor.weights", "actor.moments"}},
       {"updates", "actor.updates"},
       {"programs", {{"pack", "actor.pack"}, {"rollout", "actor.rollout"}}},
       {"rollout", rollout}});
}

Drawn drawAfter(const std::vector<int32_t> &tokens, const uint32_t noise[4],
                uint64_t seed, float temperature,
                const std::vector<float> &weights) {
  uint64_t hash = 1469598103934665603u;
  auto mix = [&](uint32_t word) { hash = (hash ^ word) * 1099511628211u; };
  for (int32_t token : tokens)
    mix(static_cast<uint32_t>(token));
  for (int i = 0; i < 4; ++i)
    mix(noise[i]);
  mix(static_cast<uint32_t>(seed));
  mix(static_cast<uint32_t>(seed >> 32));
  mix(std::bit_cast<uint32_t>(temperature));
  for (float weight : weights)
    mix(std::bit_cast<uint32_t>(weight));
  hash ^= hash >> 29;
  return {static_cast<int32_t>(hash % 12),
          -static_cast<float>(hash % 1000) / 1000};
}

std::string builtFile(const std::string &path) {
  if (fs::exists(path))
    return path;
  // The build folder may have been carried to another machine.
  fs::path name = fs::path(path).filename(),
           here = fs::read_symlink("/proc/self/exe").parent_path();
  for (const char *folder : {".", "../lib", "../tests/runtime"})
    if (fs::exists(here / folder / name))
      return here / folder / name;
  throw Error(path, ": not there, nor beside the test program");
}

std::string testKernels() { return readFile(builtFile(R1C_TEST_KERNELS)); }

bool onRealGpu() { return std::getenv("R1C_TEST_GPU") != nullptr; }

std::string whyNoGpu() {
  if (!onRealGpu())
    return "";
  if (std::string(R1C_TEST_CUBIN).empty())
    return "no nvcc was found when the tests were built";
  const char *named = std::getenv("R1C_LIBCUDA");
  if (!::dlopen(named ? named : "libcuda.so.1", RTLD_NOW | RTLD_LOCAL))
    return "there is no NVIDIA driver";
  return "";
}

FakeCuda &fakeCuda() {
  static FakeCuda &state = [&]() -> FakeCuda & {
    void *library =
        ::dlopen(builtFile(R1C_FAKE_CUDA).c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library)
      throw Error(::dlerror());
    return *reinterpret_cast<FakeCudaState>(::dlsym(library, "fake_cuda"))();
  }();
  if (!onRealGpu())
    ::setenv("R1C_LIBCUDA", builtFile(R1C_FAKE_CUDA).c_str(), 1);
  ::unsetenv("R1C_CUDA_SYNC");
  // What is alive may belong to an object of the test that goes on.
  FakeCuda fresh;
  fresh.allocations = state.allocations;
  fresh.contexts = state.contexts;
  fresh.modules = state.modules;
  fresh.graphs = state.graphs;
  return state = fresh;
}

std::string testCubin() {
  if (onRealGpu())
    return readFile(builtFile(R1C_TEST_CUBIN));
  std::string image = testKernels();
  Elf64_Ehdr header;
  std::memcpy(&header, image.data(), sizeof header);
  header.e_machine = 190; // a cubin's
  std::memcpy(image.data(), &header, sizeof header);
  return image;
}

TestManifest forCuda(TestManifest manifest) {
  manifest.json["target"] = {
      {"kind", "cuda"}, {"cpu", "sm_90a"}, {"features", "h200"}};
  for (Json &kernel : manifest.json["kernels"])
    kernel["launch"] = {{"threads", 32}};
  return manifest;
}

std::string write(const TestManifest &manifest, const fs::path &path) {
  bool cuda = manifest.json["target"]["kind"] == "cuda";
  writeArtifact(path.string(),
                {dumpJson(manifest.json), cuda ? testCubin() : testKernels(),
                 "", "// test\n"});
  return path.string();
}

} // namespace r1c::runtime::test
