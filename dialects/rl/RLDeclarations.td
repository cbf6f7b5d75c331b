//===- RLDeclarations.td - declarations of a step file -----*- tablegen -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_DIALECTS_RL_RLDECLARATIONS_TD
#define R1C_DIALECTS_RL_RLDECLARATIONS_TD

include "dialects/rl/RLTypes.td"

class RL_Declaration<string mnemonic, list<Trait> traits = []>
    : RL_Op<mnemonic, !listconcat([Symbol], traits)>;

def RL_ParamOp : RL_Declaration<"param"> {
  let summary = "a number that --set changes";
  let description = [{
    An open param is read by `rl.get_param` and may be set for each run; on a
    frozen one (no `open`) a size or another constant depends, and its value is
    already in them. Params that are texts are folded and have no op.

    Example: `rl.param @lr = 1.0e-6 open`
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, F64Attr:$value, UnitAttr:$open);
  let assemblyFormat = "$sym_name `=` $value (`open` $open^)? attr-dict";
}

def RL_PolicyOp : RL_Declaration<"policy"> {
  let summary = "a policy, and what its weights start as";
  let description = [{
    `init` has the string `kind` and the fields of that kind:

    | kind  | fields |
    |-------|--------|
    | llama | layers hidden heads kv_heads intermediate context head_dim vocabulary : i64, rope_theta norm_epsilon init : f64, tied : bool, tokenizer = {kind = "characters", alphabet} or {kind = "huggingface", path} |
    | load  | path : string, head : "vocabulary" or "scalar" |
    | copy  | of : symbol |
    | lora  | of : symbol, rank : i64, alpha : f64, layers : array of strings |

    `vocabulary` is absent with a huggingface tokenizer, which knows it.

    Example: `rl.policy @actor init = {kind = "load", path = "model", head = "vocabulary"}`
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, DictionaryAttr:$init);
  let assemblyFormat = "$sym_name `init` `=` $init attr-dict";
  let hasVerifier = 1;
}

def RL_DataOp : RL_Declaration<"data"> {
  let summary = "a data set of JSON lines";
  let description = [{
    `info` has

    - `file`: string;
    - `prompt`: a template `{kind = "plain"|"chat"|"file", text = "…", system = "…"?}`
      (`text` is the path with kind file);
    - `completion`: array of templates, absent when the policy writes the completion;
    - `columns`: dictionary from declared column to "text", "number" or "flag";
    - `ids`, `prompt_ids`, `logp`: names of the columns that bring token ids and
      log-probabilities of another engine, absent otherwise;
    - `temperature`: f64, at which its log-probabilities were taken.
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, DictionaryAttr:$info);
  let assemblyFormat = "$sym_name $info attr-dict";
}

def RL_ExternOp : RL_Declaration<"extern"> {
  let summary = "a function that lives outside: a program or a shared library";
  let description = [{
    `params` are pairs of name and kind, `result` a kind: "text", "number" or "flag".
    `info` has `program` or `library`, `workers` : i64, `timeout` : f64 (seconds) and
    `failure`, the result of a call that hangs or crashes.

    Example: `rl.extern @judge (["code", "text"]) -> "number" {program = "python3 judge.py", failure = 0.0}`
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, ArrayAttr:$params,
                       StrAttr:$result, DictionaryAttr:$info);
  let assemblyFormat = "$sym_name `(` $params `)` `->` $result $info attr-dict";
}

def RL_StageOp : RL_Declaration<"stage", [NoTerminator, SingleBlock,
                                          NoRegionArguments, IsolatedFromAbove]> {
  let summary = "a stage: its body is one round";
  let description = [{
    The body runs in order until `count` steps (updates), rounds or epochs
    (passes over the data) are done. Stages run in the order of the file.

    Example: `rl.stage @train steps = 500 { … }`
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, RL_Limit:$limit,
                       ConfinedAttr<I64Attr, [IntPositive]>:$count);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$sym_name $limit `=` $count attr-dict-with-keyword $body";
}

#endif // R1C_DIALECTS_RL_RLDECLARATIONS_TD
