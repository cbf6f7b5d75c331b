//===- RLRagged.td - the border of rl and tensors ----------*- tablegen -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// After the phase `ragged` formulas are kern ops on tensors. What a set of
// outputs gives, and what the remaining rl ops take, crosses over here.
//===----------------------------------------------------------------------===//

#ifndef R1C_DIALECTS_RL_RLRAGGED_TD
#define R1C_DIALECTS_RL_RLRAGGED_TD

include "dialects/rl/RLTypes.td"

def RL_IndexOp : RL_Op<"index", [Pure]> {
  let summary = "offsets and indices of a set of outputs";
  let description = [{
    T tokens, S sequences, G groups; with `view` (inside an `rl.update`) those of
    the current minibatch.

    | name | holds |
    |------|-------|
    | `sequence_offsets` [S+1] | first token of each sequence, then T |
    | `group_offsets` [G+1] | first sequence of each group, then S |
    | `group_token_offsets` [G+1] | first token of each group, then T |
    | `token_sequence` [T], `token_group` [T], `sequence_group` [S] | where an element belongs |
    | `all_tokens`, `all_sequences`, `all_groups` [2] | 0, and T, S or G |
    | `view_tokens` [T], `view_sequences` [S], `view_groups` [G] | in an update: the element of the whole set |

    Example: `rl.index %o "token_sequence" : !rl.outputs<"o"> -> tensor<?xi32>`
  }];
  let arguments = (ins RL_OutputsType:$outputs, StrAttr:$name, UnitAttr:$view);
  let results = (outs 1DTensorOf<[I32]>:$result);
  let assemblyFormat = "$outputs $name (`view` $view^)? attr-dict `:` type($outputs) `->` type($result)";
}

def RL_ToTensorOp : RL_Op<"to_tensor", [Pure]> {
  let summary = "the values of an axis as a tensor";
  let description = [{
    One element a token, sequence or group, one element for axis `one`. A recorded or
    computed log-probability or entropy is float32; all else is float64, flags 0 or 1.

    Example: `rl.to_tensor %lp : !rl.num<token of "o"> -> tensor<?xf32>`
  }];
  let arguments = (ins RL_NumOrFlag:$value);
  let results = (outs 1DTensorOf<[F32, F64]>:$result);
  let assemblyFormat = "$value attr-dict `:` type($value) `->` type($result)";
}

def RL_FromTensorOp : RL_Op<"from_tensor", [Pure]> {
  let summary = "a float64 tensor as the values of an axis; flags 0 or 1";
  let arguments = (ins 1DTensorOf<[F64]>:$tensor);
  let results = (outs RL_NumOrFlag:$result);
  let assemblyFormat = "$tensor attr-dict `:` type($tensor) `->` type($result)";
}

#endif // R1C_DIALECTS_RL_RLRAGGED_TD
