// RUN: r1c-opt %s --verify-diagnostics --split-input-file

// expected-error @+1 {{starts at byte 8, which is not a multiple of 64}}
rt.buffer @x in @a at 8, 128 bytes of "f32"

// -----

// expected-error @+1 {{'launch' needs 'few_rows' to be an array of dictionaries}}
rt.kernel @k as "k"(3 operands) {launch = {threads = 32, few_rows = {rows = 8, symbol = "f", launch = {threads = 32}}}}

// -----

// expected-error @+1 {{'launch.few_rows[0]' needs 'rows'}}
rt.kernel @k as "k"(3 operands) {launch = {threads = 32, few_rows = [{symbol = "f", launch = {threads = 32}}]}}

// -----

// expected-error @+1 {{'launch.few_rows[0]' needs 'symbol', a kernel's}}
rt.kernel @k as "k"(3 operands) {launch = {threads = 32, few_rows = [{rows = 8, launch = {threads = 32}}]}}

// -----

// expected-error @+1 {{'launch.few_rows[0]' needs 'launch', a dictionary}}
rt.kernel @k as "k"(3 operands) {launch = {threads = 32, few_rows = [{rows = 8, symbol = "f"}]}}

// -----

// expected-error @+1 {{'launch.few_rows[0]' is no dictionary}}
rt.kernel @k as "k"(3 operands) {launch = {threads = 32, few_rows = [8]}}

// -----

// expected-error @+1 {{'launch.few_rows[1]' needs 'rows' from 65 to 2147483647}}
rt.kernel @k as "k"(3 operands) {launch = {threads = 32, few_rows = [
  {rows = 64, symbol = "f", launch = {threads = 32}}, {rows = 64, symbol = "f", launch = {threads = 64}}]}}

// -----

// expected-error @+1 {{'launch.few_rows[0].launch.tensor_maps[0]' needs 'operand'}}
rt.kernel @k as "k"(3 operands) {launch = {threads = 32, few_rows = [
  {rows = 64, symbol = "f", launch = {threads = 32, tensor_maps = [{dtype = "bf16"}]}}]}}

// -----

// expected-error @+1 {{'launch.few_rows[0].launch' has no field 'few_rows'}}
rt.kernel @k as "k"(3 operands) {launch = {threads = 32, few_rows = [
  {rows = 64, symbol = "f", launch = {threads = 32, few_rows = []}}]}}

// -----

rt.program @p {
  // expected-error @+1 {{never reaches -1 from 0 in steps of 1}}
  rt.loop 0 to -1 step 1 {
  }
}

// -----

rt.program @p {
  rt.loop 0 to 2 step 1 {
    // expected-error @+1 {{stands inside another rt.loop: loops do not nest}}
    rt.loop 0 to 2 step 1 {
    }
  }
}

// -----

rt.program @p {
  // expected-error @+1 {{expected 'i'}}
  rt.zero <@x + 4 * j>, 64
}

// -----

// expected-error @+1 {{'launch' needs 'threads'}}
rt.kernel @k as "k"(3 operands) {launch = {shared = 64}}

// -----

// expected-error @+1 {{'launch' needs 'threads' from 1 to 1024}}
rt.kernel @k as "k"(3 operands) {launch = {threads = 2048}}

// -----

// expected-error @+1 {{'launch' has no field 'smem'}}
rt.kernel @k as "k"(3 operands) {launch = {threads = 32, smem = 64}}

// -----

// expected-error @+1 {{'launch' has 5 blocks, no whole number of clusters of 2}}
rt.kernel @k as "k"(3 operands) {launch = {threads = 32, blocks = 5, cluster = 2}}

// -----

// expected-error @+1 {{'launch' needs 'early' to be an array of numbers of operands, from 0 to 2}}
rt.kernel @k as "k"(3 operands) {launch = {threads = 32, early = [1, 3]}}

// -----

// expected-error @+1 {{'launch' needs 'cached' to be an array of numbers of operands, from 0 to 2}}
rt.kernel @k as "k"(3 operands) {launch = {threads = 32, cached = [-1]}}

// -----

// expected-error @+1 {{'launch' needs 'written' to be an array of numbers of operands, from 0 to 2}}
rt.kernel @k as "k"(3 operands) {launch = {threads = 32, written = 2}}

// -----

// expected-error @+1 {{'launch.tensor_maps[0]' needs 'operand' from 0 to 2}}
rt.kernel @k as "k"(3 operands) {launch = {threads = 32, tensor_maps = [
  {operand = 3, dtype = "bf16", sizes = [64, -1], strides = [128], box = [64, 8]}]}}

// -----

// expected-error @+1 {{'launch.tensor_maps[0]' needs 'box', an array of integers}}
rt.kernel @k as "k"(3 operands) {launch = {threads = 32, tensor_maps = [
  {operand = 0, dtype = "bf16", sizes = [64, -1], strides = [128], box = array<i64: 64, 8>}]}}

// -----

// expected-error @+1 {{'launch.tensor_maps[0]' needs 1 to 5 'sizes', as many of 'box', and one fewer 'strides'}}
rt.kernel @k as "k"(3 operands) {launch = {threads = 32, tensor_maps = [
  {operand = 0, dtype = "bf16", sizes = [64, -1], strides = [], box = [64, 8]}]}}

// -----

// expected-error @+1 {{has a size of -1; only the last may be -1, open}}
rt.kernel @k as "k"(3 operands) {launch = {threads = 32, tensor_maps = [
  {operand = 0, dtype = "bf16", sizes = [-1, 8], strides = [128], box = [64, 8]}]}}

// -----

// expected-error @+1 {{has a stride of 120 bytes, which is not a multiple of 16}}
rt.kernel @k as "k"(3 operands) {launch = {threads = 32, tensor_maps = [
  {operand = 0, dtype = "bf16", sizes = [60, -1], strides = [120], box = [64, 8]}]}}

// -----

// expected-error @+1 {{has a box whose rows of 256 bytes exceed the swizzle of 128}}
rt.kernel @k as "k"(3 operands) {launch = {threads = 32, tensor_maps = [
  {operand = 0, dtype = "f32", sizes = [64, -1], strides = [256], box = [64, 8], swizzle = 128}]}}

// -----

rt.program @p {
  // expected-error @+1 {{2 references, but 1 counts}}
  rt.reduce_start [#rt.ref<@x>, #rt.ref<@y>] [4]
}
