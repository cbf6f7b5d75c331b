// RUN: r1c-opt %s --lm-expand --lm-differentiate --lm-to-kern --verify-roundtrip | FileCheck %s
// RUN: r1c-opt %s --lm-expand --lm-differentiate --lm-to-kern | not FileCheck %s --check-prefix=LEFT

// LEFT: = lm.

lm.model @m config {layers = 2, hidden = 64, heads = 4, kv_heads = 2, intermediate = 128, vocabulary = 16, context = 64} {}

// CHECK-LABEL: func.func @m.embed(
// CHECK: kern.map ({{.*}} : gather(0) tensor<16x64xf32>)

// The residual is the epilogue of o_proj and down_proj, silu · mul that of gate and up.
// CHECK-LABEL: func.func @m.layer(
// CHECK-SAME: !kern.packed<64x64xf32> {r1c.layout = "forward", r1c.parameter = ["model.layers.{}.self_attn.q_proj.weight"], r1c.role = "packed"}
// CHECK-SAME: tensor<?xi32> {r1c.role = "positions"}
// CHECK-SAME: tensor<?xi32> {r1c.role = "bases"}
// CHECK-SAME: !kern.packed<64x256xf32> {r1c.layout = "paired", r1c.parameter = ["model.layers.{}.mlp.gate_proj.weight", "model.layers.{}.mlp.up_proj.weight"], r1c.role = "packed"}
// CHECK: kern.row
// CHECK: kern.matmul
// CHECK: kern.matmul
// CHECK: kern.matmul
// CHECK: kern.rope
// CHECK: kern.rope
// CHECK: %[[OUT:.*]] = kern.attention {{.*}} -> tensor<?x64xf32>{{$}}
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
// CHECK: %[[K:.*]] = kern.map {{.*}}scatter(0)
// CHECK: %[[V:.*]] = kern.map {{.*}}scatter(0)
// CHECK: kern.attention %{{.*}}, %[[K]], %[[V]] at

// CHECK-LABEL: func.func @m.cache_rows(

// Nothing of rows × vocabulary (16) is stored where logits are only reduced.
// CHECK-LABEL: func.func @m.head(
// CHECK-NOT: tensor<?x16xf32>
// CHECK: kern.matmul {{.*}} -> (chunk tensor<?x1xf32>, chunk tensor<?x1xf32>, chunk tensor<?x1xf32>, chunk tensor<?x1xf32>)
// CHECK-NOT: tensor<?x16xf32>
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
// CHECK: return {{.*}}%[[GATED]]#1, %[[GATED]]#2, %[[GATED]]#0

// Gradients of parameters accumulate; no addition stands alone.
// CHECK-LABEL: func.func @m.layer.backward(
// CHECK-SAME: {r1c.layout = "backward", r1c.parameter = ["model.layers.{}.mlp.down_proj.weight"], r1c.role = "packed"}
// CHECK: kern.matmul {{.*}} init(
// CHECK: kern.attention_backward
// CHECK: kern.column_sum

// CHECK-LABEL: func.func @m.head.backward(
// CHECK-SAME: {r1c.of = "activation", r1c.role = "gradient_init"}
// CHECK: scatter(0)
