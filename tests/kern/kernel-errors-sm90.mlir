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

// -----

func.func @threads(%a: tensor<?x16xf32>, %b: !kern.packed<16x32xf32>, %t: tensor<?x32xf32>) -> tensor<?x32xf32> attributes {kern.kernel} {
  // expected-error@+1 {{a product without tensor cores has no turn behind it}}
  %0 = kern.matmul %a, %b : tensor<?x16xf32>, !kern.packed<16x32xf32> turned(%t : tensor<?x32xf32>) -> (tensor<?x32xf32>) attributes {heads = 1 : i64}
  return %0 : tensor<?x32xf32>
}

// -----

func.func @heads(%a: tensor<?x16xbf16>, %b: !kern.packed<16x40xbf16>, %t: tensor<?x40xf32>) -> tensor<?x40xbf16> attributes {kern.kernel} {
  // expected-error@+1 {{heads are no multiple of 16 columns, or more than 256}}
  %0 = kern.matmul %a, %b : tensor<?x16xbf16>, !kern.packed<16x40xbf16> turned(%t : tensor<?x40xf32>) -> (tensor<?x40xbf16>) attributes {heads = 1 : i64}
  return %0 : tensor<?x40xbf16>
}

// -----

func.func @wide(%a: tensor<?x16xbf16>, %b: !kern.packed<16x272xbf16>, %t: tensor<?x272xf32>) -> tensor<?x272xbf16> attributes {kern.kernel} {
  // expected-error@+1 {{heads are no multiple of 16 columns, or more than 256}}
  %0 = kern.matmul %a, %b : tensor<?x16xbf16>, !kern.packed<16x272xbf16> turned(%t : tensor<?x272xf32>) -> (tensor<?x272xbf16>) attributes {heads = 1 : i64}
  return %0 : tensor<?x272xbf16>
}

// -----

func.func @places_many(%q: tensor<?x128xbf16>, %k: tensor<?x64xbf16>, %v: tensor<?x64xbf16>, %p: tensor<?xi32>, %b: tensor<?xi32>) -> tensor<?x128xbf16> attributes {kern.kernel, kern.attention_places = 70000 : i64} {
  // expected-error@+1 {{'kern.attention_places' is a whole number from 0 to 65536, not 70000 : i64}}
  %0 = kern.attention %q, %k, %v at %p from %b {heads = 2, kv_heads = 1, scale = 0.125 : f32} : tensor<?x128xbf16>, tensor<?x64xbf16>, tensor<?x64xbf16>, tensor<?xi32>, tensor<?xi32> -> tensor<?x128xbf16>
  return %0 : tensor<?x128xbf16>
}

// -----

func.func @places_word(%q: tensor<?x128xbf16>, %k: tensor<?x64xbf16>, %v: tensor<?x64xbf16>, %p: tensor<?xi32>, %b: tensor<?xi32>) -> tensor<?x128xbf16> attributes {kern.kernel, kern.attention_places = "all"} {
  // expected-error@+1 {{'kern.attention_places' is a whole number from 0 to 65536, not "all"}}
  %0 = kern.attention %q, %k, %v at %p from %b {heads = 2, kv_heads = 1, scale = 0.125 : f32} : tensor<?x128xbf16>, tensor<?x64xbf16>, tensor<?x64xbf16>, tensor<?xi32>, tensor<?xi32> -> tensor<?x128xbf16>
  return %0 : tensor<?x128xbf16>
}
