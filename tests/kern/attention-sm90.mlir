// RUN: r1c-opt %s --kern-to-threads -o %t
// RUN: FileCheck %s --input-file=%t
// RUN: FileCheck %s --input-file=%t --check-prefix=NOT
// RUN: FileCheck %s --input-file=%t --check-prefix=COPY
// RUN: FileCheck %s --input-file=%t --check-prefix=GROUP
// RUN: FileCheck %s --input-file=%t --check-prefix=BEHIND
// RUN: FileCheck %s --input-file=%t --check-prefix=DRAIN
// RUN: FileCheck %s --input-file=%t --check-prefix=WAIT
// RUN: FileCheck %s --input-file=%t --check-prefix=ARRIVE
// RUN: FileCheck %s --input-file=%t --check-prefix=PROXY
// RUN: FileCheck %s --input-file=%t --check-prefix=FENCE
// RUN: FileCheck %s --input-file=%t --check-prefix=COMMIT
// RUN: FileCheck %s --input-file=%t --check-prefix=ATOMIC

// Nothing goes through local memory, and nothing is added up in memory by several threads. Blocks of the forward count which of them is the last with
// the segments of a row; those of the backward know nothing of each other.
// NOT-NOT: llvm.alloca
// NOT-NOT: cluster
// NOT-NOT: kern.attention
// ATOMIC-LABEL: func.func @forward(
// ATOMIC: llvm.fence syncscope("device") acq_rel
// ATOMIC: llvm.atomicrmw add {{.*}} syncscope("device") monotonic
// ATOMIC-NEXT: llvm.fence syncscope("device") acq_rel
// ATOMIC-NOT: atomicrmw

// All that a kernel has of them. The forward brings queries, the first keys, in a loop the next keys and the values of those before, and the last
// values: eight copies of 16 bytes a thread each.
// COPY-LABEL: func.func @forward(
// COPY-COUNT-40: nvvm.cp.async.shared.global
// COPY-NOT: nvvm.cp.async.shared.global
// COPY-LABEL: func.func @backward(
// COPY-COUNT-96: nvvm.cp.async.shared.global
// COPY-NOT: nvvm.cp.async.shared.global
// COPY-LABEL: func.func @full(
// GROUP-LABEL: func.func @forward(
// GROUP-COUNT-5: nvvm.cp.async.commit.group
// GROUP-NOT: nvvm.cp.async.commit.group
// GROUP-LABEL: func.func @backward(
// GROUP-COUNT-6: nvvm.cp.async.commit.group
// GROUP-NOT: nvvm.cp.async.commit.group
// GROUP-LABEL: func.func @full(
// Behind each group of the forward four more may be under way (two with heads of 128); where that would wait for itself, and behind a tile, none.
// BEHIND-LABEL: func.func @forward(
// BEHIND-COUNT-5: nvvm.cp.async.wait.group 4
// BEHIND-NOT: nvvm.cp.async.wait.group 4
// DRAIN-LABEL: func.func @forward(
// DRAIN-COUNT-8: nvvm.cp.async.wait.group 0
// DRAIN-NOT: nvvm.cp.async.wait.group 0
// DRAIN-LABEL: func.func @backward(
// DRAIN-COUNT-6: nvvm.cp.async.wait.group 0
// DRAIN-NOT: nvvm.cp.async.wait.group 0
// DRAIN-LABEL: func.func @full(
// WAIT-LABEL: func.func @forward(
// WAIT-COUNT-23: nvvm.mbarrier.try_wait.parity
// WAIT-NOT: nvvm.mbarrier.try_wait.parity
// WAIT-LABEL: func.func @backward(
// WAIT-COUNT-7: nvvm.mbarrier.try_wait.parity
// WAIT-NOT: nvvm.mbarrier.try_wait.parity
// WAIT-LABEL: func.func @full(
// ARRIVE-LABEL: func.func @forward(
// ARRIVE-COUNT-58: nvvm.mbarrier.arrive
// ARRIVE-NOT: nvvm.mbarrier.arrive
// ARRIVE-LABEL: func.func @backward(
// ARRIVE-COUNT-8: nvvm.mbarrier.arrive
// ARRIVE-NOT: nvvm.mbarrier.arrive
// ARRIVE-LABEL: func.func @full(
// Whatever threads have written is made visible to the matrix units, and registers handed over to them.
// PROXY-LABEL: func.func @forward(
// PROXY-COUNT-13: nvvm.fence.proxy
// PROXY-NOT: nvvm.fence.proxy
// PROXY-LABEL: func.func @backward(
// PROXY-COUNT-4: nvvm.fence.proxy
// PROXY-NOT: nvvm.fence.proxy
// PROXY-LABEL: func.func @full(
// FENCE-LABEL: func.func @forward(
// FENCE-COUNT-12: nvvm.wgmma.fence.aligned
// FENCE-NOT: nvvm.wgmma.fence.aligned
// FENCE-LABEL: func.func @backward(
// FENCE-COUNT-7: nvvm.wgmma.fence.aligned
// FENCE-NOT: nvvm.wgmma.fence.aligned
// FENCE-LABEL: func.func @full(
// COMMIT-LABEL: func.func @forward(
// COMMIT-COUNT-12: nvvm.wgmma.commit.group.sync.aligned
// COMMIT-NOT: nvvm.wgmma.commit.group.sync.aligned
// COMMIT-LABEL: func.func @backward(
// COMMIT-COUNT-7: nvvm.wgmma.commit.group.sync.aligned
// COMMIT-NOT: nvvm.wgmma.commit.group.sync.aligned
// COMMIT-LABEL: func.func @full(

// Heads of 64, four to a key head, behind a prompt that is shared.
// CHECK-LABEL: func.func @forward(
// CHECK-SAME: blocks_per_sm = 1
// CHECK-SAME: early = [8, 3, 4, 5, 6]
// CHECK-NOT: few_rows
// CHECK-SAME: overlap = true
// CHECK-SAME: shared = 201216
// CHECK-SAME: threads = 384
// CHECK-SAME: written = [7]
// Which rows go together is found before what comes before is waited for; nothing is copied before.
// CHECK: griddepcontrol.launch_dependents
// CHECK-NOT: griddepcontrol
// CHECK-NOT: nvvm.cp.async
// CHECK-COUNT-28: nvvm.mbarrier.init
// CHECK-NOT: nvvm.mbarrier.init
// CHECK: nvvm.fence.mbarrier.init
// CHECK: nvvm.barrier{{$}}

// The threads that bring tiles: eight lines of 16 bytes each of a block, and no more than four groups of copies before they say that one has arrived.
// CHECK: nvvm.setmaxregister decrease 72
// CHECK-NOT: nvvm.cp.async.shared
// CHECK: griddepcontrol.wait
// CHECK: nvvm.mbarrier.try_wait.parity
// CHECK-COUNT-8: nvvm.cp.async.shared.global
// CHECK-NOT: nvvm.cp.async.shared.global
// CHECK: nvvm.cp.async.commit.group
// CHECK-NEXT: nvvm.cp.async.wait.group 4
// CHECK-NEXT: nvvm.fence.proxy
// CHECK: nvvm.mbarrier.arrive

// Those that multiply, the first block: one wait for queries and one for keys, four steps of 16 of the head's width, from zeros on.
// CHECK: nvvm.setmaxregister increase 216
// Who has no work, and is not the first, does not wait for what comes before.
// CHECK: scf.if
// CHECK-NEXT: griddepcontrol.wait
// CHECK: scf.while
// CHECK-COUNT-2: nvvm.mbarrier.try_wait.parity
// CHECK-NOT: nvvm.mbarrier.try_wait.parity
// CHECK: nvvm.wgmma.fence.aligned
// CHECK-NEXT: nvvm.wgmma.mma_async {{.*}} <m = 64, n = 128, k = 16>, D[<f32>, <zero>], A[<bf16>, <one>, <row>], B[<bf16>, <one>, <col>]
// CHECK-COUNT-3: nvvm.wgmma.mma_async {{.*}} <m = 64, n = 128, k = 16>, D[<f32>, <one>]
// CHECK-NOT: nvvm.wgmma
// CHECK: nvvm.wgmma.commit.group.sync.aligned
// CHECK-NEXT: nvvm.wgmma.wait.group.sync.aligned 0
// CHECK: nvvm.mbarrier.arrive
// A thread's 64 powers, and those of what its two rows had so far.
// CHECK-COUNT-66: ex2.approx.ftz
// CHECK-NOT: ex2.approx.ftz
// CHECK: nvvm.mbarrier.try_wait.parity

// Twice a loop, over blocks that all rows see whole and over those where they differ: scores of this block, and behind them the product of the block before
// with its values, eight steps of 16 keys, which stays under way while the powers are taken; one wait for keys and one for values.
// CHECK: scf.for {{.*}} iter_args
// CHECK-NOT: nvvm.wgmma
// CHECK: nvvm.mbarrier.try_wait.parity
// CHECK: nvvm.wgmma.fence.aligned
// CHECK-COUNT-4: nvvm.wgmma.mma_async {{.*}} <m = 64, n = 128, k = 16>
// CHECK-NOT: nvvm.wgmma.mma_async
// CHECK: nvvm.wgmma.commit.group.sync.aligned
// CHECK-NOT: nvvm.wgmma.wait
// CHECK: nvvm.wgmma.fence.aligned
// CHECK-COUNT-8: wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16
// CHECK-NOT: wgmma.mma_async
// CHECK: nvvm.wgmma.commit.group.sync.aligned
// CHECK-NEXT: nvvm.wgmma.wait.group.sync.aligned 1
// CHECK: nvvm.mbarrier.arrive
// CHECK-NOT: nvvm.wgmma
// CHECK-COUNT-66: ex2.approx.ftz
// CHECK-NOT: ex2.approx.ftz
// CHECK: nvvm.mbarrier.try_wait.parity
// CHECK-NEXT: nvvm.wgmma.wait.group.sync.aligned 0
// CHECK: nvvm.mbarrier.arrive
// CHECK: scf.yield
// CHECK: scf.for {{.*}} iter_args
// CHECK-NOT: nvvm.wgmma
// CHECK: nvvm.mbarrier.try_wait.parity
// CHECK-COUNT-4: nvvm.wgmma.mma_async {{.*}} <m = 64, n = 128, k = 16>
// CHECK-COUNT-8: wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16
// CHECK: nvvm.wgmma.wait.group.sync.aligned 1
// CHECK-NOT: nvvm.wgmma
// CHECK-COUNT-66: ex2.approx.ftz
// CHECK: nvvm.wgmma.wait.group.sync.aligned 0
// CHECK: scf.yield
// The last block's values.
// CHECK-COUNT-8: wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16
// CHECK-NOT: wgmma.mma_async
// CHECK: nvvm.wgmma.commit.group.sync.aligned
// CHECK-NEXT: nvvm.wgmma.wait.group.sync.aligned 0
// Two rows of this segment and of those before it, merged, to be kept or to be stored.
// CHECK-COUNT-8: ex2.approx.ftz
// CHECK-NOT: ex2.approx.ftz
// A warpgroup without rows passes by: each block's keys and values are freed once they are there.
// CHECK: scf.for
// CHECK-NOT: nvvm.wgmma
// CHECK: nvvm.mbarrier.try_wait.parity
// CHECK: nvvm.mbarrier.arrive
// CHECK: nvvm.mbarrier.try_wait.parity
// CHECK: nvvm.mbarrier.arrive
// No more than eight rows: the same with one row a thread.
// CHECK-COUNT-4: nvvm.wgmma.mma_async {{.*}} <m = 64, n = 128, k = 16>
// CHECK-NOT: nvvm.wgmma.mma_async
// CHECK-COUNT-33: ex2.approx.ftz
// CHECK-NOT: ex2.approx.ftz
// CHECK: scf.for {{.*}} iter_args
// CHECK-COUNT-33: ex2.approx.ftz
// CHECK-NOT: ex2.approx.ftz
// CHECK: scf.for {{.*}} iter_args
// CHECK-COUNT-33: ex2.approx.ftz
// CHECK-NOT: ex2.approx.ftz
// The last of the blocks that took a row's segments goes through what all have left; or the tile's segments were taken one after the other.
// CHECK: llvm.atomicrmw
// CHECK-NOT: ex2.approx.ftz
// CHECK: scf.for {{.*}} iter_args
// CHECK-COUNT-2: ex2.approx.ftz
// CHECK-NOT: ex2.approx.ftz
// CHECK: scf.yield
// CHECK-COUNT-4: ex2.approx.ftz
// CHECK-NOT: ex2.approx.ftz
// CHECK: return
func.func @forward(%q: tensor<?x512xbf16>, %k: tensor<?x128xbf16>, %v: tensor<?x128xbf16>, %positions: tensor<?xi32>, %bases: tensor<?xi32>, %shared: tensor<?xi32>, %from: tensor<?xi32>) -> tensor<?x512xbf16> attributes {kern.kernel} {
  %o = kern.attention %q, %k, %v at %positions from %bases shared %shared from %from {heads = 8, kv_heads = 2, scale = 1.250000e-01 : f32} : tensor<?x512xbf16>, tensor<?x128xbf16>, tensor<?x128xbf16>, tensor<?xi32>, tensor<?xi32> shared tensor<?xi32> from tensor<?xi32> -> tensor<?x512xbf16>
  return %o : tensor<?x512xbf16>
}

// Heads of 128.
// CHECK-LABEL: func.func @backward(
// CHECK-SAME: blocks_per_sm = 1
// CHECK-SAME: overlap = true
// CHECK-SAME: shared = 222640
// CHECK-SAME: threads = 384
// CHECK-SAME: written = [9, 10, 11]
// CHECK: griddepcontrol.launch_dependents
// CHECK: griddepcontrol.wait
// CHECK-COUNT-8: nvvm.mbarrier.init
// CHECK-NOT: nvvm.mbarrier.init
// CHECK: nvvm.fence.mbarrier.init
// CHECK: nvvm.setmaxregister decrease 40
// CHECK: nvvm.cp.async.wait.group 0
// CHECK-NEXT: nvvm.fence.proxy

// Keys: S and T of eight steps over the width each, one wait for both, 32 powers, then dv and dk, four steps over the block's rows each, from registers.
// CHECK: nvvm.setmaxregister increase 232
// CHECK: scf.while
// CHECK: nvvm.mbarrier.try_wait.parity
// CHECK: scf.for {{.*}} iter_args
// CHECK-NOT: nvvm.wgmma
// CHECK: nvvm.mbarrier.try_wait.parity
// CHECK-NOT: nvvm.mbarrier
// CHECK: nvvm.wgmma.mma_async {{.*}} <m = 64, n = 64, k = 16>, D[<f32>, <zero>]
// CHECK-COUNT-7: nvvm.wgmma.mma_async {{.*}} <m = 64, n = 64, k = 16>, D[<f32>, <one>]
// CHECK-NEXT: nvvm.wgmma.commit.group.sync.aligned
// CHECK: nvvm.wgmma.mma_async {{.*}} <m = 64, n = 64, k = 16>, D[<f32>, <zero>]
// CHECK-COUNT-7: nvvm.wgmma.mma_async {{.*}} <m = 64, n = 64, k = 16>, D[<f32>, <one>]
// CHECK-NEXT: nvvm.wgmma.commit.group.sync.aligned
// CHECK-NEXT: nvvm.wgmma.wait.group.sync.aligned 0
// CHECK-COUNT-32: ex2.approx.ftz
// CHECK-NOT: ex2.approx.ftz
// CHECK: nvvm.wgmma.fence.aligned
// CHECK-COUNT-4: wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16
// CHECK-NOT: wgmma.mma_async
// CHECK: nvvm.wgmma.commit.group.sync.aligned
// CHECK-COUNT-4: wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16
// CHECK-NOT: wgmma.mma_async
// CHECK: nvvm.wgmma.commit.group.sync.aligned
// CHECK-NEXT: nvvm.wgmma.wait.group.sync.aligned 0
// CHECK: nvvm.mbarrier.arrive
// CHECK: scf.yield

// Queries: T is under way while the powers of S are taken; dq alone behind them.
// CHECK: scf.for {{.*}} iter_args
// CHECK-NOT: nvvm.wgmma
// CHECK: nvvm.mbarrier.try_wait.parity
// CHECK-NOT: nvvm.mbarrier
// CHECK-COUNT-8: nvvm.wgmma.mma_async {{.*}} <m = 64, n = 64, k = 16>
// CHECK-NEXT: nvvm.wgmma.commit.group.sync.aligned
// CHECK-COUNT-8: nvvm.wgmma.mma_async {{.*}} <m = 64, n = 64, k = 16>
// CHECK-NEXT: nvvm.wgmma.commit.group.sync.aligned
// CHECK-NEXT: nvvm.wgmma.wait.group.sync.aligned 1
// CHECK-COUNT-32: ex2.approx.ftz
// CHECK: nvvm.wgmma.wait.group.sync.aligned 0
// CHECK-NOT: ex2.approx.ftz
// CHECK-COUNT-4: wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16
// CHECK-NOT: wgmma.mma_async
// CHECK: nvvm.wgmma.commit.group.sync.aligned
// CHECK-NEXT: nvvm.wgmma.wait.group.sync.aligned 0
// CHECK: nvvm.mbarrier.arrive
// CHECK: scf.yield
// CHECK-NOT: nvvm.wgmma
// CHECK: return
func.func @backward(%q: tensor<?x1024xbf16>, %k: tensor<?x256xbf16>, %v: tensor<?x256xbf16>, %o: tensor<?x1024xbf16>, %l: tensor<?x8xf32>, %g: tensor<?x1024xbf16>, %offsets: tensor<?xi32>, %bases: tensor<?xi32>, %shared: tensor<?xi32>) -> (tensor<?x1024xbf16>, tensor<?x256xbf16>, tensor<?x256xbf16>) attributes {kern.kernel} {
  %r:3 = kern.attention_backward %q, %k, %v out %o lse %l seed %g offsets %offsets from %bases shared %shared {heads = 8, kv_heads = 2, scale = 0.08838834764 : f32} : tensor<?x1024xbf16>, tensor<?x256xbf16>, tensor<?x256xbf16>, tensor<?x1024xbf16>, tensor<?x8xf32>, tensor<?x1024xbf16>, tensor<?xi32> from tensor<?xi32> shared tensor<?xi32> -> tensor<?x1024xbf16>, tensor<?x256xbf16>, tensor<?x256xbf16>
  return %r#0, %r#1, %r#2 : tensor<?x1024xbf16>, tensor<?x256xbf16>, tensor<?x256xbf16>
}

// f32, and heads of another width, go another way.
// CHECK-LABEL: func.func @full(
// CHECK-NOT: wgmma
// CHECK: math.fma
func.func @full(%q: tensor<?x128xf32>, %k: tensor<?x64xf32>, %v: tensor<?x64xf32>, %positions: tensor<?xi32>, %bases: tensor<?xi32>) -> tensor<?x128xf32> attributes {kern.kernel} {
  %o = kern.attention %q, %k, %v at %positions from %bases {heads = 2, kv_heads = 1, scale = 1.250000e-01 : f32} : tensor<?x128xf32>, tensor<?x64xf32>, tensor<?x64xf32>, tensor<?xi32>, tensor<?xi32> -> tensor<?x128xf32>
  return %o : tensor<?x128xf32>
}
// CHECK-LABEL: func.func @narrow(
// CHECK-NOT: wgmma
// CHECK: math.fma
func.func @narrow(%q: tensor<?x64xbf16>, %k: tensor<?x32xbf16>, %v: tensor<?x32xbf16>, %positions: tensor<?xi32>, %bases: tensor<?xi32>) -> tensor<?x64xbf16> attributes {kern.kernel} {
  %o = kern.attention %q, %k, %v at %positions from %bases {heads = 2, kv_heads = 1, scale = 1.250000e-01 : f32} : tensor<?x64xbf16>, tensor<?x32xbf16>, tensor<?x32xbf16>, tensor<?xi32>, tensor<?xi32> -> tensor<?x64xbf16>
  return %o : tensor<?x64xbf16>
}
