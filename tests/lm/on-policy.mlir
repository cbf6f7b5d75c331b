// RUN: r1c-opt %s --lm-expand --lm-differentiate --lm-to-kern > %t.mlir
// RUN: sed -n '/@m.head(/,/^  }/p' %t.mlir | sed -n '/kern.reduce max/,/kern.reduce add/p' | sed 's/%%[a-z0-9_]*//g' > %t.head
// RUN: sed -n '/@m.sample(/,/^  }/p' %t.mlir | sed '/arith.cmpf uno/,/kern.reduce max/d' | sed -n '/kern.reduce max/,/kern.reduce add/p' | sed 's/%%[a-z0-9_]*//g' > %t.sample
// RUN: sed -n '/@m.sample.filtered(/,/^  }/p' %t.mlir | sed -n '/kern.row.*chunk/,$p' | sed '/arith.cmpf uno/,/kern.reduce max/d' | sed -n '/kern.reduce max/,/kern.reduce add/p' | sed 's/%%[a-z0-9_]*//g' > %t.filtered
// RUN: grep -c "kern.reduce max" %t.head | grep -x 2
// RUN: grep -c "math.exp" %t.head | grep -x 2
// RUN: diff %t.head %t.sample
// RUN: diff %t.head %t.filtered
// RUN: sed -n '/@m.head.filtered(/,/^  }/p' %t.mlir | sed -n '/kern.reduce max/,/kern.reduce add/p' | sed 's/%%[a-z0-9_]*//g' > %t.filtered
// RUN: diff %t.head %t.filtered

// Maximum and sum of exponentials, of chunks and of the row, are, up to the
// names of values, the same text in training and in sampling (where the score
// of the draw, cut out here, has a maximum of its own): that a recorded
// log-probability is the trained one rests on it.

lm.model @m config {layers = 2, hidden = 64, heads = 4, kv_heads = 2, intermediate = 128, vocabulary = 16, context = 64} {}
