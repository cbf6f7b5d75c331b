//===- RLFormulas.td - values and formulas of rl -----------*- tablegen -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_DIALECTS_RL_RLFORMULAS_TD
#define R1C_DIALECTS_RL_RLFORMULAS_TD

include "dialects/rl/RLTypes.td"

//===----------------------------------------------------------------------===//
// One number or text
//===----------------------------------------------------------------------===//

def RL_ConstantOp : RL_Op<"constant", [Pure, ConstantLike]> {
  let summary = "one number, known";
  let arguments = (ins F64Attr:$value);
  let results = (outs RL_OneNum:$result);
  let assemblyFormat = "$value attr-dict";
  let hasFolder = 1;
}

def RL_ConstantTextOp : RL_Op<"constant_text", [Pure]> {
  let summary = "one text, known";
  let arguments = (ins StrAttr:$value);
  let results = (outs RL_OneText:$result);
  let assemblyFormat = "$value attr-dict";
}

def RL_StepOp : RL_Op<"step", [MemoryEffects<[MemRead]>]> {
  let summary = "updates that the stage has done so far";
  let results = (outs RL_OneNum:$result);
  let assemblyFormat = "attr-dict";
}

def RL_StepsOp : RL_Op<"steps", [Pure]> {
  let summary = "number of updates that the stage will have done";
  let results = (outs RL_OneNum:$result);
  let assemblyFormat = "attr-dict";
}

def RL_GetParamOp : RL_Op<"get_param", [Pure]> {
  let summary = "the value of an open param";
  let arguments = (ins FlatSymbolRefAttr:$param);
  let results = (outs RL_OneNum:$result);
  let assemblyFormat = "$param attr-dict";
}

//===----------------------------------------------------------------------===//
// Values of a set
//===----------------------------------------------------------------------===//

def RL_FieldOp : RL_Op<"field", [Pure]> {
  let summary = "what a set of outputs holds";
  let description = [{
    | field | type |
    |-------|------|
    | `logp` (as recorded), `position` (0 at the first chosen token) | num, token |
    | `last` | flag, token |
    | `length` (chosen tokens) | num, sequence |
    | `truncated` (no end token was chosen) | flag, sequence |
    | `text`, `prompt` | text, sequence |
    | a column of the data | as declared, sequence |

    Example: `rl.field %o "logp" : !rl.outputs<"o"> -> !rl.num<token of "o">`
  }];
  let arguments = (ins RL_Outputs:$outputs, StrAttr:$name);
  let results = (outs RL_AxisValue:$result);
  let assemblyFormat = "$outputs $name attr-dict `:` type($outputs) `->` type($result)";
  let hasVerifier = 1;
}

def RL_CountOp : RL_Op<"count", [Pure]> {
  let summary = "how many tokens or sequences";
  let description = [{
    The number of tokens or sequences (`of`) in each element of the result's
    axis. A result of axis `one` says over what: batch or rollout.

    Example: `rl.count token of %o over batch : !rl.outputs<"o"> -> !rl.num<one>`
  }];
  let arguments = (ins RL_Axis:$of, RL_Outputs:$outputs,
                       OptionalAttr<RL_Domain>:$domain);
  let results = (outs RL_Num:$result);
  let assemblyFormat = [{
    $of `of` $outputs (`over` $domain^)? attr-dict `:` type($outputs) `->` type($result)
  }];
  let hasVerifier = 1;
}

// What reads the weights of a policy. Inside an `rl.update` of that policy: the
// weights of that update, differentiable; elsewhere as they stand, a constant.
class RL_PolicyRead<string mnemonic, list<Trait> traits = []>
    : RL_Op<mnemonic, !listconcat([MemoryEffects<[MemRead]>,
            DeclareOpInterfaceMethods<SymbolUserOpInterface>], traits)> {
  let hasVerifier = 1;
}

def RL_LogprobOp : RL_PolicyRead<"logprob", [AttrSizedOperandSegments]> {
  let summary = "log-probability of each chosen token";
  let description = [{
    At the temperature and support (the tokens that top-p, top-k, min-p kept)
    with which the set was sampled, or at another temperature; of a set that was
    read, at temperature 1 unless said. `where`: only these are needed; the rest
    of the result is never read.

    Only the updated policy occurs inside an `rl.update`: what other policies
    say does not change there, and stands before it.

    Example: `rl.logprob @actor, %o : !rl.outputs<"o"> -> !rl.num<token of "o">`
  }];
  let arguments = (ins FlatSymbolRefAttr:$policy, RL_Outputs:$outputs,
                       Optional<RL_OneNum>:$temperature, Optional<RL_Flag>:$where);
  let results = (outs RL_Num:$result);
  let assemblyFormat = [{
    $policy `,` $outputs (`temperature` `(` $temperature^ `)`)?
    (`where` `(` $where^ `:` type($where) `)`)? attr-dict
    `:` type($outputs) `->` type($result)
  }];
}

def RL_EntropyOp : RL_PolicyRead<"entropy", [AttrSizedOperandSegments]> {
  let summary = "entropy of the distribution at each chosen token, in nats";
  let description = [{
    H = -sum_v p_v log p_v over the whole vocabulary at the set's temperature.
  }];
  let arguments = (ins FlatSymbolRefAttr:$policy, RL_Outputs:$outputs,
                       Optional<RL_OneNum>:$temperature, Optional<RL_Flag>:$where);
  let results = (outs RL_Num:$result);
  let assemblyFormat = [{
    $policy `,` $outputs (`temperature` `(` $temperature^ `)`)?
    (`where` `(` $where^ `:` type($where) `)`)? attr-dict
    `:` type($outputs) `->` type($result)
  }];
}

def RL_ValueOp : RL_PolicyRead<"value", [AttrSizedOperandSegments]> {
  let summary = "what a policy with a scalar head says of each sequence";
  let description = [{
    `completion` replaces the sequence's text; it is then tokenized with the
    policy's own template and tokenizer.
  }];
  let arguments = (ins FlatSymbolRefAttr:$policy, RL_Outputs:$outputs,
                       Optional<RL_Text>:$completion, Optional<RL_Flag>:$where);
  let results = (outs RL_Num:$result);
  let assemblyFormat = [{
    $policy `,` $outputs (`completion` `(` $completion^ `:` type($completion) `)`)?
    (`where` `(` $where^ `:` type($where) `)`)? attr-dict
    `:` type($outputs) `->` type($result)
  }];
}

//===----------------------------------------------------------------------===//
// Formulas
//===----------------------------------------------------------------------===//

def RL_YieldOp : RL_Op<"yield", [Pure, Terminator, ParentOneOf<["MapOp", "SampleOp", "ReadOp"]>]> {
  let summary = "the value of a region";
  let arguments = (ins AnyType:$value);
  let assemblyFormat = "$value attr-dict `:` type($value)";
}

def RL_MapOp : RL_Op<"map", [Pure, IsolatedFromAbove, SingleBlock]> {
  let summary = "a scalar formula, element by element";
  let description = [{
    The region sees one element of each operand: f64 for a num, i1 for a flag;
    it is a straight line of `arith` and `math`. Operands are on the result's
    axis and of its set, or on axis `one`: nothing else is repeated silently.

    ```mlir
    %ratio = rl.map (%x = %lp : !rl.num<token of "o">, %y = %old : !rl.num<token of "o">)
        -> !rl.num<token of "o"> {
      %d = arith.subf %x, %y : f64
      %e = math.exp %d : f64
      rl.yield %e : f64
    }
    ```
  }];
  let arguments = (ins Variadic<RL_NumOrFlag>:$inputs);
  let results = (outs RL_NumOrFlag:$result);
  let regions = (region SizedRegion<1>:$body);
  let hasCustomAssemblyFormat = 1;
  let hasVerifier = 1;
  // Operands that the formula does not read go: they would make it wait for
  // what it does not need.
  let hasCanonicalizeMethod = 1;
}

def RL_RepeatOp : RL_Op<"repeat", [Pure]> {
  let summary = "the same values on a finer axis";
  let description = [{
    Example: `rl.repeat %a : !rl.num<sequence of "o"> -> !rl.num<token of "o">`
  }];
  let arguments = (ins RL_AxisValue:$value);
  let results = (outs RL_AxisValue:$result);
  let assemblyFormat = "$value attr-dict `:` type($value) `->` type($result)";
  let hasVerifier = 1;
}

def RL_ReduceOp : RL_Op<"reduce", [Pure, AttrSizedOperandSegments]> {
  let summary = "combine the values of a finer axis";
  let description = [{
    `where` leaves elements out of the values and of the count. A mean over
    nothing is 0; std and var are unbiased and 0 of one value; the minimum of
    nothing is +inf, the maximum -inf. Quantile q of n values lies by linear
    interpolation between the order statistics around (n-1) q (as in NumPy and
    torch.quantile); it is NaN of nothing and where a value is NaN. `first` and
    `last` are by position, 0 of nothing. Ties in min and max: the first. `any` and `all` take flags and give flags; all others
    take and give numbers.

    A result of axis `one` is over all ranks: over the outputs of one update
    (`batch`, inside an `rl.update` only) or of the round (`rollout`, outside
    only).

    ```mlir
    rl.reduce mean %x over batch where(%m : !rl.flag<token of "o">) : !rl.num<token of "o"> -> !rl.num<one>
    rl.reduce quantile %x over batch q(%q) : !rl.num<token of "o"> -> !rl.num<one>
    ```
  }];
  let arguments = (ins RL_ReduceKind:$kind, RL_NumOrFlag:$value,
                       OptionalAttr<RL_Domain>:$domain,
                       Optional<RL_OneNum>:$q, Optional<RL_Flag>:$where);
  let results = (outs RL_NumOrFlag:$result);
  let assemblyFormat = [{
    $kind $value (`over` $domain^)? (`q` `(` $q^ `)`)?
    (`where` `(` $where^ `:` type($where) `)`)? attr-dict
    `:` type($value) `->` type($result)
  }];
  let hasVerifier = 1;
}

def RL_ReduceGradOp : RL_Op<"reduce_grad", [Pure, AllTypesMatch<["value", "result"]>]> {
  let summary = "derivative of a reduction that chooses one of its elements";
  let description = [{
    Vector-Jacobian product of `rl.reduce` min, max, first or last: each element
    of `seed` goes to the element of `value` that the reduction gave (of equal
    ones the first); all others get 0. Where nothing is left, nobody gets it.
    Made by `rl-differentiate`.

    Example: `rl.reduce_grad first %x seed(%g : !rl.num<group of "o">) : !rl.num<sequence of "o">`
  }];
  let arguments = (ins RL_ReduceKind:$kind, RL_Num:$value, RL_Num:$seed,
                       Optional<RL_Flag>:$where);
  let results = (outs RL_Num:$result);
  let assemblyFormat = [{
    $kind $value `seed` `(` $seed `:` type($seed) `)`
    (`where` `(` $where^ `:` type($where) `)`)? attr-dict `:` type($value)
  }];
  let hasVerifier = 1;
}

def RL_ScanOp : RL_Op<"scan", [Pure, SameOperandsAndResultType]> {
  let summary = "running sum over the tokens of each sequence, its own included";
  let description = [{
    Example: `rl.scan suffix_sum %x : !rl.num<token of "o">`
  }];
  let arguments = (ins RL_ScanKind:$kind, RL_Num:$value);
  let results = (outs RL_Num:$result);
  let assemblyFormat = "$kind $value attr-dict `:` type($value)";
  let hasVerifier = 1;
}

def RL_StopOp : RL_Op<"stop", [Pure, SameOperandsAndResultType]> {
  let summary = "the same value, through which no gradient passes";
  let arguments = (ins RL_Num:$value);
  let results = (outs RL_Num:$result);
  let assemblyFormat = "$value attr-dict `:` type($value)";
}

//===----------------------------------------------------------------------===//
// Texts and functions outside
//===----------------------------------------------------------------------===//

def RL_TextOp : RL_Op<"text", [Pure, AttrSizedOperandSegments]> {
  let summary = "a function of texts";
  let description = [{
    | function | gives |
    |----------|-------|
    | `between(t, a, b)` | text after the first `a` that follows, up to the next `b`; empty if not there |
    | `after(t, a)`, `before(t, a)` | text after the last, before the first `a`; all of it if not there |
    | `boxed(t)` | contents of the last `\boxed{…}` |
    | `equal(t, u)` | flag: equal by value; what cannot be read is never equal |
    | `same(t, u)` | flag: the same characters |
    | `matches(t, regex)` | flag: the whole text matches |
    | `number(t)` | num |
    | `count(t, u)` | num: occurrences that do not overlap |
    | `words(t [, language])` | num: words, or words of that language |
    | `select(c, t, u)` | text: t where the flag c is set, else u |
    | `run(t, tests)` {language, timeout, memory} | num: share of the tests that pass |

    `where`: only these are needed; the rest of the result is never read.

    Example: `rl.text "equal" (%a, %b) : (!rl.text<sequence of "o">, !rl.text<sequence of "o">) -> !rl.flag<sequence of "o">`
  }];
  let arguments = (ins StrAttr:$function, Variadic<RL_AxisValue>:$inputs,
                       Optional<RL_Flag>:$where);
  let results = (outs RL_AxisValue:$result);
  let assemblyFormat = [{
    $function `(` $inputs `)` (`where` `(` $where^ `:` type($where) `)`)? attr-dict
    `:` functional-type($inputs, $result)
  }];
  let hasVerifier = 1;
}

def RL_CallOp : RL_Op<"call", [AttrSizedOperandSegments,
                               MemoryEffects<[MemRead]>,
                               DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "a call of an extern, once an element";
  let description = [{
    Equal calls share one result within a round.

    Example: `rl.call @judge(%a, %b) : (!rl.text<sequence of "o">, !rl.text<sequence of "o">) -> !rl.num<sequence of "o">`
  }];
  let arguments = (ins FlatSymbolRefAttr:$callee, Variadic<RL_AxisValue>:$inputs,
                       Optional<RL_Flag>:$where);
  let results = (outs RL_AxisValue:$result);
  let assemblyFormat = [{
    $callee `(` $inputs `)` (`where` `(` $where^ `:` type($where) `)`)? attr-dict
    `:` functional-type($inputs, $result)
  }];
  let hasVerifier = 1;
}

#endif // R1C_DIALECTS_RL_RLFORMULAS_TD
