// RUN: r1c-opt %s --lm-expand --lm-differentiate --lm-to-kern > %t.mlir
// RUN: sed -n '/@m.head(/,/^  }/p' %t.mlir | sed -n '/kern.matmul/,/kern.yield/p' | sed 's/%%[a-z0-9_]*//g' > %t.head
// RUN: sed -n '/@m.sample(/,/^  }/p' %t.mlir | sed -n '/kern.matmul/p;/ row tensor<?xi32>.* one tensor<f32>/,/kern.yield/p' | sed 's/%%[a-z0-9_]*//g' > %t.sample
// RUN: grep kern.matmul %t.head
// RUN: grep "math.log" %t.head
// RUN: diff %t.head %t.sample
// RUN: sed -n '/@m.head.filtered(/,/^  }/p' %t.mlir | sed -n '/kern.matmul/,/kern.yield/p' | sed 's/%%[a-z0-9_]*//g' > %t.head
// RUN: sed -n '/@m.sample.filtered(/,/^  }/p' %t.mlir | sed -n '/kern.matmul/p;/ row tensor<?xi32>.* one tensor<f32>/,/kern.yield/p' | sed 's/%%[a-z0-9_]*//g' > %t.sample
// RUN: grep "arith.select.*f32" %t.head
// RUN: diff %t.head %t.sample

// The kernels that give a log-probability are, up to the names of values, the
// same text in training and in sampling: equal bits rest on it.

lm.model @m config {layers = 2, hidden = 64, heads = 4, kv_heads = 2, intermediate = 128, vocabulary = 16, context = 64} {}
