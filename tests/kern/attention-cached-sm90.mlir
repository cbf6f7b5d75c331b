// RUN: r1c-opt %s --kern-to-threads -o %t
// RUN: FileCheck %s --input-file=%t
// RUN: FileCheck %s --input-file=%t --check-prefix=ALL
// RUN: FileCheck %s --input-file=%t --check-prefix=CAP

// Attention of a rollout's step: kernels for few rows beside the one for many. Two blocks of heads of 64 have room on a multiprocessor; for very few rows, here two (of two key heads, with 32 segments each),
// one block has places for six blocks of keys and of values instead of three. Both read what earlier steps left (`cached`: keys and values) before they wait.
// CHECK-LABEL: func.func @step(
// CHECK-SAME: early = [9, 3, 4], few_rows = [
// CHECK-SAME: {launch = {blocks_per_sm = 1 : i64, cached = [1, 2], early = [9, 3, 4], overlap = true, {{.*}}shared = 209648 : i64, threads = 256 : i64, {{.*}}}, rows = 2 : i64, symbol = "step_fewest_rows"},
// CHECK-SAME: {launch = {blocks_per_sm = 2 : i64, cached = [1, 2], early = [9, 3, 4], overlap = true, {{.*}}shared = 110984 : i64, threads = 256 : i64, {{.*}}}, rows = 256 : i64, symbol = "step_few_rows"}]
// CHECK-SAME: threads = 384
// CHECK-NOT: prefetch

// CHECK-LABEL: func.func @step_fewest_rows(
// CHECK-NOT: griddepcontrol.wait
// CHECK-COUNT-42: nvvm.mbarrier.init
// CHECK-NOT: nvvm.mbarrier.init
// Blocks of the grid without work bring weights to the second-level cache, 8 KiB a copy, behind all that precedes the kernel.
// CHECK: griddepcontrol.wait
// CHECK-COUNT-3: nvvm.cp.async.bulk.prefetch
// CHECK-NOT: nvvm.cp.async.bulk.prefetch
// The first item's keys and values, eight copies of 16 bytes a thread each; queries, of 64 rows, wait.
// CHECK-NOT: griddepcontrol.wait
// CHECK-COUNT-16: nvvm.cp.async.shared.global
// CHECK-NOT: nvvm.cp.async
// CHECK: griddepcontrol.wait
// CHECK-COUNT-4: nvvm.cp.async.shared.global
// CHECK: nvvm.cp.async.commit.group
// Behind them the blocks that this step writes, as there are places: a group each, and as many groups in all as there are places, so that each is told of by itself.
// CHECK-COUNT-16: nvvm.cp.async.shared.global
// CHECK: nvvm.cp.async.commit.group
// CHECK: nvvm.cp.async.commit.group
// CHECK-COUNT-1: nvvm.cp.async.wait.group 6
// CHECK: nvvm.mbarrier.arrive
// CHECK-COUNT-1: nvvm.cp.async.wait.group 5
// CHECK: nvvm.mbarrier.arrive
// CHECK-COUNT-1: nvvm.cp.async.wait.group 0
// CHECK: nvvm.mbarrier.arrive

// Beside those, for items behind the first: queries, the first keys, in a loop the next keys and the values of those before, and the last values.
// ALL-LABEL: func.func @step_few_rows(
// ALL-COUNT-72: nvvm.cp.async.shared.global
// ALL-NOT: nvvm.cp.async.shared.global
// ALL: nvvm.wgmma.mma_async
// ALL-COUNT-1: llvm.atomicrmw add {{.*}} syncscope("device") monotonic

// Of weights that are too large for the second-level cache the first ones: 32 MiB are 196 pieces of the output projection, 2128 of gate and up, and 1772.
// CAP-LABEL: func.func @step_fewest_rows(
// CAP: arith.constant 196 : i32
// CAP: nvvm.cp.async.bulk.prefetch
// CAP: arith.constant 2128 : i32
// CAP: nvvm.cp.async.bulk.prefetch
// CAP: arith.constant 1772 : i32
// CAP: nvvm.cp.async.bulk.prefetch
func.func @step(%q: tensor<?x896xbf16>, %k: tensor<?x128xbf16>, %v: tensor<?x128xbf16>, %positions: tensor<?xi32>, %bases: tensor<?xi32>, %w0: !kern.packed<896x896xbf16>, %w1: !kern.packed<896x9728xbf16>, %w2: !kern.packed<4864x8960xbf16>) -> tensor<?x896xbf16> attributes {kern.kernel} {
  %o = kern.attention %q, %k, %v at %positions from %bases prefetch(%w0, %w1, %w2 : !kern.packed<896x896xbf16>, !kern.packed<896x9728xbf16>, !kern.packed<4864x8960xbf16>) {cached, heads = 14, kv_heads = 2, scale = 1.250000e-01 : f32} : tensor<?x896xbf16>, tensor<?x128xbf16>, tensor<?x128xbf16>, tensor<?xi32>, tensor<?xi32> -> tensor<?x896xbf16>
  return %o : tensor<?x896xbf16>
}
