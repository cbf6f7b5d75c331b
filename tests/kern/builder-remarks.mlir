// How products and attention are built, and why not otherwise: on Hopper, on CPUs with matrix tiles and without.
// RUN: r1c-opt %s --kern-to-threads --remarks-filter=target -o /dev/null 2>&1 | FileCheck %s --check-prefix=SM90
// RUN: r1c-opt %s --kern-to-loops=cpu=sapphirerapids --remarks-filter=target -o /dev/null 2>&1 | FileCheck %s --check-prefix=AMX
// RUN: r1c-opt %s --kern-to-loops=cpu=x86-64-v3 --remarks-filter=target -o /dev/null 2>&1 | FileCheck %s --check-prefix=V3

// SM90: Function=forward | {{.*}}tensor cores, tiles of 64 x 40 (up to 64 rows), 128 x 256, 128 x 160, 64 x 80
// AMX: Function=forward | {{.*}}matrix tiles of 32 x 32, B in panels of 32 columns
// V3: Function=forward | {{.*}}Reason="the CPU has no matrix tiles; bfloat16 by float32 operations", {{.*}}tiles of 3 x 32 in registers
func.func @forward(%a: tensor<?x896xbf16>, %b: !kern.packed<896x4864xbf16>) -> tensor<?x4864xbf16> attributes {kern.kernel} {
  %c = kern.matmul %a, %b : tensor<?x896xbf16>, !kern.packed<896x4864xbf16> -> (tensor<?x4864xbf16>)
  return %c : tensor<?x4864xbf16>
}

// Six tiles of 192 columns hold 1152 of them, five of 256 leave a tenth of the last one empty.
// SM90: Function=joint | {{.*}}tensor cores, tiles of 64 x 16 (up to 64 rows), 128 x 192, 128 x 80, 64 x 24
func.func @joint(%a: tensor<?x896xbf16>, %b: !kern.packed<896x1152xbf16>) -> tensor<?x1152xbf16> attributes {kern.kernel} {
  %c = kern.matmul %a, %b : tensor<?x896xbf16>, !kern.packed<896x1152xbf16> -> (tensor<?x1152xbf16>)
  return %c : tensor<?x1152xbf16>
}

// Behind a gate's gradient tiles are taken in turn where sums are short, and not where they are long.
// SM90: Function=gate | {{.*}}tensor cores, tiles of 64 x 40 (up to 64 rows), 64 x 192, 64 x 80
// SM90: Function=long_gate | {{.*}}tensor cores, tiles of 64 x 40 (up to 64 rows), 128 x 192, 128 x 160, 64 x 80
func.func @gate(%a: tensor<?x896xbf16>, %b: !kern.packed<896x4864xbf16>, %g: tensor<?x4864xbf16>, %u: tensor<?x4864xbf16>) -> (tensor<?x9728xbf16>, tensor<?x4864xbf16>) attributes {kern.kernel} {
  %0:2 = kern.matmul %a, %b : tensor<?x896xbf16>, !kern.packed<896x4864xbf16> acc(%s) with (%x = %g : element tensor<?x4864xbf16>, %y = %u : element tensor<?x4864xbf16>) -> (beside tensor<?x9728xbf16>, element tensor<?x4864xbf16>) {
    %xw = arith.extf %x : bf16 to f32
    %yw = arith.extf %y : bf16 to f32
    %p = arith.mulf %s, %xw : f32
    %q = arith.mulf %s, %yw : f32
    %z = arith.addf %p, %q : f32
    %pn = arith.truncf %p : f32 to bf16
    %qn = arith.truncf %q : f32 to bf16
    %zn = arith.truncf %z : f32 to bf16
    kern.yield %pn, %qn, %zn : bf16, bf16, bf16
  }
  return %0#0, %0#1 : tensor<?x9728xbf16>, tensor<?x4864xbf16>
}
func.func @long_gate(%a: tensor<?x8192xbf16>, %b: !kern.packed<8192x4864xbf16>, %g: tensor<?x4864xbf16>, %u: tensor<?x4864xbf16>) -> (tensor<?x9728xbf16>, tensor<?x4864xbf16>) attributes {kern.kernel} {
  %0:2 = kern.matmul %a, %b : tensor<?x8192xbf16>, !kern.packed<8192x4864xbf16> acc(%s) with (%x = %g : element tensor<?x4864xbf16>, %y = %u : element tensor<?x4864xbf16>) -> (beside tensor<?x9728xbf16>, element tensor<?x4864xbf16>) {
    %xw = arith.extf %x : bf16 to f32
    %yw = arith.extf %y : bf16 to f32
    %p = arith.mulf %s, %xw : f32
    %q = arith.mulf %s, %yw : f32
    %z = arith.addf %p, %q : f32
    %pn = arith.truncf %p : f32 to bf16
    %qn = arith.truncf %q : f32 to bf16
    %zn = arith.truncf %z : f32 to bf16
    kern.yield %pn, %qn, %zn : bf16, bf16, bf16
  }
  return %0#0, %0#1 : tensor<?x9728xbf16>, tensor<?x4864xbf16>
}

// SM90: Function=odd | {{.*}}Reason="lines of A or B are no multiple of 16 bytes", {{.*}}by threads, without tensor cores
// AMX: Function=odd | {{.*}}Reason="the sum over k is no multiple of 32", {{.*}}tiles of 6 x 64 in registers
func.func @odd(%a: tensor<?x100xbf16>, %b: !kern.packed<100x64xbf16>) -> tensor<?x64xbf16> attributes {kern.kernel} {
  %c = kern.matmul %a, %b : tensor<?x100xbf16>, !kern.packed<100x64xbf16> -> (tensor<?x64xbf16>)
  return %c : tensor<?x64xbf16>
}

// SM90: Function=full | {{.*}}Reason="they do not keep float32's digits", {{.*}}by threads, without tensor cores
// AMX: Function=full | {{.*}}Reason="float32 has no matrix tiles", {{.*}}tiles of 6 x 64
func.func @full(%a: tensor<?x64xf32>, %b: !kern.packed<64x64xf32>) -> tensor<?x64xf32> attributes {kern.kernel} {
  %c = kern.matmul %a, %b : tensor<?x64xf32>, !kern.packed<64x64xf32> -> (tensor<?x64xf32>)
  return %c : tensor<?x64xf32>
}

// SM90: Function=attention | {{.*}}tensor cores, heads of 64
// AMX: Function=attention | {{.*}}matrix tiles, heads of 64
// V3: Function=attention | {{.*}}Reason="the CPU has no matrix tiles", {{.*}}vectors, without matrix tiles
func.func @attention(%q: tensor<?x256xbf16>, %k: tensor<?x128xbf16>, %v: tensor<?x128xbf16>, %p: tensor<?xi32>) -> tensor<?x256xbf16> attributes {kern.kernel} {
  %0 = kern.attention %q, %k, %v at %p from %p {heads = 4, kv_heads = 2, scale = 0.1 : f32} : tensor<?x256xbf16>, tensor<?x128xbf16>, tensor<?x128xbf16>, tensor<?xi32>, tensor<?xi32> -> tensor<?x256xbf16>
  return %0 : tensor<?x256xbf16>
}

// SM90: Function=narrow | {{.*}}Reason="heads of 48, not 64 or 128", {{.*}}by threads, without tensor cores
// AMX: Function=narrow | {{.*}}Reason="heads of 48, no multiple of 32", {{.*}}vectors, without matrix tiles
func.func @narrow(%q: tensor<?x192xbf16>, %k: tensor<?x96xbf16>, %v: tensor<?x96xbf16>, %p: tensor<?xi32>) -> tensor<?x192xbf16> attributes {kern.kernel} {
  %0 = kern.attention %q, %k, %v at %p from %p {heads = 4, kv_heads = 2, scale = 0.1 : f32} : tensor<?x192xbf16>, tensor<?x96xbf16>, tensor<?x96xbf16>, tensor<?xi32>, tensor<?xi32> -> tensor<?x192xbf16>
  return %0 : tensor<?x192xbf16>
}

// SM90: Function=exact | {{.*}}Reason=float32, {{.*}}by threads, without tensor cores
// AMX: Function=exact | {{.*}}Reason="float32 has no matrix tiles", {{.*}}vectors, without matrix tiles
func.func @exact(%q: tensor<?x256xf32>, %k: tensor<?x128xf32>, %v: tensor<?x128xf32>, %p: tensor<?xi32>) -> tensor<?x256xf32> attributes {kern.kernel} {
  %0 = kern.attention %q, %k, %v at %p from %p {heads = 4, kv_heads = 2, scale = 0.1 : f32} : tensor<?x256xf32>, tensor<?x128xf32>, tensor<?x128xf32>, tensor<?xi32>, tensor<?xi32> -> tensor<?x256xf32>
  return %0 : tensor<?x256xf32>
}

// SM90: Function=backward | {{.*}}Reason="gradients in float32", {{.*}}by threads, without tensor cores
// AMX: Function=backward | {{.*}}matrix tiles, heads of 64
func.func @backward(%q: tensor<?x128xbf16>, %k: tensor<?x64xbf16>, %l: tensor<?x2xf32>, %o: tensor<?xi32>) -> (tensor<?x128xf32>, tensor<?x64xf32>, tensor<?x64xf32>) attributes {kern.kernel} {
  %0:3 = kern.attention_backward %q, %k, %k out %q lse %l seed %q offsets %o {heads = 2, kv_heads = 1, scale = 0.1 : f32} : tensor<?x128xbf16>, tensor<?x64xbf16>, tensor<?x64xbf16>, tensor<?x128xbf16>, tensor<?x2xf32>, tensor<?x128xbf16>, tensor<?xi32> -> tensor<?x128xf32>, tensor<?x64xf32>, tensor<?x64xf32>
  return %0#0, %0#1, %0#2 : tensor<?x128xf32>, tensor<?x64xf32>, tensor<?x64xf32>
}
