// RUN: r1c-opt %s --lm-expand --lm-differentiate --lm-to-kern --split-input-file --verify-roundtrip | FileCheck %s

// Of three biases that lie side by side one is made, and of their gradients.
lm.model @qwen2 config {layers = 2, hidden = 64, heads = 4, kv_heads = 2, intermediate = 128, vocabulary = 16, context = 64, qkv_bias = true} {}

// CHECK-LABEL: func.func @qwen2.layer(
// CHECK: %[[BIAS:.*]] = tensor.concat dim(0) {{.*}} : (tensor<64xf32>, tensor<32xf32>, tensor<32xf32>) -> tensor<128xf32>
// CHECK: kern.matmul {{.*}} = %[[BIAS]] : column tensor<128xf32>) turned(
// CHECK: kern.yield
// CHECK-NEXT: }
// CHECK-NEXT: kern.attention
// CHECK-LABEL: func.func @qwen2.layer.backward(
// CHECK: %[[QKV:.*]] = kern.rope {{.*}}inverse
// CHECK: kern.matmul %[[QKV]], %{{.*}} transpose_a
// CHECK: kern.column_sum (%{{.*}} = %[[QKV]] : element tensor<?x128xf32>)
// CHECK-COUNT-3: tensor.extract_slice {{.*}} : tensor<128xf32> to

// -----

// With norms between the product is cut first; what turns brings keys and values to the cache.
lm.model @qwen3 config {layers = 2, hidden = 64, heads = 4, kv_heads = 2, intermediate = 128, vocabulary = 16, context = 64, qk_norm = true} {}

// CHECK-LABEL: func.func @qwen3.layer(
// CHECK: kern.matmul
// CHECK-NEXT: %[[CUT:.*]]:3 = kern.rope {{.*}}heads = 0
// CHECK: kern.row
// CHECK: kern.row
// CHECK: %[[ROPE:.*]]:2 = kern.rope %{{.*}}, %{{.*}} at {{.*}}heads = 6
// CHECK-NEXT: kern.attention %[[ROPE]]#0, %[[ROPE]]#1, %[[CUT]]#2
// CHECK-LABEL: func.func @qwen3.layer.cached(
// CHECK: %[[CUT:.*]]:3 = kern.rope {{.*}}heads = 0
// CHECK: %[[ROPE:.*]]:3 = kern.rope %{{.*}}, %{{.*}}, %[[CUT]]#2 at %{{.*}} scatter
// CHECK-NEXT: kern.attention %[[ROPE]]#0, %[[ROPE]]#1, %[[ROPE]]#2
// CHECK-LABEL: func.func @qwen3.layer.backward(
// CHECK: %[[DQ:.*]], %[[DK:.*]], %[[DV:.*]] = kern.attention_backward
// CHECK-NEXT: kern.rope %[[DQ]], %[[DK]] at {{.*}}heads = 6
// CHECK: kern.row
// CHECK: kern.row
// CHECK: %[[BESIDE:.*]] = kern.rope %{{.*}}, %{{.*}}, %[[DV]] at {{.*}}heads = 0
// CHECK: kern.matmul %[[BESIDE]]
// CHECK: kern.matmul %[[BESIDE]], %{{.*}} transpose_a

// -----

// A bias of 8 numbers does not fill 64 bytes, so that no other lies beside it: three products. What turns them is one kernel still.
lm.model @narrow config {layers = 2, hidden = 64, heads = 4, kv_heads = 1, head_dim = 8, intermediate = 128, vocabulary = 16, context = 64, qkv_bias = true} {}

// CHECK-LABEL: func.func @narrow.layer(
// CHECK-NOT: tensor.concat
// CHECK-COUNT-3: kern.matmul
// CHECK-NOT: kern.matmul
// CHECK: kern.rope %{{.*}}, %{{.*}} at {{.*}}heads = 5
// CHECK-LABEL: func.func @narrow.layer.cached(
// CHECK: kern.rope %{{.*}}, %{{.*}}, %{{.*}} at %{{.*}} scatter

// -----

// A gradient that goes on in float32 is rounded for products where it arises.
lm.model @bf16 config {layers = 2, hidden = 64, heads = 4, kv_heads = 2, intermediate = 128, vocabulary = 16, context = 64, bf16 = true} {}

// CHECK-LABEL: func.func @bf16.layer.backward(
// CHECK: %[[D:.*]]:3 = kern.row {{.*}} -> (element tensor<?x64xf32>, row tensor<?xf32>, element tensor<?x64xbf16>)
// CHECK: kern.matmul %[[D]]#2
// CHECK: kern.matmul %[[D]]#2, %{{.*}} transpose_a

// -----

// Norms read queries and keys in float32, a GPU's attention values in bfloat16: each is rounded, or not, where the product is cut.
module attributes {r1c.target = "cuda"} {
  lm.model @mixed config {layers = 2, hidden = 64, heads = 4, kv_heads = 2, intermediate = 128, vocabulary = 16, context = 64, qk_norm = true, bf16 = true} {}
}

// CHECK-LABEL: func.func @mixed.layer(
// CHECK: kern.matmul {{.*}} -> (tensor<?x128xf32>)
// CHECK-NEXT: kern.rope {{.*}}heads = 0{{.*}} -> tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xbf16>

// -----

// What is turned is rounded to bfloat16 before and after, whether one kernel does it or two.
module attributes {r1c.target = "cuda"} {
  lm.model @turned config {layers = 2, hidden = 64, heads = 4, kv_heads = 2, intermediate = 128, vocabulary = 16, context = 64, bf16 = true} {}
}

// CHECK-LABEL: func.func @turned.layer(
// CHECK: %[[ROPE:.*]]:3 = kern.matmul {{.*}} acc(%[[SUM:.*]]) turned(%{{.*}}) -> (tensor<?x64xbf16>, tensor<?x32xbf16>, tensor<?x32xbf16>) attributes
// CHECK-NEXT: %[[ROUNDED:.*]] = arith.truncf %[[SUM]] : f32 to bf16
// CHECK-NEXT: kern.yield %[[ROUNDED]] : bf16
// CHECK-NEXT: }
// CHECK-NEXT: kern.attention %[[ROPE]]#0, %[[ROPE]]#1, %[[ROPE]]#2
// A step's attention knows that it reads a cache, and the weights behind it: of the output projection, of gate and up, and the down projection.
// CHECK-LABEL: func.func @turned.layer.cached(
// CHECK-SAME: %[[O:[^ ]*]]: !kern.packed<64x64xbf16>
// CHECK-SAME: %[[UP:[^ ]*]]: !kern.packed<64x256xbf16>
// CHECK-SAME: %[[DOWN:[^ ]*]]: !kern.packed<128x64xbf16>
// CHECK: kern.attention {{.*}} prefetch(%[[O]], %[[UP]], %[[DOWN]] : {{.*}}) {cached, heads = 4 : i64

// -----

// No tensor cores, no turn behind the product: two kernels.
module attributes {r1c.target = "cuda"} {
  lm.model @threads config {layers = 2, hidden = 64, heads = 4, kv_heads = 2, intermediate = 128, vocabulary = 16, context = 64} {}
}

// CHECK-LABEL: func.func @threads.layer.cached(
// CHECK: %[[QKV:.*]] = kern.matmul {{.*}} -> (tensor<?x128xf32>)
// CHECK-NEXT: kern.rope %[[QKV]] at %{{.*}} scatter
// CHECK-NEXT: kern.attention {{.*}} from %{{[^ ]*}} {cached, heads

// -----

// Heads of 40 columns: of a warp's 16 neighbours not all partners are there. Rounded in between.
module attributes {r1c.target = "cuda"} {
  lm.model @odd config {layers = 2, hidden = 64, heads = 4, kv_heads = 2, head_dim = 40, intermediate = 128, vocabulary = 16, context = 64, bf16 = true} {}
}

// CHECK-LABEL: func.func @odd.layer(
// CHECK: %[[QKV:.*]] = kern.matmul {{.*}} -> (tensor<?x320xbf16>)
// CHECK-NEXT: kern.rope %[[QKV]]
