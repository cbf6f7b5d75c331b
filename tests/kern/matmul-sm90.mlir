// RUN: r1c-opt %s --kern-to-threads | FileCheck %s
// RUN: r1c-opt %s --kern-to-threads | FileCheck %s --check-prefix=NOT

// Neither clusters nor sums that leave their registers while k goes on.
// NOT-NOT: cluster_arrive
// NOT-NOT: llvm.alloca
// NOT-NOT: kern.matmul
// Nor anything that depends on who comes first, but in the last one, which asks for it.
// NOT-NOT: atomicrmw
// NOT-LABEL: func.func @split(

// Four tiles: few rows (64 x 40 columns, steps of 128; the warpgroups take turns), many (128 x 256), between (128 x 160, 64 x 80).
// CHECK-LABEL: func.func @forward(
// CHECK-SAME: blocks_per_sm = 1
// CHECK-SAME: early = [3, 1]
// CHECK-SAME: overlap = true
// CHECK-SAME: tensor_maps = [
// CHECK-SAME: box = [64,
// CHECK-SAME: operand = 0
// CHECK-SAME: sizes = [896, -1], strides = [1792], swizzle = 128
// CHECK-SAME: threads = 384
// CHECK-SAME: written = [2]
// CHECK: griddepcontrol.launch_dependents
// CHECK-NOT: griddepcontrol
// CHECK-COUNT-18: nvvm.mbarrier.init
// CHECK-NOT: nvvm.mbarrier.init
// CHECK: nvvm.fence.mbarrier.init
// CHECK: nvvm.barrier{{$}}
// CHECK: nvvm.setmaxregister increase 232
// CHECK: griddepcontrol.wait
// A warpgroup's step: 8 x 16 of k, one wait for the stage, one multiplication in flight when the stage before is released.
// CHECK: scf.for {{.*}} iter_args
// CHECK: scf.for {{.*}} iter_args
// CHECK-NOT: nvvm.wgmma
// CHECK: nvvm.mbarrier.try_wait.parity
// CHECK: nvvm.wgmma.fence.aligned
// CHECK-COUNT-8: nvvm.wgmma.mma_async {{.*}} <m = 64, n = 40, k = 16>
// CHECK-NOT: nvvm.wgmma.mma_async
// CHECK: nvvm.wgmma.commit.group.sync.aligned
// CHECK-NEXT: nvvm.wgmma.wait.group.sync.aligned 1
// CHECK: nvvm.mbarrier.arrive
// CHECK: scf.yield
// CHECK: nvvm.wgmma.wait.group.sync.aligned 0
// CHECK: nvvm.mbarrier.arrive
// CHECK: nvvm.mbarrier.try_wait.parity
// CHECK: nvvm.wgmma.fence.aligned
// CHECK-COUNT-4: nvvm.wgmma.mma_async {{.*}} <m = 64, n = 256, k = 16>
// CHECK-NOT: nvvm.wgmma.mma_async
// CHECK: nvvm.wgmma.commit.group.sync.aligned
// CHECK-NEXT: nvvm.wgmma.wait.group.sync.aligned 1
// CHECK: nvvm.mbarrier.arrive
// CHECK: scf.yield
// CHECK: nvvm.wgmma.wait.group.sync.aligned 0
// CHECK: nvvm.mbarrier.arrive
// CHECK: nvvm.mbarrier.try_wait.parity
// CHECK: nvvm.wgmma.fence.aligned
// CHECK-COUNT-4: nvvm.wgmma.mma_async {{.*}} <m = 64, n = 160, k = 16>
// CHECK-NOT: nvvm.wgmma.mma_async
// CHECK: nvvm.wgmma.commit.group.sync.aligned
// CHECK-NEXT: nvvm.wgmma.wait.group.sync.aligned 1
// CHECK: nvvm.mbarrier.arrive
// CHECK: scf.yield
// CHECK: nvvm.wgmma.wait.group.sync.aligned 0
// CHECK: nvvm.mbarrier.arrive
// CHECK: nvvm.mbarrier.try_wait.parity
// CHECK: nvvm.wgmma.fence.aligned
// CHECK-COUNT-8: nvvm.wgmma.mma_async {{.*}} <m = 64, n = 80, k = 16>
// CHECK-NOT: nvvm.wgmma.mma_async
// CHECK: nvvm.wgmma.commit.group.sync.aligned
// CHECK-NEXT: nvvm.wgmma.wait.group.sync.aligned 1
// CHECK: nvvm.mbarrier.arrive
// CHECK: scf.yield
// CHECK: nvvm.wgmma.wait.group.sync.aligned 0
// CHECK: nvvm.mbarrier.arrive
// The thread that copies A: for each tile a step's boxes, once what comes before is over.
// CHECK: nvvm.setmaxregister decrease 40
// CHECK: griddepcontrol.wait
// CHECK: nvvm.mbarrier.try_wait.parity
// CHECK-NOT: nvvm.mbarrier.arrive
// CHECK-COUNT-2: nvvm.cp.async.bulk.tensor.shared.cluster.global
// CHECK-NOT: nvvm.cp.async.bulk
// CHECK: scf.yield
// CHECK: griddepcontrol.wait
// CHECK: nvvm.mbarrier.try_wait.parity
// CHECK-NOT: nvvm.mbarrier.arrive
// CHECK-COUNT-1: nvvm.cp.async.bulk.tensor.shared.cluster.global
// CHECK-NOT: nvvm.cp.async.bulk
// CHECK: scf.yield
// CHECK: griddepcontrol.wait
// CHECK: nvvm.mbarrier.try_wait.parity
// CHECK-NOT: nvvm.mbarrier.arrive
// CHECK-COUNT-1: nvvm.cp.async.bulk.tensor.shared.cluster.global
// CHECK-NOT: nvvm.cp.async.bulk
// CHECK: scf.yield
// CHECK: griddepcontrol.wait
// CHECK: nvvm.mbarrier.try_wait.parity
// CHECK-NOT: nvvm.mbarrier.arrive
// CHECK-COUNT-2: nvvm.cp.async.bulk.tensor.shared.cluster.global
// CHECK-NOT: nvvm.cp.async.bulk
// CHECK: scf.yield
// The thread that copies B waits for nothing but room, and says how many bytes of both are to come.
// CHECK-NOT: griddepcontrol
// CHECK: nvvm.mbarrier.try_wait.parity
// CHECK-NEXT: nvvm.mbarrier.arrive.expect_tx
// CHECK-COUNT-2: nvvm.cp.async.bulk.tensor.shared.cluster.global
// CHECK-NOT: nvvm.cp.async.bulk
// CHECK: scf.yield
// CHECK-NOT: griddepcontrol
// CHECK: nvvm.mbarrier.try_wait.parity
// CHECK-NEXT: nvvm.mbarrier.arrive.expect_tx
// CHECK-COUNT-1: nvvm.cp.async.bulk.tensor.shared.cluster.global
// CHECK-NOT: nvvm.cp.async.bulk
// CHECK: scf.yield
// CHECK-NOT: griddepcontrol
// CHECK: nvvm.mbarrier.try_wait.parity
// CHECK-NEXT: nvvm.mbarrier.arrive.expect_tx
// CHECK-COUNT-1: nvvm.cp.async.bulk.tensor.shared.cluster.global
// CHECK-NOT: nvvm.cp.async.bulk
// CHECK: scf.yield
// CHECK-NOT: griddepcontrol
// CHECK: nvvm.mbarrier.try_wait.parity
// CHECK-NEXT: nvvm.mbarrier.arrive.expect_tx
// CHECK-COUNT-2: nvvm.cp.async.bulk.tensor.shared.cluster.global
// CHECK-NOT: nvvm.cp.async.bulk
// CHECK: scf.yield
func.func @forward(%a: tensor<?x896xbf16>, %b: !kern.packed<896x4864xbf16>) -> tensor<?x4864xbf16> attributes {kern.kernel} {
  %c = kern.matmul %a, %b : tensor<?x896xbf16>, !kern.packed<896x4864xbf16> -> (tensor<?x4864xbf16>)
  return %c : tensor<?x4864xbf16>
}

// Both operands with rows as k: the transposing forms, and a last stage that is cleared behind the last row.
// CHECK-LABEL: func.func @weights(
// CHECK-SAME: blocks_per_sm = 1
// CHECK-SAME: early = [3]
// CHECK-SAME: overlap = true
// CHECK-SAME: threads = 384
// CHECK: griddepcontrol.launch_dependents
// CHECK: griddepcontrol.wait
// CHECK-COUNT-20: nvvm.mbarrier.init
// CHECK-NOT: nvvm.mbarrier.init
// CHECK: nvvm.fence.mbarrier.init
// CHECK: nvvm.barrier{{$}}
// CHECK: nvvm.setmaxregister increase 232
// CHECK: nvvm.mbarrier.try_wait.parity
// CHECK: nvvm.fence.proxy
// CHECK: nvvm.barrier id
// CHECK: nvvm.wgmma.fence.aligned
// CHECK-COUNT-4: nvvm.wgmma.mma_async {{.*}}<col>{{.*}}<row>
// CHECK-NOT: nvvm.wgmma.mma_async
// CHECK: nvvm.wgmma.commit.group.sync.aligned
// CHECK-NEXT: nvvm.wgmma.wait.group.sync.aligned 1
// CHECK: nvvm.mbarrier.arrive
// CHECK: scf.yield
// CHECK: nvvm.wgmma.wait.group.sync.aligned 0
// CHECK: nvvm.mbarrier.arrive
// A stage: two boxes of A and one of B.
// CHECK: nvvm.setmaxregister decrease 40
// CHECK: nvvm.mbarrier.try_wait.parity
// CHECK-NOT: nvvm.mbarrier.arrive
// CHECK-COUNT-2: nvvm.cp.async.bulk.tensor.shared.cluster.global
// CHECK-NOT: nvvm.cp.async.bulk
// CHECK: scf.yield
// CHECK-NOT: griddepcontrol
// CHECK: nvvm.mbarrier.try_wait.parity
// CHECK-NEXT: nvvm.mbarrier.arrive.expect_tx
// CHECK-COUNT-1: nvvm.cp.async.bulk.tensor.shared.cluster.global
// CHECK-NOT: nvvm.cp.async.bulk
// CHECK: scf.yield
func.func @weights(%a: tensor<?x896xbf16>, %b: tensor<?x896xbf16>, %w: tensor<896x896xf32>) -> tensor<896x896xf32> attributes {kern.kernel} {
  %c = kern.matmul %a, %b transpose_a : tensor<?x896xbf16>, tensor<?x896xbf16> init(%w : tensor<896x896xf32>) -> (tensor<896x896xf32>)
  return %c : tensor<896x896xf32>
}

// A reduction over a chunk: 16 of a thread's 64 columns of a row at a time, from its own shared memory; then exchanges in a quad.
// The warpgroups take turns: one waits for the other's steps before its own.
// CHECK-LABEL: func.func @chunks(
// CHECK-SAME: overlap = true
// CHECK: griddepcontrol.launch_dependents
// CHECK-NOT: griddepcontrol
// CHECK-COUNT-10: nvvm.mbarrier.init
// CHECK-NOT: nvvm.mbarrier.init
// CHECK: nvvm.fence.mbarrier.init
// CHECK: nvvm.barrier{{$}}
// CHECK: nvvm.setmaxregister increase 232
// CHECK: nvvm.mbarrier.try_wait.parity
// CHECK: scf.for {{.*}} iter_args
// CHECK: nvvm.mbarrier.try_wait.parity
// CHECK: nvvm.wgmma.fence.aligned
// CHECK-COUNT-4: nvvm.wgmma.mma_async {{.*}} <m = 64, n = 256, k = 16>
// CHECK-NOT: nvvm.wgmma.mma_async
// CHECK: nvvm.wgmma.commit.group.sync.aligned
// CHECK-NEXT: nvvm.wgmma.wait.group.sync.aligned 1
// CHECK: nvvm.mbarrier.arrive
// CHECK: scf.yield
// The other's turn, then the last stage.
// CHECK: nvvm.mbarrier.arrive
// CHECK: nvvm.wgmma.wait.group.sync.aligned 0
// CHECK: nvvm.mbarrier.arrive
// CHECK: scf.for
// CHECK-COUNT-16: arith.maximumf
// CHECK: nvvm.shfl.sync bfly
// CHECK: nvvm.setmaxregister decrease 40
// CHECK: griddepcontrol.wait
// CHECK: nvvm.mbarrier.try_wait.parity
// CHECK-NOT: nvvm.mbarrier.arrive
// CHECK-COUNT-1: nvvm.cp.async.bulk.tensor.shared.cluster.global
// CHECK-NOT: nvvm.cp.async.bulk
// CHECK: scf.yield
// CHECK-NOT: griddepcontrol
// CHECK: nvvm.mbarrier.try_wait.parity
// CHECK-NEXT: nvvm.mbarrier.arrive.expect_tx
// CHECK-COUNT-1: nvvm.cp.async.bulk.tensor.shared.cluster.global
// CHECK-NOT: nvvm.cp.async.bulk
// CHECK: scf.yield
func.func @chunks(%a: tensor<?x64xbf16>, %b: !kern.packed<64x1000xbf16>) -> tensor<?x4xf32> attributes {kern.kernel} {
  %c = kern.matmul %a, %b : tensor<?x64xbf16>, !kern.packed<64x1000xbf16> acc(%s) -> (chunk tensor<?x4xf32>) {
    %m = kern.reduce max %s : f32
    kern.yield %m : f32
  }
  return %c : tensor<?x4xf32>
}

// Sums that are turned. Few rows: a warpgroup's 16 columns are 8 of the first half of a head and their 8 partners, two boxes; the warpgroups take turns.
// Many rows: whole heads. Cosines and sines are read once for all heads that a thread has columns of, two at a time.
// CHECK-LABEL: func.func @turned(
// CHECK-SAME: {box = [64, 8], dtype = "bf16", operand = 1
// CHECK-SAME: {box = [64, 256], dtype = "bf16", operand = 1
// CHECK: scf.for {{.*}} iter_args
// CHECK: nvvm.mbarrier.try_wait.parity
// CHECK: nvvm.wgmma.fence.aligned
// CHECK-COUNT-8: nvvm.wgmma.mma_async {{.*}} <m = 64, n = 16, k = 16>
// CHECK-NOT: nvvm.wgmma.mma_async
// CHECK-COUNT-2: llvm.load {{.*}} {alignment = 8 : i64} : !llvm.ptr<1> -> vector<2xf32>
// CHECK-NOT: llvm.load {{.*}} -> vector<2xf32>
// CHECK: nvvm.wgmma.mma_async {{.*}} <m = 64, n = 256, k = 16>
// CHECK-COUNT-8: llvm.load {{.*}} {alignment = 8 : i64} : !llvm.ptr<1> -> vector<2xf32>
// CHECK-NOT: llvm.load {{.*}} -> vector<2xf32>
// CHECK: nvvm.wgmma.mma_async {{.*}} <m = 64, n = 64, k = 16>
func.func @turned(%a: tensor<?x576xbf16>, %b: !kern.packed<576x960xbf16>, %t: tensor<?x64xf32>) -> (tensor<?x576xbf16>, tensor<?x192xbf16>, tensor<?x192xbf16>) attributes {kern.kernel} {
  %r:3 = kern.matmul %a, %b : tensor<?x576xbf16>, !kern.packed<576x960xbf16> acc(%s) turned(%t : tensor<?x64xf32>) -> (tensor<?x576xbf16>, tensor<?x192xbf16>, tensor<?x192xbf16>) attributes {heads = 12 : i64} {
    %n = arith.truncf %s : f32 to bf16
    kern.yield %n : bf16
  }
  return %r#0, %r#1, %r#2 : tensor<?x576xbf16>, tensor<?x192xbf16>, tensor<?x192xbf16>
}

// f32, and lines that are not a multiple of 16 bytes long, go another way.
// CHECK-LABEL: func.func @full(
// CHECK: griddepcontrol.launch_dependents
// CHECK: griddepcontrol.wait
// CHECK-NOT: nvvm.wgmma
// A step of k lies in shared memory between two barriers.
// CHECK: nvvm.barrier0
// CHECK: math.fma
// CHECK: nvvm.barrier0
// CHECK-NOT: nvvm.barrier0
func.func @full(%a: tensor<?x64xf32>, %b: !kern.packed<64x64xf32>) -> tensor<?x64xf32> attributes {kern.kernel} {
  %c = kern.matmul %a, %b : tensor<?x64xf32>, !kern.packed<64x64xf32> -> (tensor<?x64xf32>)
  return %c : tensor<?x64xf32>
}
// CHECK-LABEL: func.func @odd(
// CHECK: griddepcontrol.launch_dependents
// CHECK: griddepcontrol.wait
// CHECK-NOT: nvvm.wgmma
// CHECK: nvvm.barrier0
// CHECK: math.fma
// CHECK: nvvm.barrier0
// A last step is shorter.
// CHECK: nvvm.barrier0
// CHECK: nvvm.barrier0
func.func @odd(%a: tensor<?x66xbf16>, %b: !kern.packed<66x64xbf16>) -> tensor<?x64xbf16> attributes {kern.kernel} {
  %c = kern.matmul %a, %b : tensor<?x66xbf16>, !kern.packed<66x64xbf16> -> (tensor<?x64xbf16>)
  return %c : tensor<?x64xbf16>
}

// For the bench alone: k in four parts of 28 tiles of 32 columns, so that 112 multiprocessors have one, and additions to the result in any order.
// CHECK-LABEL: func.func @split(
// CHECK: griddepcontrol.launch_dependents
// CHECK-NOT: griddepcontrol
// CHECK-COUNT-38: nvvm.mbarrier.init
// CHECK-NOT: nvvm.mbarrier.init
// CHECK: nvvm.fence.mbarrier.init
// CHECK: nvvm.barrier{{$}}
// CHECK: nvvm.setmaxregister increase 232
// CHECK: nvvm.mbarrier.try_wait.parity
// CHECK: nvvm.wgmma.fence.aligned
// CHECK-COUNT-4: nvvm.wgmma.mma_async {{.*}} <m = 64, n = 32, k = 16>
// CHECK-NOT: nvvm.wgmma.mma_async
// CHECK: nvvm.wgmma.commit.group.sync.aligned
// CHECK-NEXT: nvvm.wgmma.wait.group.sync.aligned 1
// CHECK: nvvm.mbarrier.arrive
// CHECK: scf.yield
// CHECK: nvvm.wgmma.wait.group.sync.aligned 0
// CHECK: nvvm.mbarrier.arrive
// CHECK: llvm.atomicrmw fadd {{.*}} syncscope("device") monotonic
// CHECK: nvvm.setmaxregister decrease 40
// CHECK: griddepcontrol.wait
// CHECK: nvvm.mbarrier.try_wait.parity
// CHECK-NOT: nvvm.mbarrier.arrive
// CHECK-COUNT-1: nvvm.cp.async.bulk.tensor.shared.cluster.global
// CHECK-NOT: nvvm.cp.async.bulk
// CHECK: scf.yield
// CHECK-NOT: griddepcontrol
// CHECK: nvvm.mbarrier.try_wait.parity
// CHECK-NEXT: nvvm.mbarrier.arrive.expect_tx
// CHECK-COUNT-1: nvvm.cp.async.bulk.tensor.shared.cluster.global
// CHECK-NOT: nvvm.cp.async.bulk
// CHECK: scf.yield
// CHECK: return
func.func @split(%a: tensor<?x896xbf16>, %b: !kern.packed<896x896xbf16>, %c: tensor<?x896xf32>) -> tensor<?x896xf32> attributes {kern.kernel, kern.unordered_splits = 4 : i64} {
  %r = kern.matmul %a, %b : tensor<?x896xbf16>, !kern.packed<896x896xbf16> init(%c : tensor<?x896xf32>) -> (tensor<?x896xf32>)
  return %r : tensor<?x896xf32>
}
