//===- MapTest.cpp - kern.map, column_sum, scatter_add --------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tests/kern/Harness.h"
#include "llvm/ADT/bit.h"
#include <algorithm>
#include <numeric>

using namespace r1c::test;

namespace {

TEST(Map, EmbeddingAndCacheRows) {
  for (std::string n : {"64", "50", "7"}) {
    int64_t N = std::stoi(n);
    std::string source =
        "func.func @embed(%ids: tensor<?xi32>, %table: tensor<100x" + n +
        "xf32>) -> tensor<?x" + n +
        "xf32> attributes {kern.kernel} {\n"
        "  %0 = kern.map (%t = %table : gather(0) tensor<100x" +
        n + "xf32>) indices(%ids : tensor<?xi32>) -> (element tensor<?x" + n +
        "xf32>) {\n"
        "    kern.yield %t : f32\n  }\n  return %0 : tensor<?x" +
        n +
        "xf32>\n}\n"
        "func.func @write(%x: tensor<?x" +
        n + "xf32>, %rows: tensor<?xi32>, %cache: tensor<?x" + n +
        "xf32>) -> tensor<?x" + n +
        "xf32> attributes {kern.kernel} {\n"
        "  %0 = kern.map (%t = %x : element tensor<?x" +
        n + "xf32>) indices(%rows : tensor<?xi32>) inits(%cache : tensor<?x" +
        n + "xf32>) -> (scatter(0) tensor<?x" + n +
        "xf32>) {\n"
        "    kern.yield %t : f32\n  }\n  return %0 : tensor<?x" +
        n + "xf32>\n}\n";
    for (bool reference : {false, true}) {
      Kernels kernels(source, reference);
      int64_t rows = 21;
      auto table = randomFloats(100 * N);
      std::vector<int32_t> ids(100);
      std::iota(ids.begin(), ids.end(), 0);
      std::shuffle(ids.begin(), ids.end(), rng());
      ids.resize(rows);
      Buffer I = Buffer::of(ids), T = Buffer::of(table),
             X = Buffer::poisoned<float>(rows * N), C = Buffer::of(table);
      kernels.run("embed", {&I, &T, &X}, rows, 2);
      for (int64_t i = 0; i < rows; ++i)
        EXPECT_TRUE(sameBits(X.values<float>(), i * N, table, ids[i] * N, N));
      // Written to rows 99 - id: the others keep what they hold.
      std::vector<int32_t> where;
      auto want = table;
      for (int64_t i = 0; i < rows; ++i) {
        where.push_back(99 - ids[i]);
        std::copy_n(table.begin() + ids[i] * N, N, want.begin() + where[i] * N);
      }
      Buffer W = Buffer::of(where);
      kernels.run("write", {&X, &W, &C}, rows, 3);
      EXPECT_TRUE(sameBits(C.values<float>(), want));
    }
  }
}

TEST(Map, OneDimension) {
  std::string source = R"(
func.func @k(%x: tensor<?xf64>, %flag: tensor<?xi1>, %g: tensor<?xf64>, %idx: tensor<?xi32>, %l: tensor<?x3xf32>, %t: tensor<f64>, %p: tensor<2xf64>, %init: tensor<?xf64>)
    -> (tensor<?xf64>, tensor<?xi1>, tensor<?xf64>) attributes {kern.kernel} {
  %0:3 = kern.map (%xv = %x : element tensor<?xf64>, %fv = %flag : element tensor<?xi1>, %gv = %g : gather(0) tensor<?xf64>, %lv = %l : row[2] tensor<?x3xf32>,
                   %tv = %t : one tensor<f64>, %pv = %p : one[1] tensor<2xf64>) indices(%idx : tensor<?xi32>) inits(%init : tensor<?xf64>)
      -> (element tensor<?xf64>, element tensor<?xi1>, scatter(0) tensor<?xf64>) {
    %i = kern.index row
    %if = arith.sitofp %i : i32 to f64
    %w = arith.extf %lv : f32 to f64
    %a = arith.addf %xv, %gv : f64
    %b = arith.mulf %a, %tv : f64
    %c = arith.addf %b, %w : f64
    %d = arith.select %fv, %c, %pv : f64
    %e = arith.addf %d, %if : f64
    %n = arith.cmpf ogt, %xv, %gv : f64
    kern.yield %e, %n, %xv : f64, i1, f64
  }
  return %0#0, %0#1, %0#2 : tensor<?xf64>, tensor<?xi1>, tensor<?xf64>
}
)";
  Kernels tuned(source), naive(source, true),
      narrow(source, false, "x86-64-v3");
  for (int64_t n : {0, 1, 15, 16, 17, 64, 100, 1000}) {
    auto x = randomDoubles(n), g = randomDoubles(n), t = randomDoubles(1),
         p = randomDoubles(2), init = randomDoubles(n);
    auto l = randomFloats(n * 3);
    std::vector<uint8_t> flag(n);
    std::vector<int32_t> idx(n);
    std::iota(idx.begin(), idx.end(), 0);
    std::shuffle(idx.begin(), idx.end(), rng());
    for (uint8_t &f : flag)
      f = rng()() % 2;
    for (const Kernels *kernels : {&tuned, &naive, &narrow})
      for (int workers : {1, 2, 5}) {
        Buffer X = Buffer::of(x), F = Buffer::of(flag), G = Buffer::of(g),
               I = Buffer::of(idx), L = Buffer::of(l), T = Buffer::of(t),
               P = Buffer::of(p), Y = Buffer::poisoned<double>(n),
               N = Buffer::poisoned<uint8_t>(n), S = Buffer::of(init);
        kernels->run("k", {&X, &F, &G, &I, &L, &T, &P, &Y, &N, &S}, n, workers);
        for (int64_t i = 0; i < n; ++i) {
          double c = (x[i] + g[idx[i]]) * t[0] + double(l[i * 3 + 2]);
          ASSERT_EQ(Y.values<double>()[i], (flag[i] ? c : p[1]) + double(i));
          ASSERT_EQ(N.values<uint8_t>()[i], x[i] > g[idx[i]]);
          ASSERT_EQ(S.values<double>()[idx[i]], x[i]);
        }
      }
  }
}

TEST(Map, GathersNarrowElements) {
  const char *source = R"(
func.func @k(%x: tensor<?xbf16>, %f: tensor<?xi1>, %i: tensor<?xi32>, %o: tensor<?xi1>, %p: tensor<?xbf16>)
    -> (tensor<?xbf16>, tensor<?xi1>, tensor<?xbf16>) attributes {kern.kernel} {
  %0:3 = kern.map (%a = %x : gather(0) tensor<?xbf16>, %b = %f : gather(0) tensor<?xi1>)
      indices(%i : tensor<?xi32>) inits(%o : tensor<?xi1>, %p : tensor<?xbf16>)
      -> (element tensor<?xbf16>, scatter(0) tensor<?xi1>, scatter(0) tensor<?xbf16>) {
    kern.yield %a, %b, %a : bf16, i1, bf16
  }
  return %0#0, %0#1, %0#2 : tensor<?xbf16>, tensor<?xi1>, tensor<?xbf16>
}
)";
  for (const char *cpu : {"native", "x86-64-v3"}) {
    Kernels kernels(source, false, cpu);
    int64_t n = 53;
    auto x = toBf16(randomFloats(n));
    std::vector<uint8_t> f(n);
    std::vector<int32_t> i(n);
    std::iota(i.begin(), i.end(), 0);
    std::shuffle(i.begin(), i.end(), rng());
    for (uint8_t &v : f)
      v = rng()() % 2;
    Buffer X = Buffer::of(x), F = Buffer::of(f), I = Buffer::of(i),
           Y = Buffer::poisoned<uint16_t>(n), O = Buffer::poisoned<uint8_t>(n),
           P = Buffer::poisoned<uint16_t>(n);
    kernels.run("k", {&X, &F, &I, &Y, &O, &P}, n, 2);
    for (int64_t j = 0; j < n; ++j)
      EXPECT_EQ(Y.values<uint16_t>()[j], x[i[j]]);
    EXPECT_TRUE(sameBits(O.values<uint8_t>(), f));
    EXPECT_TRUE(sameBits(P.values<uint16_t>(), x));
  }
}

// What a rollout's rows begin with: their own ids, or what was drawn before.
TEST(Map, GathersIntegers) {
  const char *source = R"(
func.func @k(%own: tensor<?xi32>, %drawn: tensor<?xi32>, %i: tensor<?xi32>) -> tensor<?xi32> attributes {kern.kernel} {
  %0 = kern.map (%a = %own : element tensor<?xi32>, %b = %drawn : gather(0) tensor<?xi32>)
      indices(%i : tensor<?xi32>) -> (element tensor<?xi32>) {
    %zero = arith.constant 0 : i32
    %less = arith.cmpi slt, %a, %zero : i32
    %id = arith.select %less, %b, %a : i32
    kern.yield %id : i32
  }
  return %0 : tensor<?xi32>
}
)";
  Kernels tuned(source), naive(source, true),
      narrow(source, false, "x86-64-v3");
  for (int64_t n : {0, 1, 16, 17, 70, 300}) {
    const int64_t slots = 9;
    std::vector<int32_t> own(n), index(n), want(n), drawn(slots);
    for (int32_t &token : drawn)
      token = static_cast<int32_t>(rng()() % 150'000);
    for (int64_t r = 0; r < n; ++r) {
      bool isDrawn = rng()() % 2;
      own[r] = isDrawn ? -1 : static_cast<int32_t>(rng()() % 150'000);
      index[r] = isDrawn ? static_cast<int32_t>(rng()() % slots) : 0;
      want[r] = isDrawn ? drawn[index[r]] : own[r];
    }
    for (const Kernels *kernels : {&tuned, &naive, &narrow})
      for (int workers : {1, 3}) {
        Buffer O = Buffer::of(own), D = Buffer::of(drawn),
               I = Buffer::of(index), Y = Buffer::poisoned<int32_t>(n);
        kernels->run("k", {&O, &D, &I, &Y}, n, workers);
        EXPECT_TRUE(sameBits(Y.values<int32_t>(), want)) << n;
      }
  }
}

// Numbers of a row beside its elements, and the column's number: what makes the
// gradient of stored logits.
TEST(Map, RowsAndColumns) {
  for (int64_t n : {40, 37, 1100})
    for (std::string type : {"f32", "bf16"}) {
      std::string N = std::to_string(n), t = "tensor<?x" + N + "xf32>",
                  result = "tensor<?x" + N + "x" + type + ">",
                  narrow = type == "f32" ? "" : R"(
    %r = arith.truncf %p : f32 to bf16)",
                  yielded = type == "f32" ? "%p" : "%r";
      std::string text =
          "func.func @f(%z: " + t +
          ", %y: tensor<?xi32>, %g: tensor<?xf32>, %t: "
          "tensor<f32>) -> " +
          result + R"( attributes {kern.kernel} {
  %0 = kern.map (%a = %z : element )" +
          t +
          R"(, %b = %y : row tensor<?xi32>, %c = %g : row tensor<?xf32>, %d = %t : one tensor<f32>) -> (element )" +
          result + R"() {
    %i = kern.index column
    %h = arith.cmpi eq, %i, %b : i32
    %s = arith.select %h, %d, %a : f32
    %p = arith.mulf %s, %c : f32)" +
          narrow + "\n    kern.yield " + yielded + " : " + type +
          "\n  }\n  return %0 : " + result + "\n}\n";
      Kernels tuned(text), naive(text, true);
      for (int64_t rows : {0, 1, 7}) {
        auto z = randomFloats(rows * n), g = randomFloats(rows);
        std::vector<int32_t> y;
        for (int64_t r = 0; r < rows; ++r)
          y.push_back(rng()() % n);
        Buffer Z = Buffer::of(z), Y = Buffer::of(y), G = Buffer::of(g),
               T = Buffer::of(std::vector<float>{3});
        std::vector<float> expected;
        for (int64_t r = 0; r < rows; ++r)
          for (int64_t j = 0; j < n; ++j)
            expected.push_back((j == y[r] ? 3.0f : z[r * n + j]) * g[r]);
        for (const Kernels *kernels : {&tuned, &naive})
          for (int64_t workers : {1, 3}) {
            if (type == "f32") {
              Buffer got = Buffer::poisoned<float>(rows * n);
              kernels->run("f", {&Z, &Y, &G, &T, &got}, rows, workers);
              EXPECT_TRUE(sameBits(got.values<float>(), expected));
            } else {
              Buffer got = Buffer::poisoned<uint16_t>(rows * n);
              kernels->run("f", {&Z, &Y, &G, &T, &got}, rows, workers);
              EXPECT_TRUE(sameBits(got.values<uint16_t>(), toBf16(expected)));
            }
          }
      }
    }
}

// The same with rows by an index, in groups of columns: as many as fit, several
// rows of a block of threads' together, and pieces of long ones; a rest of rows
// and of columns each time.
TEST(Map, GathersRowsAndColumns) {
  for (int64_t n : {37, 50, 64, 1100, 5000}) {
    std::string N = std::to_string(n), f32 = "tensor<?x" + N + "xf32>",
                bf16 = "tensor<?x" + N + "xbf16>";
    std::string text =
        "func.func @f(%z: " + f32 +
        ", %i: tensor<?xi32>, %y: tensor<?xi32>, %g: tensor<?xf32>, %w: "
        "tensor<" +
        N + "xf32>) -> (" + bf16 + ", " + f32 +
        R"() attributes {kern.kernel} {
  %0:2 = kern.map (%a = %z : gather(0) )" +
        f32 +
        R"(, %b = %y : row tensor<?xi32>, %c = %g : row tensor<?xf32>, %d = %w : column tensor<)" +
        N + R"(xf32>) indices(%i : tensor<?xi32>) -> (element )" + bf16 +
        ", element " + f32 + R"() {
    %j = kern.index column
    %h = arith.cmpi eq, %j, %b : i32
    %s = arith.select %h, %d, %a : f32
    %p = arith.mulf %s, %c : f32
    %r = arith.truncf %p : f32 to bf16
    kern.yield %r, %p : bf16, f32
  }
  return %0#0, %0#1 : )" +
        bf16 + ", " + f32 + "\n}\nfunc.func @move(%x: " + bf16 +
        ", %i: tensor<?xi32>, %j: tensor<?xi32>, %o: " + bf16 + ") -> " + bf16 +
        " attributes {kern.kernel} {\n  %0 = kern.map (%a = %x : gather(0) " +
        bf16 +
        ") indices(%i : tensor<?xi32>, %j : tensor<?xi32>) inits(%o : " + bf16 +
        ") -> (scatter(1) " + bf16 +
        ") {\n    kern.yield %a : bf16\n  }\n  return %0 : " + bf16 + "\n}\n";
    Kernels kernels(text);
    for (int64_t rows : {0, 1, 14, 170}) {
      if (rows * n > 100'000)
        continue;
      auto z = randomFloats(rows * n), g = randomFloats(rows),
           w = randomFloats(n);
      std::vector<int32_t> y(rows), i(rows);
      std::iota(i.begin(), i.end(), 0);
      std::shuffle(i.begin(), i.end(), rng());
      for (int32_t &column : y)
        column = rng()() % n;
      std::vector<float> want;
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t j = 0; j < n; ++j)
          want.push_back((j == y[r] ? w[j] : z[i[r] * n + j]) * g[r]);
      auto narrow = toBf16(want);
      std::vector<uint16_t> moved(rows * n);
      for (int64_t r = 0; r < rows; ++r)
        std::copy_n(narrow.begin() + y[r] % rows * n, n,
                    moved.begin() + i[r] * n);
      std::vector<int32_t> from;
      for (int32_t column : y)
        from.push_back(column % rows);
      Buffer Z = Buffer::of(z), I = Buffer::of(i), Y = Buffer::of(y),
             G = Buffer::of(g), W = Buffer::of(w), From = Buffer::of(from);
      for (int workers : {1, 3}) {
        Buffer R = Buffer::poisoned<uint16_t>(rows * n),
               P = Buffer::poisoned<float>(rows * n),
               M = Buffer::poisoned<uint16_t>(rows * n);
        kernels.run("f", {&Z, &I, &Y, &G, &W, &R, &P}, rows, workers);
        EXPECT_TRUE(sameBits(R.values<uint16_t>(), narrow));
        EXPECT_TRUE(sameBits(P.values<float>(), want));
        kernels.run("move", {&R, &From, &I, &M}, rows, workers);
        EXPECT_TRUE(sameBits(M.values<uint16_t>(), moved));
      }
    }
  }
}

// Enough elements for several groups of columns a thread, and a rest; NaNs keep
// their bits.
TEST(Map, RoundsManyElements) {
  std::string text = R"(
func.func @k(%x: tensor<?x76xf32>) -> tensor<?x76xbf16> attributes {kern.kernel} {
  %0 = kern.map (%a = %x : element tensor<?x76xf32>) -> (element tensor<?x76xbf16>) {
    %r = arith.truncf %a : f32 to bf16
    kern.yield %r : bf16
  }
  return %0 : tensor<?x76xbf16>
}
)";
  Kernels tuned(text), naive(text, true);
  for (int64_t rows : {0, 1, 333}) {
    auto x = randomFloats(rows * 76);
    auto want = toBf16(x);
    for (int64_t i = 5; i < rows * 76; i += 131) {
      x[i] = llvm::bit_cast<float>(0xFFA12345u);
      want[i] = 0xFFE1;
      x[i - 1] = INFINITY;
      want[i - 1] = 0x7F80;
    }
    for (const Kernels *kernels : {&tuned, &naive})
      for (int workers : {1, 4}) {
        Buffer X = Buffer::of(x), Y = Buffer::poisoned<uint16_t>(rows * 76);
        kernels->run("k", {&X, &Y}, rows, workers);
        EXPECT_TRUE(sameBits(Y.values<uint16_t>(), want));
      }
  }
}

TEST(Map, AdamWInPlace) {
  // Static size, flat; results over inputs.
  Kernels kernels(R"(
func.func @adamw(%p: tensor<1000xf32>, %g: tensor<1000xf32>, %m: tensor<1000xf32>, %v: tensor<1000xf32>, %lr: tensor<f32>)
    -> (tensor<1000xf32>, tensor<1000xf32>, tensor<1000xf32>) attributes {kern.kernel} {
  %0:3 = kern.map (%pv = %p : element tensor<1000xf32>, %gv = %g : element tensor<1000xf32>, %mv = %m : element tensor<1000xf32>, %vv = %v : element tensor<1000xf32>, %l = %lr : one tensor<f32>)
      -> (element tensor<1000xf32>, element tensor<1000xf32>, element tensor<1000xf32>) {
    %b1 = arith.constant 0.9 : f32
    %c1 = arith.constant 0.1 : f32
    %b2 = arith.constant 0.95 : f32
    %c2 = arith.constant 0.05 : f32
    %eps = arith.constant 1.0e-8 : f32
    %m0 = arith.mulf %mv, %b1 : f32
    %m1 = math.fma %gv, %c1, %m0 : f32
    %gg = arith.mulf %gv, %gv : f32
    %v0 = arith.mulf %vv, %b2 : f32
    %v1 = math.fma %gg, %c2, %v0 : f32
    %s = math.sqrt %v1 : f32
    %d = arith.addf %s, %eps : f32
    %r = arith.divf %m1, %d : f32
    %t = arith.mulf %r, %l : f32
    %p1 = arith.subf %pv, %t : f32
    kern.yield %p1, %m1, %v1 : f32, f32, f32
  }
  return %0#0, %0#1, %0#2 : tensor<1000xf32>, tensor<1000xf32>, tensor<1000xf32>
}
)");
  auto p = randomFloats(1000), g = randomFloats(1000), m = randomFloats(1000),
       v = randomFloats(1000, 0, 1);
  Buffer P = Buffer::of(p), G = Buffer::of(g), M = Buffer::of(m),
         V = Buffer::of(v), L = Buffer::of(std::vector<float>{0.01f});
  kernels.run("adamw", {&P, &G, &M, &V, &L, &P, &M, &V}, -1, 2);
  for (int i = 0; i < 1000; ++i) {
    float m1 = std::fma(g[i], 0.1f, m[i] * 0.9f),
          v1 = std::fma(g[i] * g[i], 0.05f, v[i] * 0.95f);
    EXPECT_EQ(M.values<float>()[i], m1);
    EXPECT_EQ(V.values<float>()[i], v1);
    EXPECT_EQ(P.values<float>()[i],
              p[i] - m1 / (std::sqrt(v1) + 1e-8f) * 0.01f);
  }
}

/// On a GPU a block has up to 256 rows in shared memory at a time, of every
/// eighth.
std::vector<int64_t> rowsOf(int64_t columns) {
  if (columns > 1000)
    return {3, 600};
  return {0, 1, 7, 8, 9, 100, 1536, 1537, 4500};
}

TEST(ColumnSum, FixedOrder) {
  for (std::string n : {"64", "50", "12", "5", "2200"}) {
    int64_t N = std::stoi(n);
    std::string source =
        "func.func @k(%x: tensor<?x" + n + "xf32>, %y: tensor<?x" + n +
        "xf32>, %r: tensor<?xf32>, %w: tensor<" + n + "xf32>) -> tensor<" + n +
        "xf32> attributes {kern.kernel} {\n"
        "  %0 = kern.column_sum (%a = %x : element tensor<?x" +
        n + "xf32>, %b = %y : element tensor<?x" + n +
        "xf32>, %s = %r : row tensor<?xf32>) init(%w : tensor<" + n +
        "xf32>) -> tensor<" + n +
        "xf32> {\n"
        "    %c = arith.mulf %a, %b : f32\n    %d = arith.mulf %c, %s : f32\n  "
        "  kern.yield %d : f32\n  }\n  return %0 : tensor<" +
        n + "xf32>\n}\n";
    Kernels tuned(source), naive(source, true);
    for (int64_t rows : rowsOf(N)) {
      auto x = randomFloats(rows * N), y = randomFloats(rows * N),
           r = randomFloats(rows), w = randomFloats(N);
      Buffer X = Buffer::of(x), Y = Buffer::of(y), R = Buffer::of(r);
      // The order, written out.
      std::vector<float> want;
      for (int64_t j = 0; j < N; ++j) {
        float a[8] = {};
        for (int64_t i = 0; i < rows; ++i)
          a[i % 8] += x[i * N + j] * y[i * N + j] * r[i];
        want.push_back(w[j] + (((a[0] + a[4]) + (a[2] + a[6])) +
                               ((a[1] + a[5]) + (a[3] + a[7]))));
      }
      for (const Kernels *kernels : {&tuned, &naive})
        for (int workers : {1, 2, 5}) {
          Buffer W = Buffer::of(w);
          kernels->run("k", {&X, &Y, &R, &W}, rows, workers);
          EXPECT_TRUE(sameBits(W.values<float>(), want));
        }
    }
  }
}

// Narrow elements, rows by an index, a number a column and one for all.
TEST(ColumnSum, OtherOperands) {
  for (int64_t n : {20, 7}) {
    std::string N = std::to_string(n);
    std::string source = "func.func @k(%x: tensor<?x" + N +
                         "xbf16>, %y: tensor<30x" + N +
                         "xf32>, %i: tensor<?xi32>, %c: tensor<" + N +
                         "xf32>, %o: tensor<f32>) -> tensor<" + N +
                         "xf32> attributes {kern.kernel} {\n"
                         "  %0 = kern.column_sum (%a = %x : element tensor<?x" +
                         N + "xbf16>, %b = %y : gather(0) tensor<30x" + N +
                         "xf32>, %d = %c : column tensor<" + N +
                         "xf32>, %e = %o : one tensor<f32>) indices(%i : "
                         "tensor<?xi32>) -> tensor<" +
                         N + R"(xf32> {
    %w = arith.extf %a : bf16 to f32
    %p = arith.mulf %w, %b : f32
    %q = arith.addf %p, %d : f32
    %r = arith.mulf %q, %e : f32
    kern.yield %r : f32
  }
  return %0 : tensor<)" + N +
                         "xf32>\n}\n";
    Kernels tuned(source), naive(source, true);
    for (int64_t rows : {5, 4300}) {
      auto x = toBf16(randomFloats(rows * n));
      auto y = randomFloats(30 * n), c = randomFloats(n);
      std::vector<int32_t> index(rows);
      for (int32_t &i : index)
        i = rng()() % 30;
      Buffer X = Buffer::of(x), Y = Buffer::of(y), I = Buffer::of(index),
             C = Buffer::of(c), O = Buffer::of(std::vector<float>{0.7f}),
             Want = Buffer::poisoned<float>(n);
      naive.run("k", {&X, &Y, &I, &C, &O, &Want}, rows);
      for (int workers : {1, 3}) {
        Buffer Got = Buffer::poisoned<float>(n);
        tuned.run("k", {&X, &Y, &I, &C, &O, &Got}, rows, workers);
        EXPECT_TRUE(sameBits(Got.values<float>(), Want.values<float>()));
      }
    }
  }
}

TEST(ScatterAdd, AddsInOrder) {
  Kernels kernels(R"(
func.func @k(%ids: tensor<?xi32>, %x: tensor<?x50xf32>, %t: tensor<10x50xf32>) -> tensor<10x50xf32> attributes {kern.kernel} {
  %0 = kern.scatter_add %ids, %x init(%t) : tensor<?xi32>, tensor<?x50xf32> -> tensor<10x50xf32>
  return %0 : tensor<10x50xf32>
}
)");
  int64_t rows = 200;
  auto x = randomFloats(rows * 50), t = randomFloats(500), want = t;
  std::vector<int32_t> ids(rows);
  for (int64_t i = 0; i < rows; ++i) {
    ids[i] = rng()() % 10;
    for (int64_t j = 0; j < 50; ++j)
      want[ids[i] * 50 + j] += x[i * 50 + j];
  }
  Buffer I = Buffer::of(ids), X = Buffer::of(x);
  for (int workers : {1, 2, 3, 7}) {
    Buffer T = Buffer::of(t);
    kernels.run("k", {&I, &X, &T}, rows, workers);
    EXPECT_TRUE(sameBits(T.values<float>(), want));
  }
}

TEST(Map, ValuesBesideEachOther) {
  // 40 columns: groups of 16 and a rest; 1200: a block of threads a row.
  for (std::string n : {"5", "40", "1200"})
    for (std::string type : {"f32", "bf16"}) {
      std::string text = "(%x: tensor<?x" + n + "xf32>, %w: tensor<?x" + n +
                         "xf32>) -> tensor<?x";
      std::string round = type == "f32"
                              ? ""
                              : "    %r = arith.truncf %p : f32 to bf16\n"
                                "    %s = arith.truncf %q : f32 to bf16\n";
      std::string yield = type == "f32" ? "%p, %q" : "%r, %s";
      int64_t columns = std::stoll(n);
      std::string wide = std::to_string(2 * columns);
      std::string source =
          "func.func @k" + text + wide + "x" + type +
          "> attributes {kern.kernel} {\n  %0 = kern.map (%xv = %x : element "
          "tensor<?x" +
          n + "xf32>, %wv = %w : element tensor<?x" + n +
          "xf32>) -> (beside tensor<?x" + wide + "x" + type +
          ">) {\n    %p = arith.mulf %xv, %wv : f32\n"
          "    %q = arith.addf %xv, %wv : f32\n" +
          round + "    kern.yield " + yield + " : " + type + ", " + type +
          "\n  }\n  return %0 : tensor<?x" + wide + "x" + type + ">\n}\n";
      Kernels kernels(source), naive(source, /*reference=*/true);
      for (int64_t rows : {1, 7}) {
        auto x = randomFloats(rows * columns), w = randomFloats(rows * columns);
        Buffer X = Buffer::of(x), W = Buffer::of(w);
        auto run = [&](const Kernels &which, int workers) {
          Buffer Y = type == "f32"
                         ? Buffer::poisoned<float>(rows * 2 * columns)
                         : Buffer::poisoned<uint16_t>(rows * 2 * columns);
          which.run("k", {&X, &W, &Y}, rows, workers);
          return type == "f32" ? Y.values<float>()
                               : fromBf16(Y.values<uint16_t>());
        };
        auto want = run(naive, 1);
        for (int64_t i = 0; i < rows; ++i)
          for (int64_t j = 0; j < columns; ++j) {
            int64_t at = i * columns + j;
            float error = type == "f32" ? 0 : 0x1p-8f;
            ASSERT_NEAR(want[2 * i * columns + j], x[at] * w[at], error);
            ASSERT_NEAR(want[(2 * i + 1) * columns + j], x[at] + w[at],
                        2 * error);
          }
        for (int workers : {1, 2, 5})
          EXPECT_TRUE(sameBits(run(kernels, workers), want));
      }
    }
}

} // namespace
