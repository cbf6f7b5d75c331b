//===- EmulateMatrixTest.cpp - the interpreter: copies, mbarriers, wgmma --===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tests/cuda/EmulateHarness.h"

#include <cmath>
#include <cstring>

using namespace r1c::test;

namespace {

std::string num(int64_t v) { return std::to_string(v); }

/// `text` with its one `from` replaced: how a mistake is planted.
std::string planted(std::string text, const std::string &from,
                    const std::string &to) {
  size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << "there is no " << from;
  if (at != std::string::npos)
    text.replace(at, from.size(), to);
  return text;
}

float wide(uint16_t bits) {
  uint32_t word = uint32_t(bits) << 16;
  float v;
  std::memcpy(&v, &word, 4);
  return v;
}

std::vector<uint16_t> randomBf16(size_t n) {
  std::normal_distribution<float> draw;
  std::vector<uint16_t> values(n);
  for (uint16_t &v : values) {
    float f = draw(rng());
    uint32_t word;
    std::memcpy(&word, &f, 4);
    v = word >> 16;
  }
  return values;
}

const char *kShared =
    "llvm.mlir.global external @shared() {addr_space = 3 : i32, alignment = "
    "1024 : i64} : !llvm.array<0 x i8>\n";

/// A product of one tile, D (64 x n) = A (64 x 64) B (64 x n), by one
/// warpgroup; thread 0 copies A and B.
struct Tile {
  int n = 64;
  unsigned swizzle = 128;
  bool transposeA = false; ///< A lies in memory as [k][m]
  bool transposeB = false; ///< B lies in memory as [k][n], otherwise [n][k]
  bool assembly = false;   ///< wgmma as inline PTX

  int aBytes() const { return 64 * 64 * 2; }
  int bBytes() const { return 64 * n * 2; }
  /// Elements of a row of a copy's box.
  int across() const { return swizzle / 2; }

  Launch launch() const {
    Launch launch = launchOf(128, 1024 + aBytes() + bBytes());
    auto map = [&](unsigned operand, int64_t inner, int64_t outer) {
      TensorMap m;
      m.operand = operand;
      m.sizes = {inner, outer};
      m.strides = {inner * 2};
      m.box = {across(), outer};
      m.swizzle = swizzle;
      launch.tensorMaps.push_back(m);
    };
    map(0, 64, 64);
    transposeB ? map(1, n, 64) : map(1, 64, n);
    return launch;
  }

  /// Descriptor bits without the address: strides and swizzle.
  uint64_t layout(bool transposed) const {
    uint64_t mode = swizzle == 128 ? 1 : swizzle == 64 ? 2 : 3;
    // Eight rows of the pattern; blocks of `across` columns follow each other,
    // 64 rows high.
    uint64_t stride = 8 * swizzle, leading = transposed ? 64 * swizzle : 16;
    return (leading >> 4) << 16 | (stride >> 4) << 32 | mode << 62;
  }
  /// Bytes from one step of 16 k to the next.
  int64_t step(bool transposed, int step, int rows) const {
    if (transposed)
      return step * 16 * swizzle;
    int k = step * 16;
    return (k / across()) * (rows * swizzle) + k % across() * 2;
  }

  std::string product(int step) const {
    std::string s = num(step), acc = "!llvm.struct<(";
    for (int i = 0; i < n / 2; ++i)
      acc += i ? ", f32" : "f32";
    acc += ")>";
    std::string text;
    auto descriptor = [&](const std::string &name, const std::string &base,
                          bool transposed, int rows) {
      text += "%o" + name + s + " = llvm.mlir.constant(" +
              num(this->step(transposed, step, rows)) + " : i64) : i64\n%n" +
              name + s + " = llvm.add " + base + ", %o" + name + s +
              " : i64\n%m" + name + s + " = llvm.lshr %n" + name + s +
              ", %four : i64\n%d" + name + s + " = llvm.or %m" + name + s +
              ", %layout" + name + " : i64\n";
    };
    descriptor("A", "%aa", transposeA, 64);
    descriptor("B", "%ba", transposeB, n);
    std::string before = step ? "%acc" + num(step - 1) : "%zero";
    if (!assembly)
      return text + "%acc" + s + " = nvvm.wgmma.mma_async %dA" + s + ", %dB" +
             s + ", " + before + ", <m = 64, n = " + num(n) +
             ", k = 16>, D [<f32>, <one>], A [<bf16>, <one>, <" +
             (transposeA ? "col" : "row") + ">], B [<bf16>, <one>, <" +
             (transposeB ? "row" : "col") + ">] : " + acc + " -> " + acc + "\n";
    std::string parts, types, outs, ties, regs;
    for (int i = 0; i < n / 2; ++i) {
      std::string e = "%e" + s + "_" + num(i);
      text += e + " = llvm.extractvalue " + before + "[" + num(i) +
              "] : " + acc + "\n";
      parts += e + ", ";
      types += "f32, ";
      outs += "=f,";
      ties += num(i) + ",";
      regs += (i ? ", $" : "$") + num(i);
    }
    std::string a = "$" + num(n), b = "$" + num(n + 1);
    return text + "%acc" + s +
           " = llvm.inline_asm has_side_effects \"{ .reg .pred p; setp.ne.b32 "
           "p, 1, 0; wgmma.mma_async.sync.aligned.m64n" +
           num(n) + "k16.f32.bf16.bf16 {" + regs + "}, " + a + ", " + b +
           ", p, 1, 1, " + num(transposeA) + ", " + num(transposeB) +
           "; }\", \"" + outs + ties + "l,l\" " + parts + "%dA" + s + ", %dB" +
           s + " : (" + types + "i64, i64) -> " + acc + "\n";
  }

  std::string text() const {
    std::string acc = "!llvm.struct<(";
    for (int i = 0; i < n / 2; ++i)
      acc += i ? ", f32" : "f32";
    acc += ")>";
    std::string body = R"(
    %bar = llvm.mlir.addressof @shared : !llvm.ptr<3>
    %a = llvm.getelementptr %bar[1024] : (!llvm.ptr<3>) -> !llvm.ptr<3>, i8
    %b = llvm.getelementptr %bar[)" +
                       num(1024 + aBytes()) +
                       R"(] : (!llvm.ptr<3>) -> !llvm.ptr<3>, i8
    %bytes = llvm.mlir.constant()" +
                       num(aBytes() + bBytes()) + R"( : i32) : i32
    %leader = llvm.icmp "eq" %tid, %c0 : i32
    llvm.cond_br %leader, ^init, ^ready
  ^init:
    nvvm.mbarrier.init %bar, %c1 : !llvm.ptr<3>, i32
    nvvm.fence.mbarrier.init
    llvm.br ^ready
  ^ready:
    nvvm.barrier0
    llvm.cond_br %leader, ^copy, ^wait
  ^copy:
    nvvm.mbarrier.arrive.expect_tx %bar, %bytes : !llvm.ptr<3>, i32
)";
    int at = 0;
    auto copy = [&](const std::string &to, int map, int x, int offset,
                    int bytes) {
      std::string i = num(at++);
      body += "%x" + i + " = llvm.mlir.constant(" + num(x) +
              " : i32) : i32\n%t" + i + " = llvm.getelementptr " + to + "[" +
              num(offset) + "] : (!llvm.ptr<3>) -> !llvm.ptr<3>, i8\n%g" + i +
              " = llvm.addrspacecast %t" + i +
              " : !llvm.ptr<3> to !llvm.ptr<7>\n"
              "nvvm.cp.async.bulk.tensor.shared.cluster.global %g" +
              i + ", %map" + num(map) + ", %bar, box[%x" + i +
              ", %c0] : !llvm.ptr<7>, !llvm.ptr\n";
    };
    for (int x = 0; x < 64; x += across())
      copy("%a", 0, x, x / across() * 64 * swizzle, 0);
    int columns = transposeB ? n : 64, rows = transposeB ? 64 : n;
    for (int x = 0; x < columns; x += across())
      copy("%b", 1, x, x / across() * rows * swizzle, 0);
    body += R"(    llvm.br ^wait
  ^wait:
    nvvm.mbarrier.try_wait.parity %bar, %c0, %c128 : !llvm.ptr<3>, i32, i32
    %zero = llvm.mlir.zero : )" +
            acc + R"(
    %four = llvm.mlir.constant(4 : i64) : i64
    %aa = llvm.ptrtoint %a : !llvm.ptr<3> to i64
    %ba = llvm.ptrtoint %b : !llvm.ptr<3> to i64
    %layoutA = llvm.mlir.constant()" +
            num(layout(transposeA)) + R"( : i64) : i64
    %layoutB = llvm.mlir.constant()" +
            num(layout(transposeB)) + R"( : i64) : i64
    nvvm.wgmma.fence.aligned
)";
    for (int step = 0; step < 4; ++step)
      body += product(step);
    body += R"(    nvvm.wgmma.commit.group.sync.aligned
    nvvm.wgmma.wait.group.sync.aligned 0
    %warp = llvm.lshr %tid, %c5 : i32
    %lane = llvm.and %tid, %c31 : i32
    %r0 = llvm.mul %warp, %c16 : i32
    %r1 = llvm.lshr %lane, %c2 : i32
    %row = llvm.add %r0, %r1 : i32
    %q0 = llvm.and %lane, %c3 : i32
    %col = llvm.mul %q0, %c2 : i32
    %width = llvm.mlir.constant()" +
            num(n) + R"( : i32) : i32
    %f0 = llvm.mul %row, %width : i32
    %first = llvm.add %f0, %col : i32
)";
    for (int e = 0; e < n / 2; ++e) {
      std::string i = num(e);
      body += "%v" + i + " = llvm.extractvalue %acc3[" + i + "] : " + acc +
              "\n%k" + i + " = llvm.mlir.constant(" +
              num(e / 2 % 2 * 8 * n + e / 4 * 8 + e % 2) + " : i32) : i32\n%w" +
              i + " = llvm.add %first, %k" + i + " : i32\n%z" + i +
              " = llvm.getelementptr %p2[%w" + i +
              "] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, f32\nllvm.store %v" +
              i + ", %z" + i + " : f32, !llvm.ptr<1>\n";
    }
    return kernel(3, body, kShared, "nvvm.reqntid = array<i32: 128>", 2);
  }

  /// Runs `text` on random numbers, and compares if it runs.
  std::string run(const std::string &text, unsigned seed = 0,
                  std::optional<Launch> launched = {}) const {
    std::vector<uint16_t> a = randomBf16(64 * 64), b = randomBf16(64 * n);
    std::vector<float> d(64 * n, NAN);
    Launch launch = launched ? *launched : this->launch();
    launch.seed = seed;
    std::string error =
        Emulated(text).run(launch, {bufferOf(a), bufferOf(b), bufferOf(d)});
    if (!error.empty())
      return error;
    for (int i = 0; i < 64; ++i)
      for (int j = 0; j < n; ++j) {
        double sum = 0, size = 0;
        for (int k = 0; k < 64; ++k) {
          double x = wide(transposeA ? a[k * 64 + i] : a[i * 64 + k]),
                 y = wide(transposeB ? b[k * n + j] : b[j * 64 + k]);
          sum += x * y;
          size += std::fabs(x * y);
        }
        // Four roundings to f32.
        if (!(std::fabs(d[i * n + j] - sum) <= 4 * 6e-8 * size))
          return "differs at " + num(i) + ", " + num(j);
      }
    return "";
  }
};

} // namespace

TEST(Matrix, EveryWidthAndSwizzleByTensorCopies) {
  for (int n : {8, 24, 64, 128, 256})
    for (unsigned swizzle : {32, 64, 128}) {
      Tile tile;
      tile.n = n;
      tile.swizzle = swizzle;
      SCOPED_TRACE(num(n) + " " + num(swizzle));
      EXPECT_EQ(tile.run(tile.text()), "");
    }
}

TEST(Matrix, TransposedOperands) {
  for (unsigned swizzle : {32, 64, 128})
    for (bool a : {false, true}) {
      Tile tile;
      tile.n = 128;
      tile.swizzle = swizzle;
      tile.transposeA = a;
      tile.transposeB = true;
      SCOPED_TRACE(num(a) + " " + num(swizzle));
      EXPECT_EQ(tile.run(tile.text()), "");
    }
}

TEST(Matrix, AsInlineAssembly) {
  Tile tile;
  tile.assembly = true;
  EXPECT_EQ(tile.run(tile.text()), "");
  tile.transposeB = true;
  EXPECT_EQ(tile.run(tile.text()), "");
}

TEST(Matrix, AnyOrderOfThreadsAndCopies) {
  Tile tile;
  std::string text = tile.text();
  for (unsigned seed = 1; seed < 6; ++seed)
    EXPECT_EQ(tile.run(text, seed), "");
}

TEST(Matrix, MistakesWithAccumulators) {
  Tile tile;
  std::string text = tile.text();
  EXPECT_ERROR(
      tile.run(planted(text, "nvvm.wgmma.wait.group.sync.aligned 0", "")),
      "reads accumulators of a wgmma that no wgmma.wait_group has waited for");
  EXPECT_ERROR(
      tile.run(planted(text, "nvvm.wgmma.wait.group.sync.aligned 0",
                       "nvvm.wgmma.wait.group.sync.aligned 1")),
      "reads accumulators of a wgmma that no wgmma.wait_group has waited for");
  EXPECT_ERROR(
      tile.run(planted(text, "nvvm.wgmma.commit.group.sync.aligned", "")),
      "reads accumulators of a wgmma");
  EXPECT_ERROR(tile.run(planted(text, "nvvm.wgmma.fence.aligned", "")),
               "wgmma without a wgmma.fence before it");
  EXPECT_ERROR(tile.run(planted(text, "%zero = llvm.mlir.zero",
                                "%zero = llvm.mlir.undef")),
               "wgmma reads a register that was never written");
}

TEST(Matrix, OperandsOverwrittenTooEarly) {
  Tile tile;
  std::string text = tile.text();
  std::string store = "llvm.store %c0, %a : i32, !llvm.ptr<3>\n";
  EXPECT_ERROR(
      tile.run(planted(text, "nvvm.wgmma.wait.group.sync.aligned 0",
                       store + "nvvm.wgmma.wait.group.sync.aligned 0")),
      "which a wgmma or an asynchronous copy still reads");
  // After the wait and a barrier it may.
  EXPECT_EQ(tile.run(planted(text, "nvvm.wgmma.wait.group.sync.aligned 0",
                             "nvvm.wgmma.wait.group.sync.aligned 0\n"
                             "nvvm.barrier0\n"
                             "llvm.cond_br %leader, ^store, ^out\n"
                             "^store:\n" +
                                 store +
                                 "llvm.br ^out\n"
                                 "^out:")),
            "");
}

TEST(Matrix, AWrongSwizzleGivesAnotherProduct) {
  // That the comparisons above can fail.
  Tile tile;
  tile.swizzle = 64;
  Launch launch = tile.launch();
  launch.tensorMaps[0].swizzle = 0;
  EXPECT_ERROR(tile.run(tile.text(), 0, launch), "differs at");
}

/// D = A B with A in registers: thread 32 w + l holds of rows 16 w + l / 4 and
/// + 8 columns 2 (l % 4), the next, and both + 8.
TEST(Matrix, FirstOperandInRegisters) {
  std::string acc = "!llvm.struct<(f32, f32, f32, f32)>";
  std::string text =
      kernel(3,
             R"(
    %s = llvm.mlir.addressof @shared : !llvm.ptr<3>
    %few = llvm.icmp "ult" %tid, %c16 : i32
    llvm.cond_br %few, ^fill, ^filled
  ^fill:
    %r = llvm.lshr %tid, %c1 : i32
    %h = llvm.and %tid, %c1 : i32
    %x0 = llvm.mul %h, %c128 : i32
    %x1 = llvm.mul %r, %c16 : i32
    %at = llvm.add %x0, %x1 : i32
    %e = llvm.mul %tid, %c8 : i32
    %gb = llvm.getelementptr %p1[%e] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, bf16
    %vb = llvm.load %gb : !llvm.ptr<1> -> vector<8xbf16>
    %sb = llvm.getelementptr %s[%at] : (!llvm.ptr<3>, i32) -> !llvm.ptr<3>, i8
    llvm.store %vb, %sb : vector<8xbf16>, !llvm.ptr<3>
    nvvm.fence.proxy {kind = #nvvm.proxy_kind<async.shared>, space = #nvvm.shared_space<cta>}
    llvm.br ^filled
  ^filled:
    nvvm.barrier0
    %four = llvm.mlir.constant(4 : i64) : i64
    %layout = llvm.mlir.constant()" +
                 num(uint64_t(128 >> 4) << 16 | uint64_t(256 >> 4) << 32) +
                 R"( : i64) : i64
    %ba = llvm.ptrtoint %s : !llvm.ptr<3> to i64
    %bh = llvm.lshr %ba, %four : i64
    %dB = llvm.or %bh, %layout : i64
    %ga = llvm.getelementptr %p0[%tid] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, vector<4xi32>
    %va = llvm.load %ga : !llvm.ptr<1> -> vector<4xi32>
    %i0 = llvm.mlir.constant(0 : i64) : i64
    %i1 = llvm.mlir.constant(1 : i64) : i64
    %i2 = llvm.mlir.constant(2 : i64) : i64
    %i3 = llvm.mlir.constant(3 : i64) : i64
    %a0 = llvm.extractelement %va[%i0 : i64] : vector<4xi32>
    %a1 = llvm.extractelement %va[%i1 : i64] : vector<4xi32>
    %a2 = llvm.extractelement %va[%i2 : i64] : vector<4xi32>
    %a3 = llvm.extractelement %va[%i3 : i64] : vector<4xi32>
    %zero = llvm.mlir.constant(0.0 : f32) : f32
    nvvm.wgmma.fence.aligned
    %acc = llvm.inline_asm has_side_effects "wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {$0, $1, $2, $3}, {$8, $9, $10, $11}, $12, 1, 1, 1, 0;", "=f,=f,=f,=f,0,1,2,3,r,r,r,r,l" %zero, %zero, %zero, %zero, %a0, %a1, %a2, %a3, %dB : (f32, f32, f32, f32, i32, i32, i32, i32, i64) -> )" +
                 acc + R"(
    nvvm.wgmma.commit.group.sync.aligned
    nvvm.wgmma.wait.group.sync.aligned 0
    %o = llvm.getelementptr %p2[%tid] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, )" +
                 acc + "\nllvm.store %acc, %o : " + acc + ", !llvm.ptr<1>",
             kShared);
  // Parameters %a0, … of kernel() have the names of ours: others for ours.
  for (const char *name :
       {"%a0 = llvm.ext", "%a1 = llvm.ext", "%a2 = llvm.ext"})
    text = planted(text, name, "%f" + std::string(name).substr(2));
  text = planted(text, "%a0, %a1, %a2, %a3, %dB", "%f0, %f1, %f2, %a3, %dB");
  std::vector<uint16_t> a = randomBf16(64 * 16), b = randomBf16(8 * 16),
                        fragments(128 * 8);
  for (int t = 0; t < 128; ++t)
    for (int e = 0; e < 8; ++e) {
      int row = t / 32 * 16 + t % 32 / 4 + e / 2 % 2 * 8,
          k = t % 4 * 2 + e % 2 + e / 4 * 8;
      fragments[t * 8 + e] = a[row * 16 + k];
    }
  std::vector<float> d(128 * 4);
  auto run = [&](const std::string &text) {
    return Emulated(text).run(launchOf(128, 1024),
                              {bufferOf(fragments), bufferOf(b), bufferOf(d)});
  };
  ASSERT_EQ(run(text), "");
  for (int t = 0; t < 128; ++t)
    for (int e = 0; e < 4; ++e) {
      int row = t / 32 * 16 + t % 32 / 4 + e / 2 * 8,
          column = t % 4 * 2 + e % 2;
      double sum = 0;
      for (int k = 0; k < 16; ++k)
        sum += double(wide(a[row * 16 + k])) * wide(b[column * 16 + k]);
      ASSERT_EQ(d[t * 4 + e], float(sum)) << t << ", " << e;
    }
  EXPECT_ERROR(
      run(planted(planted(text, "    nvvm.wgmma.fence.aligned\n", ""),
                  "    nvvm.barrier0\n",
                  "    nvvm.barrier0\n    nvvm.wgmma.fence.aligned\n")),
      "written after the last wgmma.fence");
}

TEST(Matrix, MistakesWithPhases) {
  Tile tile;
  std::string text = tile.text();
  // Parity 1 of a fresh mbarrier has passed: nobody waits.
  EXPECT_ERROR(tile.run(planted(text, "try_wait.parity %bar, %c0",
                                "try_wait.parity %bar, %c1")),
               "where an asynchronous copy is still to write");
  // The wrong number of bytes: too many never come, too few come too early.
  std::string bytes =
      "llvm.mlir.constant(" + num(tile.aBytes() + tile.bBytes()) + " : i32)";
  std::string error =
      tile.run(planted(text, bytes, "llvm.mlir.constant(20000 : i32)"));
  EXPECT_ERROR(error, "deadlock");
  EXPECT_ERROR(error, "threads 0 to 127 wait at the mbarrier in shared memory "
                      "at 1024 for phase 0 (parity 0); it is in phase 0, lacks "
                      "0 of 1 arrivals and 3616 bytes");
  EXPECT_ERROR(tile.run(planted(text, bytes, "llvm.mlir.constant(8192 : i32)")),
               "it expected too few bytes");
  // An arrival too few.
  EXPECT_ERROR(tile.run(planted(text, "nvvm.mbarrier.init %bar, %c1",
                                "nvvm.mbarrier.init %bar, %c2")),
               "lacks 1 of 2 arrivals");
}

TEST(Matrix, ArrivingTooOften) {
  std::string text = kernel(0, R"(
    %bar = llvm.mlir.addressof @shared : !llvm.ptr<3>
    nvvm.mbarrier.init %bar, %c2 : !llvm.ptr<3>, i32
    %s = nvvm.mbarrier.arrive %bar, %c3 : !llvm.ptr<3> -> i64)",
                            kShared);
  EXPECT_ERROR(Emulated(text).run(launchOf(1, 64), {}),
               "arrives 3 times at the mbarrier in shared memory at 1024, "
               "which waits for 2 of 2 in phase 0");
}

TEST(Matrix, MistakesWithVisibility) {
  Tile tile;
  std::string text = tile.text();
  EXPECT_ERROR(tile.run(planted(text, "nvvm.fence.mbarrier.init", "")),
               "whose initialisation no fence.mbarrier_init");
  EXPECT_ERROR(tile.run(planted(text, "nvvm.barrier0", "")),
               "initialised without a barrier between");
}

TEST(Matrix, CopiesOutOfPlace) {
  Tile tile;
  std::string text = tile.text();
  Launch launch = tile.launch();
  launch.shared -= 128;
  EXPECT_ERROR(tile.run(text, 0, launch), "which is out of bounds");
  launch = tile.launch();
  launch.tensorMaps[0].sizes[1] = 65;
  EXPECT_ERROR(tile.run(text, 0, launch), "its tensor has 8320 bytes, buffer 0 "
                                          "8192");
  launch = tile.launch();
  launch.tensorMaps[0].swizzle = 64;
  EXPECT_ERROR(tile.run(text, 0, launch), "longer than the swizzle");
  EXPECT_ERROR(tile.run(planted(text, "%bar[1024]", "%bar[1040]")),
               "not aligned to 128 bytes");
  // An address in the parameters that is not one of a tensor map.
  EXPECT_ERROR(tile.run(planted(text, "%parameters[64]", "%parameters[128]")),
               "gives an address as tensor map where the parameters have none");
}

/// A and B written by threads, without a swizzle, then one wgmma.
TEST(Matrix, CoreMatricesWithoutSwizzle) {
  auto text = [](const std::string &ordered) {
    std::string acc = "!llvm.struct<(";
    for (int i = 0; i < 32; ++i)
      acc += i ? ", f32" : "f32";
    acc += ")>";
    // Row r, half h of 8 k: (r / 8) * 256 + h * 128 + (r % 8) * 16.
    std::string body =
        R"(
    %s = llvm.mlir.addressof @shared : !llvm.ptr<3>
    %r = llvm.lshr %tid, %c1 : i32
    %h = llvm.and %tid, %c1 : i32
    %c256 = llvm.mlir.constant(256 : i32) : i32
    %x0 = llvm.lshr %r, %c3 : i32
    %x1 = llvm.mul %x0, %c256 : i32
    %x2 = llvm.mul %h, %c128 : i32
    %x3 = llvm.and %r, %c7 : i32
    %x4 = llvm.mul %x3, %c16 : i32
    %x5 = llvm.add %x1, %x2 : i32
    %at = llvm.add %x5, %x4 : i32
    %e = llvm.mul %tid, %c8 : i32
    %ga = llvm.getelementptr %p0[%e] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, bf16
    %gb = llvm.getelementptr %p1[%e] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, bf16
    %va = llvm.load %ga : !llvm.ptr<1> -> vector<8xbf16>
    %vb = llvm.load %gb : !llvm.ptr<1> -> vector<8xbf16>
    %sa = llvm.getelementptr %s[%at] : (!llvm.ptr<3>, i32) -> !llvm.ptr<3>, i8
    %b = llvm.getelementptr %s[2048] : (!llvm.ptr<3>) -> !llvm.ptr<3>, i8
    %sb = llvm.getelementptr %b[%at] : (!llvm.ptr<3>, i32) -> !llvm.ptr<3>, i8
    llvm.store %va, %sa : vector<8xbf16>, !llvm.ptr<3>
    llvm.store %vb, %sb : vector<8xbf16>, !llvm.ptr<3>
)" + ordered +
        R"(
    %four = llvm.mlir.constant(4 : i64) : i64
    %layout = llvm.mlir.constant()" +
        num(uint64_t(128 >> 4) << 16 | uint64_t(256 >> 4) << 32) +
        R"( : i64) : i64
    %aa = llvm.ptrtoint %s : !llvm.ptr<3> to i64
    %ba = llvm.ptrtoint %b : !llvm.ptr<3> to i64
    %ah = llvm.lshr %aa, %four : i64
    %bh = llvm.lshr %ba, %four : i64
    %dA = llvm.or %ah, %layout : i64
    %dB = llvm.or %bh, %layout : i64
    %none = llvm.mlir.undef : )" +
        acc + R"(
    nvvm.wgmma.fence.aligned
    %acc = nvvm.wgmma.mma_async %dA, %dB, %none, <m = 64, n = 64, k = 16>, D [<f32>, <zero>], A [<bf16>, <one>, <row>], B [<bf16>, <one>, <col>] : )" +
        acc + " -> " + acc + R"(
    nvvm.wgmma.commit.group.sync.aligned
    nvvm.wgmma.wait.group.sync.aligned 0
    %o = llvm.getelementptr %p2[%tid] : (!llvm.ptr<1>, i32) -> !llvm.ptr<1>, )" +
        acc + "\nllvm.store %acc, %o : " + acc + ", !llvm.ptr<1>\n";
    return kernel(3, body, kShared);
  };
  std::vector<uint16_t> a = randomBf16(64 * 16), b = randomBf16(64 * 16);
  std::vector<float> d(64 * 64);
  auto run = [&](const std::string &ordered) {
    return Emulated(text(ordered))
        .run(launchOf(128, 4096), {bufferOf(a), bufferOf(b), bufferOf(d)});
  };
  ASSERT_EQ(run("nvvm.fence.proxy {kind = #nvvm.proxy_kind<async.shared>, "
                "space = #nvvm.shared_space<cta>}\nnvvm.barrier0"),
            "");
  for (int t = 0; t < 128; ++t)
    for (int e = 0; e < 32; ++e) {
      int row = t / 32 * 16 + t % 32 / 4 + e / 2 % 2 * 8,
          column = e / 4 * 8 + t % 4 * 2 + e % 2;
      double sum = 0;
      for (int k = 0; k < 16; ++k)
        sum += double(wide(a[row * 16 + k])) * wide(b[column * 16 + k]);
      ASSERT_EQ(d[t * 32 + e], float(sum)) << t << ", " << e;
    }
  EXPECT_ERROR(run("nvvm.barrier0"), "wrote without a fence.proxy.async");
  EXPECT_ERROR(run("nvvm.fence.proxy {kind = #nvvm.proxy_kind<async.shared>, "
                   "space = #nvvm.shared_space<cta>}"),
               "wrote without a barrier between");
}
