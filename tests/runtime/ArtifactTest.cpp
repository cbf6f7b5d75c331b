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
  expect("no arena 'elsewhere'",
         [](Json &j) { j["buffers"][0]["arena"] = "elsewhere"; });
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
