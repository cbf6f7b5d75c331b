//===- CheckpointTest.cpp - files of weights, atomic writes ---------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/checkpoint/Safetensors.h"
#include "tests/runtime/TestArtifact.h"
#include <bit>
#include <gtest/gtest.h>
#include <random>

using namespace r1c;
using namespace r1c::runtime;
using namespace r1c::runtime::test;

namespace {

template <typename T>
std::string bytesOf(const std::vector<T> &values) {
  return std::string(reinterpret_cast<const char *>(values.data()),
                     values.size() * sizeof(T));
}

TEST(Safetensors, RoundTripAndConversion) {
  TemporaryDirectory directory;
  fs::path path = directory / "model.safetensors";
  std::vector<float> values = {1.5f, -2.25f, 1e-30f, 3e30f, 0, -0.0f};
  writeSafetensors(
      path,
      {{"f", "F32", {2, 3}, bytesOf(values)},
       {"b", "BF16", {2}, bytesOf<uint16_t>({0x3fc0, 0xc010})},
       {"h", "F16", {4}, bytesOf<uint16_t>({0x3e00, 0xc080, 0x0001, 0x7c00})},
       {"e", "F32", {0}, ""}});
  Safetensors file(directory.path);
  EXPECT_EQ(file.get("f").floats(), values);
  EXPECT_EQ(file.get("f").shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(file.get("b").floats(), (std::vector<float>{1.5f, -2.25f}));
  EXPECT_EQ(file.get("h").floats(),
            (std::vector<float>{1.5f, -2.25f, 0x1p-24f,
                                std::numeric_limits<float>::infinity()}));
  EXPECT_EQ(file.get("e").floats().size(), 0u);
  EXPECT_THROW(file.get("no"), Error);
}

TEST(Safetensors, DamageIsAnError) {
  TemporaryDirectory directory;
  fs::path path = directory / "x.safetensors";
  writeSafetensors(path, {{"f", "F32", {4}, std::string(16, 'x')}});
  std::string good = readFile(path);
  for (size_t length = 0; length < good.size(); ++length) {
    writeFile(path, good.substr(0, length));
    EXPECT_THROW(Safetensors{path}, Error) << length;
  }
  std::mt19937 random(1);
  for (int i = 0; i < 300; ++i) {
    std::string bad = good;
    bad[random() % (bad.size() - 16)] = static_cast<char>(random());
    writeFile(path, bad);
    try {
      Safetensors file(path);
      for (const auto &[name, tensor] : file.all())
        if (tensor.dtype == "F32")
          tensor.floats();
    } catch (const Error &) {
    }
  }
}

TEST(Files, DirectoriesAreReplacedWhole) {
  TemporaryDirectory directory;
  fs::path path = directory / "a/b";
  for (const char *text : {"one", "two"}) {
    writeDirectoryAtomically(path, [&](const fs::path &temporary) {
      writeFile(temporary / "file", text);
    });
    EXPECT_EQ(readFile(path / "file"), text);
  }
  EXPECT_THROW(writeDirectoryAtomically(
                   path, [](const fs::path &) { throw Error("no"); }),
               Error);
  EXPECT_EQ(readFile(path / "file"), "two");
}

} // namespace
