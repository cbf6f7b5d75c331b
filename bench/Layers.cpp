//===- Layers.cpp - the kernels between the matrix products ---------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// Shapes of a model of 135 M parameters: 576 wide, 1536 in its layers' middle,
// vocabulary 49152. Bytes count each operand and result once; the peak is that
// of reading memory, which what a cache holds may exceed.
//===----------------------------------------------------------------------===//

#include "bench/Rounds.h"
#include <algorithm>

using namespace r1c::bench;

namespace {

struct Layer {
  const char *name, *text;
  std::optional<int64_t> rows;
  std::vector<Buffer> buffers;
  double bytes;
};

Buffer floats(size_t count) { return normals(count, false, 1, count); }
Buffer ints(size_t count) {
  Buffer b = allocate(count * 4);
  std::fill_n(static_cast<int32_t *>(b.get()), count, 7);
  return b;
}

const char *normText = R"(
func.func @k(%x: tensor<?x576xf32>, %w: tensor<576xf32>) -> tensor<?x576xf32> attributes {kern.kernel} {
  %y = kern.row (%xv = %x : element tensor<?x576xf32>, %wv = %w : column tensor<576xf32>) -> (element tensor<?x576xf32>) {
    %n = arith.constant 576.0 : f32
    %eps = arith.constant 1.0e-5 : f32
    %s = arith.mulf %xv, %xv : f32
    %t = kern.reduce add %s : f32
    %m = arith.divf %t, %n : f32
    %e = arith.addf %m, %eps : f32
    %r = math.rsqrt %e : f32
    %p = arith.mulf %xv, %r : f32
    %q = arith.mulf %p, %wv : f32
    kern.yield %q : f32
  }
  return %y : tensor<?x576xf32>
}
)";

const char *logProbabilityText = R"(
func.func @k(%z: tensor<?x49152xf32>, %target: tensor<?xi32>) -> (tensor<?xf32>, tensor<?xf32>) attributes {kern.kernel} {
  %y:2 = kern.row (%u = %z : element tensor<?x49152xf32>, %tv = %target : row tensor<?xi32>) -> (row tensor<?xf32>, row tensor<?xf32>) {
    %zero = arith.constant 0.0 : f32
    %m = kern.reduce max %u : f32
    %d = arith.subf %u, %m : f32
    %e = math.exp %d : f32
    %s = kern.reduce add %e : f32
    %j = kern.index column
    %hit = arith.cmpi eq, %j, %tv : i32
    %pick = arith.select %hit, %u, %zero : f32
    %ut = kern.reduce add %pick : f32
    %ls = math.log %s : f32
    %lse = arith.addf %m, %ls : f32
    %logp = arith.subf %ut, %lse : f32
    kern.yield %logp, %lse : f32, f32
  }
  return %y#0, %y#1 : tensor<?xf32>, tensor<?xf32>
}
)";

const char *gumbelSampleText = R"(
func.func @k(%z: tensor<?x49152xf32>, %c: tensor<?x4xi32>) -> tensor<?xi32> attributes {kern.kernel} {
  %y = kern.row (%u = %z : element tensor<?x49152xf32>, %c0 = %c : row[0] tensor<?x4xi32>, %c1 = %c : row[1] tensor<?x4xi32>, %c2 = %c : row[2] tensor<?x4xi32>) -> (row tensor<?xi32>) {
    %scale = arith.constant 2.3283064e-10 : f32
    %half = arith.constant 1.1641532e-10 : f32
    %r = kern.noise key(%c0, %c1) counter(%c2, %c1)
    %f = arith.uitofp %r : i32 to f32
    %p = math.fma %f, %scale, %half : f32
    %l = math.log %p : f32
    %nl = arith.negf %l : f32
    %ll = math.log %nl : f32
    %s = arith.subf %u, %ll : f32
    %a = kern.reduce argmax %s : f32
    kern.yield %a : i32
  }
  return %y : tensor<?xi32>
}
)";

const char *packTransposedText = R"(
func.func @k(%w: tensor<1536x576xf32>) -> !kern.packed<576x1536xf32> attributes {kern.kernel} {
  %0 = kern.pack %w {transpose} : tensor<1536x576xf32> -> !kern.packed<576x1536xf32>
  return %0 : !kern.packed<576x1536xf32>
}
)";

const char *packPlainText = R"(
func.func @k(%w: tensor<1536x576xf32>) -> !kern.packed<1536x576xf32> attributes {kern.kernel} {
  %0 = kern.pack %w : tensor<1536x576xf32> -> !kern.packed<1536x576xf32>
  return %0 : !kern.packed<1536x576xf32>
}
)";

const char *siluMulText = R"(
func.func @k(%a: tensor<?x1536xf32>, %b: tensor<?x1536xf32>) -> tensor<?x1536xf32> attributes {kern.kernel} {
  %0 = kern.map (%g = %a : element tensor<?x1536xf32>, %u = %b : element tensor<?x1536xf32>) -> (element tensor<?x1536xf32>) {
    %one = arith.constant 1.0 : f32
    %n = arith.negf %g : f32
    %e = math.exp %n : f32
    %d = arith.addf %e, %one : f32
    %p = arith.mulf %g, %u : f32
    %q = arith.divf %p, %d : f32
    kern.yield %q : f32
  }
  return %0 : tensor<?x1536xf32>
}
)";

/// As an update has it; the step's numbers are constants here.
const char *adamwText = R"(
func.func @k(%w: tensor<?x576xf32>, %m: tensor<?x576xf32>, %v: tensor<?x576xf32>, %g: tensor<?x576xf32>) -> (tensor<?x576xf32>, tensor<?x576xf32>, tensor<?x576xf32>) attributes {kern.kernel} {
  %0:3 = kern.map (%wv = %w : element tensor<?x576xf32>, %mv = %m : element tensor<?x576xf32>, %vv = %v : element tensor<?x576xf32>, %gv = %g : element tensor<?x576xf32>) -> (element tensor<?x576xf32>, element tensor<?x576xf32>, element tensor<?x576xf32>) {
    %b1 = arith.constant 0.9 : f32
    %c1 = arith.constant 0.1 : f32
    %b2 = arith.constant 0.999 : f32
    %c2 = arith.constant 0.001 : f32
    %eps = arith.constant 1.0e-8 : f32
    %lr = arith.constant 1.0e-5 : f32
    %decay = arith.constant 0.99999 : f32
    %mg = arith.mulf %gv, %c1 : f32
    %m2 = math.fma %mv, %b1, %mg : f32
    %gg = arith.mulf %gv, %gv : f32
    %vg = arith.mulf %gg, %c2 : f32
    %v2 = math.fma %vv, %b2, %vg : f32
    %r = math.sqrt %v2 : f32
    %d = arith.addf %r, %eps : f32
    %s = arith.divf %m2, %d : f32
    %step = arith.mulf %s, %lr : f32
    %kept = arith.mulf %wv, %decay : f32
    %w2 = arith.subf %kept, %step : f32
    kern.yield %w2, %m2, %v2 : f32, f32, f32
  }
  return %0#0, %0#1, %0#2 : tensor<?x576xf32>, tensor<?x576xf32>, tensor<?x576xf32>
})";

std::vector<Layer> layers() {
  const int64_t width = 576, middle = 1536, vocabulary = 49152;
  auto tensor = [&](int64_t rows, int64_t columns) {
    return floats(rows * columns);
  };
  Buffer wide = tensor(1024, width), weight = tensor(middle, width),
         gate = tensor(1024, middle), logits = tensor(32, vocabulary),
         master = tensor(vocabulary, width);
  return {
      {"norm",
       normText,
       1024,
       {wide, floats(width), tensor(1024, width)},
       8.0 * 1024 * width},
      {"siluMul",
       siluMulText,
       1024,
       {gate, gate, tensor(1024, middle)},
       12.0 * 1024 * middle},
      {"logProbability",
       logProbabilityText,
       32,
       {logits, ints(32), floats(32), floats(32)},
       4.0 * 32 * vocabulary},
      {"gumbelSample",
       gumbelSampleText,
       32,
       {logits, ints(32 * 4), floats(32)},
       4.0 * 32 * vocabulary},
      {"packTransposed",
       packTransposedText,
       std::nullopt,
       {weight, tensor(middle, width)},
       8.0 * middle * width},
      {"packPlain",
       packPlainText,
       std::nullopt,
       {weight, tensor(middle, width)},
       8.0 * middle * width},
      {"adamw",
       adamwText,
       vocabulary,
       {master, master, output(4 * vocabulary * width), master,
        tensor(vocabulary, width), tensor(vocabulary, width),
        tensor(vocabulary, width)},
       28.0 * vocabulary * width},
  };
}

} // namespace

int main(int argc, char **argv) {
  initialize(argc, argv);
  for (const Layer &layer : layers())
    for (int threads : {1, 2})
      add(std::string(layer.name) + " " + std::to_string(threads) + "T",
          [=](benchmark::State &state) {
            Run own = runOf(compile(layer.text, "k"), layer.buffers, layer.rows,
                            threads);
            double bytes;
            std::vector<Way> ways = {{"r1c", own, layer.bytes}};
            if (Run peak = peakRead(threads, bytes))
              ways.push_back({"peak", peak, bytes});
            inTurn(state, ways, threads, "GB/s");
          });
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
