//===- TestArtifact.h - hand-written artifacts for tests --------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_TESTS_RUNTIME_TESTARTIFACT_H
#define R1C_TESTS_RUNTIME_TESTARTIFACT_H

#include "runtime/artifact/Artifact.h"
#include "runtime/support/Files.h"
#include "runtime/support/Json.h"
#include "tests/runtime/FakeCuda.h"

namespace r1c::runtime::test {

/// A directory that goes away with the test.
class TemporaryDirectory {
public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  fs::path operator/(const std::string &name) const { return path / name; }
  fs::path path;
};

/// Builds a manifest: each buffer becomes an arena of its own.
class TestManifest {
public:
  TestManifest();
  void buffer(const std::string &name, const std::string &dtype, int64_t count);
  void kernel(const std::string &name, int64_t operands);
  Json json;
};

Json ref(const std::string &buffer, int64_t offset = 0, int64_t stride = 0);
Json dispatch(const std::string &kernel, const std::vector<Json> &args);

/// A policy "actor" over the alphabet "0123456789+" whose model is the hash of
/// kernels.c, with all buffers that its rollout needs.
void addHashPolicy(TestManifest &manifest, int64_t slots, int64_t capacity,
                   int64_t rows);

/// What kernels.c's `draw` gives after a sequence of tokens.
struct Drawn {
  int32_t token;
  float logp;
};
Drawn drawAfter(const std::vector<int32_t> &tokens, const uint32_t noise[4],
                uint64_t seed, float temperature,
                const std::vector<float> &weights);

/// Where a file that the build made lies now.
std::string builtFile(const std::string &path);

/// The shared object of kernels.c.
std::string testKernels();

/// Whether GPU tests run on a real one: R1C_TEST_GPU is set. Else the fake
/// driver (FakeCuda.h) plays it.
bool onRealGpu();
/// Why tests on a real GPU cannot run here; empty: they can, or are not to.
std::string whyNoGpu();
/// Puts the fake driver in the place of CUDA's, as if freshly started. On a
/// real GPU, the driver of which is then used, it is there but sees nothing.
FakeCuda &fakeCuda();
/// The kernels of kernels.c for that GPU.
std::string testCubin();
/// The same artifact for a GPU: its target, and how each kernel is launched.
TestManifest forCuda(TestManifest manifest);

std::string write(const TestManifest &manifest, const fs::path &path);

} // namespace r1c::runtime::test

#endif // R1C_TESTS_RUNTIME_TESTARTIFACT_H
