// RUN: r1c-opt %s --split-input-file --verify-diagnostics

// Each rule of the verifiers, broken once.

// expected-error @below {{a single value belongs to no set of outputs}}
func.func private @f(!rl.num<one of "o">)

// -----

// expected-error @below {{values per token belong to a set of outputs: write token of "name"}}
func.func private @f(!rl.num<token>)

// -----

func.func @f(%o: !rl.outputs<"o">) {
  // expected-error @below {{logp is per token of "o", not '!rl.num<sequence of "o">'}}
  %x = rl.field %o "logp" : !rl.outputs<"o"> -> !rl.num<sequence of "o">
  return
}

// -----

func.func @f(%o: !rl.outputs<"o">) {
  // expected-error @below {{'text' cannot be '!rl.num<sequence of "o">'}}
  %x = rl.field %o "text" : !rl.outputs<"o"> -> !rl.num<sequence of "o">
  return
}

// -----

func.func @f(%o: !rl.outputs<"o">) {
  // expected-error @below {{answer is per sequence of "o", not '!rl.text<sequence of "p">'}}
  %x = rl.field %o "answer" : !rl.outputs<"o"> -> !rl.text<sequence of "p">
  return
}

// -----

func.func @f(%a: !rl.num<token of "o">, %b: !rl.num<sequence of "o">) {
  // expected-error @below {{combines different axes: '!rl.num<sequence of "o">' and '!rl.num<token of "o">'}}
  %x = rl.map (%p = %a : !rl.num<token of "o">, %q = %b : !rl.num<sequence of "o">) -> !rl.num<token of "o"> {
    %y = arith.addf %p, %q : f64
    rl.yield %y : f64
  }
  return
}

// -----

func.func @f(%a: !rl.num<token of "o">, %b: !rl.num<token of "p">) {
  // expected-error @below {{combines values of different sets: '!rl.num<token of "p">' and '!rl.num<token of "o">'}}
  %x = rl.map (%p = %a : !rl.num<token of "o">, %q = %b : !rl.num<token of "p">) -> !rl.num<token of "o"> {
    %y = arith.addf %p, %q : f64
    rl.yield %y : f64
  }
  return
}

// -----

func.func @f(%a: !rl.num<token of "o">) {
  // expected-error @below {{yields 'i1' for '!rl.num<token of "o">'}}
  %x = rl.map (%p = %a : !rl.num<token of "o">) -> !rl.num<token of "o"> {
    %y = arith.cmpf ogt, %p, %p : f64
    rl.yield %y : i1
  }
  return
}

// -----

func.func @f(%a: !rl.num<token of "o">) {
  %x = rl.map (%p = %a : !rl.num<token of "o">) -> !rl.num<token of "o"> {
    // expected-error @below {{is not allowed in rl.map: arith and math only}}
    %y = func.call @g(%p) : (f64) -> f64
    rl.yield %y : f64
  }
  return
}
func.func private @g(f64) -> f64

// -----

func.func @f(%a: !rl.num<token of "o">) {
  // expected-error @below {{repeats values on a finer axis of their set}}
  %x = rl.repeat %a : !rl.num<token of "o"> -> !rl.num<sequence of "o">
  return
}

// -----

func.func @f(%a: !rl.num<one>) {
  // expected-error @below {{repeats values on a finer axis of their set}}
  %x = rl.repeat %a : !rl.num<one> -> !rl.num<token of "o">
  return
}

// -----

func.func @f(%a: !rl.num<sequence of "o">) {
  // expected-error @below {{reduces values per sequence to a coarser axis, not to token}}
  %x = rl.reduce mean %a : !rl.num<sequence of "o"> -> !rl.num<token of "o">
  return
}

// -----

func.func @f(%a: !rl.num<sequence of "o">) {
  // expected-error @below {{reduces values of "o" to values of "p"}}
  %x = rl.reduce mean %a : !rl.num<sequence of "o"> -> !rl.num<group of "p">
  return
}

// -----

func.func @f(%a: !rl.num<sequence of "o">) {
  // expected-error @below {{gives one number: say 'over batch' or 'over rollout'}}
  %x = rl.reduce mean %a : !rl.num<sequence of "o"> -> !rl.num<one>
  return
}

// -----

func.func @f(%a: !rl.num<sequence of "o">) {
  // expected-error @below {{says 'over' only when it gives one number}}
  %x = rl.reduce mean %a over rollout : !rl.num<sequence of "o"> -> !rl.num<group of "o">
  return
}

// -----

func.func @f(%a: !rl.num<sequence of "o">) {
  // expected-error @below {{'over batch' exists only inside rl.update}}
  %x = rl.reduce mean %a over batch : !rl.num<sequence of "o"> -> !rl.num<one>
  return
}

// -----

func.func @f(%a: !rl.num<sequence of "o">) {
  // expected-error @below {{any takes flags, not '!rl.num<sequence of "o">'}}
  %x = rl.reduce any %a over rollout : !rl.num<sequence of "o"> -> !rl.num<one>
  return
}

// -----

func.func @f(%a: !rl.num<sequence of "o">) {
  // expected-error @below {{a quantile, and nothing else, has an operand 'q'}}
  %x = rl.reduce quantile %a over rollout : !rl.num<sequence of "o"> -> !rl.num<one>
  return
}

// -----

func.func @f(%a: !rl.num<token of "o">, %m: !rl.flag<sequence of "o">) {
  // expected-error @below {{'where' is '!rl.flag<sequence of "o">' but what it masks is '!rl.num<token of "o">'}}
  %x = rl.reduce mean %a over rollout where(%m : !rl.flag<sequence of "o">) : !rl.num<token of "o"> -> !rl.num<one>
  return
}

// -----

func.func @f(%a: !rl.num<sequence of "o">) {
  // expected-error @below {{runs over tokens, not over '!rl.num<sequence of "o">'}}
  %x = rl.scan suffix_sum %a : !rl.num<sequence of "o">
  return
}

// -----

func.func @f(%o: !rl.outputs<"o">) {
  // expected-error @below {{counts tokens or sequences}}
  %x = rl.count group of %o over rollout : !rl.outputs<"o"> -> !rl.num<one>
  return
}

// -----

func.func @f(%t: !rl.text<sequence of "o">) {
  // expected-error @below {{unknown function 'equals'}}
  %x = rl.text "equals" (%t, %t) : (!rl.text<sequence of "o">, !rl.text<sequence of "o">) -> !rl.flag<sequence of "o">
  return
}

// -----

func.func @f(%t: !rl.text<sequence of "o">) {
  // expected-error @below {{'between' does not take 2 operands}}
  %x = rl.text "between" (%t, %t) : (!rl.text<sequence of "o">, !rl.text<sequence of "o">) -> !rl.text<sequence of "o">
  return
}

// -----

func.func @f(%t: !rl.text<sequence of "o">) {
  // expected-error @below {{'equal' cannot give '!rl.num<sequence of "o">'}}
  %x = rl.text "equal" (%t, %t) : (!rl.text<sequence of "o">, !rl.text<sequence of "o">) -> !rl.num<sequence of "o">
  return
}

// -----

func.func @f(%o: !rl.outputs<"o">) {
  // expected-error @below {{@actor is not a policy}}
  %x = rl.logprob @actor, %o : !rl.outputs<"o"> -> !rl.num<token of "o">
  return
}

// -----

// expected-error @below {{init has no string 'kind'}}
rl.policy @actor init = {path = "m"}

// -----

// expected-error @below {{init of kind "load" needs 'head'}}
rl.policy @actor init = {kind = "load", path = "m"}

// -----

// expected-error @below {{init has the unknown kind "lload"}}
rl.policy @actor init = {kind = "lload", path = "m"}

// -----

rl.policy @actor init = {kind = "load", path = "m", head = "vocabulary"}
rl.policy @other init = {kind = "load", path = "m", head = "vocabulary"}
func.func @f(%o: !rl.outputs<"o">) {
  rl.update @actor, %o minibatches = 1 epochs = 1 split = group : !rl.outputs<"o"> {
    // expected-error @below {{of @other does not change in an update of @actor: it stands before rl.update}}
    %x = rl.logprob @other, %o : !rl.outputs<"o"> -> !rl.num<token of "o">
  }
  return
}

// -----

rl.policy @actor init = {kind = "load", path = "m", head = "vocabulary"}
func.func @f(%o: !rl.outputs<"o">, %a: !rl.num<token of "o">) {
  rl.update @actor, %o minibatches = 1 epochs = 1 split = group : !rl.outputs<"o"> {
    // expected-error @below {{'over rollout' stands before rl.update}}
    %x = rl.reduce mean %a over rollout : !rl.num<token of "o"> -> !rl.num<one>
  }
  return
}

// -----

rl.policy @actor init = {kind = "load", path = "m", head = "vocabulary"}
func.func @f(%o: !rl.outputs<"o">) {
  rl.update @actor, %o minibatches = 1 epochs = 1 split = group : !rl.outputs<"o"> {
    // expected-error @below {{is not allowed inside rl.update}}
    rl.assign @actor, @actor
  }
  return
}

// -----

rl.policy @actor init = {kind = "load", path = "m", head = "vocabulary"}
func.func @f(%o: !rl.outputs<"o">, %a: !rl.num<sequence of "o">) {
  rl.update @actor, %o minibatches = 1 epochs = 1 split = group : !rl.outputs<"o"> {
    // expected-error @below {{seeds are per token of "o", not '!rl.num<sequence of "o">'}}
    %x = rl.backward @actor, %o seeds(%a : !rl.num<sequence of "o">) : !rl.outputs<"o"> -> !rl.gradient
  }
  return
}

// -----

rl.policy @actor init = {kind = "load", path = "m", head = "vocabulary"}
func.func @f(%o: !rl.outputs<"o">) {
  rl.update @actor, %o minibatches = 1 epochs = 1 split = group : !rl.outputs<"o"> {
    // expected-error @below {{has no seeds}}
    %x = rl.backward @actor, %o : !rl.outputs<"o"> -> !rl.gradient
  }
  return
}

// -----

rl.policy @actor init = {kind = "load", path = "m", head = "vocabulary"}
rl.policy @other init = {kind = "load", path = "m", head = "vocabulary"}
func.func @f(%o: !rl.outputs<"o">, %l: !rl.num<one>) {
  rl.update @actor, %o minibatches = 1 epochs = 1 split = group : !rl.outputs<"o"> {
    // expected-error @below {{of @other stands in an update of @actor}}
    %x = rl.gradient %l of @other : !rl.gradient
  }
  return
}

// -----

rl.policy @actor init = {kind = "load", path = "m", head = "vocabulary"}
rl.data @d {file = "f", columns = {}}
func.func @f(%n: !rl.num<one>) {
  // expected-error @below {{'where' yields a flag per group or per sequence of the set it judges}}
  %o = rl.read @actor from [@d] groups(%n) max_groups = 4 order "file" : !rl.outputs<"o"> where {
  ^bb0(%c: !rl.outputs<"o.tried">):
    %last = rl.field %c "last" : !rl.outputs<"o.tried"> -> !rl.flag<token of "o.tried">
    rl.yield %last : !rl.flag<token of "o.tried">
  }
  return
}

// -----

rl.policy @actor init = {kind = "load", path = "m", head = "vocabulary"}
rl.data @d {file = "f", columns = {}}
func.func @f(%n: !rl.num<one>) {
  // expected-error @below {{has one weight a data set}}
  %o = rl.read @actor from [@d] weights [1.0, 2.0] groups(%n) max_groups = 4 order "file" : !rl.outputs<"o">
  return
}

// -----

rl.extern @judge([["code", "text"]]) -> "number" {failure = 0.0 : f64, program = "p"}
func.func @f(%x: !rl.num<one>) {
  // expected-error @below {{parameter "code" of @judge is a text, not '!rl.num<one>'}}
  %y = rl.call @judge(%x) : (!rl.num<one>) -> !rl.num<one>
  return
}

// -----

func.func @f(%x: !rl.num<token of "o">, %g: !rl.num<sequence of "o">) {
  // expected-error @below {{of mean is not needed: min, max, first and last choose one of their elements}}
  %y = rl.reduce_grad mean %x seed(%g : !rl.num<sequence of "o">) : !rl.num<token of "o">
  return
}

// -----

func.func @f(%x: !rl.num<sequence of "o">, %g: !rl.num<token of "o">) {
  // expected-error @below {{takes a seed on a coarser axis of its set, not '!rl.num<token of "o">' for '!rl.num<sequence of "o">'}}
  %y = rl.reduce_grad max %x seed(%g : !rl.num<token of "o">) : !rl.num<sequence of "o">
  return
}
