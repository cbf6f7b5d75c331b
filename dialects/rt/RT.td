//===- RT.td - the rt dialect ------------------------------*- tablegen -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// Every op is one command or one declaration of the artifact: its attributes,
// by their names, are the fields of the JSON that the runtime reads (README.md).
//===----------------------------------------------------------------------===//

#ifndef R1C_DIALECTS_RT_TD
#define R1C_DIALECTS_RT_TD

include "mlir/IR/OpBase.td"
include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def RT_Dialect : Dialect {
  let name = "rt";
  let cppNamespace = "::r1c::rt";
  let summary = "when and where: buffers, kernels, and programs of commands";
  let description = [{
    The last level before the artifact. It holds no mathematics. See README.md
    for the artifact's JSON, to which the ops correspond one to one.
  }];
  let useDefaultAttributePrinterParser = 1;
}

def RT_RefAttr : AttrDef<RT_Dialect, "Ref"> {
  let mnemonic = "ref";
  let summary = "an address: start of a buffer + offset + stride * loop variable";
  let description = [{
    `offset` and `stride` are in bytes; `stride` counts in the enclosing
    `rt.loop` and must be 0 outside one.

    Example: `#rt.ref<@actor.weights + 4096 + 99328 * i>`
  }];
  let parameters = (ins "::mlir::FlatSymbolRefAttr":$buffer,
                        "int64_t":$offset, "int64_t":$stride);
  let hasCustomAssemblyFormat = 1;
}

// A number operand: one float64 in a buffer, or a literal.
def RT_Number : AnyAttrOf<[RT_RefAttr, F64Attr], "a float64 literal or #rt.ref">;

class RT_Op<string mnemonic, list<Trait> traits = []>
    : Op<RT_Dialect, mnemonic, traits>;

//===----------------------------------------------------------------------===//
// Declarations
//===----------------------------------------------------------------------===//

class RT_Declaration<string mnemonic, list<Trait> traits = []>
    : RT_Op<mnemonic, !listconcat([Symbol], traits)>;

def RT_ArenaOp : RT_Declaration<"arena"> {
  let summary = "one allocation, made once when the artifact is loaded";
  let arguments = (ins SymbolNameAttr:$sym_name, I64Attr:$bytes);
  let assemblyFormat = "$sym_name $bytes `bytes` attr-dict";
}

def RT_BufferOp : RT_Declaration<"buffer"> {
  let summary = "a named range of an arena";
  let description = [{
    Buffers of one arena may overlap where their lifetimes do not: the memory
    plan has decided. `data` holds the contents of a constant.
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, FlatSymbolRefAttr:$arena,
                       I64Attr:$offset, I64Attr:$bytes, StrAttr:$dtype,
                       OptionalAttr<ElementsAttr>:$data);
  let assemblyFormat = [{
    $sym_name `in` $arena `at` $offset `,` $bytes `bytes` `of` $dtype
    (`=` $data^)? attr-dict
  }];
  let hasVerifier = 1;
}

def RT_KernelOp : RT_Declaration<"kernel"> {
  let summary = "a compiled function of kernels.so, or of kernels.cubin";
  let description = [{
    `what` names the value that it gives where it was first used.
    `flops_per_row` and `bytes_per_row` times the rows that a call is given (its
    last operand), and `bytes` whatever they are, are its cost, for reports. The
    kernel's IR is the function of this name in the nested module `@kernels`.
    `launch` says how a GPU starts it: the fields are in README.md, lists of
    them plain arrays of integers. `usage` is what the assembler says of it:
    registers of a thread, bytes spilled, bytes of stack, and bytes of shared
    memory that a block has beside those of `launch`; and the bytes of global
    memory that the kernel keeps for its own.

    Example: `rt.kernel @k as "k"(4 operands) {launch = {threads = 384 : i64,
    shared = 200000 : i64, cluster = 2 : i64} }`
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, StrAttr:$symbol,
                       I64Attr:$operands,
                       OptionalAttr<StrAttr>:$what,
                       OptionalAttr<I64Attr>:$flops_per_row,
                       OptionalAttr<I64Attr>:$bytes_per_row,
                       OptionalAttr<I64Attr>:$bytes,
                       OptionalAttr<DictionaryAttr>:$launch,
                       OptionalAttr<DictionaryAttr>:$usage);
  let assemblyFormat = "$sym_name `as` $symbol `(` $operands `operands` `)` attr-dict";
  let hasVerifier = 1;
}

class RT_InfoOp<string mnemonic> : RT_Declaration<mnemonic> {
  let arguments = (ins SymbolNameAttr:$sym_name, DictionaryAttr:$info);
  let assemblyFormat = "$sym_name $info attr-dict";
}
def RT_PolicyOp : RT_InfoOp<"policy"> {
  let summary = "a policy: its parameters, programs and buffers (README.md)";
}
def RT_DataOp : RT_InfoOp<"data"> {
  let summary = "a data set: files, templates, declared columns";
}
def RT_ParamOp : RT_InfoOp<"param"> {
  let summary = "a param of the step file: value, and its buffer while open";
}
def RT_ExternOp : RT_InfoOp<"extern"> {
  let summary = "an extern program: command, workers, timeout, failure value";
}

class RT_Body<string mnemonic, list<Trait> traits = []>
    : RT_Declaration<mnemonic, !listconcat(traits, [NoTerminator, SingleBlock, NoRegionArguments])>;

def RT_ProgramOp : RT_Body<"program"> {
  let summary = "device commands that are called by name";
  let arguments = (ins SymbolNameAttr:$sym_name);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$sym_name attr-dict-with-keyword $body";
}

def RT_StageOp : RT_Body<"stage"> {
  let summary = "a stage of the step file: its body is one round";
  let arguments = (ins SymbolNameAttr:$sym_name, StrAttr:$limit, I64Attr:$count);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$sym_name $limit `=` $count attr-dict-with-keyword $body";
}

//===----------------------------------------------------------------------===//
// Commands on the device
//===----------------------------------------------------------------------===//

class RT_Block<string mnemonic, list<Trait> traits = []>
    : RT_Op<mnemonic, !listconcat(traits, [NoTerminator, SingleBlock, NoRegionArguments])>;

def RT_DispatchOp : RT_Op<"dispatch"> {
  let summary = "run a kernel; `args` in the order of the kernel ABI";
  let description = [{
    `serial`: the kernel is too small to wake other workers for.
  }];
  let arguments = (ins FlatSymbolRefAttr:$kernel,
                       TypedArrayAttrBase<RT_RefAttr, "references">:$args,
                       UnitAttr:$serial);
  let assemblyFormat = "$kernel $args attr-dict";
}

def RT_LoopOp : RT_Block<"loop"> {
  let summary = "repeat the body for from, from + step, ... while it is not `to`";
  let arguments = (ins I64Attr:$from, I64Attr:$to, I64Attr:$step);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$from `to` $to `step` $step attr-dict-with-keyword $body";
  let hasVerifier = 1;
}

def RT_ZeroOp : RT_Op<"zero"> {
  let summary = "set bytes to 0";
  let arguments = (ins RT_RefAttr:$arg, I64Attr:$bytes);
  let assemblyFormat = "$arg `,` $bytes attr-dict";
}

def RT_CopyOp : RT_Op<"copy"> {
  let summary = "copy bytes between buffers that do not overlap";
  let arguments = (ins RT_RefAttr:$source, RT_RefAttr:$target, I64Attr:$bytes);
  let assemblyFormat = "$source `to` $target `,` $bytes attr-dict";
}

def RT_CallOp : RT_Op<"call"> {
  let summary = "run another program";
  let arguments = (ins FlatSymbolRefAttr:$program);
  let assemblyFormat = "$program attr-dict";
}

def RT_ReduceStartOp : RT_Op<"reduce_start"> {
  let summary = "in rt.chunks: so much of what an rt.all_reduce sums is final";
  let description = [{
    In the last chunk that a rank runs of an update the sum of these numbers
    over all ranks may begin, while the commands behind it run. An all_reduce
    behind the chunks waits for it, and begins itself what was not begun.
  }];
  let arguments = (ins TypedArrayAttrBase<RT_RefAttr, "references">:$args,
                       DenseI64ArrayAttr:$counts);
  let assemblyFormat = "$args $counts attr-dict";
  let hasVerifier = 1;
}

def RT_AllReduceOp : RT_Op<"all_reduce"> {
  let summary = "sum over all ranks, in rank order";
  let arguments = (ins RT_RefAttr:$arg, I64Attr:$count, StrAttr:$dtype);
  let assemblyFormat = "$arg `,` $count `of` $dtype attr-dict";
}

//===----------------------------------------------------------------------===//
// Commands on the host. Their fields are listed in README.md.
//===----------------------------------------------------------------------===//

class RT_HostBlock<string mnemonic> : RT_Block<mnemonic> {
  let regions = (region SizedRegion<1>:$body);
}

def RT_SampleOp : RT_HostBlock<"sample"> {
  let summary = "roll out a policy on prompts: makes a set of outputs";
  let arguments = (ins I64Attr:$set, FlatSymbolRefAttr:$policy,
                       ArrayAttr:$data, OptionalAttr<ArrayAttr>:$weights,
                       RT_Number:$groups, RT_Number:$group_size,
                       RT_Number:$temperature, RT_Number:$max_new_tokens,
                       OptionalAttr<RT_Number>:$top_p, OptionalAttr<RT_Number>:$top_k,
                       OptionalAttr<RT_Number>:$min_p, UnitAttr:$kept,
                       OptionalAttr<ArrayAttr>:$stop, OptionalAttr<I64Attr>:$tries,
                       I64Attr:$max_groups, I64Attr:$max_group_size, I64Attr:$max_tokens,
                       OptionalAttr<DictionaryAttr>:$where);
  let assemblyFormat = "attr-dict-with-keyword $body";
}

def RT_ReadOp : RT_HostBlock<"read"> {
  let summary = "take outputs from data: makes a set of outputs";
  let arguments = (ins I64Attr:$set, FlatSymbolRefAttr:$policy,
                       ArrayAttr:$data, OptionalAttr<ArrayAttr>:$weights,
                       RT_Number:$groups, OptionalAttr<RT_Number>:$max_tokens,
                       StrAttr:$order,
                       I64Attr:$max_groups, I64Attr:$max_group_size,
                       OptionalAttr<DictionaryAttr>:$where);
  let assemblyFormat = "attr-dict-with-keyword $body";
}

def RT_AxesOp : RT_Op<"axes"> {
  let summary = "write the offsets and indices of a set or of its current view";
  let arguments = (ins I64Attr:$set, BoolAttr:$view, DictionaryAttr:$to);
  let assemblyFormat = "$set attr-dict";
}

def RT_ColumnOp : RT_Op<"column"> {
  let summary = "write a field of a set into a buffer";
  let arguments = (ins I64Attr:$set, BoolAttr:$view, StrAttr:$field, RT_RefAttr:$to);
  let assemblyFormat = "$set $field `to` $to attr-dict";
}

def RT_TextOp : RT_Op<"text"> {
  let summary = "a text function over the sequences of a set";
  let arguments = (ins StrAttr:$function, ArrayAttr:$args, I64Attr:$set,
                       StrAttr:$axis, OptionalAttr<RT_RefAttr>:$where,
                       OptionalAttr<RT_RefAttr>:$to, OptionalAttr<I64Attr>:$id);
  let assemblyFormat = "$function $args attr-dict";
}

def RT_ExternCallOp : RT_Op<"extern_call"> {
  let summary = "ask an extern program about the sequences of a set";
  let arguments = (ins FlatSymbolRefAttr:$callee, ArrayAttr:$args, I64Attr:$set,
                       StrAttr:$axis, OptionalAttr<RT_RefAttr>:$where,
                       OptionalAttr<RT_RefAttr>:$to, OptionalAttr<I64Attr>:$id);
  let assemblyFormat = "$callee $args attr-dict";
}

def RT_UpdateOp : RT_HostBlock<"update"> {
  let summary = "once a minibatch: set the view, run the body, count the step";
  let arguments = (ins I64Attr:$set, FlatSymbolRefAttr:$policy,
                       I64Attr:$minibatches, I64Attr:$epochs, StrAttr:$split);
  let assemblyFormat = "attr-dict-with-keyword $body";
}

def RT_ChunksOp : RT_HostBlock<"chunks"> {
  let summary = "once a chunk: pack whole sequences into rows, run the body";
  let arguments = (ins I64Attr:$set, BoolAttr:$view, FlatSymbolRefAttr:$policy,
                       I64Attr:$rows, OptionalAttr<I64Attr>:$vocabulary,
                       OptionalAttr<TypedArrayAttrBase<RT_RefAttr, "references">>:$seeds,
                       UnitAttr:$drop_idle, DictionaryAttr:$to);
  let assemblyFormat = "attr-dict-with-keyword $body";
}

def RT_LearnOp : RT_HostBlock<"learn"> {
  let summary = "in rt.chunks: leave only targets with a seed, run the body if there are any";
  let description = [{
    `whole`: all targets, of the chunk or of the slice, stay if any has a seed.
    `places` (i32) gets where each target that is left stood before.
  }];
  let arguments = (ins I64Attr:$set, BoolAttr:$view,
                       OptionalAttr<I64Attr>:$vocabulary,
                       TypedArrayAttrBase<RT_RefAttr, "references">:$seeds,
                       UnitAttr:$whole, OptionalAttr<RT_RefAttr>:$places, DictionaryAttr:$to);
  let assemblyFormat = "attr-dict-with-keyword $body";
}

def RT_GatherOp : RT_HostBlock<"gather"> {
  let summary = "after rt.chunks: give every rank what the others' chunks left";
  let description = [{
    With one rank it does nothing, and its body is not run. With more, the body
    follows: what was computed from the values chunk by chunk, for all tokens.
  }];
  let arguments = (ins TypedArrayAttrBase<RT_RefAttr, "references">:$values);
  let assemblyFormat = "$values attr-dict-with-keyword $body";
}

def RT_SlicesOp : RT_HostBlock<"slices"> {
  let summary = "in rt.chunks: run the body once for each so many targets";
  let arguments = (ins I64Attr:$set, BoolAttr:$view, I64Attr:$rows,
                       OptionalAttr<I64Attr>:$vocabulary, DictionaryAttr:$to);
  let assemblyFormat = "attr-dict-with-keyword $body";
}

def RT_RebuildOp : RT_HostBlock<"rebuild"> {
  let summary = "in rt.chunks: run the body unless there is one chunk only";
  let description = [{
    What an earlier pass over the same view left in memory still stands if the
    view is a single chunk; else each chunk computes it again.
  }];
  let assemblyFormat = "attr-dict-with-keyword $body";
}

def RT_MetricOp : RT_Op<"metric"> {
  let summary = "record a number";
  let arguments = (ins StrAttr:$name, RT_Number:$from, StrAttr:$reduce);
  let assemblyFormat = "$name $from attr-dict";
}

def RT_EveryOp : RT_HostBlock<"every"> {
  let summary = "run the body at step 0 and when a further multiple has been passed";
  let arguments = (ins I64Attr:$steps);
  let assemblyFormat = "$steps attr-dict-with-keyword $body";
}

def RT_AssignOp : RT_Op<"assign"> {
  let summary = "copy the weights of a policy, then rebuild its packed layouts";
  let arguments = (ins FlatSymbolRefAttr:$to, FlatSymbolRefAttr:$from);
  let assemblyFormat = "$to $from attr-dict";
}

def RT_SaveOp : RT_Op<"save"> {
  let summary = "write a policy as a Hugging Face directory";
  let arguments = (ins FlatSymbolRefAttr:$policy, StrAttr:$name,
                       OptionalAttr<RT_Number>:$best, OptionalAttr<I64Attr>:$keep);
  let assemblyFormat = "$policy $name attr-dict";
}

def RT_WriteOp : RT_Op<"write"> {
  let summary = "append outputs to a data set that a later stage reads";
  let arguments = (ins FlatSymbolRefAttr:$data, I64Attr:$set,
                       OptionalAttr<RT_RefAttr>:$where);
  let assemblyFormat = "$data $set attr-dict";
}

#endif // R1C_DIALECTS_RT_TD
