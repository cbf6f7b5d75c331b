// RUN: r1c-opt %s --lm-expand --lm-differentiate --lm-to-kern --verify-roundtrip | FileCheck %s
// RUN: r1c-opt %s --lm-expand --lm-differentiate --lm-to-kern | not FileCheck %s --check-prefix=LEFT

// LEFT: = lm.

lm.model @m config {layers = 2, hidden = 64, heads = 4, kv_heads = 2, intermediate = 128, vocabulary = 16, context = 64} {}

// CHECK-LABEL: func.func @m.embed(
// CHECK: kern.map ({{.*}} : gather(0) tensor<16x64xf32>)

// One kernel: the product that gives queries, keys and values, cut, and the first two turned.
// The residual is the epilogue of o_proj and down_proj, silu · mul that of gate and up.
// CHECK-LABEL: func.func @m.layer(
// CHECK-SAME: !kern.packed<64x128xf32> {r1c.layout = "forward", r1c.parameter = ["model.layers.{}.self_attn.q_proj.weight", "model.layers.{}.self_attn.k_proj.weight", "model.layers.{}.self_attn.v_proj.weight"], r1c.role = "packed"}
// CHECK-SAME: tensor<?xi32> {r1c.role = "positions"}
// CHECK-SAME: tensor<?x16xf32> {r1c.frequencies = array<f32: {{.*}}>, r1c.role = "angles"}
// CHECK-SAME: tensor<?xi32> {r1c.role = "bases"}
// CHECK-SAME: !kern.packed<64x256xf32> {r1c.layout = "paired", r1c.parameter = ["model.layers.{}.mlp.gate_proj.weight", "model.layers.{}.mlp.up_proj.weight"], r1c.role = "packed"}
// CHECK: kern.row
// CHECK: %[[ROPE:.*]]:3 = kern.matmul {{.*}} turned(%{{.*}} : tensor<?x16xf32>) -> (tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>) attributes {heads = 6
// CHECK-NEXT: %[[OUT:.*]] = kern.attention %[[ROPE]]#0, %[[ROPE]]#1, %[[ROPE]]#2 {{.*}} -> tensor<?x64xf32>{{$}}
// CHECK: %[[X:.*]] = kern.matmul %[[OUT]], {{.*}} acc(%{{.*}}) with (%{{.*}} = %arg0 : element tensor<?x64xf32>)
// CHECK: %[[N:.*]] = kern.row {{.*}} = %[[X]] : element
// CHECK: %[[G:.*]] = kern.matmul %[[N]], {{.*}}!kern.packed<64x256xf32>
// CHECK: math.exp
// CHECK: kern.matmul %[[G]], {{.*}} with (%{{.*}} = %[[X]] : element tensor<?x64xf32>)
// CHECK-NOT: {{kern.(row|map|matmul)}}
// CHECK: return

// CHECK-LABEL: func.func @m.layer.cached(
// CHECK-SAME: {r1c.role = "cache_rows"}
// CHECK-SAME: {r1c.role = "cache_keys"}
// CHECK-SAME: {r1c.role = "cache_values"}
// CHECK: %[[ROPE:.*]]:3 = kern.matmul {{.*}} turned(%{{.*}} : tensor<?x16xf32>) scatter(%{{.*}} : tensor<?xi32>) caches(
// CHECK-NEXT: kern.attention %[[ROPE]]#0, %[[ROPE]]#1, %[[ROPE]]#2 at {{.*}} from %{{[^ ]*}} {cached, heads
// CHECK: return %{{.*}}, %[[ROPE]]#1, %[[ROPE]]#2

// CHECK-LABEL: func.func @m.cache_rows(

// Nothing of rows × vocabulary (16) is stored where logits are only reduced.
// CHECK-LABEL: func.func @m.head(
// CHECK-NOT: tensor<?x16xf32>
// CHECK: kern.matmul {{.*}} -> (chunk tensor<?x1xf32>, chunk tensor<?x1xf32>, chunk tensor<?x1xf32>, chunk tensor<?x1xf32>)
// CHECK-NOT: tensor<?x16xf32>
// An update keeps them, beside what is reduced.
// CHECK-LABEL: func.func @m.head.stored(
// CHECK: kern.matmul {{.*}} -> (chunk tensor<?x1xf32>, chunk tensor<?x1xf32>, chunk tensor<?x1xf32>, chunk tensor<?x1xf32>, tensor<?x16xf32>)
// CHECK: return {{.*}} : {{.*}}, tensor<?x16xf32>
// CHECK-LABEL: func.func @m.logits(
// CHECK: kern.matmul {{.*}} -> (tensor<?x16xf32>)
// CHECK-LABEL: func.func @m.sample(
// CHECK-NOT: tensor<?x16xf32>
// CHECK: kern.matmul {{.*}} -> (chunk tensor<?x1xf32>, chunk tensor<?x1xf32>, chunk tensor<?x1xf32>, chunk tensor<?x1xi32>, chunk tensor<?x1xf32>)
// CHECK-NOT: tensor<?x16xf32>
// A filter needs them.
// CHECK-LABEL: func.func @m.sample.filtered(
// CHECK: kern.matmul {{.*}} -> (tensor<?x16xf32>)
// CHECK: kern.row {{.*}} -> (chunk tensor<?x1xf32>, {{.*}}chunk tensor<?x1xi32>

// CHECK-LABEL: func.func @m.layer.train(
// CHECK: kern.attention {{.*}} -> tensor<?x64xf32>, tensor<?x4xf32>
// CHECK: %[[GATED:.*]]:3 = kern.matmul
// CHECK: return {{.*}}%[[GATED]]#1, %[[GATED]]#2 :

// Gradients of parameters accumulate; no addition stands alone. What is made of gate's and up's gradients is made at once, and of queries', keys' and values'.
// CHECK-LABEL: func.func @m.layer.backward(
// CHECK-SAME: {r1c.layout = "backward", r1c.parameter = ["model.layers.{}.mlp.down_proj.weight"], r1c.role = "packed"}
// What gate and up give is computed again with their gradients, behind the product that gives the gradient.
// CHECK: %[[GU:.*]]:2 = kern.matmul {{.*}} -> (beside tensor<?x256xf32>, tensor<?x128xf32>)
// CHECK: kern.matmul %{{.*}}, %[[GU]]#1 transpose_a {{.*}} init(
// CHECK: kern.matmul %[[GU]]#0, {{.*}}!kern.packed<256x64xf32> -> (tensor<?x64xf32>)
// CHECK: %[[BOTH:.*]] = tensor.concat dim(0)
// CHECK: %[[DGU:.*]] = kern.matmul %[[GU]]#0, %{{.*}} transpose_a {{.*}} init(%[[BOTH]] : tensor<256x64xf32>)
// CHECK: %[[GATE:.*]] = tensor.extract_slice %[[DGU]][0, 0] [128, 64]
// CHECK: %[[UP:.*]] = tensor.extract_slice %[[DGU]][128, 0] [128, 64]
// CHECK: kern.attention_backward
// CHECK-NEXT: %[[QKV:.*]] = kern.rope %{{.*}}, %{{.*}}, %{{.*}} at {{.*}}heads = 6{{.*}}inverse{{.*}} -> tensor<?x128xf32>
// CHECK: kern.matmul %[[QKV]], {{.*}}!kern.packed<128x64xf32> -> (tensor<?x64xf32>)
// CHECK: kern.matmul %[[QKV]], %{{.*}} transpose_a
// CHECK: %[[Q:.*]] = tensor.extract_slice {{.*}}[0, 0] [64, 64]
// CHECK: %[[K:.*]] = tensor.extract_slice {{.*}}[64, 0] [32, 64]
// CHECK: %[[V:.*]] = tensor.extract_slice {{.*}}[96, 0] [32, 64]
// CHECK: kern.column_sum
// CHECK: return {{.*}}%[[Q]], %[[K]], %[[V]], {{.*}}%[[GATE]], %[[UP]]

// CHECK-LABEL: func.func @m.head.backward(
// CHECK-SAME: {r1c.of = "activation", r1c.role = "gradient_init"}
// CHECK: scatter(0)

// By what queries and keys are turned, once for all layers.
// CHECK-LABEL: func.func @m.angles(
// CHECK-SAME: tensor<?xi32> {r1c.role = "positions"}
// CHECK-SAME: -> (tensor<?x16xf32> {r1c.frequencies = array<f32: {{.*}}>, r1c.role = "angles"})
// CHECK: kern.angles %arg0 {frequencies = array<f32: 1.000000e+00, {{.*}}>} : tensor<?xi32> -> tensor<?x16xf32>
