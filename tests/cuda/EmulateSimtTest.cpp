//===- EmulateSimtTest.cpp - the interpreter: threads, warps, blocks ------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tests/cuda/EmulateHarness.h"

#include <cmath>
#include <cstring>
#include <numeric>

using namespace r1c::test;

static const char *kShared =
    "llvm.mlir.global external @shared() {addr_space = 3 : i32, alignment = "
    "128 : i64} : !llvm.array<0 x i8>\n";

/// y[i] = fma(a[i], b[i], c[i]) for i < rows, over a persistent grid.
static const char *kFma = R"(
  %block = nvvm.read.ptx.sreg.ctaid.x : i32
  %blocks = nvvm.read.ptx.sreg.nctaid.x : i32
  %threads = nvvm.read.ptx.sreg.ntid.x : i32
  %t0 = llvm.mul %block, %threads : i32
  %t1 = llvm.add %t0, %tid : i32
  %first = llvm.sext %t1 : i32 to i64
  %t2 = llvm.mul %blocks, %threads : i32
  %step = llvm.sext %t2 : i32 to i64
  %rows = llvm.load %p4 : !llvm.ptr<1> -> i64
  llvm.br ^head(%first : i64)
^head(%i: i64):
  %more = llvm.icmp "slt" %i, %rows : i64
  llvm.cond_br %more, ^body, ^end
^body:
  %xa = llvm.getelementptr %p0[%i] : (!llvm.ptr<1>, i64) -> !llvm.ptr<1>, f32
  %xb = llvm.getelementptr %p1[%i] : (!llvm.ptr<1>, i64) -> !llvm.ptr<1>, f32
  %xc = llvm.getelementptr %p2[%i] : (!llvm.ptr<1>, i64) -> !llvm.ptr<1>, f32
  %xy = llvm.getelementptr %p3[%i] : (!llvm.ptr<1>, i64) -> !llvm.ptr<1>, f32
  %a = llvm.load %xa : !llvm.ptr<1> -> f32
  %b = llvm.load %xb : !llvm.ptr<1> -> f32
  %c = llvm.load %xc : !llvm.ptr<1> -> f32
  %y = llvm.intr.fma(%a, %b, %c) : (f32, f32, f32) -> f32
  llvm.store %y, %xy : f32, !llvm.ptr<1>
  %next = llvm.add %i, %step : i64
  llvm.br ^head(%next : i64)
^end:)";

TEST(Simt, PersistentGridOfFmas) {
  Emulated program(kernel(5, kFma));
  const size_t n = 1000;
  std::vector<float> a(n), b(n), c(n), y(n, NAN);
  std::normal_distribution<float> draw;
  for (size_t i = 0; i < n; ++i)
    a[i] = draw(rng()), b[i] = draw(rng()), c[i] = draw(rng());
  std::vector<int64_t> rows = {int64_t(n)};
  std::vector<Buffer> buffers = {bufferOf(a), bufferOf(b), bufferOf(c),
                                 bufferOf(y), bufferOf(rows)};
  ASSERT_EQ(program.run(launchOf(64, 0, 3), buffers), "");
  for (size_t i = 0; i < n; ++i)
    ASSERT_EQ(y[i], std::fma(a[i], b[i], c[i])) << i;

  // One row more than the buffers have.
  rows[0] = n + 1;
  EXPECT_ERROR(program.run(launchOf(64, 0, 3), buffers),
               "reads 4 bytes out of bounds at buffer 0 + 4000, which has 4000 "
               "bytes");
  EXPECT_ERROR(program.run(launchOf(64, 0, 3), buffers), "test.mlir:");
  EXPECT_ERROR(program.run(launchOf(64, 0, 3), buffers), "block 0, thread 40");
  // The reads may be let go on, the write not.
  for (int i = 0; i < 4; ++i)
    buffers[i].readable = 4096;
  std::vector<float> more(1024), wide(1024);
  buffers[0].data = buffers[1].data = buffers[2].data = wide.data();
  buffers[1].bytes = buffers[2].bytes = 0;
  buffers[1].readable = buffers[2].readable = 0;
  EXPECT_ERROR(program.run(launchOf(64, 0, 3), buffers),
               "writes 4 bytes out of bounds at buffer 3 + 4000");
}

TEST(Simt, MisalignedAndReadOnly) {
  Emulated program(kernel(1, R"(
    %x = llvm.getelementptr %p0[2] : (!llvm.ptr<1>) -> !llvm.ptr<1>, i8
    %v = llvm.load %x : !llvm.ptr<1> -> f32)"));
  std::vector<float> data(4);
  EXPECT_ERROR(program.run(launchOf(32), {bufferOf(data)}),
               "not aligned to 4 bytes");
  Emulated store(kernel(1, "llvm.store %c1, %p0 : i32, !llvm.ptr<1>"));
  Buffer buffer = bufferOf(data);
  EXPECT_EQ(store.run(launchOf(32), {buffer}), "");
  buffer.writable = false;
  EXPECT_ERROR(store.run(launchOf(32), {buffer}),
               "writes to buffer 0, which is only read");
}

TEST(Simt, VectorsStructsCallsAndLocalMemory) {
  // Reverses four floats through local memory, adds them up in a function.
  Emulated program(kernel(2, R"(
    %v = llvm.load %p0 {alignment = 16 : i64} : !llvm.ptr<1> -> vector<4xf32>
    %r = llvm.shufflevector %v, %v [3, 2, 1, 0] : vector<4xf32>
    %four = llvm.mlir.constant(4 : i64) : i64
    %m = llvm.alloca %four x f32 {alignment = 16 : i64} : (i64) -> !llvm.ptr
    llvm.store %r, %m : vector<4xf32>, !llvm.ptr
    %m2 = llvm.getelementptr %m[2] : (!llvm.ptr) -> !llvm.ptr, f32
    %e = llvm.load %m2 : !llvm.ptr -> f32
    %s = llvm.call @sum(%r, %e) : (vector<4xf32>, f32) -> !llvm.struct<(f32, i32)>
    %x = llvm.extractvalue %s[0] : !llvm.struct<(f32, i32)>
    %y = llvm.extractvalue %s[1] : !llvm.struct<(f32, i32)>
    llvm.store %x, %p1 : f32, !llvm.ptr<1>
    %q = llvm.getelementptr %p1[1] : (!llvm.ptr<1>) -> !llvm.ptr<1>, f32
    llvm.store %y, %q : i32, !llvm.ptr<1>)",
                          R"(
    llvm.func @sum(%v: vector<4xf32>, %w: f32) -> !llvm.struct<(f32, i32)> {
      %a = "llvm.intr.vector.reduce.fadd"(%w, %v) : (f32, vector<4xf32>) -> f32
      %i = llvm.bitcast %w : f32 to i32
      %u = llvm.mlir.undef : !llvm.struct<(f32, i32)>
      %u0 = llvm.insertvalue %a, %u[0] : !llvm.struct<(f32, i32)>
      %u1 = llvm.insertvalue %i, %u0[1] : !llvm.struct<(f32, i32)>
      llvm.return %u1 : !llvm.struct<(f32, i32)>
    })"));
  alignas(16) float in[4] = {1, 2, 4, 8};
  float out[2] = {};
  ASSERT_EQ(program.run(launchOf(1), {{in, 16}, {out, 8}}), "");
  EXPECT_EQ(out[0], 17.0f);
  int32_t bits;
  std::memcpy(&bits, &out[1], 4);
  EXPECT_EQ(bits, 0x40000000);
}

TEST(Simt, UnwrittenLocalMemory) {
  Emulated program(kernel(0, R"(
    %one = llvm.mlir.constant(1 : i64) : i64
    %m = llvm.alloca %one x f32 : (i64) -> !llvm.ptr
    %e = llvm.load %m : !llvm.ptr -> f32)"));
  EXPECT_ERROR(program.run(launchOf(1), {}),
               "reads local memory that was never written");
}

TEST(Simt, Bfloat16RoundsToNearestEven) {
  Emulated program(kernel(2, R"(
    %x = llvm.getelementptr %p0[%tid] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, f32
    %v = llvm.load %x : !llvm.ptr<1> -> f32
    %b = llvm.fptrunc %v : f32 to bf16
    %y = llvm.getelementptr %p1[%tid] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, bf16
    llvm.store %b, %y : bf16, !llvm.ptr<1>)"));
  std::vector<uint32_t> in = {0x3f808000, 0x3f818000, 0x3f808001, 0x7f7fffff,
                              0x7fc00001, 0x00008000, 0x80018000, 0x3f800000};
  std::vector<uint16_t> want = {0x3f80, 0x3f82, 0x3f81, 0x7f80,
                                0x7fff, 0x0000, 0x8002, 0x3f80};
  std::vector<uint16_t> out(8);
  ASSERT_EQ(program.run(launchOf(8), {bufferOf(in), bufferOf(out)}), "");
  EXPECT_EQ(out, want);
}

TEST(Simt, ConversionsSaturateAndShiftsClamp) {
  Emulated program(kernel(2, R"(
    %v = llvm.load %p0 : !llvm.ptr<1> -> f32
    %i = llvm.fptosi %v : f32 to i32
    %s = llvm.shl %c1, %c32 : i32
    llvm.store %i, %p1 : i32, !llvm.ptr<1>
    %q = llvm.getelementptr %p1[1] : (!llvm.ptr<1>) -> !llvm.ptr<1>, i32
    llvm.store %s, %q : i32, !llvm.ptr<1>)"));
  std::vector<float> in = {3e9f};
  std::vector<int32_t> out(2, 7);
  ASSERT_EQ(program.run(launchOf(1), {bufferOf(in), bufferOf(out)}), "");
  EXPECT_EQ(out[0], 0x7fffffff);
  EXPECT_EQ(out[1], 0);
}

/// A warp's sum by butterflies, in the order that a tree fixes.
TEST(Warp, ButterflySum) {
  std::string body = R"(
    %x = llvm.getelementptr %p0[%tid] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, f32
    %v0 = llvm.load %x : !llvm.ptr<1> -> f32
)";
  int from = 0;
  for (int d : {1, 2, 4, 8, 16}) {
    std::string a = std::to_string(from), b = std::to_string(++from);
    body += "%s" + a + " = nvvm.shfl.sync bfly %full, %v" + a + ", %c" +
            std::to_string(d) + ", %c31 : f32 -> f32\n%v" + b +
            " = llvm.fadd %v" + a + ", %s" + a + " : f32\n";
  }
  body += "llvm.store %v5, %x : f32, !llvm.ptr<1>";
  Emulated program(kernel(1, body));
  std::vector<float> values(64);
  std::normal_distribution<float> draw;
  for (float &v : values)
    v = draw(rng());
  std::vector<float> want = values;
  for (int d : {1, 2, 4, 8, 16}) {
    std::vector<float> old = want;
    for (int i = 0; i < 64; ++i)
      want[i] = old[i] + old[i ^ d];
  }
  ASSERT_EQ(program.run(launchOf(64), {bufferOf(values)}), "");
  EXPECT_EQ(values, want);
}

TEST(Warp, ShuffleKindsAndValidity) {
  Emulated program(kernel(2, R"(
    %c7167 = llvm.mlir.constant(6175 : i32) : i32
    %up = nvvm.shfl.sync up %full, %tid, %c1, %c0 {return_value_and_is_valid} : i32 -> !llvm.struct<(i32, i1)>
    %u = llvm.extractvalue %up[0] : !llvm.struct<(i32, i1)>
    %valid = llvm.extractvalue %up[1] : !llvm.struct<(i32, i1)>
    %bad = llvm.mlir.constant(100 : i32) : i32
    %w = llvm.select %valid, %u, %bad : i1, i32
    %down = nvvm.shfl.sync down %full, %tid, %c2, %c7167 : i32 -> i32
    %x = llvm.getelementptr %p0[%tid] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, i32
    llvm.store %w, %x : i32, !llvm.ptr<1>
    %y = llvm.getelementptr %p1[%tid] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, i32
    llvm.store %down, %y : i32, !llvm.ptr<1>)"));
  std::vector<int32_t> up(32), down(32);
  ASSERT_EQ(program.run(launchOf(32), {bufferOf(up), bufferOf(down)}), "");
  for (int i = 0; i < 32; ++i) {
    EXPECT_EQ(up[i], i ? i - 1 : 100);
    // 6175 = 24 << 8 | 31: segments of eight lanes.
    EXPECT_EQ(down[i], i % 8 < 6 ? i + 2 : i);
  }
}

TEST(Warp, VoteElectRedux) {
  Emulated program(kernel(1, R"(
    %odd = llvm.trunc %tid : i32 to i1
    %ballot = nvvm.vote.sync ballot %full, %odd -> i32
    %sum = nvvm.redux.sync add %tid, %full : i32 -> i32
    %e = nvvm.elect.sync -> i1
    llvm.cond_br %e, ^one, ^end
  ^one:
    llvm.store %ballot, %p0 : i32, !llvm.ptr<1>
    %q = llvm.getelementptr %p0[1] : (!llvm.ptr<1>) -> !llvm.ptr<1>, i32
    llvm.store %sum, %q : i32, !llvm.ptr<1>
    llvm.br ^end
  ^end:)"));
  std::vector<uint32_t> out(2);
  ASSERT_EQ(program.run(launchOf(32), {bufferOf(out)}), "");
  EXPECT_EQ(out[0], 0xaaaaaaaau);
  EXPECT_EQ(out[1], 31u * 32 / 2);
}

TEST(Warp, DivergentShuffleIsADeadlock) {
  Emulated program(kernel(0, R"(
    %low = llvm.icmp "ult" %tid, %c16 : i32
    llvm.cond_br %low, ^some, ^others
  ^some:
    %s = nvvm.shfl.sync bfly %full, %tid, %c1, %c31 : i32 -> i32
    llvm.br ^end
  ^others:
    %r = nvvm.shfl.sync bfly %full, %tid, %c1, %c31 : i32 -> i32
    llvm.br ^end
  ^end:)"));
  std::string error = program.run(launchOf(32), {});
  EXPECT_ERROR(error, "deadlock");
  EXPECT_ERROR(error, "threads 0 to 15 wait for lanes of its warp");
  EXPECT_ERROR(error, "threads 16 to 31 wait for lanes of its warp");
}

TEST(Warp, ShuffleFromALaneOutsideTheMask) {
  Emulated program(kernel(0, R"(
    %half = llvm.mlir.constant(65535 : i32) : i32
    %low = llvm.icmp "ult" %tid, %c16 : i32
    llvm.cond_br %low, ^some, ^end
  ^some:
    %s = nvvm.shfl.sync bfly %half, %tid, %c16, %c31 : i32 -> i32
    llvm.br ^end
  ^end:)"));
  EXPECT_ERROR(program.run(launchOf(32), {}),
               "shuffles from lane 16, which does not take part");
}

/// Each thread writes its number and reads that of its neighbour.
static std::string exchange(const std::string &between) {
  return kernel(1, R"(
    %s = llvm.mlir.addressof @shared : !llvm.ptr<3>
    %x = llvm.getelementptr %s[%tid] : (!llvm.ptr<3>, i32) -> !llvm.ptr<3>, i32
    llvm.store %tid, %x : i32, !llvm.ptr<3>
)" + between + R"(
    %o = llvm.xor %tid, %c64 : i32
    %y = llvm.getelementptr %s[%o] : (!llvm.ptr<3>, i32) -> !llvm.ptr<3>, i32
    %v = llvm.load %y : !llvm.ptr<3> -> i32
    %z = llvm.getelementptr %p0[%tid] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, i32
    llvm.store %v, %z : i32, !llvm.ptr<1>)",
                kShared);
}

TEST(Barriers, ExchangeThroughSharedMemory) {
  std::vector<int32_t> out(128);
  for (unsigned seed : {0, 1, 2}) {
    Launch launch = launchOf(128, 512);
    launch.seed = seed;
    ASSERT_EQ(Emulated(exchange("nvvm.barrier0")).run(launch, {bufferOf(out)}),
              "");
    for (int i = 0; i < 128; ++i)
      EXPECT_EQ(out[i], i ^ 64);
  }
  ASSERT_EQ(
      Emulated(exchange("nvvm.barrier id = %c3 number_of_threads = %c128"))
          .run(launchOf(128, 512), {bufferOf(out)}),
      "");
}

TEST(Barriers, MissingBarrierIsARace) {
  std::vector<int32_t> out(128);
  // The first thread reads what nobody has written.
  EXPECT_ERROR(Emulated(exchange("")).run(launchOf(128, 512), {bufferOf(out)}),
               "which was never written");
  // A barrier of the warp alone does not order the warps.
  EXPECT_ERROR(Emulated(exchange("nvvm.bar.warp.sync %full : i32"))
                   .run(launchOf(128, 512), {bufferOf(out)}),
               "which was never written");
  // Write after read: the second writes come without a barrier.
  std::string text = exchange("nvvm.barrier0");
  text.insert(text.rfind("  llvm.return"),
              "llvm.store %tid, %x : i32, !llvm.ptr<3>\n");
  EXPECT_ERROR(Emulated(text).run(launchOf(128, 512), {bufferOf(out)}),
               "without a barrier between");
}

TEST(Barriers, TheSameValueTwiceIsNoRace) {
  // Both warps write a word, and read it after a barrier of their own.
  auto text = [](const std::string &value) {
    return kernel(1,
                  R"(
    %s = llvm.mlir.addressof @shared : !llvm.ptr<3>
    llvm.store )" + value +
                      R"(, %s : i32, !llvm.ptr<3>
    nvvm.bar.warp.sync %full : i32
    %v = llvm.load %s : !llvm.ptr<3> -> i32
    %z = llvm.getelementptr %p0[%tid] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, i32
    llvm.store %v, %z : i32, !llvm.ptr<1>)",
                  kShared);
  };
  std::vector<int32_t> out(64);
  EXPECT_EQ(Emulated(text("%c7")).run(launchOf(64, 64), {bufferOf(out)}), "");
  EXPECT_EQ(out, std::vector<int32_t>(64, 7));
  EXPECT_ERROR(Emulated(text("%tid")).run(launchOf(64, 64), {bufferOf(out)}),
               "without a barrier between");
}

TEST(Barriers, OutOfBoundsShared) {
  std::vector<int32_t> out(128);
  EXPECT_ERROR(Emulated(exchange("nvvm.barrier0"))
                   .run(launchOf(128, 508), {bufferOf(out)}),
               "of shared memory, which is out of bounds");
}

TEST(Barriers, DivergentBarrier) {
  Emulated half(kernel(0, R"(
    %low = llvm.icmp "ult" %tid, %c16 : i32
    llvm.cond_br %low, ^some, ^end
  ^some:
    nvvm.barrier id = %c1 number_of_threads = %c32
    llvm.br ^end
  ^end:)"));
  std::string error = half.run(launchOf(32), {});
  EXPECT_ERROR(error, "deadlock");
  EXPECT_ERROR(error, "at barrier 1 (16 of 32 have arrived)");
  Emulated two(kernel(0, R"(
    %low = llvm.icmp "ult" %tid, %c16 : i32
    llvm.cond_br %low, ^some, ^others
  ^some:
    nvvm.barrier0
    llvm.br ^end
  ^others:
    nvvm.barrier0
    llvm.br ^end
  ^end:)"));
  EXPECT_ERROR(two.run(launchOf(32), {}), "a divergent barrier");
}

TEST(Barriers, ArriveAndSync) {
  // Warp 0 writes and arrives, warp 1 waits and reads.
  auto text = [](const std::string &arrive) {
    return kernel(1, R"(
    %s = llvm.mlir.addressof @shared : !llvm.ptr<3>
    %first = llvm.icmp "ult" %tid, %c32 : i32
    llvm.cond_br %first, ^producer, ^consumer
  ^producer:
    %x = llvm.getelementptr %s[%tid] : (!llvm.ptr<3>, i32) -> !llvm.ptr<3>, i32
    llvm.store %tid, %x : i32, !llvm.ptr<3>
    nvvm.barrier.arrive id = %c1 number_of_threads = %c64
    )" + arrive + R"(
    llvm.br ^end
  ^consumer:
    nvvm.barrier id = %c1 number_of_threads = %c64
    %o = llvm.xor %tid, %c32 : i32
    %y = llvm.getelementptr %s[%o] : (!llvm.ptr<3>, i32) -> !llvm.ptr<3>, i32
    %v = llvm.load %y : !llvm.ptr<3> -> i32
    %z = llvm.getelementptr %p0[%o] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, i32
    llvm.store %v, %z : i32, !llvm.ptr<1>
    llvm.br ^end
  ^end:)",
                  kShared);
  };
  std::vector<int32_t> out(32), want(32);
  std::iota(want.begin(), want.end(), 0);
  ASSERT_EQ(Emulated(text("")).run(launchOf(64, 128), {bufferOf(out)}), "");
  EXPECT_EQ(out, want);
  // A write after the arrival is not ordered before the reads.
  EXPECT_ERROR(Emulated(text("llvm.store %tid, %x : i32, !llvm.ptr<3>"))
                   .run(launchOf(64, 128), {bufferOf(out)}),
               "without a barrier between");
}

TEST(Simt, ALoopWithoutEnd) {
  std::string text = kernel(0, R"(
    llvm.br ^loop
  ^loop:
    %x = llvm.add %tid, %c1 : i32
    %never = llvm.icmp "eq" %c1, %c2 : i32
    llvm.cond_br %never, ^end, ^loop
  ^end:)");
  Launch launch = launchOf(1);
  launch.maxSteps = 10000;
  EXPECT_ERROR(Emulated(text).run(launch, {}), "a loop without end");
}

TEST(Simt, UnknownOpsAreNamed) {
  Emulated program(kernel(0, R"(
    llvm.inline_asm has_side_effects "trap.of.some.kind;", "" : () -> ())"));
  EXPECT_ERROR(program.run(launchOf(1), {}),
               "does not know llvm.inline_asm \"trap.of.some.kind;\"");
}

TEST(Simt, LaunchThatDoesNotFit) {
  Emulated program(kernel(1, "", "", "nvvm.reqntid = array<i32: 128>"));
  std::vector<float> data(1);
  EXPECT_ERROR(program.run(launchOf(64), {bufferOf(data)}), "made for 128");
  EXPECT_ERROR(program.run(launchOf(128, 1 << 20), {bufferOf(data)}),
               "bytes of shared memory a block");
}
