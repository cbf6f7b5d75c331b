//===- OneDnn.cpp - matrix products by oneDNN ---------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "bench/Products.h"

using namespace r1c::bench;

#ifndef R1C_BENCH_ONEDNN
Run r1c::bench::oneDnnProduct(Shape, bool, int) { return {}; }
Run r1c::bench::oneDnnWeightGradient(Shape, bool, int) { return {}; }
std::string r1c::bench::oneDnnVersion() { return ""; }
#else

#include <dnnl.hpp>
#include <unordered_map>
#include <vector>
extern "C" void omp_set_num_threads(int);

using namespace dnnl;
using tag = memory::format_tag;

namespace {
struct Peer {
  engine e{engine::kind::cpu, 0};
  stream s{e};
};
Peer &peer() {
  static Peer p;
  return p;
}
memory::data_type typeOf(bool bf16) {
  return bf16 ? memory::data_type::bf16 : memory::data_type::f32;
}

Run primitiveRun(primitive p, std::unordered_map<int, memory> args,
                 std::vector<Buffer> buffers, int threads) {
  return [=] {
    (void)buffers;
    omp_set_num_threads(threads);
    p.execute(peer().s, args);
    peer().s.wait();
  };
}
} // namespace

/// The weights stand packed as it likes them.
Run r1c::bench::oneDnnProduct(Shape s, bool bf16, int threads) {
  omp_set_num_threads(threads);
  engine &e = peer().e;
  auto type = typeOf(bf16);
  memory::desc a({s.m, s.k}, type, tag::ab), any({s.k, s.n}, type, tag::any),
      plain({s.k, s.n}, type, tag::ab),
      c({s.m, s.n}, memory::data_type::f32, tag::ab);
  matmul::primitive_desc description(matmul::desc(a, any, c), e);
  Buffer av = randoms(s.m * s.k, bf16), bv = randoms(s.n * s.k, bf16),
         cv = output(s.m * s.n * 4);
  memory A(a, e, av.get()), B(plain, e, bv.get()), C(c, e, cv.get()),
      packed(description.weights_desc(), e);
  reorder(B, packed).execute(peer().s, B, packed);
  peer().s.wait();
  return primitiveRun(
      matmul(description),
      {{DNNL_ARG_SRC, A}, {DNNL_ARG_WEIGHTS, packed}, {DNNL_ARG_DST, C}},
      {av, bv, cv}, threads);
}

/// A product that adds to C, A read as its transpose.
Run r1c::bench::oneDnnWeightGradient(Shape s, bool bf16, int threads) {
  omp_set_num_threads(threads);
  engine &e = peer().e;
  auto type = typeOf(bf16);
  memory::desc a({s.m, s.k}, type, tag::ba), b({s.k, s.n}, type, tag::ab),
      c({s.m, s.n}, memory::data_type::f32, tag::ab);
  post_ops sum;
  sum.append_sum();
  primitive_attr attributes;
  attributes.set_post_ops(sum);
  matmul::primitive_desc description(matmul::desc(a, b, c), attributes, e);
  Buffer av = randoms(s.m * s.k, bf16), bv = randoms(s.n * s.k, bf16),
         cv = output(s.m * s.n * 4);
  memory A(a, e, av.get()), B(b, e, bv.get()), C(c, e, cv.get());
  return primitiveRun(
      matmul(description),
      {{DNNL_ARG_SRC, A}, {DNNL_ARG_WEIGHTS, B}, {DNNL_ARG_DST, C}},
      {av, bv, cv}, threads);
}

std::string r1c::bench::oneDnnVersion() {
  const version_t *v = dnnl::version();
  return std::to_string(v->major) + "." + std::to_string(v->minor) + "." +
         std::to_string(v->patch);
}
#endif
