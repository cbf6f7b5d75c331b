// The example of dialects/rl/README.md; the second run line compares the two.
// RUN: r1c-opt %s | FileCheck %s
// RUN: sed -n '/^```mlir/,/^```/p' %source/dialects/rl/README.md | grep -v '^```' > %t
// RUN: grep -v '^//' %s | diff - %t
// CHECK: rl.gradient %{{.*}} of @actor
rl.policy @actor init = {head = "vocabulary", kind = "load", path = "model"}
rl.data @math {columns = {}, file = "m.jsonl", prompt = {kind = "plain", text = "{q}"}}
rl.stage @train steps = 100 {
  %groups = rl.constant 16.0
  %one = rl.constant 1.0
  %tokens = rl.constant 64.0
  %o = rl.sample @actor from [@math] groups(%groups) group_size(%one) temperature(%one) max_new_tokens(%tokens)
      max_groups = 16 max_group_size = 1 max_token_count = 64 : !rl.outputs<"o">
  %length = rl.field %o "length" : !rl.outputs<"o"> -> !rl.num<sequence of "o">
  %a = rl.repeat %length : !rl.num<sequence of "o"> -> !rl.num<token of "o">
  %old = rl.field %o "logp" : !rl.outputs<"o"> -> !rl.num<token of "o">
  rl.update @actor, %o minibatches = 2 epochs = 1 split = group : !rl.outputs<"o"> {
    %lp = rl.logprob @actor, %o : !rl.outputs<"o"> -> !rl.num<token of "o">
    %gain = rl.map (%x = %lp : !rl.num<token of "o">, %y = %old : !rl.num<token of "o">, %z = %a : !rl.num<token of "o">) -> !rl.num<token of "o"> {
      %d = arith.subf %x, %y : f64
      %ratio = math.exp %d : f64
      %g = arith.mulf %ratio, %z : f64
      rl.yield %g : f64
    }
    %mean = rl.reduce mean %gain over batch : !rl.num<token of "o"> -> !rl.num<one>
    %loss = rl.map (%m = %mean : !rl.num<one>) -> !rl.num<one> {
      %n = arith.negf %m : f64
      rl.yield %n : f64
    }
    %g = rl.gradient %loss of @actor : !rl.gradient
    %sum = rl.all_reduce %g : !rl.gradient
    %lr = rl.constant 1.0e-6
    rl.adamw @actor, %sum lr(%lr) {beta1 = 0.9 : f64, beta2 = 0.999 : f64, epsilon = 1.0e-8 : f64, weight_decay = 0.0 : f64} : !rl.gradient
  }
}
