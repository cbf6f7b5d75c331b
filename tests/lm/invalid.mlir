// RUN: r1c-opt %s --split-input-file --verify-diagnostics

lm.model @m config {} {
  lm.parameter "a" : tensor<4xf32> init constant 1.0
  // expected-error @+1 {{repeats the name 'a'}}
  lm.parameter "a" : tensor<4xf32> init constant 1.0
}

// -----

lm.model @m config {} {
  // expected-error @+1 {{is stacked, so its name needs '{}' for the layer: 'a'}}
  lm.parameter "a" : tensor<4xf32> stacked 2 init constant 1.0
}

// -----

lm.model @m config {} {
  // expected-error @+1 {{has '{}' in its name but is not stacked: 'a.{}'}}
  lm.parameter "a.{}" : tensor<4xf32> init constant 1.0
}

// -----

lm.model @m config {} {
  // expected-error @+1 {{is stacked over 0 layers}}
  lm.parameter "a.{}" : tensor<4xf32> stacked 0 init constant 1.0
}

// -----

lm.model @m config {} {
  // expected-error @+1 {{needs a static shape, not 'tensor<?xf32>'}}
  lm.parameter "a" : tensor<?xf32> init constant 1.0
}

// -----

lm.model @m config {} {
  // expected-error @+1 {{needs a standard deviation that is not negative}}
  lm.parameter "a" : tensor<4xf32> init normal -1.0
}

// -----

lm.model @m config {} {
  // expected-error @+1 {{cannot stand in lm.model, which lists parameters}}
  %c = arith.constant 0 : i32
}

// -----

func.func @f(%x: tensor<?x6xf32>, %w: tensor<8x5xf32>) {
  // expected-error @+1 {{needs the weight's columns (in) to be 6, not 5}}
  %y = lm.linear %x, %w : (tensor<?x6xf32>, tensor<8x5xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @f(%x: tensor<?x6xf32>, %w: tensor<8x6xf32>) {
  // expected-error @+1 {{needs the result's columns to be 8, not 9}}
  %y = lm.linear %x, %w : (tensor<?x6xf32>, tensor<8x6xf32>) -> tensor<?x9xf32>
  return
}

// -----

func.func @f(%x: tensor<?x6xf32>, %w: tensor<8x6xf32>, %b: tensor<6xf32>) {
  // expected-error @+1 {{needs the bias's size to be 8, not 6}}
  %y = lm.linear %x, %w bias %b : (tensor<?x6xf32>, tensor<8x6xf32>, tensor<6xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @f(%x: tensor<?x6xf32>, %w: tensor<5xf32>) {
  // expected-error @+1 {{needs the weight's size to be 6, not 5}}
  %y = lm.rms_norm %x, %w {epsilon = 1.0e-5 : f64} : tensor<?x6xf32>, tensor<5xf32>
  return
}

// -----

func.func @f(%x: tensor<?x6xf32>, %w: tensor<6xf32>) {
  // expected-error @+1 {{needs a positive epsilon, not 0}}
  %y = lm.rms_norm %x, %w {epsilon = 0.0 : f64} : tensor<?x6xf32>, tensor<6xf32>
  return
}

// -----

func.func @f(%x: tensor<?x6xf32>, %w: tensor<6xf32>) {
  // expected-error @+1 {{cannot divide the 6 columns of the input among 4 heads}}
  %y = lm.rms_norm %x, %w {epsilon = 1.0e-5 : f64, heads = 4 : i64} : tensor<?x6xf32>, tensor<6xf32>
  return
}

// -----

func.func @f(%x: tensor<?x6xf32>, %ctx: !lm.context) {
  // expected-error @+1 {{needs an even number of columns a head, not 3}}
  %y = lm.rope %x, %ctx {frequencies = array<f64: 1.0>, heads = 2 : i64} : tensor<?x6xf32>
  return
}

// -----

func.func @f(%x: tensor<?x8xf32>, %ctx: !lm.context) {
  // expected-error @+1 {{needs 2 frequencies, one for each pair of columns, not 1}}
  %y = lm.rope %x, %ctx {frequencies = array<f64: 1.0>, heads = 2 : i64} : tensor<?x8xf32>
  return
}

// -----

func.func @f(%x: tensor<?x4xf32>, %ctx: !lm.context) {
  // expected-error @+1 {{frequencies must be positive, not 0}}
  %y = lm.rope %x, %ctx {frequencies = array<f64: 1.0, 0.0>, heads = 1 : i64} : tensor<?x4xf32>
  return
}

// -----

func.func @f(%q: tensor<?x12xf32>, %k: tensor<?x8xf32>, %ctx: !lm.context) {
  // expected-error @+1 {{cannot share 2 key heads among 3 query heads}}
  %y, %l = lm.attention %q, %k, %k, %ctx {heads = 3 : i64, kv_heads = 2 : i64, scale = 1.0 : f64} : tensor<?x12xf32>, tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x3xf32>
  return
}

// -----

func.func @f(%q: tensor<?x16xf32>, %k: tensor<?x12xf32>, %ctx: !lm.context) {
  // expected-error @+1 {{needs query and key heads of one width, not 4 and 6}}
  %y, %l = lm.attention %q, %k, %k, %ctx {heads = 4 : i64, kv_heads = 2 : i64, scale = 1.0 : f64} : tensor<?x16xf32>, tensor<?x12xf32>, tensor<?x12xf32> -> tensor<?x4xf32>
  return
}

// -----

func.func @f(%q: tensor<?x16xf32>, %k: tensor<?x8xf32>, %ctx: !lm.context) {
  // expected-error @+1 {{needs the columns of lse to be 4, not 2}}
  %y, %l = lm.attention %q, %k, %k, %ctx {heads = 4 : i64, kv_heads = 2 : i64, scale = 1.0 : f64} : tensor<?x16xf32>, tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x2xf32>
  return
}

// -----

func.func @f(%ids: tensor<?xi32>, %table: tensor<16x64xf32>) {
  // expected-error @+1 {{needs the table's width to be 32, not 64}}
  %x = lm.embedding %ids, %table : (tensor<?xi32>, tensor<16x64xf32>) -> tensor<?x32xf32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>, %w: tensor<16x64xf32>, %ids: tensor<?xi32>, %t: tensor<f32>, %l: tensor<?xf32>) {
  // expected-error @+1 {{needs a gradient of logp, of entropy, or both}}
  %a, %b = lm.head_grad of %x, %w, %ids, %t, %l : tensor<?x64xf32>, tensor<16x64xf32>, tensor<?xi32>, tensor<?xf32>
  return
}

// -----

func.func @f(%x: tensor<?x16xf32>, %t: tensor<f32>, %c: tensor<?x3xi32>, %key: tensor<2xi32>) {
  // expected-error @+1 {{needs the counter's columns to be 4, not 3}}
  %y = lm.sample %x, %t, %c, %key : (tensor<?x16xf32>, tensor<f32>, tensor<?x3xi32>, tensor<2xi32>) -> tensor<?xi32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>, %w: tensor<16x64xf32>, %ids: tensor<?xi32>, %t: tensor<f32>, %kept: tensor<?x8xi1>) {
  // expected-error @+1 {{needs the columns of the kept set to be 16, not 8}}
  %a, %b, %c = lm.head %x, %w, %ids, %t kept %kept : tensor<?x8xi1> : tensor<?x64xf32>, tensor<16x64xf32>, tensor<?xi32> -> tensor<?xf32>
  return
}

// -----

func.func @f(%x: tensor<?x64xf32>, %w: tensor<16x64xf32>, %ids: tensor<?xi32>, %t: tensor<f32>, %l: tensor<?xf32>, %kept: tensor<?x8xi1>) {
  // expected-error @+1 {{needs the columns of the kept set to be 16, not 8}}
  %a, %b = lm.head_grad logp %l : tensor<?xf32> of %x, %w, %ids, %t, %l kept %kept : tensor<?x8xi1> : tensor<?x64xf32>, tensor<16x64xf32>, tensor<?xi32>, tensor<?xf32>
  return
}

// -----

func.func @f(%x: tensor<?x16xf32>, %ids: tensor<?xi32>, %t: tensor<f32>, %kept: tensor<4x16xi1>) {
  // expected-error @+1 {{needs the rows of the kept set to be ?, not 4}}
  %a, %b, %c = lm.log_prob %x, %ids, %t kept %kept : tensor<4x16xi1> : tensor<?x16xf32>, tensor<?xi32> -> tensor<?xf32>
  return
}

// -----

func.func @f(%x: tensor<?x16xf32>, %t: tensor<f32>, %c: tensor<?x4xi32>, %key: tensor<2xi32>, %kept: tensor<?x8xi1>) {
  // expected-error @+1 {{needs the columns of the kept set to be 16, not 8}}
  %y = lm.sample %x, %t, %c, %key kept %kept : (tensor<?x16xf32>, tensor<f32>, tensor<?x4xi32>, tensor<2xi32>, tensor<?x8xi1>) -> tensor<?xi32>
  return
}
