// RUN: r1c-kernels %s --target=sm_90a -o %t.cubin --dump=%t | FileCheck %s
// RUN: FileCheck %s --input-file=%t.txt --check-prefix=WARN

// Shapes of attention that need the most registers, of those that bring tiles (72), that multiply (216), and that count tiles (168).
// CHECK-COUNT-4: 168 registers, 0 bytes spilled, 0 bytes of stack
// WARN-NOT: C75
func.func @one_head(%q: tensor<?x128xbf16>, %k: tensor<?x128xbf16>, %v: tensor<?x128xbf16>, %p: tensor<?xi32>, %b: tensor<?xi32>, %s: tensor<?xi32>, %c: tensor<?xi32>) -> (tensor<?x128xbf16>, tensor<?x1xf32>) attributes {kern.kernel} {
  %o:2 = kern.attention %q, %k, %v at %p from %b shared %s from %c {heads = 1, kv_heads = 1, scale = 0.125 : f32} : tensor<?x128xbf16>, tensor<?x128xbf16>, tensor<?x128xbf16>, tensor<?xi32>, tensor<?xi32> shared tensor<?xi32> from tensor<?xi32> -> tensor<?x128xbf16>, tensor<?x1xf32>
  return %o#0, %o#1 : tensor<?x128xbf16>, tensor<?x1xf32>
}
func.func @one_key_head(%q: tensor<?x1024xbf16>, %k: tensor<?x128xbf16>, %v: tensor<?x128xbf16>, %p: tensor<?xi32>, %b: tensor<?xi32>, %s: tensor<?xi32>, %c: tensor<?xi32>) -> tensor<?x1024xbf16> attributes {kern.kernel} {
  %o = kern.attention %q, %k, %v at %p from %b shared %s from %c {heads = 8, kv_heads = 1, scale = 0.125 : f32} : tensor<?x1024xbf16>, tensor<?x128xbf16>, tensor<?x128xbf16>, tensor<?xi32>, tensor<?xi32> shared tensor<?xi32> from tensor<?xi32> -> tensor<?x1024xbf16>
  return %o : tensor<?x1024xbf16>
}
func.func @training(%q: tensor<?x896xbf16>, %k: tensor<?x128xbf16>, %v: tensor<?x128xbf16>, %p: tensor<?xi32>, %b: tensor<?xi32>, %s: tensor<?xi32>, %c: tensor<?xi32>) -> (tensor<?x896xbf16>, tensor<?x14xf32>) attributes {kern.kernel} {
  %o:2 = kern.attention %q, %k, %v at %p from %b shared %s from %c {heads = 14, kv_heads = 2, scale = 0.125 : f32} : tensor<?x896xbf16>, tensor<?x128xbf16>, tensor<?x128xbf16>, tensor<?xi32>, tensor<?xi32> shared tensor<?xi32> from tensor<?xi32> -> tensor<?x896xbf16>, tensor<?x14xf32>
  return %o#0, %o#1 : tensor<?x896xbf16>, tensor<?x14xf32>
}
func.func @wide(%q: tensor<?x3584xbf16>, %k: tensor<?x512xbf16>, %v: tensor<?x512xbf16>, %p: tensor<?xi32>, %b: tensor<?xi32>) -> tensor<?x3584xbf16> attributes {kern.kernel} {
  %o = kern.attention %q, %k, %v at %p from %b {heads = 28, kv_heads = 4, scale = 0.125 : f32} : tensor<?x3584xbf16>, tensor<?x512xbf16>, tensor<?x512xbf16>, tensor<?xi32>, tensor<?xi32> -> tensor<?x3584xbf16>
  return %o : tensor<?x3584xbf16>
}
