// RUN: r1c-opt %s --lm-expand --verify-roundtrip | FileCheck %s
// RUN: r1c-opt %s --lm-expand | not FileCheck %s --check-prefix=BIAS

lm.model @m config {layers = 2, hidden = 64, heads = 4, kv_heads = 2, intermediate = 128, vocabulary = 16, context = 64} {}

// The order of the parameters is their order in memory.
// CHECK-LABEL: lm.model @m config
// CHECK-NEXT: "model.embed_tokens.weight" : tensor<16x64xf32> init normal 2.000000e-02 decay
// CHECK-NEXT: "model.layers.{}.input_layernorm.weight" : tensor<64xf32> stacked 2 init constant 1.000000e+00{{$}}
// CHECK-NEXT: "model.layers.{}.self_attn.q_proj.weight" : tensor<64x64xf32> stacked 2 init normal 2.000000e-02 decay
// CHECK-NEXT: "model.layers.{}.self_attn.k_proj.weight" : tensor<32x64xf32> stacked 2
// CHECK-NEXT: "model.layers.{}.self_attn.v_proj.weight" : tensor<32x64xf32> stacked 2
// CHECK-NEXT: "model.layers.{}.self_attn.o_proj.weight" : tensor<64x64xf32> stacked 2
// CHECK-NEXT: "model.layers.{}.post_attention_layernorm.weight" : tensor<64xf32> stacked 2
// CHECK-NEXT: "model.layers.{}.mlp.gate_proj.weight" : tensor<128x64xf32> stacked 2
// CHECK-NEXT: "model.layers.{}.mlp.up_proj.weight" : tensor<128x64xf32> stacked 2
// CHECK-NEXT: "model.layers.{}.mlp.down_proj.weight" : tensor<64x128xf32> stacked 2
// CHECK-NEXT: "model.norm.weight" : tensor<64xf32> init constant 1.000000e+00
// CHECK-NEXT: }

// CHECK-LABEL: func.func @m.embed(
// CHECK-SAME: %{{.*}}: tensor<?xi32> {r1c.role = "tokens"},
// CHECK-SAME: tensor<16x64xf32> {r1c.parameter = "model.embed_tokens.weight", r1c.role = "parameter"})
// CHECK-SAME: -> (tensor<?x64xf32> {r1c.role = "activation"}) attributes {r1c.function = "embed", r1c.model = @m}

// CHECK-LABEL: func.func @m.layer(
// CHECK-SAME: {r1c.role = "activation"}, %{{.*}}: !lm.context {r1c.role = "context"}
// CHECK: lm.rms_norm
// CHECK-NEXT: lm.linear
// CHECK-NEXT: lm.linear
// CHECK-NEXT: lm.linear
// CHECK-NEXT: lm.rope {{.*}}heads = 4
// CHECK-NEXT: lm.rope {{.*}}heads = 2
// CHECK-NEXT: lm.attention {{.*}}scale = 2.500000e-01
// CHECK-NEXT: lm.linear
// CHECK-NEXT: lm.add
// CHECK-NEXT: lm.rms_norm
// CHECK-NEXT: lm.linear
// CHECK-NEXT: lm.linear
// CHECK-NEXT: lm.silu_mul
// CHECK-NEXT: lm.linear
// CHECK-NEXT: lm.add
// CHECK-NEXT: return

// CHECK-LABEL: func.func @m.head(
// CHECK-SAME: {r1c.role = "rows"}, {{.*}}{r1c.role = "targets"}, {{.*}}{r1c.role = "temperature"}
// CHECK-SAME: -> (tensor<?xf32> {r1c.role = "logp"}, tensor<?xf32> {r1c.role = "entropy"}, tensor<?xf32> {r1c.role = "lse"})
// CHECK: lm.gather
// CHECK-NEXT: lm.rms_norm
// CHECK-NEXT: lm.head

// CHECK-LABEL: func.func @m.sample(
// CHECK: %[[LOGITS:.*]] = lm.linear
// CHECK-NEXT: %[[TOKEN:.*]] = lm.sample %[[LOGITS]]
// CHECK-NEXT: lm.log_prob %[[LOGITS]], %[[TOKEN]]

// BIAS: lm.linear {{.*}} bias
