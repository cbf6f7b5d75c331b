// RUN: r1c-opt %s --split-input-file --kern-to-threads --verify-diagnostics

func.func @alone(%a: tensor<?x64xbf16>, %b: !kern.packed<64x64xbf16>) -> tensor<?x64xf32> attributes {kern.kernel, kern.unordered_splits = 2 : i64} {
  // expected-error@+1 {{'kern.unordered_splits' is from 2 to 64, of a product by a packed matrix that has an init}}
  %r = kern.matmul %a, %b : tensor<?x64xbf16>, !kern.packed<64x64xbf16> -> (tensor<?x64xf32>)
  return %r : tensor<?x64xf32>
}

// -----

func.func @one(%a: tensor<?x64xbf16>, %b: !kern.packed<64x64xbf16>, %c: tensor<?x64xf32>) -> tensor<?x64xf32> attributes {kern.kernel, kern.unordered_splits = 1 : i64} {
  // expected-error@+1 {{'kern.unordered_splits' is from 2 to 64}}
  %r = kern.matmul %a, %b : tensor<?x64xbf16>, !kern.packed<64x64xbf16> init(%c : tensor<?x64xf32>) -> (tensor<?x64xf32>)
  return %r : tensor<?x64xf32>
}

// -----

func.func @gradient(%a: tensor<?x64xbf16>, %b: tensor<?x64xbf16>, %c: tensor<64x64xf32>) -> tensor<64x64xf32> attributes {kern.kernel, kern.unordered_splits = 2 : i64} {
  // expected-error@+1 {{'kern.unordered_splits' is from 2 to 64}}
  %r = kern.matmul %a, %b transpose_a : tensor<?x64xbf16>, tensor<?x64xbf16> init(%c : tensor<64x64xf32>) -> (tensor<64x64xf32>)
  return %r : tensor<64x64xf32>
}
