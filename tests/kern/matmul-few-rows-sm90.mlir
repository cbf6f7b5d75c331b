// RUN: r1c-opt %s --kern-to-threads | FileCheck %s

// At most 16 rows of narrow tiles: a kernel with A in registers. Boxes of 16 rows of A or of 8; with 8 columns of B 18 stages of 256 k.
// CHECK-LABEL: func.func @down(
// CHECK-SAME: few_rows = [{launch = {
// CHECK-SAME: shared = 221488 : i64
// CHECK-SAME: tensor_maps = [
// CHECK-SAME: {box = [64, 16], {{[^}]*}}operand = 0
// CHECK-SAME: {box = [64, 8], {{[^}]*}}operand = 0
// CHECK-SAME: rows = 16 : i64, symbol = "down_few_rows"}]
// CHECK-NOT: ldmatrix
// CHECK-LABEL: func.func @down_few_rows(
// CHECK-COUNT-38: nvvm.mbarrier.init
// CHECK-NOT: nvvm.mbarrier.init
// Two stages a round, each in registers of its own (the same ones would be written while the group before reads them), and one that is left.
// CHECK: scf.for
// CHECK-COUNT-16: nvvm.ldmatrix
// CHECK: nvvm.wgmma.fence.aligned
// CHECK-COUNT-16: wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16
// CHECK: nvvm.wgmma.commit.group.sync.aligned
// CHECK-NEXT: nvvm.wgmma.wait.group.sync.aligned 1
// CHECK-NOT: scf.yield %{{.*}} : !llvm.struct
// CHECK-COUNT-16: nvvm.ldmatrix
// CHECK: nvvm.wgmma.fence.aligned
// CHECK-COUNT-16: wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16
// CHECK: nvvm.wgmma.commit.group.sync.aligned
// CHECK-NEXT: nvvm.wgmma.wait.group.sync.aligned 1
// CHECK: scf.yield %{{.*}} : !llvm.struct
// CHECK-COUNT-16: nvvm.ldmatrix
// CHECK-COUNT-16: wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16
// CHECK: nvvm.wgmma.wait.group.sync.aligned 0
// CHECK-NOT: nvvm.ldmatrix
func.func @down(%a: tensor<?x4864xbf16>, %b: !kern.packed<4864x896xbf16>, %x: tensor<?x896xf32>) -> tensor<?x896xf32> attributes {kern.kernel} {
  %c = kern.matmul %a, %b : tensor<?x4864xbf16>, !kern.packed<4864x896xbf16> acc(%s) with (%r = %x : element tensor<?x896xf32>) -> (tensor<?x896xf32>) {
    %y = arith.addf %s, %r : f32
    kern.yield %y : f32
  }
  return %c : tensor<?x896xf32>
}

// Rows that are known may be more, and of wide tiles a wgmma takes no less time.
// CHECK-LABEL: func.func @static(
// CHECK-NOT: few_rows
// CHECK-LABEL: func.func @wide(
// CHECK-NOT: few_rows
func.func @static(%a: tensor<64x4864xbf16>, %b: !kern.packed<4864x896xbf16>) -> tensor<64x896xbf16> attributes {kern.kernel} {
  %c = kern.matmul %a, %b : tensor<64x4864xbf16>, !kern.packed<4864x896xbf16> -> (tensor<64x896xbf16>)
  return %c : tensor<64x896xbf16>
}
func.func @wide(%a: tensor<?x896xbf16>, %b: !kern.packed<896x4864xbf16>) -> tensor<?x4864xbf16> attributes {kern.kernel} {
  %c = kern.matmul %a, %b : tensor<?x896xbf16>, !kern.packed<896x4864xbf16> -> (tensor<?x4864xbf16>)
  return %c : tensor<?x4864xbf16>
}
