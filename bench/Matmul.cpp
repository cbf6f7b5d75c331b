//===- Matmul.cpp - generated matrix products beside oneDNN's -------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// bench_matmul --benchmark_out=FILE --benchmark_out_format=json
//
// Rounds are interleaved at random, so that what else the machine does falls
// on all alike; the table at the end has the best round of each. Weights are
// packed before, by each in its own layout.
//===----------------------------------------------------------------------===//

#include "bench/Kernels.h"
#include <algorithm>
#include <benchmark/benchmark.h>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <vector>
#ifdef R1C_BENCH_ONEDNN
#include <dnnl.hpp>
// The threads of oneDNN's pool, through its runtime's stable entry points.
extern "C" {
void GOMP_parallel(void (*)(void *), void *, unsigned, unsigned);
int omp_get_thread_num();
void omp_set_num_threads(int);
}
#endif

namespace {

struct Shape {
  int64_t m, n, k;
};
const Shape shapes[] = {{1024, 1024, 1024}, {4096, 576, 1536},
                        {512, 49152, 576},  {2048, 2048, 2048},
                        {16, 1536, 576},    {16, 49152, 576},
                        {1, 49152, 576},    {128, 576, 1536}};

using Buffer = std::shared_ptr<void>;
Buffer allocate(size_t bytes) {
  return Buffer(std::aligned_alloc(64, (bytes + 127) / 64 * 64), std::free);
}

/// Small random numbers, f32 or bf16; equal requests share them.
Buffer randoms(size_t count, bool bf16) {
  static std::map<std::pair<size_t, bool>, Buffer> known;
  if (Buffer b = known[{count, bf16}])
    return b;
  std::mt19937 g(count);
  std::uniform_real_distribution<float> d(-1, 1);
  Buffer b = allocate(count * 4);
  for (size_t i = 0; i < count; ++i) {
    float v = d(g);
    if (bf16)
      std::memcpy((char *)b.get() + 2 * i, (char *)&v + 2, 2);
    else
      ((float *)b.get())[i] = v;
  }
  return known[{count, bf16}] = b;
}

void parallel(int threads, std::function<void(int)> body) {
  if (threads == 1)
    return body(0);
#ifdef R1C_BENCH_ONEDNN
  GOMP_parallel(
      [](void *f) {
        (*static_cast<std::function<void(int)> *>(f))(omp_get_thread_num());
      },
      &body, threads, 0);
#else
  for (int i = 0; i < threads; ++i)
    body(i);
#endif
}

enum class Epilogue { none, gated, residual };

std::string text(Shape s, bool bf16, Epilogue epilogue) {
  std::string t = bf16 ? "bf16" : "f32", K = std::to_string(s.k),
              N = std::to_string(s.n);
  std::string a = "tensor<?x" + K + "x" + t + ">",
              b = "!kern.packed<" + K + "x" + N + "x" + t + ">";
  std::string c = "tensor<?x" +
                  (epilogue == Epilogue::gated ? std::to_string(s.n / 2) : N) +
                  "x" + (epilogue == Epilogue::none ? "f32" : t) + ">";
  std::string narrow =
      bf16
          ? "    %r = arith.truncf %q : f32 to bf16\n    kern.yield %r : bf16\n"
          : "    kern.yield %q : f32\n";
  std::string body;
  if (epilogue == Epilogue::gated)
    body = " paired : " + a + ", " + b + " acc(%g, %u) -> (" + c +
           ") {\n"
           "    %one = arith.constant 1.0 : f32\n    %n = arith.negf %g : "
           "f32\n    %e = math.exp %n : f32\n"
           "    %d = arith.addf %e, %one : f32\n    %p = arith.mulf %g, %u : "
           "f32\n    %q = arith.divf %p, %d : f32\n" +
           narrow + "  }\n";
  else if (epilogue == Epilogue::residual)
    body = " : " + a + ", " + b + " acc(%x) with (%res = %3 : element " + c +
           ", %bias = %4 : column tensor<" + N + "xf32>) -> (" + c + ") {\n" +
           (bf16 ? "    %w = arith.extf %res : bf16 to f32\n"
                 : "    %z = arith.constant 0.0 : f32\n    %w = arith.addf "
                   "%res, %z : f32\n") +
           "    %p = arith.addf %x, %bias : f32\n    %q = arith.addf %p, %w : "
           "f32\n" +
           narrow + "  }\n";
  else
    body = " : " + a + ", " + b + " -> (" + c + ")\n";
  std::string more = epilogue == Epilogue::residual
                         ? ", %3: " + c + ", %4: tensor<" + N + "xf32>"
                         : "";
  return "func.func @mm(%1: " + a + ", %2: " + b + more + ") -> " + c +
         " attributes {kern.kernel} {\n  %0 = kern.matmul %1, %2" + body +
         "  return %0 : " + c + "\n}\n";
}

/// The head of a model as fuse writes it: the product's sums are reduced to
/// four numbers for 256 columns, and those to log-probability, entropy and
/// log-sum-exp a row.
std::string headText(Shape s, bool bf16) {
  std::string t = bf16 ? "bf16" : "f32", K = std::to_string(s.k),
              N = std::to_string(s.n);
  std::string a = "tensor<?x" + K + "x" + t + ">",
              b = "!kern.packed<" + K + "x" + N + "x" + t + ">";
  std::string c = "tensor<?x" + std::to_string((s.n + 255) / 256) + "xf32>";
  std::string chunk = "chunk " + c, four = c + ", " + c + ", " + c + ", " + c;
  return R"(func.func @mm(%1: )" + a + ", %2: " + b +
         ", %3: tensor<?xi32>, %4: tensor<f32>) -> (" + four +
         R"() attributes {kern.kernel} {
  %0:4 = kern.matmul %1, %2 : )" +
         a + ", " + b +
         R"( acc(%z) with (%target = %3 : row tensor<?xi32>, %t = %4 : one tensor<f32>)
      -> ()" +
         chunk + ", " + chunk + ", " + chunk + ", " + chunk + R"() {
    %one = arith.constant 1.0 : f32
    %zero = arith.constant 0.0 : f32
    %none = arith.constant 0xFF800000 : f32
    %bound = arith.constant -110.0 : f32
    %greedy = arith.cmpf oeq, %t, %zero : f32
    %inverse = arith.divf %one, %t : f32
    %factor = arith.select %greedy, %one, %inverse : f32
    %u = arith.mulf %z, %factor : f32
    %m = kern.reduce max %u : f32
    %masked = arith.cmpf oeq, %m, %none : f32
    %shift = arith.select %masked, %zero, %m : f32
    %d = arith.subf %u, %shift : f32
    %far = arith.cmpf olt, %d, %bound : f32
    %db = arith.select %far, %bound, %d : f32
    %e = math.exp %db : f32
    %total = kern.reduce add %e : f32
    %ed = arith.mulf %e, %db : f32
    %weighted = kern.reduce add %ed : f32
    %j = kern.index column
    %hit = arith.cmpi eq, %j, %target : i32
    %masked_u = arith.select %hit, %u, %zero : f32
    %ut = kern.reduce add %masked_u : f32
    kern.yield %m, %total, %weighted, %ut : f32, f32, f32, f32
  }
  return %0#0, %0#1, %0#2, %0#3 : )" +
         four + R"(
}
func.func @row(%1: )" +
         c + ", %2: " + c + ", %3: " + c + ", %4: " + c +
         R"() -> (tensor<?xf32>, tensor<?xf32>, tensor<?xf32>) attributes {kern.kernel} {
  %0:3 = kern.row (%cm = %1 : element )" +
         c + ", %ct = %2 : element " + c + ", %cw = %3 : element " + c +
         ", %cu = %4 : element " + c +
         R"() -> (row tensor<?xf32>, row tensor<?xf32>, row tensor<?xf32>) {
    %bound = arith.constant -110.0 : f32
    %m = kern.reduce max %cm : f32
    %d = arith.subf %cm, %m : f32
    %far = arith.cmpf olt, %d, %bound : f32
    %db = arith.select %far, %bound, %d : f32
    %e = math.exp %db : f32
    %te = arith.mulf %ct, %e : f32
    %total = kern.reduce add %te : f32
    %dt = arith.mulf %db, %ct : f32
    %w = arith.addf %cw, %dt : f32
    %we = arith.mulf %e, %w : f32
    %weighted = kern.reduce add %we : f32
    %u = kern.reduce add %cu : f32
    %log = math.log %total : f32
    %um = arith.subf %u, %m : f32
    %logp = arith.subf %um, %log : f32
    %mean = arith.divf %weighted, %total : f32
    %entropy = arith.subf %log, %mean : f32
    %lse = arith.addf %m, %log : f32
    kern.yield %logp, %entropy, %lse : f32, f32, f32
  }
  return %0#0, %0#1, %0#2 : tensor<?xf32>, tensor<?xf32>, tensor<?xf32>
}
)";
}

void finish(benchmark::State &state, Shape s) {
  state.counters["GF/s"] = benchmark::Counter(
      2e-9 * s.m * s.n * s.k, benchmark::Counter::kIsIterationInvariantRate);
}

/// Epilogues read and write what a layer would.
void ours(benchmark::State &state, Shape s, bool bf16, int threads,
          Epilogue epilogue) {
  auto kernel = r1c::bench::compile(text(s, bf16, epilogue), "mm");
  size_t bytes = bf16 ? 2 : 4;
  Buffer a = randoms(s.m * s.k, bf16),
         b = randoms((s.n + 31) / 32 * 32 * s.k, bf16),
         c = allocate(s.m * s.n * 4), residual = randoms(s.m * s.n, bf16),
         bias = randoms(s.n, false);
  (void)bytes;
  int64_t rows = s.m;
  std::vector<void *> args = {a.get(), b.get()};
  if (epilogue == Epilogue::residual)
    args.insert(args.end(), {residual.get(), bias.get()});
  args.insert(args.end(), {c.get(), &rows});
  for (auto _ : state)
    parallel(threads,
             [&](int worker) { kernel(args.data(), worker, threads); });
  finish(state, s);
}

/// Both kernels of a head; flops are those of the product.
void head(benchmark::State &state, Shape s, bool bf16, int threads) {
  std::string text = headText(s, bf16);
  auto product = r1c::bench::compile(text, "mm"),
       rows = r1c::bench::compile(text, "row");
  int64_t count = s.m, chunks = (s.n + 255) / 256;
  std::vector<int32_t> targets(s.m, 7);
  float temperature = 1;
  std::vector<Buffer> buffers;
  std::vector<void *> first = {randoms(s.m * s.k, bf16).get(),
                               randoms((s.n + 31) / 32 * 32 * s.k, bf16).get(),
                               targets.data(), &temperature},
                      second;
  auto add = [&](std::vector<void *> &args, int64_t size) {
    buffers.push_back(allocate(size * 4));
    args.push_back(buffers.back().get());
  };
  for (int i = 0; i < 4; ++i) {
    add(first, s.m * chunks);
    second.push_back(first.back());
  }
  for (int i = 0; i < 3; ++i)
    add(second, s.m);
  first.push_back(&count);
  second.push_back(&count);
  for (auto _ : state)
    for (auto &[kernel, args] :
         {std::pair(product, &first), std::pair(rows, &second)})
      parallel(threads, [&, kernel = kernel, args = args](int worker) {
        kernel(args->data(), worker, threads);
      });
  finish(state, s);
}

#ifdef R1C_BENCH_ONEDNN
void oneDnn(benchmark::State &state, Shape s, bool bf16, int threads) {
  using namespace dnnl;
  omp_set_num_threads(threads);
  engine e(engine::kind::cpu, 0);
  stream stream(e);
  auto type = bf16 ? memory::data_type::bf16 : memory::data_type::f32;
  memory::desc a({s.m, s.k}, type, memory::format_tag::ab),
      any({s.k, s.n}, type, memory::format_tag::any),
      plain({s.k, s.n}, type, memory::format_tag::ab),
      c({s.m, s.n}, memory::data_type::f32, memory::format_tag::ab);
  matmul::primitive_desc description(matmul::desc(a, any, c), e);
  Buffer av = randoms(s.m * s.k, bf16), bv = randoms(s.n * s.k, bf16),
         cv = allocate(s.m * s.n * 4);
  memory A(a, e, av.get()), B(plain, e, bv.get()), C(c, e, cv.get()),
      packed(description.weights_desc(), e);
  reorder(B, packed).execute(stream, B, packed);
  matmul product(description);
  for (auto _ : state) {
    product.execute(
        stream,
        {{DNNL_ARG_SRC, A}, {DNNL_ARG_WEIGHTS, packed}, {DNNL_ARG_DST, C}});
    stream.wait();
  }
  finish(state, s);
}
#endif

/// Keeps the best round of each benchmark for the table.
class Reporter : public benchmark::ConsoleReporter {
public:
  std::map<std::string, double> best;
  void ReportRuns(const std::vector<Run> &runs) override {
    for (const Run &run : runs) {
      if (run.run_type != Run::RT_Iteration)
        continue;
      auto it = run.counters.find("GF/s");
      if (it != run.counters.end()) {
        double &value = best[run.run_name.function_name];
        value = std::max<double>(value, it->second);
      }
    }
  }
};

} // namespace

int main(int argc, char **argv) {
  benchmark::Initialize(&argc, argv);
  benchmark::AddCustomContext("llvm", r1c::bench::llvmVersion());
  benchmark::AddCustomContext("cpu", r1c::bench::cpuName());
  if (const char *commit = std::getenv("R1C_COMMIT"))
    benchmark::AddCustomContext("commit", commit);
#ifdef R1C_BENCH_ONEDNN
  auto *v = dnnl::version();
  benchmark::AddCustomContext("onednn", std::to_string(v->major) + "." +
                                            std::to_string(v->minor) + "." +
                                            std::to_string(v->patch));
#endif
  std::vector<std::string> rows;
  // One thread is timed by its own clock, which stands still while another
  // program has the core.
  auto add = [&](const std::string &name, int threads, auto function) {
    auto *b = benchmark::RegisterBenchmark(name.c_str(), function);
    b->Unit(benchmark::kMillisecond);
    if (threads > 1)
      b->UseRealTime();
  };
  for (bool bf16 : {false, true})
    for (int threads : {1, 2})
      for (Shape s : shapes) {
        std::string name = std::string(bf16 ? "bf16" : "f32") + " " +
                           std::to_string(threads) + "T " +
                           std::to_string(s.m) + "x" + std::to_string(s.n) +
                           "x" + std::to_string(s.k);
        rows.push_back(name);
        add(name + " r1c", threads, [=](benchmark::State &state) {
          ours(state, s, bf16, threads, Epilogue::none);
        });
        if (threads == 1 && s.n % 32 == 0 && s.m > 1) {
          add(name + " gated", threads, [=](benchmark::State &state) {
            ours(state, s, bf16, threads, Epilogue::gated);
          });
          add(name + " residual", threads, [=](benchmark::State &state) {
            ours(state, s, bf16, threads, Epilogue::residual);
          });
        }
        if (s.n == 49152)
          add(name + " head", threads,
              [=](benchmark::State &state) { head(state, s, bf16, threads); });
#ifdef R1C_BENCH_ONEDNN
        add(name + " onednn", threads,
            [=](benchmark::State &state) { oneDnn(state, s, bf16, threads); });
#endif
      }
  Reporter reporter;
  benchmark::RunSpecifiedBenchmarks(&reporter);
  std::printf("%-28s %8s %8s %6s %8s %8s %8s\n", "GF/s, best round", "oneDNN",
              "r1c", "ratio", "gated", "residual", "head");
  for (const std::string &name : rows) {
    auto get = [&](const char *kind) {
      return reporter.best.count(name + kind) ? reporter.best[name + kind]
                                              : NAN;
    };
    double peer = get(" onednn"), own = get(" r1c");
    if (!std::isnan(own))
      std::printf("%-28s %8.1f %8.1f %6.2f %8.1f %8.1f %8.1f\n", name.c_str(),
                  peer, own, own / peer, get(" gated"), get(" residual"),
                  get(" head"));
  }
  return 0;
}
