//===- ArtifactTest.cpp - the artifact: round trip, damage ----------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/artifact/Artifact.h"
#include "runtime/artifact/Manifest.h"
#include "tests/runtime/TestArtifact.h"
#include <gtest/gtest.h>
#include <random>

using namespace r1c;
using namespace r1c::runtime;
using namespace r1c::runtime::test;

namespace {

std::string errorOf(const std::function<void()> &body) {
  try {
    body();
  } catch (const Error &error) {
    return error.what();
  }
  return "";
}

TEST(Artifact, RoundTrip) {
  TemporaryDirectory directory;
  std::string path = (directory / "deep/er/step.r1x").string();
  Artifact written{dumpJson(TestManifest().json),
                   std::string("\x7f"
                               "ELF\0\1\2",
                               7),
                   std::string(1000, '\xff'), "policy actor = …\n"};
  writeArtifact(path, written);
  Artifact read = readArtifact(path);
  EXPECT_EQ(read.manifest, written.manifest);
  EXPECT_EQ(read.kernels, written.kernels);
  EXPECT_EQ(read.constants, written.constants);
  EXPECT_EQ(read.source, written.source);
  EXPECT_EQ(read.fingerprint(), written.fingerprint());
  // The same parts give the same file.
  std::string bytes = readFile(path);
  writeArtifact(path, written);
  EXPECT_EQ(readFile(path), bytes);
}

TEST(Artifact, EmptyPartsRoundTrip) {
  TemporaryDirectory directory;
  std::string path = (directory / "step.r1x").string();
  writeArtifact(path, {dumpJson(TestManifest().json), "", "", ""});
  EXPECT_EQ(readArtifact(path).constants, "");
}

// A GPU's kernels lie in another part, so that nobody takes them for a CPU's.
TEST(Artifact, KernelsOfAGpuAreACubin) {
  TemporaryDirectory directory;
  std::string path = (directory / "step.r1x").string();
  Artifact written{dumpJson(forCuda(TestManifest()).json), "kernels", "", ""};
  writeArtifact(path, written);
  EXPECT_EQ(readArtifact(path).kernels, "kernels");
  std::string bytes = readFile(path);
  EXPECT_NE(bytes.find("kernels.cubin"), std::string::npos);
  EXPECT_EQ(bytes.find("kernels.so"), std::string::npos);
}

TEST(Artifact, MissingAndForeignFiles) {
  TemporaryDirectory directory;
  EXPECT_NE(errorOf([&] {
              readArtifact((directory / "no.r1x").string());
            }).find("no such file"),
            std::string::npos);
  fs::path text = directory / "text.r1x";
  writeFile(text, "stage train { }");
  EXPECT_NE(errorOf([&] {
              readArtifact(text.string());
            }).find("not an artifact of r1c"),
            std::string::npos);
}

TEST(Artifact, OtherVersionsAreRefused) {
  TemporaryDirectory directory;
  std::string path = (directory / "step.r1x").string();
  TestManifest manifest;
  manifest.json["format"]["minor"] = formatMinor + 1;
  write(manifest, path);
  std::string error = errorOf([&] { readArtifact(path); });
  EXPECT_NE(error.find("compile the step file again"), std::string::npos)
      << error;
}

// Whatever happens to the bytes: either the parts are those that were written,
// or there is one r1c::Error; never a crash, never other contents.
TEST(Artifact, DamageIsNoticed) {
  TemporaryDirectory directory;
  fs::path path = directory / "step.r1x";
  Artifact written{dumpJson(TestManifest().json), std::string(300, 'k'),
                   std::string(200, 'c'), "source"};
  writeArtifact(path.string(), written);
  std::string good = readFile(path);
  auto survives = [&] {
    try {
      Artifact read = readArtifact(path.string());
      EXPECT_EQ(read.manifest, written.manifest);
      EXPECT_EQ(read.kernels, written.kernels);
      EXPECT_EQ(read.constants, written.constants);
      return true;
    } catch (const Error &error) {
      EXPECT_EQ(std::string(error.what()).find(path.string()), 0u);
      return false;
    }
  };
  for (size_t length = 0; length < good.size(); length += 13) {
    writeFile(path, good.substr(0, length));
    EXPECT_FALSE(survives()) << "cut at " << length;
  }
  std::mt19937 random(7);
  for (int i = 0; i < 400; ++i) {
    std::string bad = good;
    bad[random() % bad.size()] ^= 1 << random() % 8;
    writeFile(path, bad);
    survives();
  }
}

TEST(Manifest, HowAGpuStartsAKernel) {
  TestManifest manifest;
  manifest.kernel("k", 4);
  manifest.json["kernels"][0]["launch"] = {{"threads", 384},
                                           {"shared", 200000},
                                           {"cluster", 2},
                                           {"overlap", true},
                                           {"early", {3, 1}},
                                           {"written", {2}},
                                           {"tensor_maps",
                                            {{{"operand", 3},
                                              {"dtype", "bf16"},
                                              {"sizes", {512, -1}},
                                              {"strides", {1024}},
                                              {"box", {64, 128}},
                                              {"swizzle", 128}}}}};
  auto parse = [](const Json &json) {
    return Manifest::parse(dumpJson(json), 0);
  };
  Manifest parsed = parse(manifest.json);
  ASSERT_TRUE(parsed.kernels[0].launch);
  const LaunchInfo &launch = *parsed.kernels[0].launch;
  EXPECT_EQ(launch.threads, 384);
  EXPECT_EQ(launch.shared, 200000);
  EXPECT_EQ(launch.blocksPerMultiprocessor, 1);
  EXPECT_EQ(launch.blocks, 0);
  EXPECT_EQ(launch.cluster, 2);
  EXPECT_TRUE(launch.overlap);
  EXPECT_EQ(launch.early, (std::vector<int64_t>{3, 1}));
  EXPECT_EQ(launch.written, (std::vector<int64_t>{2}));
  ASSERT_EQ(launch.tensorMaps.size(), 1u);
  const TensorMapInfo &map = launch.tensorMaps[0];
  EXPECT_EQ(map.operand, 3);
  EXPECT_EQ(map.dtype, "bf16");
  EXPECT_EQ(map.sizes, (std::vector<int64_t>{512, -1}));
  EXPECT_EQ(map.strides, (std::vector<int64_t>{1024}));
  EXPECT_EQ(map.box, (std::vector<int64_t>{64, 128}));
  EXPECT_EQ(map.swizzle, 128);

  auto expect = [&](const char *message,
                    const std::function<void(Json & launch, Json & map)> &f) {
    Json json = manifest.json;
    Json &launch = json["kernels"][0]["launch"];
    f(launch, launch["tensor_maps"][0]);
    std::string error = errorOf([&] { parse(json); });
    EXPECT_NE(error.find(message), std::string::npos)
        << error << "; " << message;
  };
  expect("'threads' is missing",
         [](Json &launch, Json &) { launch.erase("threads"); });
  expect("'threads' = 1025 is not from 1 to 1024",
         [](Json &launch, Json &) { launch["threads"] = 1025; });
  expect("'shared' = 240000",
         [](Json &launch, Json &) { launch["shared"] = 240000; });
  expect("5 blocks are no whole number of clusters of 2",
         [](Json &launch, Json &) { launch["blocks"] = 5; });
  expect("'early' = 4 is not from 0 to 3",
         [](Json &launch, Json &) { launch["early"] = {1, 4}; });
  expect("'written' = -1 is not from 0 to 3",
         [](Json &launch, Json &) { launch["written"] = {-1}; });
  expect("there is no operand 4",
         [](Json &, Json &map) { map["operand"] = 4; });
  expect("must be bf16 or f32", [](Json &, Json &map) { map["dtype"] = "f8"; });
  expect("'sizes' = -1", [](Json &, Json &map) { map["sizes"] = {-1, 8}; });
  expect("'strides' has 2 entries; 1 are needed",
         [](Json &, Json &map) { map["strides"] = {1024, 2048}; });
  expect("a stride of 1000 bytes",
         [](Json &, Json &map) { map["strides"] = {1000}; });
  expect("'box' has 1 entries", [](Json &, Json &map) { map["box"] = {64}; });
  expect("'box' = 257", [](Json &, Json &map) { map["box"] = {64, 257}; });
  expect("a row of the box has 200 bytes; it must be a multiple of 16",
         [](Json &, Json &map) { map["box"] = {100, 8}; });
  expect("256 bytes, more than the swizzle's 128",
         [](Json &, Json &map) { map["box"] = {128, 8}; });
  expect("'swizzle' is 16", [](Json &, Json &map) { map["swizzle"] = 16; });

  // What few rows take instead.
  auto other = [](int64_t rows, Json launch) {
    return Json{{"rows", rows}, {"symbol", "f"}, {"launch", std::move(launch)}};
  };
  Json small = {{"threads", 64}, {"early", {1}}};
  Json few = manifest.json;
  few["kernels"][0]["launch"]["few_rows"] = {other(8, small),
                                             other(64, {{"threads", 128}})};
  Manifest withOthers = parse(few);
  const auto &list = withOthers.kernels[0].launch->fewRows;
  ASSERT_EQ(list.size(), 2u);
  EXPECT_EQ(list[0]->rows, 8);
  EXPECT_EQ(list[0]->symbol, "f");
  EXPECT_EQ(list[0]->launch.early, (std::vector<int64_t>{1}));
  EXPECT_EQ(list[1]->launch.threads, 128);
  expect("few_rows[1]: 'rows' = 8 is not from 9", [&](Json &launch, Json &) {
    launch["few_rows"] = {other(8, small), other(8, small)};
  });
  expect("'early' = 4 is not from 0 to 3", [&](Json &launch, Json &) {
    launch["few_rows"] = {other(8, {{"threads", 64}, {"early", {4}}})};
  });
  expect("few_rows[0]: has 'few_rows' itself", [&](Json &launch, Json &) {
    Json inner = small;
    inner["few_rows"] = {other(4, small)};
    launch["few_rows"] = {other(8, inner)};
  });
}

TEST(Manifest, SaysWhatIsWrong) {
  auto parse = [](const std::function<void(Json &)> &change) {
    TestManifest manifest;
    manifest.buffer("a", "f32", 16);
    manifest.kernel("k", 1);
    change(manifest.json);
    return errorOf([&] { Manifest::parse(dumpJson(manifest.json), 0); });
  };
  EXPECT_EQ(parse([](Json &) {}), "");
  auto expect = [&](const char *message, const std::function<void(Json &)> &f) {
    std::string error = parse(f);
    EXPECT_NE(error.find(message), std::string::npos) << error;
  };
  expect("manifest.json.buffers[0]: 'bytes' is missing",
         [](Json &j) { j["buffers"][0].erase("bytes"); });
  expect("'bytes' must be an integer, is string",
         [](Json &j) { j["buffers"][0]["bytes"] = "64"; });
  expect("'bytes' must be an integer, is number",
         [](Json &j) { j["buffers"][0]["bytes"] = UINT64_MAX; });
  expect("manifest.json.buffers[0]: buffer 'a': there is no dtype 'f32x'",
         [](Json &j) { j["buffers"][0]["dtype"] = "f32x"; });
  expect("'target' is missing", [](Json &j) { j.erase("target"); });
  for (const char *field : {"kind", "cpu", "features"})
    expect(concat("manifest.json.target: '", field, "' is missing").c_str(),
           [&](Json &j) { j["target"].erase(field); });
  expect("no arena 'elsewhere'",
         [](Json &j) { j["buffers"][0]["arena"] = "elsewhere"; });
  expect("constants.bin has 0 bytes, and buffer 'a' ends at byte 64",
         [](Json &j) {
           j["arenas"][0]["name"] = j["buffers"][0]["arena"] = "constants";
         });
  expect("behind arena", [](Json &j) { j["buffers"][0]["bytes"] = 65; });
  expect("not a multiple of 64",
         [](Json &j) { j["buffers"][0]["offset"] = 4; });
  expect("out of range", [](Json &j) { j["buffers"][0]["offset"] = -64; });
  expect("out of range", [](Json &j) { j["buffers"][0]["bytes"] = INT64_MAX; });
  expect("the name 'a' is given twice",
         [](Json &j) { j["buffers"].push_back(j["buffers"][0]); });
  expect("'limit' is 'hours'", [](Json &j) {
    j["stages"] = {{{"name", "s"}, {"limit", "hours"}, {"count", 1}}};
  });
  expect("no buffer 'lr'", [](Json &j) {
    j["params"] = {
        {{"name", "lr"}, {"value", 1}, {"open", true}, {"buffer", "lr"}}};
  });
  expect("must be a list, is object",
         [](Json &j) { j["kernels"] = Json::object(); });
  EXPECT_NE(errorOf([] { Manifest::parse("{", 0); }).find("not valid JSON"),
            std::string::npos);
}

} // namespace
