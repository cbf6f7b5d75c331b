//===- LMBase.td - dialect, types and constraints of lm ----*- tablegen -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_DIALECTS_LM_BASE_TD
#define R1C_DIALECTS_LM_BASE_TD

include "dialects/interfaces/Cost.td"
include "dialects/interfaces/Differentiable.td"
include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"
include "mlir/IR/OpBase.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/InferTypeOpInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def LM_Dialect : Dialect {
  let name = "lm";
  let cppNamespace = "::r1c::lm";
  let summary = "what a policy computes: the network as functions on rows";
  let description = [{
    Values are tensors with value semantics. The first dimension of an
    activation is *rows*: token positions of packed sequences, known only at
    run time. Everything else is static. An op's meaning is the function of the
    same name in `compiler/reference`, in float64.
  }];
  let useDefaultTypePrinterParser = 1;
  let useDefaultAttributePrinterParser = 1;
}

class LM_Type<string name, string typeMnemonic>
    : TypeDef<LM_Dialect, name> {
  let mnemonic = typeMnemonic;
}

def LM_Context : LM_Type<"Context", "context"> {
  let summary = "where each row stands: its position, its sequence's first row";
  let description = [{
    For row r: `position[r]`, its place in its sequence, and `base[r]`, the key
    row of the sequence's position 0. Row r may look at the key rows
    `base[r] … base[r] + position[r]`. In a packed chunk the key rows are the
    rows themselves, so that `base[r] + position[r] = r`.
  }];
}

class LM_Op<string mnemonic, list<Trait> traits = []>
    : Op<LM_Dialect, mnemonic, traits>;

// An op that computes something: no side effects, and a cost.
class LM_Compute<string mnemonic, list<Trait> traits = []>
    : LM_Op<mnemonic, !listconcat([Pure,
        DeclareOpInterfaceMethods<CostOpInterface, ["getFlops"]>], traits)>;

class LM_Differentiable<string mnemonic, list<Trait> traits = []>
    : LM_Compute<mnemonic, !listconcat(
        [DeclareOpInterfaceMethods<DifferentiableOpInterface>], traits)>;

def LM_Matrix : 2DTensorOf<[F32]>;   // rows x columns, or a weight [out, in]
def LM_Vector : 1DTensorOf<[F32]>;   // one number a row, or a column
// One number, known when it runs.
def LM_Number : Type<0DTensorOf<[F32]>.predicate, "tensor<f32>", "::mlir::RankedTensorType">,
    BuildableType<"::mlir::RankedTensorType::get({}, $_builder.getF32Type())">;
def LM_Index  : 1DTensorOf<[I32]>;   // token ids, row numbers
def LM_Mask   : 2DTensorOf<[I1]>;    // rows x vocabulary: may be drawn, or not

#endif
