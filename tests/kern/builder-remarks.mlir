// How a product is built, and why not otherwise: on Hopper, on CPUs with matrix tiles and without.
// RUN: r1c-opt %s --kern-to-threads --remarks-filter=target -o /dev/null 2>&1 | FileCheck %s --check-prefix=SM90
// RUN: r1c-opt %s --kern-to-loops=cpu=sapphirerapids --remarks-filter=target -o /dev/null 2>&1 | FileCheck %s --check-prefix=AMX
// RUN: r1c-opt %s --kern-to-loops=cpu=x86-64-v3 --remarks-filter=target -o /dev/null 2>&1 | FileCheck %s --check-prefix=V3

// SM90: Function=forward | {{.*}}tensor cores, tiles of 64 x 48 (up to 64 rows), 128 x 256, 128 x 160, 64 x 80
// AMX: Function=forward | {{.*}}matrix tiles of 32 x 32, B in panels of 32 columns
// V3: Function=forward | {{.*}}Reason="the CPU has no matrix tiles; bfloat16 by float32 operations", {{.*}}tiles of 3 x 32 in registers
func.func @forward(%a: tensor<?x896xbf16>, %b: !kern.packed<896x4864xbf16>) -> tensor<?x4864xbf16> attributes {kern.kernel} {
  %c = kern.matmul %a, %b : tensor<?x896xbf16>, !kern.packed<896x4864xbf16> -> (tensor<?x4864xbf16>)
  return %c : tensor<?x4864xbf16>
}

// SM90: Function=odd | {{.*}}Reason="lines of A or B are no multiple of 16 bytes", {{.*}}by threads, without tensor cores
// AMX: Function=odd | {{.*}}Reason="the sum over k is no multiple of 32", {{.*}}tiles of 14 x 32 in registers
func.func @odd(%a: tensor<?x100xbf16>, %b: !kern.packed<100x64xbf16>) -> tensor<?x64xbf16> attributes {kern.kernel} {
  %c = kern.matmul %a, %b : tensor<?x100xbf16>, !kern.packed<100x64xbf16> -> (tensor<?x64xbf16>)
  return %c : tensor<?x64xbf16>
}

// SM90: Function=full | {{.*}}Reason="they do not keep float32's digits", {{.*}}by threads, without tensor cores
// AMX: Function=full | {{.*}}Reason="float32 has no matrix tiles", {{.*}}tiles of 14 x 32
func.func @full(%a: tensor<?x64xf32>, %b: !kern.packed<64x64xf32>) -> tensor<?x64xf32> attributes {kern.kernel} {
  %c = kern.matmul %a, %b : tensor<?x64xf32>, !kern.packed<64x64xf32> -> (tensor<?x64xf32>)
  return %c : tensor<?x64xf32>
}
