// RUN: r1c-opt %s --split-input-file --kern-to-loops=cpu=znver4 --r1c-expand-math --verify-diagnostics

func.func @two(%x: tensor<?xf32>) -> tensor<?xf32> attributes {kern.kernel} {
  %0 = kern.map (%a = %x : element tensor<?xf32>) -> (element tensor<?xf32>) {
    kern.yield %a : f32
  }
  // expected-error@+1 {{a kernel function holds exactly one op of kern and a return}}
  %1 = kern.map (%a = %0 : element tensor<?xf32>) -> (element tensor<?xf32>) {
    kern.yield %a : f32
  }
  return %1 : tensor<?xf32>
}

// -----

// expected-error@+1 {{is marked kern.kernel but holds no op of kern}}
func.func @none(%x: tensor<?xf32>) -> tensor<?xf32> attributes {kern.kernel} {
  return %x : tensor<?xf32>
}

// -----

// expected-error@+1 {{must return every result of its kern op}}
func.func @lost(%x: tensor<?xf32>) -> tensor<?xf32> attributes {kern.kernel} {
  %0:2 = kern.map (%a = %x : element tensor<?xf32>) -> (element tensor<?xf32>, element tensor<?xf32>) {
    kern.yield %a, %a : f32, f32
  }
  return %0#0 : tensor<?xf32>
}

// -----

// No machine instruction, and no library to call.
func.func @remainder(%x: tensor<?xf64>) -> tensor<?xf64> attributes {kern.kernel} {
  %0 = kern.map (%a = %x : element tensor<?xf64>) -> (element tensor<?xf64>) {
    // expected-error@+1 {{has no expansion in kernels for}}
    %1 = arith.remf %a, %a : f64
    kern.yield %1 : f64
  }
  return %0 : tensor<?xf64>
}

// -----

// 17 panels of 32 columns are 16 heads.
func.func @heads(%a: tensor<?x8xf32>, %b: !kern.packed<8x34xf32>, %t: tensor<?x34xf32>) -> tensor<?x34xf32> attributes {kern.kernel} {
  // expected-error@+1 {{whole heads are more columns than a block of sums has}}
  %0 = kern.matmul %a, %b : tensor<?x8xf32>, !kern.packed<8x34xf32> turned(%t : tensor<?x34xf32>) -> (tensor<?x34xf32>) attributes {heads = 1 : i64}
  return %0 : tensor<?x34xf32>
}
