//===- Attention.cpp - generated attention, forward and backward ----------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// 1024 tokens as one sequence and as four, heads of 64. Flops are those that a
// causal attention cannot do without: for each pair of a query and a key not
// after it, two products forward and five backward.
//===----------------------------------------------------------------------===//

#include "bench/Kernels.h"
#include "runtime/device/cpu/ThreadPool.h"
#include <benchmark/benchmark.h>
#include <vector>

using r1c::bench::allocate, r1c::bench::Buffer, r1c::bench::normals;

namespace {

struct Case {
  int64_t sequences, length, heads, kvHeads;
  bool bf16;
};

constexpr int64_t width = 64;

std::string text(Case c) {
  std::string type = c.bf16 ? "bf16" : "f32";
  auto tensor = [&](int64_t columns, const std::string &type) {
    return "tensor<?x" + std::to_string(columns) + "x" + type + ">";
  };
  std::string q = tensor(c.heads * width, type),
              k = tensor(c.kvHeads * width, type), l = tensor(c.heads, "f32"),
              i = "tensor<?xi32>";
  std::string attributes = " {heads = " + std::to_string(c.heads) +
                           ", kv_heads = " + std::to_string(c.kvHeads) +
                           ", scale = 0.125 : f32} : ";
  return "func.func @forward(%q: " + q + ", %k: " + k + ", %v: " + k +
         ", %p: " + i + ", %b: " + i + ") -> (" + q + ", " + l +
         ") attributes {kern.kernel} {\n"
         "  %0:2 = kern.attention %q, %k, %v at %p from %b" +
         attributes + q + ", " + k + ", " + k + ", " + i + ", " + i + " -> " +
         q + ", " + l + "\n  return %0#0, %0#1 : " + q + ", " + l +
         "\n}\n"
         "func.func @backward(%q: " +
         q + ", %k: " + k + ", %v: " + k + ", %out: " + q + ", %lse: " + l +
         ", %g: " + q + ", %o: " + i + ") -> (" + q + ", " + k + ", " + k +
         ") attributes {kern.kernel} {\n"
         "  %0:3 = kern.attention_backward %q, %k, %v out %out lse %lse seed "
         "%g offsets %o" +
         attributes + q + ", " + k + ", " + k + ", " + q + ", " + l + ", " + q +
         ", " + i + " -> " + q + ", " + k + ", " + k +
         "\n  return %0#0, %0#1, %0#2 : " + q + ", " + k + ", " + k + "\n}\n";
}

/// Operands of both kernels. The backward reads what the forward left, so it
/// works on real probabilities.
struct Operands {
  explicit Operands(Case c)
      : rows(c.sequences * c.length), sequences(c.sequences) {
    int64_t wide = rows * c.heads * width, narrow = rows * c.kvHeads * width;
    q = normals(wide, c.bf16, 1, 1), k = normals(narrow, c.bf16, 1, 2),
    v = normals(narrow, c.bf16, 1, 3), g = normals(wide, c.bf16, 1, 4);
    out = allocate(wide * 4), lse = allocate(rows * c.heads * 4),
    dq = allocate(wide * 4), dk = allocate(narrow * 4),
    dv = allocate(narrow * 4);
    for (int32_t s = 0; s < c.sequences; ++s)
      for (int32_t r = 0; r < c.length; ++r)
        positions.push_back(r), bases.push_back(s * c.length);
    for (int32_t s = 0; s <= c.sequences; ++s)
      offsets.push_back(s * c.length);
  }
  std::vector<void *> forward() {
    return {q.get(),      k.get(),   v.get(),   positions.data(),
            bases.data(), out.get(), lse.get(), &rows};
  }
  std::vector<void *> backward() {
    return {q.get(),        k.get(),  v.get(),  out.get(), lse.get(), g.get(),
            offsets.data(), dq.get(), dk.get(), dv.get(),  &sequences};
  }
  int64_t rows, sequences;
  Buffer q, k, v, g, out, lse, dq, dk, dv;
  std::vector<int32_t> positions, bases, offsets;
};

void attention(benchmark::State &state, Case c, bool backward, int threads) {
  auto forward = r1c::bench::compile(text(c), "forward");
  auto kernel = backward ? r1c::bench::compile(text(c), "backward") : forward;
  // The pool that the runtime runs kernels on.
  r1c::runtime::ThreadPool pool(threads);
  Operands operands(c);
  auto args = operands.forward();
  if (backward) {
    pool.run(forward, args.data());
    args = operands.backward();
  }
  for (auto _ : state)
    pool.run(kernel, args.data());
  double pairs = c.sequences * c.length * (c.length + 1) / 2.0 * c.heads;
  state.counters["GF/s"] =
      benchmark::Counter((backward ? 10e-9 : 4e-9) * width * pairs,
                         benchmark::Counter::kIsIterationInvariantRate);
}

} // namespace

int main(int argc, char **argv) {
  benchmark::Initialize(&argc, argv);
  benchmark::AddCustomContext("llvm", r1c::bench::llvmVersion());
  benchmark::AddCustomContext("cpu", r1c::bench::cpuName());
  const Case shapes[] = {{1, 1024, 9, 3, false},
                         {4, 256, 9, 3, false},
                         {1, 1024, 12, 12, false},
                         {4, 256, 12, 12, false}};
  for (bool bf16 : {false, true})
    for (int threads : {1, 2})
      for (Case c : shapes)
        for (bool backward : {false, true}) {
          c.bf16 = bf16;
          std::string name =
              std::string(backward ? "backward" : "forward") +
              (bf16 ? " bf16 " : " f32 ") + std::to_string(threads) + "T " +
              std::to_string(c.sequences) + "x" + std::to_string(c.length) +
              " " + std::to_string(c.heads) + "/" + std::to_string(c.kvHeads);
          benchmark::RegisterBenchmark(name.c_str(),
                                       [=](benchmark::State &state) {
                                         attention(state, c, backward, threads);
                                       })
              ->Unit(benchmark::kMillisecond)
              ->UseRealTime();
        }
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
