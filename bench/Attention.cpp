//===- Attention.cpp - generated attention, forward and backward ----------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// 1024 tokens as one sequence and as four, heads of 64; and what a GRPO step of
// short answers does: a unit of a prompt of 10 rows and eight sequences of 64
// behind it, and decoding 32 of these. Flops are those that a causal attention
// cannot do without: for each pair of a query and a key not after it, two
// products forward and five backward.
//===----------------------------------------------------------------------===//

#include "bench/Kernels.h"
#include "runtime/device/cpu/ThreadPool.h"
#include <benchmark/benchmark.h>
#include <cstring>
#include <vector>

using r1c::bench::allocate, r1c::bench::Buffer, r1c::bench::normals;

namespace {

struct Case {
  int64_t sequences, length, heads, kvHeads;
  bool bf16 = false;
  int64_t prompt = 0; ///< rows that the sequences share
};

constexpr int64_t width = 64;

std::string text(Case c) {
  std::string type = c.bf16 ? "bf16" : "f32";
  auto tensor = [&](int64_t columns, const std::string &type) {
    return "tensor<?x" + std::to_string(columns) + "x" + type + ">";
  };
  std::string q = tensor(c.heads * width, type),
              k = tensor(c.kvHeads * width, type),
              // As the phases write it for CPUs.
      dq = tensor(c.heads * width, "f32"),
              dk = tensor(c.kvHeads * width, "f32"), l = tensor(c.heads, "f32"),
              i = "tensor<?xi32>",
              both = c.prompt ? " shared " + i + " from " + i : "",
              units = c.prompt ? " from " + i + " shared " + i : "";
  bool shares = c.prompt;
  std::string attributes = " {heads = " + std::to_string(c.heads) +
                           ", kv_heads = " + std::to_string(c.kvHeads) +
                           ", scale = 0.125 : f32} : ";
  return "func.func @forward(%q: " + q + ", %k: " + k + ", %v: " + k +
         ", %p: " + i + ", %b: " + i +
         (shares ? ", %s: " + i + ", %sb: " + i : "") + ") -> (" + q + ", " +
         l +
         ") attributes {kern.kernel} {\n"
         "  %0:2 = kern.attention %q, %k, %v at %p from %b" +
         (shares ? " shared %s from %sb" : "") + attributes + q + ", " + k +
         ", " + k + ", " + i + ", " + i + both + " -> " + q + ", " + l +
         "\n  return %0#0, %0#1 : " + q + ", " + l +
         "\n}\n"
         "func.func @decode(%q: " +
         q + ", %k: " + k + ", %v: " + k + ", %p: " + i + ", %b: " + i +
         ") -> " + q +
         " attributes {kern.kernel} {\n"
         "  %0 = kern.attention %q, %k, %v at %p from %b" +
         attributes + q + ", " + k + ", " + k + ", " + i + ", " + i + " -> " +
         q + "\n  return %0 : " + q +
         "\n}\n"
         "func.func @backward(%q: " +
         q + ", %k: " + k + ", %v: " + k + ", %out: " + q + ", %lse: " + l +
         ", %g: " + q + ", %o: " + i +
         (shares ? ", %b: " + i + ", %s: " + i : "") + ") -> (" + dq + ", " +
         dk + ", " + dk +
         ") attributes {kern.kernel} {\n"
         "  %0:3 = kern.attention_backward %q, %k, %v out %out lse %lse seed "
         "%g offsets %o" +
         (shares ? " from %b shared %s" : "") + attributes + q + ", " + k +
         ", " + k + ", " + q + ", " + l + ", " + q + ", " + i + units + " -> " +
         dq + ", " + dk + ", " + dk + "\n  return %0#0, %0#1, %0#2 : " + dq +
         ", " + dk + ", " + dk + "\n}\n";
}

/// Operands of both kernels. The backward reads what the forward left, so it
/// works on real probabilities.
struct Operands {
  explicit Operands(Case c)
      : shares(c.prompt), rows(c.prompt + c.sequences * c.length),
        units(shares ? 1 : c.sequences) {
    int64_t wide = rows * c.heads * width, narrow = rows * c.kvHeads * width;
    q = normals(wide, c.bf16, 1, 1), k = normals(narrow, c.bf16, 1, 2),
    v = normals(narrow, c.bf16, 1, 3), g = normals(wide, c.bf16, 1, 4);
    out = allocate(wide * 4), lse = allocate(rows * c.heads * 4),
    dq = allocate(wide * 4), dk = allocate(narrow * 4),
    dv = allocate(narrow * 4);
    auto add = [&](int32_t n, int32_t of) {
      int32_t base = positions.size() - of;
      for (int32_t r = 0; r < n; ++r) {
        positions.push_back(of + r), bases.push_back(base);
        shared.push_back(of), sharedBases.push_back(0);
      }
      if (!shares)
        offsets.push_back(positions.size());
    };
    if (shares)
      add(c.prompt, 0);
    for (int64_t s = 0; s < c.sequences; ++s)
      add(c.length, c.prompt);
    if (shares)
      offsets.push_back(positions.size());
  }
  std::vector<void *> forward() {
    std::vector<void *> args = {q.get(), k.get(), v.get(), positions.data(),
                                bases.data()};
    if (shares)
      args.insert(args.end(), {shared.data(), sharedBases.data()});
    args.insert(args.end(), {out.get(), lse.get(), &rows});
    return args;
  }
  std::vector<void *> backward() {
    std::vector<void *> args = {q.get(),   k.get(), v.get(),       out.get(),
                                lse.get(), g.get(), offsets.data()};
    if (shares)
      args.insert(args.end(), {bases.data(), shared.data()});
    args.insert(args.end(), {dq.get(), dk.get(), dv.get(), &units});
    return args;
  }
  bool shares;
  int64_t rows, units;
  Buffer q, k, v, g, out, lse, dq, dk, dv;
  std::vector<int32_t> positions, bases, shared, sharedBases, offsets = {0};
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
  double pairs = (c.prompt * (c.prompt + 1) / 2.0 +
                  c.sequences * c.length * (c.prompt + (c.length + 1) / 2.0)) *
                 c.heads;
  state.counters["GF/s"] =
      benchmark::Counter((backward ? 10e-9 : 4e-9) * width * pairs,
                         benchmark::Counter::kIsIterationInvariantRate);
}

/// A row each of 32 sequences that have 10 ... 73 keys before it. As in a step,
/// a layer's cache was last read 29 layers ago.
void decode(benchmark::State &state, Case c, int threads) {
  constexpr int64_t slots = 32, capacity = 96, layers = 30;
  auto kernel = r1c::bench::compile(text(c), "decode");
  r1c::runtime::ThreadPool pool(threads);
  int64_t wide = slots * c.heads * width,
          narrow = slots * capacity * c.kvHeads * width;
  Buffer q = normals(wide, c.bf16, 1, 1), out = allocate(wide * 4);
  std::vector<Buffer> k(layers), v(layers);
  Buffer some = normals(narrow, c.bf16, 1, 2);
  for (Buffer *cache : {k.data(), v.data()})
    for (int64_t l = 0; l < layers; ++l)
      std::memcpy((cache[l] = allocate(narrow * 4)).get(), some.get(),
                  narrow * (c.bf16 ? 2 : 4));
  std::vector<int32_t> positions, bases;
  int64_t rows = slots, keys = 0;
  for (int64_t s = 0; s < slots; ++s) {
    positions.push_back(10 + s * 63 / (slots - 1));
    bases.push_back(s * capacity);
    keys += positions.back() + 1;
  }
  int64_t layer = 0;
  for (auto _ : state) {
    void *args[] = {
        q.get(),      k[layer].get(), v[layer].get(), positions.data(),
        bases.data(), out.get(),      &rows};
    pool.run(kernel, args);
    layer = (layer + 1) % layers;
  }
  auto rate = [](double n) {
    return benchmark::Counter(n, benchmark::Counter::kIsIterationInvariantRate);
  };
  state.counters["GF/s"] = rate(4e-9 * width * c.heads * keys);
  state.counters["GB/s"] =
      rate(2e-9 * width * c.kvHeads * keys * (c.bf16 ? 2 : 4));
}

} // namespace

int main(int argc, char **argv) {
  benchmark::Initialize(&argc, argv);
  benchmark::AddCustomContext("llvm", r1c::bench::llvmVersion());
  benchmark::AddCustomContext("cpu", r1c::bench::cpuName());
  const Case shapes[] = {{1, 1024, 9, 3},
                         {4, 256, 9, 3},
                         {1, 1024, 12, 12},
                         {4, 256, 12, 12},
                         {8, 64, 9, 3, false, 10}};
  for (bool bf16 : {false, true})
    for (int threads : {1, 2}) {
      auto of = [&](const char *what) {
        return std::string(what) + (bf16 ? " bf16 " : " f32 ") +
               std::to_string(threads) + "T ";
      };
      benchmark::RegisterBenchmark((of("decode") + "32 9/3").c_str(),
                                   [=](benchmark::State &state) {
                                     decode(state, {1, 1, 9, 3, bf16}, threads);
                                   })
          ->Unit(benchmark::kMillisecond)
          ->UseRealTime();
      for (Case c : shapes)
        for (bool backward : {false, true}) {
          c.bf16 = bf16;
          std::string name =
              of(backward ? "backward" : "forward") +
              (c.prompt ? std::to_string(c.prompt) + "+" : "") +
              std::to_string(c.sequences) + "x" + std::to_string(c.length) +
              " " + std::to_string(c.heads) + "/" + std::to_string(c.kvHeads);
          benchmark::RegisterBenchmark(name.c_str(),
                                       [=](benchmark::State &state) {
                                         attention(state, c, backward, threads);
                                       })
              ->Unit(benchmark::kMillisecond)
              ->UseRealTime();
        }
    }
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
