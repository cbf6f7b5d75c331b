//===- LMGrad.td - the ops that derivative rules build -----*- tablegen -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// The gradient of a loss L with respect to the operands of a forward op, given
// its gradient with respect to the results. `gradient` is ∂L/∂y.
//===----------------------------------------------------------------------===//

#ifndef R1C_DIALECTS_LM_GRAD_TD
#define R1C_DIALECTS_LM_GRAD_TD

include "dialects/lm/LMBase.td"

def LM_EmbeddingGradOp : LM_Compute<"embedding_grad"> {
  let summary = "∂L/∂table[v, :] = Σ over rows r with ids[r] = v of gradient[r, :]";
  let arguments = (ins LM_Matrix:$gradient, LM_Index:$ids);
  let results = (outs LM_Matrix:$table);
  let assemblyFormat = "$gradient `,` $ids attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def LM_GatherGradOp : LM_Compute<"gather_grad"> {
  let summary = "∂L/∂x[rows[i], :] = gradient[i, :], 0 in all other rows";
  let description = [{ `like` gives the number of rows alone; its elements are not read. }];
  let arguments = (ins LM_Matrix:$gradient, LM_Index:$rows, LM_Matrix:$like);
  let results = (outs LM_Matrix:$result);
  let assemblyFormat = [{
    $gradient `,` $rows `like` $like attr-dict `:`
    functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

def LM_RMSNormGradOp : LM_Compute<"rms_norm_grad", [
    AllTypesMatch<["gradient", "input", "input_gradient"]>,
    AllTypesMatch<["weight", "weight_gradient"]>]> {
  let summary = "derivative of lm.rms_norm";
  let description = [{
    With ρ = 1 / sqrt(mean(x²) + ε) and a = gradient · w:
    `∂L/∂x = ρ · (a − x · ρ² · mean(a · x))`, `∂L/∂w = Σ rows, heads of gradient · x · ρ`.
  }];
  let arguments = (ins LM_Matrix:$gradient, LM_Matrix:$input, LM_Vector:$weight,
                       F64Attr:$epsilon, DefaultValuedAttr<I64Attr, "1">:$heads);
  let results = (outs LM_Matrix:$input_gradient, LM_Vector:$weight_gradient);
  let assemblyFormat = [{
    $gradient `,` $input `,` $weight attr-dict `:` type($input) `,` type($weight)
  }];
  let hasVerifier = 1;
}

def LM_LinearInputGradOp : LM_Compute<"linear_input_grad"> {
  let summary = "∂L/∂x = gradient · w";
  let arguments = (ins LM_Matrix:$gradient, LM_Matrix:$weight);
  let results = (outs LM_Matrix:$result);
  let assemblyFormat = "$gradient `,` $weight attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def LM_LinearWeightGradOp : LM_Compute<"linear_weight_grad"> {
  let summary = "∂L/∂w = gradientᵀ · x, [out, in]";
  let arguments = (ins LM_Matrix:$gradient, LM_Matrix:$input);
  let results = (outs LM_Matrix:$result);
  let assemblyFormat = "$gradient `,` $input attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def LM_LinearBiasGradOp : LM_Compute<"linear_bias_grad"> {
  let summary = "∂L/∂bias = Σ rows of gradient";
  let arguments = (ins LM_Matrix:$gradient);
  let results = (outs LM_Vector:$result);
  let assemblyFormat = "$gradient attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def LM_AttentionGradOp : LM_Compute<"attention_grad", [
    AllTypesMatch<["gradient", "query", "result", "query_gradient"]>,
    AllTypesMatch<["key", "value", "key_gradient", "value_gradient"]>]> {
  let summary = "derivative of lm.attention";
  let description = [{
    With p_j = exp(s_j − lse), a_j = gradient·v_j and δ = gradient·y:
    `∂L/∂s_j = p_j (a_j − δ)`, `∂L/∂q = scale Σ_j ∂L/∂s_j k_j`,
    `∂L/∂k_j = scale Σ ∂L/∂s_j q` and `∂L/∂v_j = Σ p_j gradient`, the last two
    over all query rows and query heads that read key row j. Keys are the rows
    of the same chunk.
  }];
  let arguments = (ins LM_Matrix:$gradient, LM_Matrix:$query, LM_Matrix:$key,
                       LM_Matrix:$value, LM_Matrix:$result, LM_Matrix:$lse,
                       LM_Context:$ctx, I64Attr:$heads, I64Attr:$kv_heads,
                       F64Attr:$scale);
  let results = (outs LM_Matrix:$query_gradient, LM_Matrix:$key_gradient,
                      LM_Matrix:$value_gradient);
  let assemblyFormat = [{
    $gradient `,` $query `,` $key `,` $value `,` $result `,` $lse `,` $ctx
    attr-dict `:` type($query) `,` type($key) `,` type($lse)
  }];
  let hasVerifier = 1;
}

def LM_SiluMulGradOp : LM_Compute<"silu_mul_grad", [
    AllTypesMatch<["gradient", "gate", "up", "gate_gradient", "up_gradient"]>]> {
  let summary = "derivative of lm.silu_mul";
  let description = [{
    With σ = 1 / (1 + exp(−gate)): `∂L/∂gate = gradient · up · σ (1 + gate (1 − σ))`,
    `∂L/∂up = gradient · gate · σ`.
  }];
  let arguments = (ins LM_Matrix:$gradient, LM_Matrix:$gate, LM_Matrix:$up);
  let results = (outs LM_Matrix:$gate_gradient, LM_Matrix:$up_gradient);
  let assemblyFormat = "$gradient `,` $gate `,` $up attr-dict `:` type($gradient)";
}

def LM_HeadGradOp : LM_Compute<"head_grad", [AttrSizedOperandSegments,
    AllTypesMatch<["input", "input_gradient"]>,
    AllTypesMatch<["weight", "weight_gradient"]>]> {
  let summary = "derivative of lm.head";
  let description = [{
    With the seeds g = ∂L/∂logp and h = ∂L/∂entropy (0 if absent; one of them is
    there, and the entropy itself goes with its seed), p_v = exp(u_v − lse):
    `∂L/∂z_v = (g · (1[v = target] − p_v) − h · p_v · (u_v − lse + entropy)) / T`,
    `∂L/∂x = ∂L/∂z · w`, `∂L/∂w = (∂L/∂z)ᵀ · x`. T = 0 reads as 1, as in lm.head.
    `kept`: ∂L/∂z_v is 0 for the tokens that are not of the kept set.
  }];
  // The optional operands come last: type inference counts operands from the
  // front.
  let arguments = (ins LM_Matrix:$input, LM_Matrix:$weight, LM_Index:$targets,
                       LM_Number:$temperature, LM_Vector:$lse,
                       Optional<LM_Vector>:$logp_gradient,
                       Optional<LM_Vector>:$entropy_gradient,
                       Optional<LM_Vector>:$entropy, Optional<LM_Mask>:$kept);
  let results = (outs LM_Matrix:$input_gradient, LM_Matrix:$weight_gradient);
  let assemblyFormat = [{
    (`logp` $logp_gradient^ `:` type($logp_gradient))?
    (`entropy` $entropy_gradient^ `at` $entropy `:` type($entropy_gradient) `,` type($entropy))?
    `of` $input `,` $weight `,` $targets `,` $temperature `,` $lse
    (`kept` $kept^ `:` type($kept))? attr-dict `:` type($input) `,` type($weight) `,` type($targets) `,` type($lse)
  }];
  let hasVerifier = 1;
}

#endif
