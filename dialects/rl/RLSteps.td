//===- RLSteps.td - what a round does ----------------------*- tablegen -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_DIALECTS_RL_RLSTEPS_TD
#define R1C_DIALECTS_RL_RLSTEPS_TD

include "dialects/rl/RLTypes.td"

class RL_SymbolUser<string mnemonic, list<Trait> traits = []>
    : RL_Op<mnemonic, !listconcat(
          [DeclareOpInterfaceMethods<SymbolUserOpInterface>], traits)>;

class RL_Body<string mnemonic, list<Trait> traits = []>
    : RL_Op<mnemonic, !listconcat(traits, [NoTerminator, SingleBlock, NoRegionArguments])>;

def RL_Positive : ConfinedAttr<I64Attr, [IntPositive]>;
def RL_SymbolArray : TypedArrayAttrBase<FlatSymbolRefAttr, "symbols">;

//===----------------------------------------------------------------------===//
// Sets of outputs
//===----------------------------------------------------------------------===//

def RL_SampleOp : RL_SymbolUser<"sample", [AttrSizedOperandSegments]> {
  let summary = "let a policy write `group_size` completions to each of `groups` prompts";
  let description = [{
    `max_*` are the largest values over all steps. Several data sets are drawn
    from in the proportion of `weights`. `condition` judges the candidates (a
    set of its own, the region's argument) by group or sequence; with `tries` = k
    further prompts are sampled until `groups` are kept or k times as many were tried.

    ```mlir
    %o = rl.sample @actor from [@math] groups(%g) group_size(%n) temperature(%t) max_new_tokens(%m)
        max_groups = 512 max_group_size = 16 max_token_count = 20480 tries = 10 : !rl.outputs<"o"> where {
    ^bb0(%c: !rl.outputs<"o.tried">):
      …
      rl.yield %keep : !rl.flag<group of "o.tried">
    }
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$policy, RL_SymbolArray:$data,
                       OptionalAttr<DenseF64ArrayAttr>:$weights,
                       RL_OneNum:$groups, RL_OneNum:$group_size,
                       RL_OneNum:$temperature, RL_OneNum:$max_new_tokens,
                       Optional<RL_OneNum>:$top_p, Optional<RL_OneNum>:$top_k,
                       Optional<RL_OneNum>:$min_p,
                       RL_Positive:$max_groups, RL_Positive:$max_group_size,
                       RL_Positive:$max_token_count,
                       OptionalAttr<StrArrayAttr>:$stop,
                       DefaultValuedAttr<RL_Positive, "1">:$tries);
  let results = (outs RL_Outputs:$outputs);
  let regions = (region AnyRegion:$condition);
  let assemblyFormat = [{
    $policy `from` $data (`weights` $weights^)?
    `groups` `(` $groups `)` `group_size` `(` $group_size `)`
    `temperature` `(` $temperature `)` `max_new_tokens` `(` $max_new_tokens `)`
    (`top_p` `(` $top_p^ `)`)? (`top_k` `(` $top_k^ `)`)? (`min_p` `(` $min_p^ `)`)?
    `max_groups` `=` $max_groups `max_group_size` `=` $max_group_size
    `max_token_count` `=` $max_token_count
    (`stop` $stop^)? (`tries` `=` $tries^)? attr-dict `:` type($outputs)
    (`where` $condition^)?
  }];
  let hasVerifier = 1;
}

def RL_ReadOp : RL_SymbolUser<"read"> {
  let summary = "take completions from data";
  let description = [{
    A line gives one group: its completions in the order of the declaration;
    with token ids, lines with the same prompt form a group. `policy` is whose
    tokenizer and template the texts go through. `max_group_size` is absent when
    only the data knows it. `order`: "shuffled" (default) or "file".

    ```mlir
    %o = rl.read @actor from [@cold] groups(%g) max_tokens(%m) max_groups = 128 max_group_size = 1 max_token_count = 32768 order "shuffled" : !rl.outputs<"o">
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$policy, RL_SymbolArray:$data,
                       OptionalAttr<DenseF64ArrayAttr>:$weights,
                       RL_OneNum:$groups, Optional<RL_OneNum>:$max_tokens,
                       RL_Positive:$max_groups,
                       OptionalAttr<RL_Positive>:$max_group_size,
                       OptionalAttr<RL_Positive>:$max_token_count, StrAttr:$order);
  let results = (outs RL_Outputs:$outputs);
  let regions = (region AnyRegion:$condition);
  let assemblyFormat = [{
    $policy `from` $data (`weights` $weights^)? `groups` `(` $groups `)`
    (`max_tokens` `(` $max_tokens^ `)`)?
    `max_groups` `=` $max_groups (`max_group_size` `=` $max_group_size^)?
    (`max_token_count` `=` $max_token_count^)?
    `order` $order attr-dict `:` type($outputs)
    (`where` $condition^)?
  }];
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Update
//===----------------------------------------------------------------------===//

def RL_UpdateOp : RL_Body<"update", [DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "minibatches x epochs updates of a policy";
  let description = [{
    The region is one update: loss, gradient, all-reduce, optimizer, metrics.
    In it every value of the set, wherever it was computed, is seen through the current
    minibatch. `split`: whole groups or single sequences are dealt.

    ```mlir
    rl.update @actor, %o minibatches = 2 epochs = 1 split = group : !rl.outputs<"o"> {
      %lp = rl.logprob @actor, %o : !rl.outputs<"o"> -> !rl.num<token of "o">
      …
      %g = rl.gradient %loss of @actor
      %s = rl.all_reduce %g
      rl.adamw @actor, %s lr(%lr) {…}
    }
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$policy, RL_Outputs:$outputs,
                       RL_Positive:$minibatches, RL_Positive:$epochs, RL_Split:$split);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{
    $policy `,` $outputs `minibatches` `=` $minibatches `epochs` `=` $epochs
    `split` `=` $split attr-dict `:` type($outputs) $body
  }];
  let hasVerifier = 1;
}

def RL_GradientOp : RL_Op<"gradient", [MemoryEffects<[MemRead]>, HasParent<"UpdateOp">]> {
  let summary = "derivative of a loss by the parameters of the updated policy";
  let arguments = (ins RL_OneNum:$loss, FlatSymbolRefAttr:$policy);
  let results = (outs RL_GradientType:$result);
  let assemblyFormat = "$loss `of` $policy attr-dict `:` type($result)";
  let hasVerifier = 1;
}

def RL_BackwardOp : RL_Op<"backward", [MemoryEffects<[MemRead]>, AttrSizedOperandSegments,
                                       HasParent<"UpdateOp">]> {
  let summary = "vector-Jacobian product through a policy";
  let description = [{
    `seeds` = dL/dl and `entropy_seeds` = dL/dH of each token, `value_seeds` =
    dL/dv of each sequence. Made by `rl-differentiate` from `rl.gradient`.

    Example: `rl.backward @actor, %o seeds(%g : !rl.num<token of "o">) : !rl.outputs<"o"> -> !rl.gradient`
  }];
  let arguments = (ins FlatSymbolRefAttr:$policy, RL_Outputs:$outputs,
                       Optional<RL_Num>:$seeds, Optional<RL_Num>:$entropy_seeds,
                       Optional<RL_Num>:$value_seeds);
  let results = (outs RL_GradientType:$result);
  let assemblyFormat = [{
    $policy `,` $outputs (`seeds` `(` $seeds^ `:` type($seeds) `)`)?
    (`entropy_seeds` `(` $entropy_seeds^ `:` type($entropy_seeds) `)`)?
    (`value_seeds` `(` $value_seeds^ `:` type($value_seeds) `)`)?
    attr-dict `:` type($outputs) `->` type($result)
  }];
  let hasVerifier = 1;
}

def RL_AllReduceOp : RL_Op<"all_reduce", [Pure, SameOperandsAndResultType]> {
  let summary = "sum of a gradient over all ranks, in rank order";
  let arguments = (ins RL_GradientType:$gradient);
  let results = (outs RL_GradientType:$result);
  let assemblyFormat = "$gradient attr-dict `:` type($gradient)";
}

def RL_AdamWOp : RL_Op<"adamw", [HasParent<"UpdateOp">]> {
  let summary = "one step of AdamW with decoupled weight decay";
  let description = [{
    With t the policy's updates so far, this one included: m = b1 m + (1-b1) g;
    v = b2 v + (1-b2) g^2; w -= lr (weight_decay w + (m / (1-b1^t)) / (sqrt(v / (1-b2^t)) + epsilon)).
    With `clip_norm` c, g is first scaled by min(1, c / (|g| + 1e-6)), |g| over all parameters.
    Loshchilov and Hutter, arXiv:1711.05101.
  }];
  let arguments = (ins FlatSymbolRefAttr:$policy, RL_GradientType:$gradient, RL_OneNum:$lr,
                       F64Attr:$beta1, F64Attr:$beta2, F64Attr:$epsilon,
                       F64Attr:$weight_decay, OptionalAttr<F64Attr>:$clip_norm);
  let assemblyFormat = "$policy `,` $gradient `lr` `(` $lr `)` attr-dict `:` type($gradient)";
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// The rest of a round
//===----------------------------------------------------------------------===//

def RL_EveryOp : RL_Body<"every"> {
  let summary = "at step 0 and when a further multiple of `steps` has been passed";
  let arguments = (ins RL_Positive:$steps);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$steps attr-dict-with-keyword $body";
}

def RL_AssignOp : RL_SymbolUser<"assign"> {
  let summary = "copy the weights of a policy into another";
  let arguments = (ins FlatSymbolRefAttr:$to, FlatSymbolRefAttr:$from);
  let assemblyFormat = "$to `,` $from attr-dict";
}

def RL_SaveOp : RL_SymbolUser<"save"> {
  let summary = "write a policy as a Hugging Face directory";
  let description = [{
    `best`: keep the one with the largest value. `keep`: how many are kept.

    Example: `rl.save @actor, "ckpt" best(%x) keep = 3`
  }];
  let arguments = (ins FlatSymbolRefAttr:$policy, StrAttr:$name,
                       Optional<RL_OneNum>:$best, OptionalAttr<RL_Positive>:$keep);
  let assemblyFormat = [{
    $policy `,` $name (`best` `(` $best^ `)`)? (`keep` `=` $keep^)? attr-dict
  }];
}

def RL_WriteOp : RL_SymbolUser<"write"> {
  let summary = "append outputs to a data set that a later stage reads";
  let arguments = (ins FlatSymbolRefAttr:$data, RL_Outputs:$outputs,
                       Optional<RL_Flag>:$where);
  let assemblyFormat = [{
    $data `,` $outputs (`where` `(` $where^ `:` type($where) `)`)? attr-dict `:` type($outputs)
  }];
  let hasVerifier = 1;
}

def RL_MetricOp : RL_Op<"metric"> {
  let summary = "a number that people watch";
  let description = [{
    Outside an update: once a round; inside: the mean over the round's updates.
  }];
  let arguments = (ins StrAttr:$name, RL_OneNum:$value);
  let assemblyFormat = "$name `,` $value attr-dict";
}

#endif // R1C_DIALECTS_RL_RLSTEPS_TD
