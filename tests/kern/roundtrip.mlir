// RUN: r1c-opt %s | r1c-opt | FileCheck %s
// RUN: r1c-opt --mlir-print-op-generic %s | r1c-opt | FileCheck %s

// CHECK-LABEL: func.func @norm
func.func @norm(%x: tensor<?x64xf32>, %w: tensor<64xf32>) -> (tensor<?x64xf32>, tensor<?xf32>) attributes {kern.kernel} {
  // CHECK: kern.row (%[[X:.*]] = %{{.*}} : element tensor<?x64xf32>, %[[W:.*]] = %{{.*}} : column tensor<64xf32>) -> (element tensor<?x64xf32>, row tensor<?xf32>) {
  %y:2 = kern.row (%xv = %x : element tensor<?x64xf32>, %wv = %w : column tensor<64xf32>)
      -> (element tensor<?x64xf32>, row tensor<?xf32>) {
    %n = arith.constant 64.0 : f32
    %s = arith.mulf %xv, %xv : f32
    // CHECK: kern.reduce add %{{.*}} : f32
    %t = kern.reduce add %s : f32
    %m = arith.divf %t, %n : f32
    %r = math.rsqrt %m : f32
    %p = arith.mulf %xv, %r : f32
    %q = arith.mulf %p, %wv : f32
    kern.yield %q, %r : f32, f32
  }
  return %y#0, %y#1 : tensor<?x64xf32>, tensor<?xf32>
}

// CHECK-LABEL: func.func @sample
func.func @sample(%z: tensor<?x100xf32>, %noise: tensor<?x4xi32>, %key: tensor<2xi32>, %t: tensor<f32>) -> tensor<?xi32> attributes {kern.kernel} {
  // CHECK: row[0] tensor<?x4xi32>
  // CHECK-SAME: one[1] tensor<2xi32>, %{{.*}} = %{{.*}} : one tensor<f32>) -> (row tensor<?xi32>)
  %y = kern.row (%v = %z : element tensor<?x100xf32>, %c0 = %noise : row[0] tensor<?x4xi32>, %c1 = %noise : row[1] tensor<?x4xi32>,
                 %k0 = %key : one[0] tensor<2xi32>, %k1 = %key : one[1] tensor<2xi32>, %tv = %t : one tensor<f32>) -> (row tensor<?xi32>) {
    // CHECK: kern.index column
    %j = kern.index column
    // CHECK: kern.random key(%{{.*}}, %{{.*}}) counter(
    %r0, %r1, %r2, %r3 = kern.random key(%k0, %k1) counter(%c0, %c1, %j, %j)
    // CHECK: kern.noise key(%{{.*}}, %{{.*}}) counter(%{{.*}}, %{{.*}})
    %n = kern.noise key(%r0, %r1) counter(%r2, %r3)
    %f = arith.uitofp %n : i32 to f32
    %s = arith.addf %f, %v : f32
    // CHECK: kern.reduce argmax %{{.*}} : f32
    %a = kern.reduce argmax %s : f32
    kern.yield %a : i32
  }
  return %y : tensor<?xi32>
}

// CHECK-LABEL: func.func @ragged
func.func @ragged(%x: tensor<?xf64>, %m: tensor<?xi1>, %o: tensor<?xi32>) -> tensor<?xf64> attributes {kern.kernel} {
  // CHECK: offsets(%{{.*}} : tensor<?xi32>) -> (row tensor<?xf64>)
  %y = kern.row (%xv = %x : element tensor<?xf64>, %mv = %m : element tensor<?xi1>) offsets(%o : tensor<?xi32>) -> (row tensor<?xf64>) {
    %z = arith.constant 0.0 : f64
    %s = arith.select %mv, %xv, %z : f64
    %t = kern.reduce add %s : f64
    kern.yield %t : f64
  }
  return %y : tensor<?xf64>
}

// CHECK-LABEL: func.func @maps
func.func @maps(%x: tensor<?x64xf32>, %i: tensor<?xi32>, %c: tensor<?x64xf32>, %table: tensor<100x64xf32>) -> (tensor<?x64xf32>) attributes {kern.kernel} {
  // CHECK: kern.map (%{{.*}} = %{{.*}} : gather(0) tensor<100x64xf32>) indices(%{{.*}} : tensor<?xi32>) inits(%{{.*}} : tensor<?x64xf32>) -> (scatter(0) tensor<?x64xf32>)
  %y = kern.map (%tv = %table : gather(0) tensor<100x64xf32>) indices(%i : tensor<?xi32>) inits(%c : tensor<?x64xf32>) -> (scatter(0) tensor<?x64xf32>) {
    kern.yield %tv : f32
  }
  return %y : tensor<?x64xf32>
}

// CHECK-LABEL: func.func @products
func.func @products(%x: tensor<?x64xf32>, %w: !kern.packed<64x128xf32>, %r: tensor<?x128xf32>, %b: tensor<128xf32>, %d: tensor<64x128xf32>) {
  // CHECK: kern.matmul %{{.*}}, %{{.*}} : tensor<?x64xf32>, !kern.packed<64x128xf32> -> (tensor<?x128xf32>)
  %0 = kern.matmul %x, %w : tensor<?x64xf32>, !kern.packed<64x128xf32> -> (tensor<?x128xf32>)
  // CHECK: acc(%[[S:.*]]) with (%{{.*}} = %{{.*}} : element tensor<?x128xf32>, %{{.*}} = %{{.*}} : column tensor<128xf32>) -> (tensor<?x128xf32>) {
  %1 = kern.matmul %x, %w : tensor<?x64xf32>, !kern.packed<64x128xf32> acc(%s) with (%rv = %r : element tensor<?x128xf32>, %bv = %b : column tensor<128xf32>) -> (tensor<?x128xf32>) {
    %t = arith.addf %s, %rv : f32
    %u = arith.addf %t, %bv : f32
    kern.yield %u : f32
  }
  // CHECK: paired : {{.*}} acc(%{{.*}}, %{{.*}}) -> (tensor<?x64xf32>)
  %2 = kern.matmul %x, %w paired : tensor<?x64xf32>, !kern.packed<64x128xf32> acc(%g, %u) -> (tensor<?x64xf32>) {
    %t = arith.mulf %g, %u : f32
    kern.yield %t : f32
  }
  // CHECK: transpose_a : tensor<?x64xf32>, tensor<?x128xf32> init(%{{.*}} : tensor<64x128xf32>) -> (tensor<64x128xf32>)
  %3 = kern.matmul %x, %r transpose_a : tensor<?x64xf32>, tensor<?x128xf32> init(%d : tensor<64x128xf32>) -> (tensor<64x128xf32>)
  return
}

// CHECK-LABEL: func.func @chunks
func.func @chunks(%x: tensor<?x64xf32>, %w: !kern.packed<64x300xf32>, %z: tensor<?x300xf32>) {
  // CHECK: acc(%{{.*}}) -> (tensor<?x300xf32>, chunk tensor<?x2xi32>) {
  %0:2 = kern.matmul %x, %w : tensor<?x64xf32>, !kern.packed<64x300xf32> acc(%s) -> (tensor<?x300xf32>, chunk tensor<?x2xi32>) {
    %a = kern.reduce argmax %s : f32
    kern.yield %s, %a : f32, i32
  }
  // CHECK: kern.row (%{{.*}} = %{{.*}} : element tensor<?x300xf32>) -> (chunk tensor<?x2xf32>, element tensor<?x300xf32>) {
  %1:2 = kern.row (%zv = %z : element tensor<?x300xf32>) -> (chunk tensor<?x2xf32>, element tensor<?x300xf32>) {
    %m = kern.reduce max %zv : f32
    %d = arith.subf %zv, %m : f32
    kern.yield %m, %d : f32, f32
  }
  return
}

// CHECK-LABEL: func.func @turned
func.func @turned(%x: tensor<?x64xf32>, %w: !kern.packed<64x48xf32>, %b: tensor<48xf32>, %p: tensor<?xi32>, %c: tensor<99x16xbf16>) {
  // CHECK: kern.angles %{{.*}} {frequencies = array<f32: 1.000000e+00, 5.000000e-01>} : tensor<?xi32> -> tensor<?x4xf32>
  %t = kern.angles %p {frequencies = array<f32: 1.0, 0.5>} : tensor<?xi32> -> tensor<?x4xf32>
  // CHECK: kern.matmul {{.*}} turned(%{{.*}} : tensor<?x4xf32>) -> (tensor<?x48xf32>) attributes {heads = 9 : i64}{{$}}
  %0 = kern.matmul %x, %w : tensor<?x64xf32>, !kern.packed<64x48xf32> turned(%t : tensor<?x4xf32>) -> (tensor<?x48xf32>) attributes {heads = 9 : i64}
  // CHECK: kern.matmul {{.*}} acc(%{{.*}}) with (%{{.*}} = %{{.*}} : column tensor<48xf32>) turned(%{{.*}} : tensor<?x4xf32>) scatter(%{{.*}} : tensor<?xi32>) caches(%{{.*}} : tensor<99x16xbf16>) -> (tensor<?x32xbf16>, tensor<99x16xbf16>) attributes {heads = 12 : i64} {
  %1:2 = kern.matmul %x, %w : tensor<?x64xf32>, !kern.packed<64x48xf32> acc(%s) with (%bv = %b : column tensor<48xf32>) turned(%t : tensor<?x4xf32>) scatter(%p : tensor<?xi32>) caches(%c : tensor<99x16xbf16>) -> (tensor<?x32xbf16>, tensor<99x16xbf16>) attributes {heads = 12 : i64} {
    %v = arith.addf %s, %bv : f32
    %n = arith.truncf %v : f32 to bf16
    kern.yield %n : bf16
  }
  return
}

// CHECK-LABEL: func.func @rest
func.func @rest(%w: tensor<128x64xf32>, %w32: tensor<64x32xf32>, %q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %p: tensor<?xi32>, %l: tensor<?x4xf32>, %dw: tensor<100x64xf32>, %x: tensor<?xf64>, %m: tensor<?xi1>, %s: tensor<64xf32>) {
  // CHECK: kern.pack %{{.*}} {transpose} : tensor<128x64xf32> -> <64x128xf32>
  %0 = kern.pack %w {transpose} : tensor<128x64xf32> -> !kern.packed<64x128xf32>
  // CHECK: kern.rope %{{.*}} at %{{.*}} {frequencies = {{.*}}, heads = 4 : i64} : tensor<?x64xf32> at tensor<?xi32> -> tensor<?x64xf32>
  %1 = kern.rope %q at %p {heads = 4, frequencies = array<f32: 1.0, 0.1, 0.01, 0.001, 1.0, 0.1, 0.01, 0.001>} : tensor<?x64xf32> at tensor<?xi32> -> tensor<?x64xf32>
  // CHECK: kern.rope %{{.*}}, %{{.*}} at %{{.*}} scatter %{{.*}} inits(%{{.*}}) {{{.*}}} : tensor<?x64xf32>, tensor<?x32xf32> at tensor<?xi32> scatter tensor<?xi32> inits(tensor<?x32xf32>) -> tensor<?x64xf32>, tensor<?x32xf32>
  %r:2 = kern.rope %q, %k at %p scatter %p inits(%k) {heads = 4, frequencies = array<f32: 1.0, 0.1, 0.01, 0.001, 1.0, 0.1, 0.01, 0.001>, inverse} : tensor<?x64xf32>, tensor<?x32xf32> at tensor<?xi32> scatter tensor<?xi32> inits(tensor<?x32xf32>) -> tensor<?x64xf32>, tensor<?x32xf32>
  // CHECK: kern.attention
  %2:2 = kern.attention %q, %k, %k at %p from %p {heads = 4, kv_heads = 2, scale = 0.25 : f32} : tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>, tensor<?xi32>, tensor<?xi32> -> tensor<?x64xf32>, tensor<?x4xf32>
  %3:3 = kern.attention_backward %q, %k, %k out %q lse %l seed %q offsets %p {heads = 4, kv_heads = 2, scale = 0.25 : f32} : tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>, tensor<?x64xf32>, tensor<?x4xf32>, tensor<?x64xf32>, tensor<?xi32> -> tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>
  // CHECK: kern.attention %{{.*}} at %{{.*}} from %{{.*}} shared %{{.*}} from %{{.*}} {{{.*}}} : {{.*}} shared tensor<?xi32> from tensor<?xi32> ->
  %8 = kern.attention %q, %k, %k at %p from %p shared %p from %p {heads = 4, kv_heads = 2, scale = 0.25 : f32} : tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>, tensor<?xi32>, tensor<?xi32> shared tensor<?xi32> from tensor<?xi32> -> tensor<?x64xf32>
  // CHECK: kern.attention {{.*}} prefetch(%{{.*}}, %{{.*}} : !kern.packed<128x64xbf16>, !kern.packed<64x32xbf16>) {cached, {{.*}}} : {{.*}} ->
  %w0 = kern.pack %w : tensor<128x64xf32> -> !kern.packed<128x64xbf16>
  %w1 = kern.pack %w32 : tensor<64x32xf32> -> !kern.packed<64x32xbf16>
  %near = kern.attention %q, %k, %k at %p from %p prefetch(%w0, %w1 : !kern.packed<128x64xbf16>, !kern.packed<64x32xbf16>) {cached, heads = 4, kv_heads = 2, scale = 0.25 : f32} : tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>, tensor<?xi32>, tensor<?xi32> -> tensor<?x64xf32>
  // CHECK: kern.attention_backward {{.*}} offsets %{{.*}} from %{{.*}} shared %{{.*}} {{{.*}}} : {{.*}} from tensor<?xi32> shared tensor<?xi32> ->
  %9:3 = kern.attention_backward %q, %k, %k out %q lse %l seed %q offsets %p from %p shared %p {heads = 4, kv_heads = 2, scale = 0.25 : f32} : tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>, tensor<?x64xf32>, tensor<?x4xf32>, tensor<?x64xf32>, tensor<?xi32> from tensor<?xi32> shared tensor<?xi32> -> tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>
  // CHECK: kern.scatter_add
  %4 = kern.scatter_add %p, %q init(%dw) : tensor<?xi32>, tensor<?x64xf32> -> tensor<100x64xf32>
  // CHECK: kern.scan suffix_sum %{{.*}} offsets %{{.*}} : tensor<?xf64>, tensor<?xi32> -> tensor<?xf64>
  %5 = kern.scan suffix_sum %x offsets %p : tensor<?xf64>, tensor<?xi32> -> tensor<?xf64>
  // CHECK: kern.quantile 5.000000e-01 of %{{.*}} where %{{.*}} : tensor<?xi1> offsets
  %6 = kern.quantile 0.5 of %x where %m : tensor<?xi1> offsets %p : tensor<?xf64>, tensor<?xi32> -> tensor<?xf64>
  // CHECK: kern.column_sum (%{{.*}} = %{{.*}} : element tensor<?x64xf32>) init(%{{.*}} : tensor<64xf32>) -> tensor<64xf32>
  %7 = kern.column_sum (%g = %q : element tensor<?x64xf32>) init(%s : tensor<64xf32>) -> tensor<64xf32> {
    kern.yield %g : f32
  }
  return
}
