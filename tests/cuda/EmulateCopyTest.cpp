//===- EmulateCopyTest.cpp - the interpreter: pipelines, clusters, stores -===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tests/cuda/EmulateHarness.h"
#include <numeric>

#include <cstring>

using namespace r1c::test;

namespace {

std::string planted(std::string text, const std::string &from,
                    const std::string &to) {
  size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << "there is no " << from;
  if (at != std::string::npos)
    text.replace(at, from.size(), to);
  return text;
}

const char *kShared =
    "llvm.mlir.global external @shared() {addr_space = 3 : i32, alignment = "
    "1024 : i64} : !llvm.array<0 x i8>\n";

std::vector<float> randomF32(size_t n) {
  std::normal_distribution<float> draw;
  std::vector<float> values(n);
  for (float &v : values)
    v = draw(rng());
  return values;
}

TensorMap mapOf(unsigned operand, int64_t columns, int64_t rows,
                int64_t boxColumns, int64_t boxRows, unsigned swizzle) {
  TensorMap map;
  map.operand = operand;
  map.elementBytes = 4;
  map.sizes = {columns, rows};
  map.strides = {columns * 4};
  map.box = {boxColumns, boxRows};
  map.swizzle = swizzle;
  return map;
}

/// Thread 0 moves a box of 32 x 8 floats from (x, y) of buffer 0 to (0, 0) of
/// buffer 1. In between all threads may see it in shared memory.
std::string moveBox(int x, int y) {
  return kernel(2,
                R"(
    %bar = llvm.mlir.addressof @shared : !llvm.ptr<3>
    %box = llvm.getelementptr %bar[1024] : (!llvm.ptr<3>) -> !llvm.ptr<3>, i8
    %bytes = llvm.mlir.constant(1024 : i32) : i32
    %x = llvm.mlir.constant()" +
                    std::to_string(x) + R"( : i32) : i32
    %y = llvm.mlir.constant()" +
                    std::to_string(y) + R"( : i32) : i32
    %leader = llvm.icmp "eq" %tid, %c0 : i32
    llvm.cond_br %leader, ^move, ^end
  ^move:
    nvvm.mbarrier.init %bar, %c1 : !llvm.ptr<3>, i32
    nvvm.fence.mbarrier.init
    nvvm.mbarrier.arrive.expect_tx %bar, %bytes : !llvm.ptr<3>, i32
    nvvm.cp.async.bulk.tensor.shared.cluster.global %box, %map0, %bar, box[%x, %y] {isCTAOnly = true} : !llvm.ptr<3>, !llvm.ptr
    nvvm.mbarrier.try_wait.parity %bar, %c0, %c128 : !llvm.ptr<3>, i32, i32
    nvvm.cp.async.bulk.tensor.global.shared.cta %map1, %box, box[%c0, %c0] : !llvm.ptr, !llvm.ptr<3>
    nvvm.cp.async.bulk.commit.group
    nvvm.cp.async.bulk.wait_group 0 {read}
    llvm.br ^end
  ^end:)",
                kShared, "", 2);
}

} // namespace

TEST(Copies, BoxesBeyondTheEdgesReadAsZeros) {
  for (auto [x, y] : {std::pair(0, 0), {-5, 3}, {40, -2}, {30, 13}, {50, 20}}) {
    std::vector<float> in = randomF32(48 * 16), out(20 * 7, -1);
    Launch launch = launchOf(32, 2048);
    launch.tensorMaps = {mapOf(0, 48, 16, 32, 8, 128),
                         mapOf(1, 20, 7, 32, 8, 128)};
    ASSERT_EQ(
        Emulated(moveBox(x, y)).run(launch, {bufferOf(in), bufferOf(out)}), "");
    // The store leaves out what the smaller tensor does not have.
    for (int r = 0; r < 7; ++r)
      for (int c = 0; c < 20; ++c) {
        int i = y + r, j = x + c;
        bool inside = i >= 0 && i < 16 && j >= 0 && j < 48;
        EXPECT_EQ(out[r * 20 + c], inside ? in[i * 48 + j] : 0.0f)
            << x << ", " << y << ": " << r << ", " << c;
      }
  }
}

TEST(Copies, StoresThatNobodyWaitsFor) {
  std::vector<float> in = randomF32(48 * 16), out(20 * 7);
  Launch launch = launchOf(32, 2048);
  launch.tensorMaps = {mapOf(0, 48, 16, 32, 8, 128),
                       mapOf(1, 20, 7, 32, 8, 128)};
  auto run = [&](const std::string &text) {
    return Emulated(text).run(launch, {bufferOf(in), bufferOf(out)});
  };
  std::string text = moveBox(0, 0);
  EXPECT_ERROR(run(planted(text, "nvvm.cp.async.bulk.wait_group 0 {read}", "")),
               "returns before it waited for its bulk copies");
  EXPECT_ERROR(run(planted(text, "nvvm.cp.async.bulk.wait_group 0 {read}",
                           "llvm.store %tid, %box : i32, !llvm.ptr<3>\n"
                           "nvvm.cp.async.bulk.wait_group 0 {read}")),
               "a wgmma or an asynchronous copy still reads");
  EXPECT_EQ(run(planted(text, "nvvm.cp.async.bulk.wait_group 0 {read}",
                        "nvvm.cp.async.bulk.wait_group 0 {read}\n"
                        "llvm.store %tid, %box : i32, !llvm.ptr<3>")),
            "");
  // What a thread wrote itself needs a fence before the copy engine reads it.
  EXPECT_ERROR(run(planted(text, "nvvm.cp.async.bulk.tensor.global",
                           "llvm.store %tid, %box : i32, !llvm.ptr<3>\n"
                           "nvvm.cp.async.bulk.tensor.global")),
               "without a fence.proxy.async after it");
}

/// Warp 4 copies rows of 32 floats in bulk through two stages; each of the 128
/// consumers adds up a column.
static std::string pipeline() {
  return kernel(3, R"(
    %s = llvm.mlir.addressof @shared : !llvm.ptr<3>
    %data = llvm.getelementptr %s[1024] : (!llvm.ptr<3>) -> !llvm.ptr<3>, i8
    %bytes = llvm.mlir.constant(512 : i32) : i32
    %zero = llvm.mlir.constant(0.0 : f32) : f32
    %rows64 = llvm.load %p2 : !llvm.ptr<1> -> i64
    %rows = llvm.trunc %rows64 : i64 to i32
    %leader = llvm.icmp "eq" %tid, %c0 : i32
    llvm.cond_br %leader, ^init, ^ready
  ^init:
    %i1 = llvm.getelementptr %s[8] : (!llvm.ptr<3>) -> !llvm.ptr<3>, i8
    %i2 = llvm.getelementptr %s[16] : (!llvm.ptr<3>) -> !llvm.ptr<3>, i8
    %i3 = llvm.getelementptr %s[24] : (!llvm.ptr<3>) -> !llvm.ptr<3>, i8
    nvvm.mbarrier.init %s, %c1 : !llvm.ptr<3>, i32
    nvvm.mbarrier.init %i1, %c1 : !llvm.ptr<3>, i32
    nvvm.mbarrier.init %i2, %c128 : !llvm.ptr<3>, i32
    nvvm.mbarrier.init %i3, %c128 : !llvm.ptr<3>, i32
    nvvm.fence.mbarrier.init
    llvm.br ^ready
  ^ready:
    nvvm.barrier0
    %consumes = llvm.icmp "ult" %tid, %c128 : i32
    llvm.cond_br %consumes, ^consumer(%c0, %zero : i32, f32), ^role
  ^role:
    %one = llvm.icmp "eq" %tid, %c128 : i32
    llvm.cond_br %one, ^producer(%c0 : i32), ^end
  ^producer(%n: i32):
    %more = llvm.icmp "ult" %n, %rows : i32
    llvm.cond_br %more, ^load, ^end
  ^load:
    %stage = llvm.and %n, %c1 : i32
    %round = llvm.lshr %n, %c1 : i32
    %next = llvm.add %round, %c1 : i32
    %parity = llvm.and %next, %c1 : i32
    %at8 = llvm.mul %stage, %c8 : i32
    %filled = llvm.getelementptr %s[%at8] : (!llvm.ptr<3>, i32) -> !llvm.ptr<3>, i8
    %empty = llvm.getelementptr %filled[16] : (!llvm.ptr<3>) -> !llvm.ptr<3>, i8
    nvvm.mbarrier.try_wait.parity %empty, %parity, %c128 : !llvm.ptr<3>, i32, i32
    nvvm.mbarrier.arrive.expect_tx %filled, %bytes : !llvm.ptr<3>, i32
    %to512 = llvm.mul %stage, %bytes : i32
    %to = llvm.getelementptr %data[%to512] : (!llvm.ptr<3>, i32) -> !llvm.ptr<3>, i8
    %to7 = llvm.addrspacecast %to : !llvm.ptr<3> to !llvm.ptr<7>
    %from512 = llvm.mul %n, %bytes : i32
    %from = llvm.getelementptr %p0[%from512] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, i8
    nvvm.cp.async.bulk.shared.cluster.global %to7, %from, %filled, %bytes : !llvm.ptr<7>, !llvm.ptr<1>
    %n1 = llvm.add %n, %c1 : i32
    llvm.br ^producer(%n1 : i32)
  ^consumer(%m: i32, %sum: f32):
    %left = llvm.icmp "ult" %m, %rows : i32
    llvm.cond_br %left, ^take, ^store
  ^take:
    %stage2 = llvm.and %m, %c1 : i32
    %round2 = llvm.lshr %m, %c1 : i32
    %parity2 = llvm.and %round2, %c1 : i32
    %bt8 = llvm.mul %stage2, %c8 : i32
    %full2 = llvm.getelementptr %s[%bt8] : (!llvm.ptr<3>, i32) -> !llvm.ptr<3>, i8
    %empty2 = llvm.getelementptr %full2[16] : (!llvm.ptr<3>) -> !llvm.ptr<3>, i8
    nvvm.mbarrier.try_wait.parity %full2, %parity2, %c128 : !llvm.ptr<3>, i32, i32
    %of512 = llvm.mul %stage2, %bytes : i32
    %stageData = llvm.getelementptr %data[%of512] : (!llvm.ptr<3>, i32) -> !llvm.ptr<3>, i8
    %mine = llvm.getelementptr %stageData[%tid] : (!llvm.ptr<3>, i32) -> !llvm.ptr<3>, f32
    %v = llvm.load %mine : !llvm.ptr<3> -> f32
    %token = nvvm.mbarrier.arrive %empty2 : !llvm.ptr<3> -> i64
    %sum1 = llvm.fadd %sum, %v : f32
    %m1 = llvm.add %m, %c1 : i32
    llvm.br ^consumer(%m1, %sum1 : i32, f32)
  ^store:
    %o = llvm.getelementptr %p1[%tid] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, f32
    llvm.store %sum, %o : f32, !llvm.ptr<1>
    llvm.br ^end
  ^end:)",
                kShared);
}

TEST(Copies, PipelineOfTwoStages) {
  std::string text = pipeline();
  for (int64_t count : {0, 1, 2, 3, 9})
    for (unsigned seed : {0, 1, 2, 3}) {
      std::vector<float> in = randomF32(128 * count), out(128), want(128);
      for (int r = 0; r < count; ++r)
        for (int c = 0; c < 128; ++c)
          want[c] += in[r * 128 + c];
      std::vector<int64_t> rows = {count};
      Launch launch = launchOf(160, 2048);
      launch.seed = seed;
      ASSERT_EQ(Emulated(text).run(
                    launch, {bufferOf(in), bufferOf(out), bufferOf(rows)}),
                "");
      EXPECT_EQ(out, want);
    }
}

TEST(Copies, MistakesInAPipeline) {
  std::vector<float> in = randomF32(128 * 9), out(128);
  std::vector<int64_t> rows = {9};
  std::string text = pipeline();
  auto run = [&](const std::string &text) {
    return Emulated(text).run(launchOf(160, 2048),
                              {bufferOf(in), bufferOf(out), bufferOf(rows)});
  };
  // The producer does not wait until a stage is free.
  EXPECT_ERROR(run(planted(text,
                           "nvvm.mbarrier.try_wait.parity %empty, %parity, "
                           "%c128 : !llvm.ptr<3>, i32, i32",
                           "")),
               "arrives 1 times at the mbarrier in shared memory at 1024, "
               "which waits for 0 of 1 in phase 0");
  // Or with the parity of the round, which never comes.
  std::string error =
      run(planted(text, "llvm.and %next, %c1", "llvm.and %round, %c1"));
  EXPECT_ERROR(error, "deadlock");
  EXPECT_ERROR(error, "thread 128 waits at the mbarrier in shared memory at "
                      "1040 for phase 0 (parity 0); it is in phase 0, lacks "
                      "128 of 128 arrivals and 0 bytes");
  EXPECT_ERROR(error, "threads 0 to 127 wait at the mbarrier in shared memory "
                      "at 1024 for phase 0");
  // The consumers do not wait for the data.
  EXPECT_ERROR(run(planted(text,
                           "nvvm.mbarrier.try_wait.parity %full2, "
                           "%parity2, %c128 : !llvm.ptr<3>, i32, i32",
                           "")),
               "never written");
  // They free a stage before they have read it: a copy may come too early.
  EXPECT_ERROR(
      run(planted(planted(text,
                          "%token = nvvm.mbarrier.arrive %empty2 : "
                          "!llvm.ptr<3> -> i64",
                          ""),
                  "    %of512 = llvm.mul",
                  "    %token = nvvm.mbarrier.arrive %empty2 : !llvm.ptr<3> -> "
                  "i64\n    %of512 = llvm.mul")),
      "without a barrier between");
}

/// Block 0 of a pair copies a row to both; each block stores it.
static std::string multicast() {
  return kernel(2, R"(
    %s = llvm.mlir.addressof @shared : !llvm.ptr<3>
    %data = llvm.getelementptr %s[1024] : (!llvm.ptr<3>) -> !llvm.ptr<3>, i8
    %bytes = llvm.mlir.constant(512 : i32) : i32
    %both = llvm.mlir.constant(3 : i16) : i16
    %rank = nvvm.read.ptx.sreg.cluster.ctarank : i32
    %leader = llvm.icmp "eq" %tid, %c0 : i32
    llvm.cond_br %leader, ^init, ^ready
  ^init:
    nvvm.mbarrier.init %s, %c1 : !llvm.ptr<3>, i32
    nvvm.fence.mbarrier.init
    nvvm.mbarrier.arrive.expect_tx %s, %bytes : !llvm.ptr<3>, i32
    llvm.br ^ready
  ^ready:
    nvvm.cluster.arrive {aligned}
    nvvm.cluster.wait {aligned}
    %r = llvm.or %tid, %rank : i32
    %copies = llvm.icmp "eq" %r, %c0 : i32
    llvm.cond_br %copies, ^copy, ^wait
  ^copy:
    %to = llvm.addrspacecast %data : !llvm.ptr<3> to !llvm.ptr<7>
    nvvm.cp.async.bulk.shared.cluster.global %to, %p0, %s, %bytes multicast_mask = %both : !llvm.ptr<7>, !llvm.ptr<1>
    llvm.br ^wait
  ^wait:
    nvvm.mbarrier.try_wait.parity %s, %c0, %c128 : !llvm.ptr<3>, i32, i32
    %mine = llvm.getelementptr %data[%tid] : (!llvm.ptr<3>, i32) -> !llvm.ptr<3>, f32
    %v = llvm.load %mine : !llvm.ptr<3> -> f32
    %o0 = llvm.mul %rank, %c128 : i32
    %o1 = llvm.add %o0, %tid : i32
    %o = llvm.getelementptr %p1[%o1] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, f32
    llvm.store %v, %o : f32, !llvm.ptr<1>)",
                kShared);
}

TEST(Clusters, MulticastToAPair) {
  std::vector<float> in = randomF32(128), out(256);
  Launch launch = launchOf(128, 2048, 2);
  launch.cluster = 2;
  for (unsigned seed : {0, 1, 2}) {
    launch.seed = seed;
    ASSERT_EQ(Emulated(multicast()).run(launch, {bufferOf(in), bufferOf(out)}),
              "");
    for (int i = 0; i < 256; ++i)
      EXPECT_EQ(out[i], in[i % 128]);
  }
  launch.seed = 0;
  // Without the cluster's barrier block 0 copies before block 1 is ready.
  EXPECT_ERROR(
      Emulated(planted(planted(multicast(), "nvvm.cluster.arrive {aligned}",
                               "nvvm.barrier0"),
                       "nvvm.cluster.wait {aligned}", ""))
          .run(launch, {bufferOf(in), bufferOf(out)}),
      "initialised");
}

TEST(Clusters, ArrivingAtTheNeighbour) {
  // Every thread of block 1 arrives at the mbarrier of block 0.
  std::string text = kernel(1, R"(
    %s = llvm.mlir.addressof @shared : !llvm.ptr<3>
    %rank = nvvm.read.ptx.sreg.cluster.ctarank : i32
    %r = llvm.or %tid, %rank : i32
    %first = llvm.icmp "eq" %r, %c0 : i32
    llvm.cond_br %first, ^init, ^ready
  ^init:
    nvvm.mbarrier.init %s, %c32 : !llvm.ptr<3>, i32
    llvm.br ^ready
  ^ready:
    nvvm.cluster.arrive {aligned}
    nvvm.cluster.wait {aligned}
    %second = llvm.icmp "eq" %rank, %c1 : i32
    llvm.cond_br %second, ^arrive, ^wait
  ^arrive:
    %there = nvvm.mapa %s, %c0 : !llvm.ptr<3> -> !llvm.ptr<7>
    nvvm.mbarrier.arrive %there {scope = #nvvm.mem_scope<cluster>} : !llvm.ptr<7>
    llvm.br ^end
  ^wait:
    nvvm.mbarrier.try_wait.parity %s, %c0, %c128 : !llvm.ptr<3>, i32, i32
    llvm.br ^end
  ^end:
    nvvm.cluster.arrive {aligned}
    nvvm.cluster.wait {aligned})",
                            kShared);
  std::vector<float> unused(1);
  Launch launch = launchOf(32, 64, 2);
  launch.cluster = 2;
  EXPECT_EQ(Emulated(text).run(launch, {bufferOf(unused)}), "");
  EXPECT_ERROR(Emulated(planted(text, "%there = nvvm.mapa %s, %c0",
                                "%there = nvvm.mapa %s, %c2"))
                   .run(launch, {bufferOf(unused)}),
               "mapa to block 2 of a cluster of 2");
}

TEST(Registers, WarpgroupsTradeThem) {
  auto text = [](int less, int more) {
    return kernel(0,
                  R"(
    %first = llvm.icmp "ult" %tid, %c128 : i32
    llvm.cond_br %first, ^producer, ^consumer
  ^producer:
    nvvm.setmaxregister decrease )" +
                      std::to_string(less) + R"(
    llvm.br ^end
  ^consumer:
    nvvm.setmaxregister increase )" +
                      std::to_string(more) + R"(
    llvm.br ^end
  ^end:)",
                  "", "nvvm.reqntid = array<i32: 384>");
  };
  // 384 threads start with 168 each.
  EXPECT_EQ(Emulated(text(24, 240)).run(launchOf(384), {}), "");
  std::string error = Emulated(text(40, 240)).run(launchOf(384), {});
  EXPECT_ERROR(error, "deadlock");
  EXPECT_ERROR(error, "for registers");
  EXPECT_ERROR(Emulated(text(24, 160)).run(launchOf(384), {}),
               "setmaxnreg.inc 160 with 168 registers");
}

TEST(Copies, ElementsByCpAsync) {
  std::string text = kernel(2, R"(
    %s = llvm.mlir.addressof @shared : !llvm.ptr<3>
    %four = llvm.mul %tid, %c4 : i32
    %to = llvm.getelementptr %s[%four] : (!llvm.ptr<3>, i32) -> !llvm.ptr<3>, f32
    %from = llvm.getelementptr %p0[%four] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, f32
    nvvm.cp.async.shared.global %to, %from, 16, cache = cg : !llvm.ptr<3>, !llvm.ptr<1>
    nvvm.cp.async.commit.group
    nvvm.cp.async.wait.group 0
    nvvm.barrier0
    %o = llvm.xor %tid, %c127 : i32
    %o4 = llvm.mul %o, %c4 : i32
    %there = llvm.getelementptr %s[%o4] : (!llvm.ptr<3>, i32) -> !llvm.ptr<3>, f32
    %v = llvm.load %there : !llvm.ptr<3> -> vector<4xf32>
    %z = llvm.getelementptr %p1[%four] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, f32
    llvm.store %v, %z : vector<4xf32>, !llvm.ptr<1>)",
                            kShared);
  text = planted(text, "%four =",
                 "%c127 = llvm.mlir.constant(127 : i32) : i32\n    %four =");
  std::vector<float> in = randomF32(512), out(512);
  auto run = [&](const std::string &text) {
    return Emulated(text).run(launchOf(128, 2048),
                              {bufferOf(in), bufferOf(out)});
  };
  ASSERT_EQ(run(text), "");
  for (int t = 0; t < 128; ++t)
    for (int i = 0; i < 4; ++i)
      EXPECT_EQ(out[t * 4 + i], in[(t ^ 127) * 4 + i]);
  EXPECT_ERROR(run(planted(text, "nvvm.cp.async.wait.group 0", "")),
               "where an asynchronous copy is still to write");
  EXPECT_ERROR(run(planted(text, "nvvm.barrier0", "")),
               "which was never written");
}

// Kernels that start while those before them end.
TEST(Grids, WaitBeforeTheyTouchWhatOthersWrite) {
  std::string text = kernel(2, R"(
    %from = llvm.getelementptr %p0[%tid] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, i32
    %v = llvm.load %from : !llvm.ptr<1> -> i32
    llvm.inline_asm has_side_effects "griddepcontrol.wait;", "~{memory}" : () -> ()
    %to = llvm.getelementptr %p1[%tid] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, i32
    llvm.store %v, %to : i32, !llvm.ptr<1>)");
  std::vector<int32_t> in(64), out(64);
  std::iota(in.begin(), in.end(), 5);
  auto run = [&](const std::string &text, std::vector<int64_t> early,
                 bool overlap = true) {
    Launch launch = launchOf(64);
    launch.overlap = overlap;
    launch.early.assign(early.begin(), early.end());
    return Emulated(text).run(launch, {bufferOf(in), bufferOf(out)});
  };
  ASSERT_EQ(run(text, {0}), "");
  EXPECT_EQ(out, in);
  EXPECT_ERROR(run(text, {}), "reads buffer 0 before it has waited");
  EXPECT_EQ(run(text, {}, false), "");
  // Of a cache, what those kernels do not write.
  auto runCached = [&](std::pair<size_t, size_t> fresh) {
    Launch launch = launchOf(64);
    launch.overlap = true;
    launch.cached = {0};
    std::vector<Buffer> buffers{bufferOf(in), bufferOf(out)};
    buffers[0].fresh = {fresh};
    return Emulated(text).run(launch, buffers);
  };
  EXPECT_EQ(runCached({256, 320}), "");
  EXPECT_ERROR(runCached({252, 256}), "reads buffer 0 before it has waited");
  const char *wait =
      "llvm.inline_asm has_side_effects \"griddepcontrol.wait;\", "
      "\"~{memory}\" : () -> ()";
  EXPECT_ERROR(run(planted(text, wait, ""), {0, 1}),
               "writes buffer 1 before it has waited");
  // A grid that nobody holds back says nothing about those before it.
  std::string idle = kernel(0, "");
  EXPECT_ERROR(run(idle, {}), "no thread has waited");
}

TEST(Copies, MatricesStoredAndLoadedByWarps) {
  // Stored row by row, loaded transposed: element (r, c) comes from (c, r).
  std::string text = kernel(1, R"(
    %s = llvm.mlir.addressof @shared : !llvm.ptr<3>
    %row = llvm.and %tid, %c7 : i32
    %at = llvm.mul %row, %c16 : i32
    %x = llvm.getelementptr %s[%at] : (!llvm.ptr<3>, i32) -> !llvm.ptr<3>, i8
    %low = llvm.mul %tid, %c2 : i32
    %high = llvm.add %low, %c1 : i32
    %up = llvm.shl %high, %c16 : i32
    %both = llvm.or %low, %up : i32
    nvvm.stmatrix %x, %both {eltType = #nvvm.ld_st_matrix_elt_type<b16>, layout = #nvvm.mma_layout<row>, shape = #nvvm.ld_st_matrix_shape<m = 8, n = 8>} : !llvm.ptr<3>, i32
    nvvm.bar.warp.sync %full : i32
    %v = nvvm.ldmatrix %x {eltType = #nvvm.ld_st_matrix_elt_type<b16>, layout = #nvvm.mma_layout<col>, num = 1 : i32, shape = #nvvm.ld_st_matrix_shape<m = 8, n = 8>} : (!llvm.ptr<3>) -> i32
    %z = llvm.getelementptr %p0[%tid] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, i32
    llvm.store %v, %z : i32, !llvm.ptr<1>)",
                            kShared);
  std::vector<uint32_t> out(32);
  ASSERT_EQ(Emulated(text).run(launchOf(32, 128), {bufferOf(out)}), "");
  // Element (r, c) is 8 r + c.
  for (int t = 0; t < 32; ++t) {
    uint32_t row = t / 4, column = t % 4 * 2;
    EXPECT_EQ(out[t], (8 * column + row) | (8 * (column + 1) + row) << 16);
  }
}
