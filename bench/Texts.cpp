//===- Texts.cpp - matrix products as kernels of kern -------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "bench/Texts.h"

using namespace r1c::bench;

std::string r1c::bench::productText(Shape s, bool bf16, Epilogue epilogue) {
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

std::string r1c::bench::headText(Shape s, bool bf16) {
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

std::string r1c::bench::weightGradientText(Shape s, bool bf16) {
  std::string t = bf16 ? "bf16>" : "f32>", M = std::to_string(s.m),
              N = std::to_string(s.n);
  std::string a = "tensor<?x" + M + "x" + t, b = "tensor<?x" + N + "x" + t,
              c = "tensor<" + M + "x" + N + "xf32>";
  return "func.func @mm(%1: " + a + ", %2: " + b + ", %3: " + c + ") -> " + c +
         " attributes {kern.kernel} {\n  %0 = kern.matmul %1, %2 transpose_a "
         ": " +
         a + ", " + b + " init(%3 : " + c + ") -> (" + c +
         ")\n  return %0 : " + c + "\n}\n";
}
