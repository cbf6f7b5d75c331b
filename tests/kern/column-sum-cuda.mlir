// RUN: r1c-opt %s --kern-to-threads | FileCheck %s

// Eight blocks have an accumulator of 32 columns each. What a block has is stored by its threads and released with the count; who counts the eighth acquires what the
// others have before all eight are read. The counter is zero again for the next run.
// CHECK-LABEL: func.func @sums(
// CHECK-SAME: kern.own_memory = 2056
// CHECK-COUNT-16: llvm.load {{.*}} : !llvm.ptr<3> -> f32
// CHECK: llvm.store {{.*}} : f32, !llvm.ptr
// CHECK: nvvm.barrier0
// CHECK: llvm.fence syncscope("device") acq_rel
// CHECK-NEXT: arith.constant 1 : i32
// CHECK-NEXT: llvm.atomicrmw add {{.*}} syncscope("device") monotonic
// CHECK-NEXT: llvm.fence syncscope("device") acq_rel
// CHECK: nvvm.barrier0
// CHECK: llvm.store {{.*}} : i32, !llvm.ptr
// CHECK-COUNT-8: llvm.load {{.*}} : !llvm.ptr -> f32
// CHECK-NOT: llvm.load
// CHECK: llvm.store {{.*}} : f32, !llvm.ptr
// CHECK: nvvm.barrier0
// CHECK-NOT: atomicrmw
func.func @sums(%x: tensor<?x64xf32>) -> tensor<64xf32> attributes {kern.kernel} {
  %0 = kern.column_sum (%a = %x : element tensor<?x64xf32>) -> tensor<64xf32> {
    kern.yield %a : f32
  }
  return %0 : tensor<64xf32>
}
