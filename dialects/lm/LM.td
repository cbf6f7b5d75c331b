//===- LM.td - models and the forward ops of lm ------------*- tablegen -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// Include order: LMBase.td, LMGrad.td (what derivative rules build), LM.td.
//===----------------------------------------------------------------------===//

#ifndef R1C_DIALECTS_LM_TD
#define R1C_DIALECTS_LM_TD

include "dialects/lm/LMBase.td"
include "dialects/lm/LMGrad.td"

//===----------------------------------------------------------------------===//
// Models
//===----------------------------------------------------------------------===//

def LM_ModelOp : LM_Op<"model", [Symbol, NoTerminator, SingleBlock,
                                 IsolatedFromAbove, NoRegionArguments]> {
  let summary = "the shape of a policy, and its parameters in order";
  let description = [{
    `config` holds the keys of `r1c::ModelConfig`. The order of the parameters
    is their order in memory. The functions of the model are the `func.func`s
    `@<name>.embed`, `@<name>.layer`, `@<name>.head`, …
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, DictionaryAttr:$config);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$sym_name `config` $config $body attr-dict";
  let extraClassDeclaration = [{
    /// The parameter of this name, or null.
    ParameterOp getParameter(::llvm::StringRef name);
  }];
  let hasVerifier = 1;
}

def LM_InitKind : I32EnumAttr<"InitKind", "how a parameter starts", [
    I32EnumAttrCase<"normal", 0>, I32EnumAttrCase<"constant", 1>]> {
  let cppNamespace = "::r1c::lm";
  let genSpecializedAttr = 0;
}
def LM_InitKindAttr : EnumAttr<LM_Dialect, LM_InitKind, "init">;

def LM_ParameterOp : LM_Op<"parameter", [HasParent<"ModelOp">]> {
  let summary = "one parameter, by its Hugging Face name";
  let description = [{
    `stacked`: there is one of this shape for each of so many layers, and `{}`
    in the name stands for the layer's number. `init normal s`: independent
    normals of standard deviation s; `init constant c`. `decay`: weight decay
    applies (not to norms and biases).

    Example:
    ```mlir
    lm.parameter "model.layers.{}.mlp.up_proj.weight" : tensor<128x64xf32>
      stacked 2 init normal 2.000000e-02 decay
    ```
  }];
  let arguments = (ins StrAttr:$parameter, TypeAttrOf<AnyRankedTensor>:$type,
                       OptionalAttr<I64Attr>:$layers, LM_InitKindAttr:$init,
                       F64Attr:$init_value, UnitAttr:$decay);
  let assemblyFormat = [{
    $parameter `:` $type (`stacked` $layers^)? `init` $init $init_value
    (`decay` $decay^)? attr-dict
  }];
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Rows in and out
//===----------------------------------------------------------------------===//

def LM_EmbeddingOp : LM_Differentiable<"embedding"> {
  let summary = "y[r, :] = table[ids[r], :]";
  let arguments = (ins LM_Index:$ids, LM_Matrix:$table);
  let results = (outs LM_Matrix:$result);
  let assemblyFormat = "$ids `,` $table attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def LM_GatherOp : LM_Differentiable<"gather"> {
  let summary = "y[i, :] = x[rows[i], :]";
  let description = [{
    The rows are distinct, so that the derivative is a scatter without sums.
  }];
  let arguments = (ins LM_Matrix:$input, LM_Index:$rows);
  let results = (outs LM_Matrix:$result);
  let assemblyFormat = "$input `,` $rows attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Inside a layer
//===----------------------------------------------------------------------===//

def LM_RMSNormOp : LM_Differentiable<"rms_norm", [AllTypesMatch<["input", "result"]>]> {
  let summary = "y = x / sqrt(mean(x²) + ε) · w, over each head's columns";
  let description = [{
    x: rows × (heads · n), w: n; the mean is over the n columns of a head.
    `heads` is 1 for the norms of a layer, the number of heads for the
    query and key norms of Qwen3.
  }];
  let arguments = (ins LM_Matrix:$input, LM_Vector:$weight, F64Attr:$epsilon,
                       DefaultValuedAttr<I64Attr, "1">:$heads);
  let results = (outs LM_Matrix:$result);
  let assemblyFormat = "$input `,` $weight attr-dict `:` type($input) `,` type($weight)";
  let hasVerifier = 1;
}

def LM_LinearOp : LM_Differentiable<"linear"> {
  let summary = "y = x · wᵀ + bias, w as Hugging Face stores it: [out, in]";
  let arguments = (ins LM_Matrix:$input, LM_Matrix:$weight,
                       Optional<LM_Vector>:$bias);
  let results = (outs LM_Matrix:$result);
  let assemblyFormat = [{
    $input `,` $weight (`bias` $bias^)? attr-dict `:`
    functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

def LM_RopeOp : LM_Differentiable<"rope", [AllTypesMatch<["input", "result"]>]> {
  let summary = "rotary position embedding, half-split convention";
  let description = [{
    x: rows × (heads · d). In each head, columns i and i + d/2 are turned by the
    angle φ = position · frequencies[i]. Plain rotary embedding has the
    frequencies theta^(−2i/d), of which models for longer texts scale some:
    `y_i = x_i cos φ − x_{i+d/2} sin φ`, `y_{i+d/2} = x_{i+d/2} cos φ + x_i sin φ`.
    `inverse` turns back; it is also the derivative.
  }];
  let arguments = (ins LM_Matrix:$input, LM_Context:$ctx, I64Attr:$heads,
                       DenseF64ArrayAttr:$frequencies, UnitAttr:$inverse);
  let results = (outs LM_Matrix:$result);
  let assemblyFormat = [{
    $input `,` $ctx (`inverse` $inverse^)? attr-dict `:` type($input)
  }];
  let hasVerifier = 1;
}

def LM_AttentionOp : LM_Differentiable<"attention", [AllTypesMatch<["query", "result"]>]> {
  let summary = "causal attention inside each sequence";
  let description = [{
    query: rows × (heads · d), key and value: rows × (kv_heads · d). Query head
    h reads key head h / (heads / kv_heads). For row r, over the key rows
    j = base[r] … base[r] + position[r]: `s_j = scale · q·k_j`,
    `lse = log Σ exp s_j`, `y = Σ exp(s_j − lse) · v_j`.
    The second result, rows × heads, is lse, which the derivative reads.
  }];
  let arguments = (ins LM_Matrix:$query, LM_Matrix:$key, LM_Matrix:$value,
                       LM_Context:$ctx, I64Attr:$heads, I64Attr:$kv_heads,
                       F64Attr:$scale);
  let results = (outs LM_Matrix:$result, LM_Matrix:$lse);
  let assemblyFormat = [{
    $query `,` $key `,` $value `,` $ctx attr-dict `:` type($query) `,`
    type($key) `,` type($value) `->` type($lse)
  }];
  let hasVerifier = 1;
}

def LM_SiluMulOp : LM_Differentiable<"silu_mul", [SameOperandsAndResultType]> {
  let summary = "y = gate / (1 + exp(−gate)) · up";
  let arguments = (ins LM_Matrix:$gate, LM_Matrix:$up);
  let results = (outs LM_Matrix:$result);
  let assemblyFormat = "$gate `,` $up attr-dict `:` type($result)";
}

def LM_AddOp : LM_Differentiable<"add", [SameOperandsAndResultType, Commutative]> {
  let summary = "y = a + b; residuals, and gradients that meet";
  let arguments = (ins AnyTypeOf<[LM_Matrix, LM_Vector]>:$lhs,
                       AnyTypeOf<[LM_Matrix, LM_Vector]>:$rhs);
  let results = (outs AnyTypeOf<[LM_Matrix, LM_Vector]>:$result);
  let assemblyFormat = "$lhs `,` $rhs attr-dict `:` type($result)";
}

//===----------------------------------------------------------------------===//
// The head
//===----------------------------------------------------------------------===//

def LM_HeadOp : LM_Differentiable<"head", [
    AllTypesMatch<["logp", "entropy", "lse"]>]> {
  let summary = "log-probability of the target, and entropy, at a temperature";
  let description = [{
    With z = x · wᵀ, u = z / T and p = softmax(u), for each row:
    `lse = log Σ exp u_v`, `logp = u[target] − lse`, `entropy = −Σ p_v log p_v`.
    A temperature of 0 means that the sampler took the maximum; the
    log-probability is then the one at temperature 1.
    `kept`: u_v reads as −∞ for the tokens that are not of the kept set, so that
    all three are of the distribution over this set; a target is always of it.
    It is `lm.linear` and `lm.log_prob` in one, so that no value of this dialect
    has rows × vocabulary elements in scoring and training.
    The derivative reads lse and entropy.
  }];
  let arguments = (ins LM_Matrix:$input, LM_Matrix:$weight, LM_Index:$targets,
                       LM_Number:$temperature, Optional<LM_Mask>:$kept);
  let results = (outs LM_Vector:$logp, LM_Vector:$entropy, LM_Vector:$lse);
  let assemblyFormat = [{
    $input `,` $weight `,` $targets `,` $temperature
    (`kept` $kept^ `:` type($kept))? attr-dict `:`
    type($input) `,` type($weight) `,` type($targets) `->` type($logp)
  }];
  let hasVerifier = 1;
}

def LM_LogProbOp : LM_Compute<"log_prob", [
    AllTypesMatch<["logp", "entropy", "lse"]>]> {
  let summary = "lm.head on logits that exist: what the sampler records";
  let arguments = (ins LM_Matrix:$logits, LM_Index:$targets,
                       LM_Number:$temperature, Optional<LM_Mask>:$kept);
  let results = (outs LM_Vector:$logp, LM_Vector:$entropy, LM_Vector:$lse);
  let assemblyFormat = [{
    $logits `,` $targets `,` $temperature
    (`kept` $kept^ `:` type($kept))? attr-dict `:`
    type($logits) `,` type($targets) `->` type($logp)
  }];
  let hasVerifier = 1;
}

def LM_KeepOp : LM_Compute<"keep", [
    TypesMatchWith<"the result has one flag a logit", "logits", "kept",
      "::llvm::cast<::mlir::RankedTensorType>($_self).clone("
      "::mlir::IntegerType::get($_self.getContext(), 1))">]> {
  let summary = "the tokens that may be drawn: the kept set of each row";
  let description = [{
    With p = softmax(logits / T), in this order, each on what the one before
    left:
    - `top_k` (0: all): the k most probable tokens;
    - `top_p` (1: all): the fewest most probable tokens whose probabilities sum
      to at least top_p of those left;
    - `min_p` (0: all): tokens at least min_p times as probable as the most
      probable one.

    Tokens as probable as the last one kept are kept too, so that the set does
    not depend on an order of sorting.
  }];
  let arguments = (ins LM_Matrix:$logits, LM_Number:$temperature,
                       LM_Number:$top_k, LM_Number:$top_p, LM_Number:$min_p);
  let results = (outs LM_Mask:$kept);
  let assemblyFormat = [{
    $logits `,` $temperature `top_k` $top_k `top_p` $top_p `min_p` $min_p
    attr-dict `:` type($logits)
  }];
}

def LM_SampleOp : LM_Compute<"sample"> {
  let summary = "a token for each row, drawn from softmax(logits / T)";
  let description = [{
    Gumbel-max: the token is the first v that maximises
    `logits_v / T − log(−log r_v)`, with r_v uniform in (0, 1) from Philox4x32-10:
    the row's own four words w are those under its counter (4 words) and the key
    (2 words); r_v is word (v / 16) mod 4 under the counter
    ((v / 64) · 16 + v mod 16, w2, w3, 0) and the key (w0, w1). So the draw
    depends on them and on the row's logits alone. T = 0: the first v that
    maximises logits_v. `kept`: among the tokens of the kept set.
  }];
  let arguments = (ins LM_Matrix:$logits, LM_Number:$temperature,
                       2DTensorOf<[I32]>:$counter, 1DTensorOf<[I32]>:$key,
                       Optional<LM_Mask>:$kept);
  let results = (outs LM_Index:$token);
  let assemblyFormat = [{
    $logits `,` $temperature `,` $counter `,` $key (`kept` $kept^)? attr-dict `:`
    functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

#endif
