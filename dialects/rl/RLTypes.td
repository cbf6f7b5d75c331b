//===- RLTypes.td - types and enums of the rl dialect ------*- tablegen -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_DIALECTS_RL_RLTYPES_TD
#define R1C_DIALECTS_RL_RLTYPES_TD

include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"
include "mlir/IR/OpBase.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/InferTypeOpInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def RL_Dialect : Dialect {
  let name = "rl";
  let cppNamespace = "::r1c::rl";
  let summary = "what a step is: policies, sets of outputs, formulas, updates";
  let description = [{
    The first level: what the step file says, with every axis and every set of
    outputs in the types, so that each op can be checked by itself. No tensors,
    buffers or devices. See README.md.
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::math::MathDialect"];
  let useDefaultTypePrinterParser = 1;
  let hasConstantMaterializer = 1;
}

//===----------------------------------------------------------------------===//
// Enums
//===----------------------------------------------------------------------===//

class RL_Enum<string name, string summary, list<I32EnumAttrCase> cases>
    : I32EnumAttr<name, summary, cases> {
  let cppNamespace = "::r1c::rl";
}

// Ordered from coarse to fine: a reduce goes down, a repeat goes up.
def RL_Axis : RL_Enum<"Axis", "what a value has one of", [
    I32EnumAttrCase<"one", 0>, I32EnumAttrCase<"group", 1>,
    I32EnumAttrCase<"sequence", 2>, I32EnumAttrCase<"token", 3>]>;

def RL_Domain : RL_Enum<"Domain", "what a reduction to one number runs over", [
    I32EnumAttrCase<"batch", 0>, I32EnumAttrCase<"rollout", 1>]>;

def RL_ReduceKind : RL_Enum<"ReduceKind", "how rl.reduce combines", [
    I32EnumAttrCase<"mean", 0>, I32EnumAttrCase<"sum", 1>,
    I32EnumAttrCase<"min", 2>, I32EnumAttrCase<"max", 3>,
    I32EnumAttrCase<"std", 4>, I32EnumAttrCase<"var", 5>,
    I32EnumAttrCase<"quantile", 6>, I32EnumAttrCase<"first", 7>,
    I32EnumAttrCase<"last", 8>, I32EnumAttrCase<"any", 9>,
    I32EnumAttrCase<"all", 10>]>;

def RL_ScanKind : RL_Enum<"ScanKind", "direction of rl.scan", [
    I32EnumAttrCase<"prefix_sum", 0>, I32EnumAttrCase<"suffix_sum", 1>]>;

def RL_Limit : RL_Enum<"Limit", "what ends a stage", [
    I32EnumAttrCase<"steps", 0>, I32EnumAttrCase<"rounds", 1>,
    I32EnumAttrCase<"epochs", 2>]>;

def RL_Split : RL_Enum<"Split", "what an update deals to its minibatches", [
    I32EnumAttrCase<"group", 0>, I32EnumAttrCase<"sequence", 1>]>;

//===----------------------------------------------------------------------===//
// Types
//===----------------------------------------------------------------------===//

class RL_Type<string name, string typeMnemonic, list<Trait> traits = []>
    : TypeDef<RL_Dialect, name, traits> {
  let mnemonic = typeMnemonic;
}

def RL_OutputsType : RL_Type<"Outputs", "outputs"> {
  let summary = "a set of outputs: what sample or read gives";
  let description = [{
    `set` names the set; it is unique in the module. The set that a `where`
    region judges is another one, named `<set>.tried`.

    Example: `!rl.outputs<"o">`
  }];
  let parameters = (ins StringRefParameter<>:$set);
  let assemblyFormat = "`<` $set `>`";
}

class RL_AxisType<string name, string typeMnemonic, string what>
    : RL_Type<name, typeMnemonic> {
  let summary = what # " on an axis of a set of outputs";
  let description = [{
    One value a token, sequence or group of the set `set`; on axis `one` a
    single value, of no set.

    Examples: `!rl.num<token of "o">`, `!rl.flag<sequence of "o">`, `!rl.num<one>`
  }];
  let parameters = (ins EnumParameter<RL_Axis>:$axis, StringRefParameter<>:$set);
  let hasCustomAssemblyFormat = 1;
  let genVerifyDecl = 1;
  let builders = [TypeBuilder<(ins "Axis":$axis), [{
    return $_get($_ctxt, axis, ::llvm::StringRef());
  }]>];
}
def RL_NumType : RL_AxisType<"Num", "num", "numbers (float64)">;
def RL_FlagType : RL_AxisType<"Flag", "flag", "flags">;
def RL_TextType : RL_AxisType<"Text", "text", "texts">;

def RL_GradientType : RL_Type<"Gradient", "gradient"> {
  let summary = "a gradient: one float32 a parameter of a policy";
}

// As operands: with a C++ class of their own, ops would print `<token of "o">`
// for `!rl.num<token of "o">`.
class RL_Value<TypeDef type, string what>
    : Type<CPred<"::llvm::isa<" # type.cppType # ">($_self)">, what>;
def RL_Outputs : RL_Value<RL_OutputsType, "set of outputs">;
def RL_Num : RL_Value<RL_NumType, "numbers">;
def RL_Flag : RL_Value<RL_FlagType, "flags">;
def RL_Text : RL_Value<RL_TextType, "texts">;

def RL_NumOrFlag : AnyTypeOf<[RL_NumType, RL_FlagType]>;
def RL_AxisValue : AnyTypeOf<[RL_NumType, RL_FlagType, RL_TextType]>;

// One number, whose type need not be written.
def RL_OneNum : Type<
    CPred<"::llvm::isa<::r1c::rl::NumType>($_self) && "
          "::llvm::cast<::r1c::rl::NumType>($_self).getAxis() == ::r1c::rl::Axis::one">,
    "one number", "::r1c::rl::NumType">,
  BuildableType<"::r1c::rl::NumType::get($_builder.getContext(), ::r1c::rl::Axis::one)">;

// One text, whose type need not be written.
def RL_OneText : Type<
    CPred<"::llvm::isa<::r1c::rl::TextType>($_self) && "
          "::llvm::cast<::r1c::rl::TextType>($_self).getAxis() == ::r1c::rl::Axis::one">,
    "one text", "::r1c::rl::TextType">,
  BuildableType<"::r1c::rl::TextType::get($_builder.getContext(), ::r1c::rl::Axis::one)">;

class RL_Op<string mnemonic, list<Trait> traits = []> : Op<RL_Dialect, mnemonic, traits>;

#endif // R1C_DIALECTS_RL_RLTYPES_TD
