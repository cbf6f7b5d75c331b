// RUN: r1c-opt %s --verify-roundtrip | FileCheck %s

// The example of dialects/lm/README.md, and every op once.

// CHECK: lm.model @m config {hidden = 64 : i64} {
lm.model @m config {hidden = 64 : i64} {
  // CHECK-NEXT: lm.parameter "model.norm.weight" : tensor<64xf32> init constant 1.000000e+00
  lm.parameter "model.norm.weight" : tensor<64xf32> init constant 1.0
  // CHECK-NEXT: lm.parameter "model.layers.{}.mlp.up_proj.weight" : tensor<128x64xf32> stacked 2 init normal 2.000000e-02 decay
  lm.parameter "model.layers.{}.mlp.up_proj.weight" : tensor<128x64xf32> stacked 2 init normal 2.0e-2 decay
}

// CHECK-LABEL: @block
func.func @block(%x: tensor<?x64xf32>, %norm: tensor<64xf32>, %gate: tensor<128x64xf32>, %up: tensor<128x64xf32>,
                 %down: tensor<64x128xf32>) -> tensor<?x64xf32> {
  // CHECK: lm.rms_norm %{{.*}}, %{{.*}} {epsilon = 1.000000e-05 : f64} : tensor<?x64xf32>, tensor<64xf32>
  %n = lm.rms_norm %x, %norm {epsilon = 1.0e-5 : f64} : tensor<?x64xf32>, tensor<64xf32>
  // CHECK: lm.linear %{{.*}}, %{{.*}} : (tensor<?x64xf32>, tensor<128x64xf32>) -> tensor<?x128xf32>
  %g = lm.linear %n, %gate : (tensor<?x64xf32>, tensor<128x64xf32>) -> tensor<?x128xf32>
  %u = lm.linear %n, %up : (tensor<?x64xf32>, tensor<128x64xf32>) -> tensor<?x128xf32>
  // CHECK: lm.silu_mul %{{.*}}, %{{.*}} : tensor<?x128xf32>
  %a = lm.silu_mul %g, %u : tensor<?x128xf32>
  %d = lm.linear %a, %down : (tensor<?x128xf32>, tensor<64x128xf32>) -> tensor<?x64xf32>
  // CHECK: lm.add %{{.*}}, %{{.*}} : tensor<?x64xf32>
  %y = lm.add %x, %d : tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}

// CHECK-LABEL: @attention
func.func @attention(%q: tensor<?x64xf32>, %k: tensor<?x32xf32>, %ctx: !lm.context, %w: tensor<16xf32>, %b: tensor<32xf32>,
                     %p: tensor<32x32xf32>) {
  // CHECK: lm.rms_norm %{{.*}} {epsilon = {{.*}} : f64, heads = 2 : i64}
  %n = lm.rms_norm %k, %w {epsilon = 1.0e-6 : f64, heads = 2 : i64} : tensor<?x32xf32>, tensor<16xf32>
  // CHECK: lm.linear %{{.*}}, %{{.*}} bias %{{.*}} : (tensor<?x32xf32>, tensor<32x32xf32>, tensor<32xf32>) -> tensor<?x32xf32>
  %v = lm.linear %n, %p bias %b : (tensor<?x32xf32>, tensor<32x32xf32>, tensor<32xf32>) -> tensor<?x32xf32>
  // CHECK: lm.rope %{{.*}}, %{{.*}} {frequencies = array<f64: 1.000000e+00, 5.000000e-01, 2.500000e-01, 1.250000e-01, 6.250000e-02, 3.125000e-02, 1.562500e-02, 7.812500e-03>, heads = 4 : i64} : tensor<?x64xf32>
  %r = lm.rope %q, %ctx {frequencies = array<f64: 1.0, 0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625, 0.0078125>, heads = 4 : i64} : tensor<?x64xf32>
  // CHECK: lm.rope %{{.*}}, %{{.*}} inverse {frequencies = array<f64: 1.000000e+00, 5.000000e-01, 2.500000e-01, 1.250000e-01, 6.250000e-02, 3.125000e-02, 1.562500e-02, 7.812500e-03>, heads = 4 : i64} : tensor<?x64xf32>
  %i = lm.rope %q, %ctx inverse {frequencies = array<f64: 1.0, 0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625, 0.0078125>, heads = 4 : i64} : tensor<?x64xf32>
  // CHECK: lm.attention %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} {heads = 4 : i64, kv_heads = 2 : i64, scale = 2.500000e-01 : f64} : tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32> -> tensor<?x4xf32>
  %y, %lse = lm.attention %r, %k, %v, %ctx {heads = 4 : i64, kv_heads = 2 : i64, scale = 0.25 : f64} : tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32> -> tensor<?x4xf32>
  // CHECK: lm.attention_grad
  %dq, %dk, %dv = lm.attention_grad %i, %r, %k, %v, %y, %lse, %ctx {heads = 4 : i64, kv_heads = 2 : i64, scale = 0.25 : f64} : tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x4xf32>
  // CHECK: lm.rms_norm_grad
  %dn, %dw = lm.rms_norm_grad %dk, %k, %w {epsilon = 1.0e-6 : f64, heads = 2 : i64} : tensor<?x32xf32>, tensor<16xf32>
  // CHECK: lm.silu_mul_grad
  %dg, %du = lm.silu_mul_grad %dq, %r, %y : tensor<?x64xf32>
  // CHECK: lm.linear_input_grad
  %dx = lm.linear_input_grad %dn, %p : (tensor<?x32xf32>, tensor<32x32xf32>) -> tensor<?x32xf32>
  // CHECK: lm.linear_weight_grad
  %dp = lm.linear_weight_grad %dn, %k : (tensor<?x32xf32>, tensor<?x32xf32>) -> tensor<32x32xf32>
  // CHECK: lm.linear_bias_grad
  %db = lm.linear_bias_grad %dn : (tensor<?x32xf32>) -> tensor<32xf32>
  return
}

// CHECK-LABEL: @head
func.func @head(%ids: tensor<?xi32>, %table: tensor<16x64xf32>, %rows: tensor<?xi32>, %t: tensor<f32>, %c: tensor<?x4xi32>,
                %key: tensor<2xi32>) {
  // CHECK: lm.embedding
  %x = lm.embedding %ids, %table : (tensor<?xi32>, tensor<16x64xf32>) -> tensor<?x64xf32>
  // CHECK: lm.gather
  %g = lm.gather %x, %rows : (tensor<?x64xf32>, tensor<?xi32>) -> tensor<?x64xf32>
  // CHECK: lm.head %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} : tensor<?x64xf32>, tensor<16x64xf32>, tensor<?xi32> -> tensor<?xf32>
  %logp, %entropy, %lse = lm.head %g, %table, %rows, %t : tensor<?x64xf32>, tensor<16x64xf32>, tensor<?xi32> -> tensor<?xf32>
  // CHECK: lm.head_grad logp %{{[a-z0-9#]*}} : tensor<?xf32> of
  %a, %b = lm.head_grad logp %logp : tensor<?xf32> of %g, %table, %rows, %t, %lse : tensor<?x64xf32>, tensor<16x64xf32>, tensor<?xi32>, tensor<?xf32>
  // CHECK: lm.head_grad logp %{{[a-z0-9#]*}} : tensor<?xf32> entropy %{{[a-z0-9#]*}} at %{{[a-z0-9#]*}} : tensor<?xf32>, tensor<?xf32> of
  %d, %e = lm.head_grad logp %logp : tensor<?xf32> entropy %logp at %entropy : tensor<?xf32>, tensor<?xf32> of %g, %table, %rows, %t, %lse : tensor<?x64xf32>, tensor<16x64xf32>, tensor<?xi32>, tensor<?xf32>
  // CHECK: lm.gather_grad
  %dx = lm.gather_grad %a, %rows like %x : (tensor<?x64xf32>, tensor<?xi32>, tensor<?x64xf32>) -> tensor<?x64xf32>
  // CHECK: lm.embedding_grad
  %dt = lm.embedding_grad %dx, %ids : (tensor<?x64xf32>, tensor<?xi32>) -> tensor<16x64xf32>
  %logits = lm.linear %g, %table : (tensor<?x64xf32>, tensor<16x64xf32>) -> tensor<?x16xf32>
  // CHECK: lm.sample
  %token = lm.sample %logits, %t, %c, %key : (tensor<?x16xf32>, tensor<f32>, tensor<?x4xi32>, tensor<2xi32>) -> tensor<?xi32>
  // CHECK: lm.keep %{{.*}}, %{{.*}} top_k %{{.*}} top_p %{{.*}} min_p %{{.*}} : tensor<?x16xf32>
  %kept = lm.keep %logits, %t top_k %t top_p %t min_p %t : tensor<?x16xf32>
  // CHECK: lm.sample %{{.*}} kept %{{[a-z0-9]*}} : ({{.*}}, tensor<?x16xi1>) -> tensor<?xi32>
  %other = lm.sample %logits, %t, %c, %key kept %kept : (tensor<?x16xf32>, tensor<f32>, tensor<?x4xi32>, tensor<2xi32>, tensor<?x16xi1>) -> tensor<?xi32>
  // CHECK: lm.log_prob %{{.*}} kept %{{[a-z0-9]*}} : tensor<?x16xi1> : tensor<?x16xf32>
  %p2, %h2, %l2 = lm.log_prob %logits, %other, %t kept %kept : tensor<?x16xi1> : tensor<?x16xf32>, tensor<?xi32> -> tensor<?xf32>
  // CHECK: lm.head %{{.*}} kept %{{[a-z0-9]*}} : tensor<?x16xi1> : tensor<?x64xf32>
  %p3, %h3, %l3 = lm.head %g, %table, %rows, %t kept %kept : tensor<?x16xi1> : tensor<?x64xf32>, tensor<16x64xf32>, tensor<?xi32> -> tensor<?xf32>
  // CHECK: lm.head_grad logp %{{[a-z0-9_#]*}} : tensor<?xf32> of %{{.*}} kept %{{[a-z0-9]*}} : tensor<?x16xi1> : tensor<?x64xf32>
  %k, %m = lm.head_grad logp %p3 : tensor<?xf32> of %g, %table, %rows, %t, %l3 kept %kept : tensor<?x16xi1> : tensor<?x64xf32>, tensor<16x64xf32>, tensor<?xi32>, tensor<?xf32>
  // CHECK: lm.log_prob
  %p, %h, %l = lm.log_prob %logits, %token, %t : tensor<?x16xf32>, tensor<?xi32> -> tensor<?xf32>
  return
}
