// RUN: r1c-opt %s | r1c-opt | FileCheck %s
// RUN: r1c-opt %s --mlir-print-op-generic | r1c-opt | FileCheck %s

// Every op of rl, in the forms that the check phase emits.

// CHECK: rl.param @lr = 2.500000e-01 open
rl.param @lr = 0.25 open
// CHECK: rl.param @size = 4.000000e+00
rl.param @size = 4.0

// CHECK: rl.policy @actor init = {head = "vocabulary", kind = "load", path = "model"}
rl.policy @actor init = {kind = "load", path = "model", head = "vocabulary"}
// CHECK: rl.policy @reference init = {kind = "copy", of = @actor}
rl.policy @reference init = {kind = "copy", of = @actor}
rl.policy @judge init = {kind = "load", path = "rm", head = "scalar"}

// CHECK: rl.data @math {columns = {answer = "text"}, file = "m.jsonl", prompt = {kind = "chat", text = "{q}"}}
rl.data @math {file = "m.jsonl", prompt = {kind = "chat", text = "{q}"}, columns = {answer = "text"}}
rl.data @kept {file = "kept.jsonl", prompt = {kind = "plain", text = "{q}"}, columns = {}}

// CHECK: rl.extern @grade(
// CHECK-SAME: ["code", "text"]
// CHECK-SAME: -> "number" {failure = 0.000000e+00 : f64, program = "python3 judge.py"}
rl.extern @grade([["code", "text"]]) -> "number" {program = "python3 judge.py", failure = 0.0 : f64}

// CHECK: rl.stage @train steps = 500 {
rl.stage @train steps = 500 {
  %c16 = rl.constant 16.0
  %c4 = rl.constant 4.0
  %c64 = rl.constant 64.0
  // CHECK: rl.constant 1.000000e+00
  %c1 = rl.constant 1.0
  // CHECK: rl.constant_text "</a>"
  %end = rl.constant_text "</a>"
  // CHECK: rl.every 400 {
  // CHECK-NEXT: rl.assign @reference, @actor
  rl.every 400 {
    rl.assign @reference, @actor
  }
  // CHECK: %[[O:.*]] = rl.sample @actor from [@math] weights [1.000000e+00] groups(%{{.*}}) group_size(%{{.*}}) temperature(%{{.*}}) max_new_tokens(%{{.*}}) top_p(%{{.*}}) max_groups = 16 max_group_size = 4 max_token_count = 64 stop ["x"] tries = 10 : !rl.outputs<"o"> where {
  // CHECK-NEXT: ^bb0(%{{.*}}: !rl.outputs<"o.tried">):
  %o = rl.sample @actor from [@math] weights [1.0] groups(%c16) group_size(%c4) temperature(%c1) max_new_tokens(%c64) top_p(%c1) max_groups = 16 max_group_size = 4 max_token_count = 64 stop ["x"] tries = 10 : !rl.outputs<"o"> where {
  ^bb0(%c: !rl.outputs<"o.tried">):
    %n = rl.field %c "length" : !rl.outputs<"o.tried"> -> !rl.num<sequence of "o.tried">
    // CHECK: rl.reduce std %{{.*}} : !rl.num<sequence of "o.tried"> -> !rl.num<group of "o.tried">
    %s = rl.reduce std %n : !rl.num<sequence of "o.tried"> -> !rl.num<group of "o.tried">
    %keep = rl.map (%x = %s : !rl.num<group of "o.tried">) -> !rl.flag<group of "o.tried"> {
      %zero = arith.constant 0.0 : f64
      %y = arith.cmpf ogt, %x, %zero : f64
      rl.yield %y : i1
    }
    // CHECK: rl.yield %{{.*}} : !rl.flag<group of "o.tried">
    rl.yield %keep : !rl.flag<group of "o.tried">
  }
  // CHECK: %[[T:.*]] = rl.field %[[O]] "text" : !rl.outputs<"o"> -> !rl.text<sequence of "o">
  %text = rl.field %o "text" : !rl.outputs<"o"> -> !rl.text<sequence of "o">
  %answer = rl.field %o "answer" : !rl.outputs<"o"> -> !rl.text<sequence of "o">
  %before = rl.text "before" (%text, %end) : (!rl.text<sequence of "o">, !rl.text<one>) -> !rl.text<sequence of "o">
  // CHECK: %[[RIGHT:.*]] = rl.text "equal"(%{{.*}}, %{{.*}}) : (!rl.text<sequence of "o">, !rl.text<sequence of "o">) -> !rl.flag<sequence of "o">
  %right = rl.text "equal" (%before, %answer) : (!rl.text<sequence of "o">, !rl.text<sequence of "o">) -> !rl.flag<sequence of "o">
  // CHECK: rl.call @grade(%[[T]]) where(%[[RIGHT]] : !rl.flag<sequence of "o">) : (!rl.text<sequence of "o">) -> !rl.num<sequence of "o">
  %grade = rl.call @grade(%text) where (%right : !rl.flag<sequence of "o">) : (!rl.text<sequence of "o">) -> !rl.num<sequence of "o">
  // CHECK: rl.map (%{{.*}} = %[[RIGHT]] : !rl.flag<sequence of "o">, %{{.*}} = %{{.*}} : !rl.num<sequence of "o">) -> !rl.num<sequence of "o"> {
  %score = rl.map (%r = %right : !rl.flag<sequence of "o">, %g = %grade : !rl.num<sequence of "o">) -> !rl.num<sequence of "o"> {
    %zero = arith.constant 0.0 : f64
    %y = arith.select %r, %g, %zero : f64
    rl.yield %y : f64
  }
  // CHECK: rl.value @judge, %[[O]] completion(%[[T]] : !rl.text<sequence of "o">) : !rl.outputs<"o"> -> !rl.num<sequence of "o">
  %v = rl.value @judge, %o completion(%text : !rl.text<sequence of "o">) : !rl.outputs<"o"> -> !rl.num<sequence of "o">
  // CHECK: rl.repeat %{{.*}} : !rl.num<sequence of "o"> -> !rl.num<token of "o">
  %a = rl.repeat %score : !rl.num<sequence of "o"> -> !rl.num<token of "o">
  %back = rl.scan suffix_sum %a : !rl.num<token of "o">
  %old = rl.logprob @actor, %o : !rl.outputs<"o"> -> !rl.num<token of "o">
  // CHECK: rl.update @actor, %[[O]] minibatches = 2 epochs = 1 split = group : !rl.outputs<"o"> {
  rl.update @actor, %o minibatches = 2 epochs = 1 split = group : !rl.outputs<"o"> {
    // CHECK: rl.logprob @actor, %[[O]] : !rl.outputs<"o"> -> !rl.num<token of "o">
    %lp = rl.logprob @actor, %o : !rl.outputs<"o"> -> !rl.num<token of "o">
    // CHECK: rl.entropy @actor, %[[O]] temperature(%{{.*}}) : !rl.outputs<"o"> -> !rl.num<token of "o">
    %h = rl.entropy @actor, %o temperature(%c1) : !rl.outputs<"o"> -> !rl.num<token of "o">
    // CHECK: rl.stop %{{.*}} : !rl.num<token of "o">
    %stopped = rl.stop %lp : !rl.num<token of "o">
    // CHECK: rl.reduce quantile %{{.*}} over batch q(%{{.*}}) : !rl.num<token of "o"> -> !rl.num<one>
    %q = rl.reduce quantile %h over batch q(%c1) : !rl.num<token of "o"> -> !rl.num<one>
    %m = rl.map (%x = %h : !rl.num<token of "o">, %t = %q : !rl.num<one>) -> !rl.flag<token of "o"> {
      %y = arith.cmpf oge, %x, %t : f64
      rl.yield %y : i1
    }
    // CHECK: rl.reduce mean %{{.*}} over batch where(%{{.*}} : !rl.flag<token of "o">) : !rl.num<token of "o"> -> !rl.num<one>
    %loss = rl.reduce mean %lp over batch where(%m : !rl.flag<token of "o">) : !rl.num<token of "o"> -> !rl.num<one>
    // CHECK: rl.count token of %[[O]] over batch : !rl.outputs<"o"> -> !rl.num<one>
    %n = rl.count token of %o over batch : !rl.outputs<"o"> -> !rl.num<one>
    %each = rl.count token of %o : !rl.outputs<"o"> -> !rl.num<sequence of "o">
    // CHECK: rl.metric "tokens", %{{.*}}
    rl.metric "tokens", %n
    // CHECK: %[[LR:.*]] = rl.get_param @lr
    %lr = rl.get_param @lr
    // CHECK: %[[G:.*]] = rl.gradient %{{.*}} of @actor
    %g = rl.gradient %loss of @actor : !rl.gradient
    // CHECK: rl.backward @actor, %[[O]] seeds(%{{.*}} : !rl.num<token of "o">) entropy_seeds(%{{.*}} : !rl.num<token of "o">) : !rl.outputs<"o"> -> !rl.gradient
    %b = rl.backward @actor, %o seeds(%lp : !rl.num<token of "o">) entropy_seeds(%lp : !rl.num<token of "o">) : !rl.outputs<"o"> -> !rl.gradient
    // CHECK: %[[S:.*]] = rl.all_reduce %[[G]]
    %s = rl.all_reduce %g : !rl.gradient
    // CHECK: rl.adamw @actor, %[[S]] lr(%[[LR]]) {beta1 =
    rl.adamw @actor, %s lr(%lr) {beta1 = 0.9 : f64, beta2 = 0.999 : f64, epsilon = 1.0e-8 : f64, weight_decay = 0.0 : f64, clip_norm = 1.0 : f64} : !rl.gradient
  }
  // CHECK: rl.reduce mean %{{.*}} over rollout : !rl.num<sequence of "o"> -> !rl.num<one>
  %reward = rl.reduce mean %score over rollout : !rl.num<sequence of "o"> -> !rl.num<one>
  %some = rl.reduce any %right over rollout : !rl.flag<sequence of "o"> -> !rl.flag<one>
  // CHECK: rl.save @actor, "ckpt" best(%{{.*}}) keep = 3
  rl.save @actor, "ckpt" best(%reward) keep = 3
  // CHECK: rl.write @kept, %[[O]] where(%[[RIGHT]] : !rl.flag<sequence of "o">) : !rl.outputs<"o">
  rl.write @kept, %o where(%right : !rl.flag<sequence of "o">) : !rl.outputs<"o">
  // CHECK: rl.step
  %step = rl.step
  // CHECK: rl.steps
  %steps = rl.steps
  // CHECK: rl.read @actor from [@kept] groups(%{{.*}}) max_groups = 16 max_group_size = 1 order "shuffled" : !rl.outputs<"p">
  %p = rl.read @actor from [@kept] groups(%c16) max_groups = 16 max_group_size = 1 order "shuffled" : !rl.outputs<"p">
}

// CHECK-LABEL: func.func @derivative_of_a_choice
func.func @derivative_of_a_choice(%x: !rl.num<token of "o">, %m: !rl.flag<token of "o">, %g: !rl.num<sequence of "o">, %n: !rl.num<one>) {
  // CHECK: rl.reduce_grad first %{{.*}} seed(%{{.*}} : !rl.num<sequence of "o">) where(%{{.*}} : !rl.flag<token of "o">) : !rl.num<token of "o">
  %a = rl.reduce_grad first %x seed(%g : !rl.num<sequence of "o">) where(%m : !rl.flag<token of "o">) : !rl.num<token of "o">
  // CHECK: rl.reduce_grad max %{{.*}} seed(%{{.*}} : !rl.num<one>) : !rl.num<token of "o">
  %b = rl.reduce_grad max %x seed(%n : !rl.num<one>) : !rl.num<token of "o">
  return
}
