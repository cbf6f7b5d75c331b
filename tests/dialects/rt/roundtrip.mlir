// RUN: r1c-opt %s --verify-roundtrip | FileCheck %s

// CHECK: rt.arena @tables 4096 bytes
rt.arena @tables 4096 bytes
// CHECK: rt.buffer @x in @tables at 64, 128 bytes of "f32"
rt.buffer @x in @tables at 64, 128 bytes of "f32"
// CHECK: rt.buffer @two in @constants at 0, 8 bytes of "f64" = dense<2.000000e+00> : tensor<1xf64>
rt.buffer @two in @constants at 0, 8 bytes of "f64" = dense<2.0> : tensor<1xf64>
// CHECK: rt.kernel @map_0 as "map_0"(3 operands)
rt.kernel @map_0 as "map_0"(3 operands)
// CHECK: rt.kernel @matmul_0 as "matmul_0"(4 operands) {launch = {shared = 200000 : i64, tensor_maps = [{box = [64, 128], dtype = "bf16", operand = 0 : i64, sizes = [512, -1], strides = [1024], swizzle = 128 : i64}], threads = 384 : i64}}
rt.kernel @matmul_0 as "matmul_0"(4 operands) {launch = {threads = 384, shared = 200000, tensor_maps = [
  {operand = 0, dtype = "bf16", sizes = [512, -1], strides = [1024], box = [64, 128], swizzle = 128}]}}
// CHECK: rt.policy @actor {layers = 2 : i64}
rt.policy @actor {layers = 2 : i64}
rt.program @p {
  // CHECK: rt.loop 0 to 4 step 1
  rt.loop 0 to 4 step 1 {
    // CHECK: rt.dispatch @map_0 [#rt.ref<@x + 64 + 16 * i>, #rt.ref<@two>, #rt.ref<@x>] {serial}
    rt.dispatch @map_0 [#rt.ref<@x + 64 + 16 * i>, #rt.ref<@two>, #rt.ref<@x>] {serial}
  }
  // CHECK: rt.zero <@x>, 64
  rt.zero <@x>, 64
}
// CHECK: rt.stage @s "steps" = 4
rt.stage @s "steps" = 4 {
  // CHECK: rt.update attributes
  rt.update attributes {set = 0, policy = @actor, minibatches = 2, epochs = 1, split = "group"} {
    // CHECK: rt.gather [#rt.ref<@x>] {
    // CHECK-NEXT: rt.zero <@x>, 64
    rt.gather [#rt.ref<@x>] {
      rt.zero <@x>, 64
    }
    // CHECK: rt.reduce_start [#rt.ref<@x + 64>, #rt.ref<@x>] [4, 8]
    rt.reduce_start [#rt.ref<@x + 64>, #rt.ref<@x>] [4, 8]
    // CHECK: rt.all_reduce <@x>, 32 of "f32"
    rt.all_reduce <@x>, 32 of "f32"
    // CHECK: rt.metric "loss" #rt.ref<@two>
    rt.metric "loss" #rt.ref<@two> {reduce = "update"}
  }
}
