// RUN: r1c-opt %s --lm-expand --lm-differentiate --verify-roundtrip | FileCheck %s --check-prefixes=CHECK,NONE
// RUN: r1c-opt %s --lm-expand --lm-differentiate=recompute=cheap --verify-roundtrip | FileCheck %s --check-prefixes=CHECK,CHEAP
// RUN: r1c-opt %s --lm-expand --lm-differentiate=recompute=all --verify-roundtrip | FileCheck %s --check-prefixes=ALL
// RUN: not r1c-opt %s --lm-expand --lm-differentiate=recompute=some 2>&1 | FileCheck %s --check-prefix=ERROR

// ERROR: lm-differentiate: no way to recompute is called 'some'; there are none, cheap, all

lm.model @m config {layers = 2, hidden = 64, heads = 4, kv_heads = 2, intermediate = 128, vocabulary = 16, context = 64} {}

// CHECK-LABEL: func.func @m.embed.backward(
// CHECK-SAME: {r1c.of = "activation", r1c.role = "gradient"})
// CHECK-SAME: -> (tensor<16x64xf32> {r1c.parameter = "model.embed_tokens.weight", r1c.role = "parameter_gradient"})

// The saved values of .train and .backward go by the same names.
// CHECK-LABEL: func.func @m.layer.train(
// NONE-SAME: -> (tensor<?x64xf32> {r1c.role = "activation"}, tensor<?x64xf32> {r1c.name = "input_layernorm", r1c.role = "saved"}
// CHEAP-NOT: r1c.name = "input_layernorm"
// CHEAP-NOT: r1c.name = "gated"
// CHECK-SAME: r1c.name = "v_proj"
// CHECK-SAME: r1c.name = "query"
// CHECK-SAME: r1c.name = "key"
// CHECK-SAME: r1c.name = "attention"
// CHECK-SAME: r1c.name = "attention:1"
// CHECK-SAME: r1c.name = "attention_residual"
// CHECK-SAME: r1c.name = "gate_proj"
// CHECK-SAME: r1c.name = "up_proj"
// CHECK-NOT: r1c.name = "gated"

// ALL-NOT: .train
// ALL: @m.layer.backward
// ALL-NOT: "saved"
// ALL: lm.attention_grad

// CHECK-LABEL: func.func @m.layer.backward(
// CHECK-NOT: lm.linear %
// CHECK: %[[GATED:.*]] = lm.silu_mul %
// CHECK-NEXT: lm.silu_mul_grad
// CHECK-NEXT: lm.linear_weight_grad %{{.*}}, %[[GATED]]
// CHECK-NOT: lm.attention %
// CHECK: lm.attention_grad
// CHECK: lm.rope {{.*}} inverse
// CHECK: lm.rms_norm_grad

// CHECK-LABEL: func.func @m.head.backward(
// CHECK: lm.gather %
// CHECK-NEXT: lm.rms_norm %
// CHECK-NEXT: lm.head_grad logp %{{.*}} entropy
// CHECK-NEXT: lm.rms_norm_grad
// CHECK-NEXT: lm.gather_grad

// CHECK-LABEL: func.func @m.head.backward.logp(
// CHECK-NOT: entropy
// CHECK: return
