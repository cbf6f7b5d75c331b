// What is fused with what, and why not; each model is there for a reason of its own.
// RUN: r1c-opt %s --lm-expand --lm-differentiate --lm-to-kern --split-input-file --remarks-filter=fuse -o /dev/null 2>&1 | FileCheck %s

lm.model @plain config {layers = 2, hidden = 64, heads = 4, kv_heads = 2, intermediate = 128, vocabulary = 16, context = 64} {}

// CHECK: [Missed] Precision {{.*}}matrix products and attention read float32
// CHECK: [Passed] JointProduct {{.*}}Function=layer | {{.*}}q_proj, k_proj, v_proj: one product of 128 columns, cut by what turns queries and keys
// CHECK: [Passed] Turn {{.*}}Function=layer | {{.*}}queries and keys: turned by the kernel of their product, where its sums arise"
// CHECK: [Passed] Epilogue {{.*}}Function=layer | {{.*}}o_proj: the addition behind it is its epilogue
// CHECK: [Passed] Paired {{.*}}Function=layer | {{.*}}gate_proj, up_proj: one product, whose epilogue is the gate
// CHECK: [Passed] Turn {{.*}}Function=layer.cached | {{.*}}stores keys and values in the cache
// CHECK: [Passed] Logits {{.*}}Function=head | {{.*}}never stored
// CHECK: [Passed] Logits {{.*}}Function=head.stored | {{.*}}kept for the backward
// CHECK: [Passed] Logits {{.*}}Function=sample | {{.*}}drawn from behind the product
// CHECK: [Passed] Logits {{.*}}Function=sample.filtered | {{.*}}reads them several times
// CHECK: [Passed] JointGradient {{.*}}Function=layer.backward | {{.*}}gradients of gate_proj, up_proj: side by side where they arise
// CHECK: [Passed] JointGradient {{.*}}gradients of q_proj, k_proj, v_proj: side by side where they are turned back
// CHECK: [Passed] Epilogue {{.*}}Function=layer.backward | {{.*}}down_proj: the derivative of the gate behind its input's gradient is its epilogue
// CHECK: [Passed] Logits {{.*}}Function=head.backward | {{.*}}multiplied again
// CHECK: [Passed] Logits {{.*}}Function=head.backward.stored | {{.*}}read as the forward pass has left them

// -----

lm.model @normed config {layers = 2, hidden = 64, heads = 4, kv_heads = 2, intermediate = 128, vocabulary = 16, context = 64, qk_norm = true} {}

// CHECK: one product of 128 columns, cut by a kernel of its own, since norms come before the turn
// CHECK: [Passed] Turn {{.*}}Function=layer | {{.*}}queries and keys: turned by one kernel"
// CHECK: gradients of q_proj, k_proj, v_proj: side by side by a kernel of its own, behind norms

// -----

lm.model @narrow config {layers = 2, hidden = 64, heads = 4, kv_heads = 1, head_dim = 8, intermediate = 120, vocabulary = 16, context = 64, qkv_bias = true} {}

// CHECK: [Missed] JointProduct {{.*}}Reason="their biases are no multiples of 64 bytes", Remark="{{.*}}three products"
// CHECK: [Missed] Paired {{.*}}Reason="gate and up are apart, for their width is no multiple of 16", Remark="gated: a kernel of its own"
// CHECK: [Missed] Joint {{.*}}Reason="their parameters are no multiples of 64 bytes", Remark="gradients of queries, keys and values: not one kernel"

// -----

lm.model @bf16 config {layers = 2, hidden = 64, heads = 4, kv_heads = 2, intermediate = 128, vocabulary = 16, context = 64, bf16 = true} {}

// CHECK: [Passed] Precision {{.*}}matrix products and attention read bfloat16
// CHECK: [Passed] Narrow {{.*}}Function=layer | {{.*}}in bfloat16, as all its readers take it: input_layernorm, v_proj, query, key, attention, post_attention_layernorm, gated
// CHECK: [Missed] Wide {{.*}}Function=layer | {{.*}}in float32: attention_residual (for add)
// CHECK: [Missed] Wide {{.*}}Function=layer.backward | {{.*}}attention (for rope)
// CHECK: [Passed] Rounded {{.*}}Function=layer.backward | {{.*}}for products: post_attention_layernorm

// -----

module attributes {r1c.target = "cuda"} {
  lm.model @cuda config {layers = 2, hidden = 64, heads = 4, kv_heads = 2, intermediate = 128, vocabulary = 16, context = 64, bf16 = true} {}
}

// Gradients too; on a CPU they grow in the results.
// CHECK: [Passed] Narrow {{.*}}Function=layer.backward | {{.*}}in bfloat16, as all its readers take it: {{.*}}attention

// -----

module attributes {r1c.target = "cuda"} {
  lm.model @threads config {layers = 2, hidden = 64, heads = 4, kv_heads = 2, intermediate = 128, vocabulary = 16, context = 64} {}
}

// CHECK: [Passed] Turn {{.*}}Function=layer | {{.*}}Reason="a product without tensor cores has no turn behind it", {{.*}}queries and keys: turned by one kernel"

// -----

lm.model @wide config {layers = 2, hidden = 64, heads = 2, kv_heads = 1, head_dim = 34, intermediate = 128, vocabulary = 16, context = 64} {}

// CHECK: [Passed] Turn {{.*}}Function=layer | {{.*}}Reason="whole heads are more columns than a block of sums has", {{.*}}queries and keys: turned by one kernel"
