// RUN: r1c-opt %s --kern-to-loops=cpu=znver4 | FileCheck %s
// RUN: r1c-opt %s --kern-to-loops=cpu=x86-64-v3 | FileCheck %s --check-prefix=V3
// RUN: r1c-opt %s --pass-pipeline='builtin.module(kern-to-loops{cpu=znver4},r1c-kernels-to-llvm)' | FileCheck %s --check-prefix=LLVM
// RUN: r1c-kernels %s -o %t.so --cpu=znver4
// RUN: llvm-nm -D %t.so | FileCheck %s --check-prefix=SYMBOLS
// RUN: not r1c-kernels %s -o %t.so --cpu=pdp11 2>&1 | FileCheck %s --check-prefix=CPU
// RUN: not r1c-kernels %s -o %t.so --cpu=x86-64 2>&1 | FileCheck %s --check-prefix=OLD

// CPU: unknown CPU 'pdp11': write native, or a name that clang's -march knows, such as znver4 or x86-64-v3
// OLD: CPU 'x86-64' has no AVX2 and FMA: kernels need x86-64-v3 or later

// The shared object defines the kernels, and needs nothing from outside.
// SYMBOLS-NOT: {{ U }}
// SYMBOLS: T head
// SYMBOLS-NEXT: T product
// SYMBOLS-NOT: T
// SYMBOLS-NOT: {{ U }}

// A function for each row count: 28 sums in vectors of 16, and no memory of sums in the k loop.
// CHECK-LABEL: func.func private @product.tile14
// CHECK-COUNT-28: arith.constant dense<0.000000e+00> : vector<16xf32>
// CHECK: scf.for {{.*}} iter_args
// CHECK-NOT: llvm.store
// CHECK-COUNT-28: math.fma
// CHECK: scf.yield
// CHECK-LABEL: func.func @product(%{{.*}}: !llvm.ptr {llvm.readonly}, %{{.*}}: i64, %{{.*}}: i64)
// V3-NOT: @product.tile4
// V3-LABEL: func.func private @product.tile3
// V3-COUNT-12: arith.constant dense<0.000000e+00> : vector<8xf32>
func.func @product(%a: tensor<?x64xf32>, %b: !kern.packed<64x64xf32>) -> tensor<?x64xf32> attributes {kern.kernel} {
  %0 = kern.matmul %a, %b : tensor<?x64xf32>, !kern.packed<64x64xf32> -> (tensor<?x64xf32>)
  return %0 : tensor<?x64xf32>
}

// Two sweeps over the columns: the maximum, then what waits for it; 64 lanes in four vectors.
// CHECK-LABEL: func.func @head
// CHECK: scf.for
// CHECK: scf.for {{.*}} -> (vector<16xf32>, vector<16xf32>, vector<16xf32>, vector<16xf32>)
// CHECK-NOT: math.exp
// CHECK: arith.maximumf
// CHECK: scf.for {{.*}} -> (vector<16xf32>, vector<16xf32>, vector<16xf32>, vector<16xf32>)
// CHECK: math.exp
// CHECK-NOT: scf.for
// CHECK: math.log %{{.*}} : f32
// LLVM-LABEL: llvm.func @head
// LLVM-NOT: math.
// LLVM-NOT: llvm.intr.exp
// LLVM-NOT: llvm.intr.log
func.func @head(%z: tensor<?x128xf32>) -> tensor<?xf32> attributes {kern.kernel} {
  %0 = kern.row (%v = %z : element tensor<?x128xf32>) -> (row tensor<?xf32>) {
    %m = kern.reduce max %v : f32
    %d = arith.subf %v, %m : f32
    %e = math.exp %d : f32
    %s = kern.reduce add %e : f32
    %l = math.log %s : f32
    %r = arith.addf %m, %l : f32
    kern.yield %r : f32
  }
  return %0 : tensor<?xf32>
}
