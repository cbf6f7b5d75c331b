// RUN: r1c-opt %s --lm-expand --split-input-file --verify-diagnostics

// expected-error @+1 {{heads = 4 must be a multiple of kv_heads = 3}}
lm.model @m config {layers = 2, hidden = 64, heads = 4, kv_heads = 3, intermediate = 128, vocabulary = 16, context = 64} {}

// -----

// expected-error @+1 {{the policy needs 'context'}}
lm.model @m config {layers = 2, hidden = 64, heads = 4, intermediate = 128, vocabulary = 16} {}
