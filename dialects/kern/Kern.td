//===- Kern.td - the kern dialect ------------------------------*- tablegen -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_DIALECTS_Kern_TD
#define R1C_DIALECTS_Kern_TD

include "mlir/IR/OpBase.td"
include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/BuiltinAttributeInterfaces.td"
include "mlir/IR/EnumAttr.td"
include "mlir/Interfaces/InferTypeOpInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def Kern_Dialect : Dialect {
  let name = "kern";
  let cppNamespace = "::r1c::kern";
  let summary = "how it is computed: one op, one kernel";
  let description = [{
    Four structures (matmul, attention, row, map) with a scalar region for what
    is fused into them, and a fixed order for every reduction. See README.md
    for the order of kernel arguments.
  }];
  let useDefaultTypePrinterParser = 1;
  let useDefaultAttributePrinterParser = 1;
}

//===----------------------------------------------------------------------===//
// Types and attributes
//===----------------------------------------------------------------------===//

def Kern_PackedType : TypeDef<Kern_Dialect, "Packed"> {
  let mnemonic = "packed";
  let summary = "the B operand of a matmul";
  let description = [{
    `!kern.packed<KxNxT>` holds a K x N matrix as `[ceil(N/32)][K][32]` for f32
    and `[ceil(N/32)][ceil(K/2)][32][2]` for bf16, padded with zeros. On CUDA bf16
    lies as plain rows `[N][K]`, those of a gate before those of up where columns
    are `paired`: a matrix stored as [out, in] is packed as it lies.

    Example: `!kern.packed<576x1536xf32>`
  }];
  let parameters = (ins "int64_t":$k, "int64_t":$n, "::mlir::Type":$elementType);
  let hasCustomAssemblyFormat = 1;
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    /// Columns of one panel.
    static constexpr int64_t panelColumns = 32;
    int64_t getPanels() const { return (getN() + panelColumns - 1) / panelColumns; }
    /// Elements of one panel, padding included.
    int64_t getPanelElements() const;
    /// Size of the whole matrix in bytes, padding included.
    int64_t getBytes() const;
  }];
}

def Kern_AccessKind : I32EnumAttr<"AccessKind", "which element of an operand a region sees", [
    I32EnumAttrCase<"element", 0>, I32EnumAttrCase<"row", 1>,
    I32EnumAttrCase<"column", 2>, I32EnumAttrCase<"one", 3>,
    I32EnumAttrCase<"gather", 4>, I32EnumAttrCase<"gather_row", 5>,
    I32EnumAttrCase<"scatter", 6>, I32EnumAttrCase<"chunk", 7>,
    I32EnumAttrCase<"beside", 8>]> {
  let cppNamespace = "::r1c::kern";
  let genSpecializedAttr = 0;
}

def Kern_AccessAttr : AttrDef<Kern_Dialect, "Access"> {
  let mnemonic = "access";
  let summary = "which element of an operand the region sees at row i, column j";
  let description = [{
    `R` rows, `N` columns; in a ragged op element e = offsets[i] + j.

    | access          | operand         | element      | ragged       |
    |-----------------|-----------------|--------------|--------------|
    | `element`       | `tensor<RxNxT>` | x[i][j]      | `tensor<?xT>`, x[e] |
    | `row`           | `tensor<RxT>`   | x[i]         | x[i]         |
    | `row[k]`        | `tensor<RxKxT>` | x[i][k]      | x[i][k]      |
    | `column`        | `tensor<NxT>`   | x[j]         | none         |
    | `one`           | `tensor<T>`     | x            | x            |
    | `one[k]`        | `tensor<KxT>`   | x[k]         | x[k]         |
    | `gather(n)`     | `tensor<SxNxT>` | x[idx_n[i]][j] | `tensor<?xT>`, x[idx_n[e]] |
    | `gather_row(n)` | `tensor<SxT>`   | x[idx_n[i]]  | x[idx_n[i]]  |
    | `gather_row(n)[k]` | `tensor<SxKxT>` | x[idx_n[i]][k] | x[idx_n[i]][k] |
    | `scatter(n)`    | result only: `tensor<SxNxT>` | x[idx_n[i]][j] | none |
    | `chunk`         | result only: `tensor<RxCxT>`, C = ceil(N/256) | x[i][j / 256] | none |
    | `beside`        | result of a map or product only: `tensor<RxMxT>`, M = n N | x[i][l N + j], l = 0 ... n - 1 | none |

    idx_n is the op's n-th index operand, `tensor<?xi32>`. Indices are trusted.
    In a `kern.map` of rank one there are no columns: `element` is `tensor<RxT>`, `gather`
    and `scatter` are `tensor<SxT>`. `i1` data is one byte (0 or 1) an element.
  }];
  let parameters = (ins "::r1c::kern::AccessKind":$kind,
                        "int64_t":$index, "int64_t":$lane);
  let hasCustomAssemblyFormat = 1;
  let builders = [AttrBuilder<(ins "AccessKind":$kind), [{
    return $_get($_ctxt, kind, int64_t(-1), int64_t(-1));
  }]>];
}
def Kern_AccessArray : TypedArrayAttrBase<Kern_AccessAttr, "accesses">;

def Kern_ReduceKind : I32EnumAttr<"ReduceKind", "how kern.reduce combines", [
    I32EnumAttrCase<"add", 0>, I32EnumAttrCase<"max", 1>, I32EnumAttrCase<"min", 2>,
    I32EnumAttrCase<"argmax", 3>, I32EnumAttrCase<"argmin", 4>,
    I32EnumAttrCase<"any", 5>, I32EnumAttrCase<"all", 6>]> {
  let cppNamespace = "::r1c::kern";
}

def Kern_IndexKind : I32EnumAttr<"IndexKind", "which index", [
    I32EnumAttrCase<"column", 0>, I32EnumAttrCase<"row", 1>]> {
  let cppNamespace = "::r1c::kern";
}

def Kern_ScanKind : I32EnumAttr<"ScanKind", "direction of a scan", [
    I32EnumAttrCase<"prefix_sum", 0>, I32EnumAttrCase<"suffix_sum", 1>]> {
  let cppNamespace = "::r1c::kern";
}

class Kern_Op<string mnemonic, list<Trait> traits = []>
    : Op<Kern_Dialect, mnemonic, traits>;

// An op with a scalar region that sees one element of each operand.
class Kern_BodyOp<string mnemonic, list<Trait> traits = []>
    : Kern_Op<mnemonic, !listconcat(traits, [Pure, IsolatedFromAbove, AttrSizedOperandSegments])> {
  let hasCustomAssemblyFormat = 1;
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Structures with a region
//===----------------------------------------------------------------------===//

def Kern_RowOp : Kern_BodyOp<"row"> {
  let summary = "rows with reductions over their columns; dense or ragged";
  let description = [{
    The region is what happens at column j of row i; `kern.reduce` inside it is
    uniform over the row. Results are `element` (per column) or `row` (the
    yielded value must be uniform: it may depend on `element`, `column` and
    `gather` operands and on `kern.index column` through reductions only).

    Order of a reduction: 64 lanes, column j belongs to lane j mod 64, columns of a lane in increasing order;
    then lane l takes in lane l+32, then l+16, 8, 4, 2, 1. So the bits depend on
    the row alone. Rows are split among workers.

    With a `chunk` result the region runs over chunks: columns 256 c ... 256 c + 255 of row i (fewer in the last chunk) are
    reduced like a row of their own, lane j mod 64 as before, and value c of the result is what the region yields there. A
    second `kern.row` over the C values brings the chunks together. `kern.matmul` takes the same region, so what is
    reduced there has the bits of this op on stored sums. No `row` results and no `offsets` then; rows and chunks are split among workers.

    With `offsets` (`tensor<?xi32>`, rows + 1 entries) the op is ragged. An `element` result
    may be the same buffer as an `element` input.

    ABI: inputs, indices, offsets in the order of the function's arguments; results; `rows`.

    ```mlir
    %y = kern.row (%xv = %x : element tensor<?x64xf32>, %wv = %w : column tensor<64xf32>)
        -> (element tensor<?x64xf32>) {
      %n = arith.constant 64.0 : f32
      %e = arith.constant 1.0e-5 : f32
      %s = arith.mulf %xv, %xv : f32
      %t = kern.reduce add %s : f32
      %m = arith.divf %t, %n : f32
      %a = arith.addf %m, %e : f32
      %r = math.rsqrt %a : f32
      %p = arith.mulf %xv, %r : f32
      %q = arith.mulf %p, %wv : f32
      kern.yield %q : f32
    }
    ```
  }];
  let arguments = (ins Variadic<AnyRankedTensor>:$inputs,
                       Variadic<1DTensorOf<[I32]>>:$indices,
                       Optional<1DTensorOf<[I32]>>:$offsets,
                       Kern_AccessArray:$access, Kern_AccessArray:$result_access);
  let results = (outs Variadic<AnyRankedTensor>:$results);
  let regions = (region SizedRegion<1>:$body);
  let extraClassDeclaration = [{
    /// Number of rows, or kDynamic.
    int64_t getRows();
    /// Number of columns; -1 when ragged.
    int64_t getColumns();
    /// Whether it has results of chunks.
    bool isChunked();
  }];
}

def Kern_MapOp : Kern_BodyOp<"map"> {
  let summary = "elementwise over rows x columns, or over one dimension";
  let description = [{
    Results are `element`, or `scatter(n)`: row idx_n[i] of the result, whose
    other rows keep what `inits` holds (one init a scattered result, in order; the init is the
    result's own buffer). Scattered rows must differ from each other. A `beside` result n times as wide as the
    space takes n yielded values, which lie side by side in it.
    `kern.reduce` is not allowed. An `element` result may be the same
    buffer as an `element` input (an in-place update).

    ABI: inputs and indices in the order of the function's arguments; results; `rows` if dynamic.

    ```mlir
    %y = kern.map (%t = %table : gather(0) tensor<1000x64xf32>) indices(%ids : tensor<?xi32>)
        -> (element tensor<?x64xf32>) {
      kern.yield %t : f32
    }
    ```
  }];
  let arguments = (ins Variadic<AnyRankedTensor>:$inputs,
                       Variadic<1DTensorOf<[I32]>>:$indices,
                       Variadic<AnyRankedTensor>:$inits,
                       Kern_AccessArray:$access, Kern_AccessArray:$result_access);
  let results = (outs Variadic<AnyRankedTensor>:$results);
  let regions = (region SizedRegion<1>:$body);
  let extraClassDeclaration = [{
    int64_t getRows();
    /// Number of columns; -1 in a map over one dimension.
    int64_t getColumns();
    /// Where each yielded value goes: the number of the result, and which of
    /// the values that lie beside each other in it.
    ::llvm::SmallVector<std::pair<unsigned, int64_t>> getPlaces();
  }];
}

def Kern_ColumnSumOp : Kern_BodyOp<"column_sum"> {
  let summary = "sum over the rows of what the region yields";
  let description = [{
    result[j] = init[j] + sum over i of region(i, j). Row i goes to
    accumulator i mod 8, rows of one in increasing order; then accumulator l takes in l+4, l+2, l+1; then the init is added.
    Columns are split among workers. Operand accesses as in a dense `kern.row`.

    ABI: inputs and indices; the result (also the init's buffer); `rows`.

    ```mlir
    %dw = kern.column_sum (%g = %dy : element tensor<?x64xf32>, %s = %r : row tensor<?xf32>)
        init(%w0 : tensor<64xf32>) -> tensor<64xf32> {
      %p = arith.mulf %g, %s : f32
      kern.yield %p : f32
    }
    ```
  }];
  let arguments = (ins Variadic<AnyRankedTensor>:$inputs,
                       Variadic<1DTensorOf<[I32]>>:$indices,
                       Optional<1DTensorOf<[F32, F64]>>:$init,
                       Kern_AccessArray:$access);
  let results = (outs 1DTensorOf<[F32, F64]>:$result);
  let regions = (region SizedRegion<1>:$body);
  let extraClassDeclaration = [{
    int64_t getRows();
    int64_t getColumns();
  }];
}

def Kern_MatmulOp : Kern_BodyOp<"matmul"> {
  let summary = "matrix product with a fused epilogue";
  let description = [{
    C[m,n] = epilogue(sum over k of A[m,k] * B[k,n]), f32 accumulators, one chain of
    fused multiply-adds over k in increasing order (bf16: pairs of k, by the
    target's dot instruction).

    - Without `transpose_a`: A is `tensor<RxKxT>`, B `!kern.packed<KxNxT>`, T f32 or bf16.
    - `transpose_a`: A is `tensor<RxMxT>`, B `tensor<RxNxT>`, the sum runs over
      the rows in increasing order (bf16: pairs of rows; a last one alone has a
      zero partner), C is `tensor<MxN>`. Workers split C.
    - `init(%c)`: f32; the sum starts from it; it is the (only) result's own buffer.
    - `paired`: B's columns are 16 of a gate, 16 of an up, and so on (`kern.pack`
      with `paired`); the region gets both accumulators, results have N/2 columns.

    The region takes the accumulator(s) and one element of each extra operand (`element`: same shape as the result,
    `row`, `column`, `one`) and yields one value a result. Without a region the sum is stored, rounded to the result's type.

    A `beside` result n times as wide as C takes n yielded values, which lie side by side in it, as in `kern.map`. Not with `paired`,
    `turned`, reductions, or without a region.

    A `chunk` result holds one value for 256 columns of a row, as in `kern.row`: `kern.reduce` in the region reduces over them
    in that op's order, and may wait for other reductions. Nothing else need be stored. Not with `paired`.

    `turned(%angles) scatter(%to) caches(...)`, the first `heads` heads: the results are those that a `kern.rope` with these
    `kern.angles` (and with `caches` as its inits) makes of C. The region then yields one value, f32 or bf16, which is what is
    turned; without a region C is f32. All results have one element type.

    ABI: a, b, extra operands, angles, to in the order of the function's arguments; results; `rows`.

    ```mlir
    %c = kern.matmul %a, %b : tensor<?x64xf32>, !kern.packed<64x128xf32>
        acc(%s) with (%r = %residual : element tensor<?x128xf32>) -> (tensor<?x128xf32>) {
      %t = arith.addf %s, %r : f32
      kern.yield %t : f32
    }
    %m = kern.matmul %a, %b : tensor<?x64xf32>, !kern.packed<64x1000xf32>
        acc(%s) -> (chunk tensor<?x4xf32>) {
      %t = kern.reduce max %s : f32
      kern.yield %t : f32
    }
    %q, %k = kern.matmul %a, %b : tensor<?x64xf32>, !kern.packed<64x48xf32>
        turned(%angles : tensor<?x8xf32>) scatter(%to : tensor<?xi32>) caches(%cache : tensor<99x16xf32>)
        -> (tensor<?x32xf32>, tensor<99x16xf32>) attributes {heads = 5 : i64}
    ```
  }];
  let arguments = (ins RankedTensorOf<[F32, BF16]>:$a, AnyType:$b,
                       Optional<RankedTensorOf<[F32]>>:$init,
                       Variadic<AnyRankedTensor>:$inputs,
                       Optional<RankedTensorOf<[F32]>>:$angles, Optional<1DTensorOf<[I32]>>:$to,
                       Variadic<RankedTensorOf<[F32, BF16]>>:$caches,
                       Kern_AccessArray:$access, Kern_AccessArray:$result_access,
                       UnitAttr:$transpose_a, UnitAttr:$paired,
                       OptionalAttr<I64Attr>:$heads);
  let results = (outs Variadic<AnyRankedTensor>:$results);
  let regions = (region MaxSizedRegion<1>:$body);
  let extraClassDeclaration = [{
    /// Rows of C: kDynamic, or static.
    int64_t getRows();
    /// Columns of the results; with `turned`, of all of them together.
    int64_t getColumns();
    /// What `turned` says, or nothing.
    std::optional<Turn> getTurn();
    /// In which the sums are turned: f32 or bf16.
    ::mlir::Type getSumType();
    /// Whether the region has reductions or results of chunks.
    bool isChunked();
    /// Length of the sum; kDynamic with transpose_a.
    int64_t getDepth();
    /// Where each yielded value goes, as in a map; not with `turned`.
    ::llvm::SmallVector<std::pair<unsigned, int64_t>> getPlaces();

  private:
    /// Of A and B; of what `turned` says.
    ::llvm::LogicalResult verifyFactors();
    ::llvm::LogicalResult verifyTurned();
  }];
}

//===----------------------------------------------------------------------===//
// Structures without a region
//===----------------------------------------------------------------------===//

def Kern_PackOp : Kern_Op<"pack", [Pure]> {
  let summary = "plain matrices -> one packed matrix";
  let description = [{
    Sources are `tensor<K x N_i>`, or `tensor<N_i x K>` with `transpose` (how Hugging Face stores a linear layer:
    [out, in]); they stand side by side along N, or, with `paired`, two of equal width take turns by 16 columns
    (gate, up). With `along_k` they stand one below the other along K. The element type is converted (round to nearest even).

    ABI: sources; result. No sizes.

    `kern.pack %w {transpose} : tensor<128x64xf32> -> !kern.packed<64x128xf32>`
  }];
  let arguments = (ins Variadic<RankedTensorOf<[F32, BF16]>>:$sources,
                       UnitAttr:$transpose, UnitAttr:$paired, UnitAttr:$along_k);
  let results = (outs Kern_PackedType:$result);
  let assemblyFormat = "$sources attr-dict `:` type($sources) `->` type($result)";
  let hasVerifier = 1;
}

def Kern_RopeOp : Kern_Op<"rope", [Pure, AttrSizedOperandSegments]> {
  let summary = "rotary position embedding of rows of heads, half-split convention";
  let description = [{
    The inputs side by side are rows of heads, each d columns wide (twice the number of `frequencies`, angles per position),
    and so are the results; both are cut between heads, each in its own way. The first `heads` heads are turned, the
    others pass: keys and queries beside values, or (`heads = 0`) parts of a row brought together or apart.

    With a = f32(position) * frequency (in f32), (x[c], x[c + d/2]) becomes (x[c]*cos a - x[c+d/2]*sin a, x[c+d/2]*cos a + x[c]*sin a).
    `inverse` turns by -a (the derivative). Computed in f32; each tensor has its own type.

    `scatter %to inits(...)`: the last results, as many as there are inits, are caches: row i goes to their row to[i], the others keep
    what the init holds, which is the result's own buffer. Those rows must differ from each other.

    ABI: inputs, positions, to in the order of the function's arguments; results; `rows`. The only result may be the
    only input's own buffer, if they have one type.

    ```mlir
    %q, %kv = kern.rope %x at %positions scatter %to inits(%cache) {heads = 3, frequencies = array<f32: 1.0, 0.1>}
        : tensor<?x16xf32> at tensor<?xi32> scatter tensor<?xi32> inits(tensor<?x8xf32>) -> tensor<?x8xf32>, tensor<?x8xf32>
    ```
  }];
  let arguments = (ins Variadic<RankedTensorOf<[F32, BF16]>>:$inputs, 1DTensorOf<[I32]>:$positions,
                       Optional<1DTensorOf<[I32]>>:$to, Variadic<RankedTensorOf<[F32, BF16]>>:$inits,
                       I64Attr:$heads, DenseF32ArrayAttr:$frequencies, UnitAttr:$inverse);
  let results = (outs Variadic<RankedTensorOf<[F32, BF16]>>:$results);
  let assemblyFormat = [{
    $inputs `at` $positions (`scatter` $to^ `inits` `(` $inits `)`)? attr-dict
    `:` type($inputs) `at` type($positions) (`scatter` type($to)^ `inits` `(` type($inits) `)`)? `->` type($results)
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    Turn getTurn();
  }];
}

def Kern_AnglesOp : Kern_Op<"angles", [Pure]> {
  let summary = "cosines and sines of positions, for what turns rows";
  let description = [{
    Row r holds cos a for each of the `frequencies`, then sin a, with a = f32(positions[r]) * frequency (in f32): the numbers by which
    `kern.rope` turns, once for all layers of a pass.

    ABI: positions; result; `rows`.

    `kern.angles %positions {frequencies = array<f32: 1.0, 0.1>} : tensor<?xi32> -> tensor<?x4xf32>`
  }];
  let arguments = (ins 1DTensorOf<[I32]>:$positions, DenseF32ArrayAttr:$frequencies);
  let results = (outs RankedTensorOf<[F32]>:$result);
  let assemblyFormat = "$positions attr-dict `:` type($positions) `->` type($result)";
  let hasVerifier = 1;
}

def Kern_ScatterAddOp : Kern_Op<"scatter_add", [Pure, AllTypesMatch<["init", "result"]>]> {
  let summary = "gradient of an embedding: row ids[i] of the result += row i";
  let description = [{
    Rows are added in increasing order of i; workers split the columns, so the order does not depend on them. The init is the
    result's own buffer.

    ABI: ids, x in the order of the function's arguments; result; `rows`.
  }];
  let arguments = (ins 1DTensorOf<[I32]>:$ids, RankedTensorOf<[F32, BF16]>:$x,
                       RankedTensorOf<[F32]>:$init);
  let results = (outs RankedTensorOf<[F32]>:$result);
  let assemblyFormat = [{
    $ids `,` $x `init` `(` $init `)` attr-dict
    `:` type($ids) `,` type($x) `->` type($result)
  }];
  let hasVerifier = 1;
}

def Kern_AttentionOp : Kern_Op<"attention", [Pure, AttrSizedOperandSegments]> {
  let summary = "causal attention over key rows base[r] ... base[r] + position[r]";
  let description = [{
    q `tensor<Rx(heads*d)xT>`, k and v `tensor<Sx(kv_heads*d)xT>`; query row r of head h reads the head h / (heads/kv_heads) of
    key rows base[r] + p, p = 0 ... position[r]: out = sum softmax(scale * q.k) v. A packed chunk has base = first row of the
    sequence; a cache has base = slot * capacity.

    A prompt that several sequences share is read where it lies once: with `shared %s from %b`, key p < s[r] is the row b[r] + p, and
    only keys p >= s[r] are the rows base[r] + p (base[r] + s[r] is the first row of the sequence's own; base[r] itself may be any number).

    `cached`: k and v are a cache, of which the run of commands that this call is part of writes no row of a sequence (query rows of one base, which lie
    together, in the order of their positions) before that of its first query row. A kernel may read those before what precedes it has ended.
    `prefetch` lists weights of the products behind it: a kernel may bring them near while memory rests. It changes no result.

    Key blocks start at position 0 and hold 64 keys, so the bits of a row depend on its own inputs only, wherever they lie. The second
    result, if present, is `tensor<Rxheadsxf32>`: the natural logarithm of the sum of exp(scale * q.k).

    ABI: q, k, v, positions, bases, shared, shared_bases, prefetch in the order of the function's arguments; results; `rows` (of q).
  }];
  let arguments = (ins RankedTensorOf<[F32, BF16]>:$q, RankedTensorOf<[F32, BF16]>:$k,
                       RankedTensorOf<[F32, BF16]>:$v, 1DTensorOf<[I32]>:$positions,
                       1DTensorOf<[I32]>:$bases, Optional<1DTensorOf<[I32]>>:$shared,
                       Optional<1DTensorOf<[I32]>>:$shared_bases, Variadic<Kern_PackedType>:$prefetch,
                       I64Attr:$heads, I64Attr:$kv_heads, F32Attr:$scale, UnitAttr:$cached);
  let results = (outs RankedTensorOf<[F32, BF16]>:$out, Optional<RankedTensorOf<[F32]>>:$lse);
  let assemblyFormat = [{
    $q `,` $k `,` $v `at` $positions `from` $bases (`shared` $shared^ `from` $shared_bases)?
    (`prefetch` `(` $prefetch^ `:` type($prefetch) `)`)? attr-dict
    `:` type($q) `,` type($k) `,` type($v) `,` type($positions) `,` type($bases)
    (`shared` type($shared)^ `from` type($shared_bases))? `->` type($out) (`,` type($lse)^)?
  }];
  let hasVerifier = 1;
}

def Kern_AttentionBackwardOp : Kern_Op<"attention_backward", [Pure, AttrSizedOperandSegments]> {
  let summary = "gradients of a packed kern.attention";
  let description = [{
    For a chunk of whole units: unit u has rows offsets[u] ... offsets[u+1] (queries and keys alike). A unit is a sequence, or with
    `from %bases shared %shared` a prompt's rows and behind them the rows of each sequence that shares it: with u0 = offsets[u], row i sees
    row j of its unit iff j <= i and (j - u0 < shared[i] or j >= bases[i] + shared[i]). (A prompt's own rows: shared = 0, bases = u0.)
    Reads what the forward read and gave (out, lse) and d_out; gives dq, dk, dv, of q's element type or of f32. Every sum has a fixed order inside the unit, so the bits do
    not depend on the workers or on the other units. Rows outside every unit are not written.

    ABI: q, k, v, out, lse, d_out, offsets, bases, shared in the order of the function's arguments; dq, dk, dv; `sequences` (the number of units).
  }];
  let arguments = (ins RankedTensorOf<[F32, BF16]>:$q, RankedTensorOf<[F32, BF16]>:$k,
                       RankedTensorOf<[F32, BF16]>:$v, RankedTensorOf<[F32, BF16]>:$out,
                       RankedTensorOf<[F32]>:$lse, RankedTensorOf<[F32, BF16]>:$d_out,
                       1DTensorOf<[I32]>:$offsets, Optional<1DTensorOf<[I32]>>:$bases,
                       Optional<1DTensorOf<[I32]>>:$shared, I64Attr:$heads, I64Attr:$kv_heads, F32Attr:$scale);
  let results = (outs RankedTensorOf<[F32, BF16]>:$dq, RankedTensorOf<[F32, BF16]>:$dk,
                      RankedTensorOf<[F32, BF16]>:$dv);
  let assemblyFormat = [{
    $q `,` $k `,` $v `out` $out `lse` $lse `seed` $d_out `offsets` $offsets (`from` $bases^ `shared` $shared)? attr-dict
    `:` type($q) `,` type($k) `,` type($v) `,` type($out) `,` type($lse) `,` type($d_out) `,` type($offsets)
    (`from` type($bases)^ `shared` type($shared))? `->` type($dq) `,` type($dk) `,` type($dv)
  }];
  let hasVerifier = 1;
}

def Kern_ScanOp : Kern_Op<"scan", [Pure]> {
  let summary = "running sums inside each ragged row, in order";
  let description = [{
    `prefix_sum`: y[e] = x[first] + ... + x[e]; `suffix_sum`: y[e] = x[e] + ... + x[last], from the end.

    ABI: x, offsets in the order of the function's arguments; result; `rows`.
  }];
  let arguments = (ins Kern_ScanKind:$kind, 1DTensorOf<[F64, F32]>:$x, 1DTensorOf<[I32]>:$offsets);
  let results = (outs 1DTensorOf<[F64, F32]>:$result);
  let assemblyFormat = [{
    $kind $x `offsets` $offsets attr-dict `:` type($x) `,` type($offsets) `->` type($result)
  }];
  let hasVerifier = 1;
}

def Kern_QuantileOp : Kern_Op<"quantile", [Pure]> {
  let summary = "the q-quantile of each ragged row";
  let description = [{
    Linear interpolation between the order statistics around (n-1)*q, as NumPy does by default. `where` picks elements. An empty row,
    or one with a NaN, gives NaN.

    ABI: x, where, offsets in the order of the function's arguments; result; `rows`.
  }];
  let arguments = (ins 1DTensorOf<[F64]>:$x, Optional<1DTensorOf<[I1]>>:$where,
                       1DTensorOf<[I32]>:$offsets, F64Attr:$q);
  let results = (outs 1DTensorOf<[F64]>:$result);
  let assemblyFormat = [{
    $q `of` $x (`where` $where^ `:` type($where))? `offsets` $offsets attr-dict `:` type($x) `,` type($offsets) `->` type($result)
  }];
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Inside a region
//===----------------------------------------------------------------------===//

def Kern_Scalar : AnyTypeOf<[F64, F32, BF16, I64, I32, I8, I1]>;

def Kern_YieldOp : Kern_Op<"yield", [Pure, Terminator,
    ParentOneOf<["RowOp", "MapOp", "ColumnSumOp", "MatmulOp"]>]> {
  let summary = "what is stored at this element";
  let arguments = (ins Variadic<Kern_Scalar>:$values);
  let assemblyFormat = "($values^ `:` type($values))? attr-dict";
}

def Kern_ReduceOp : Kern_Op<"reduce", [Pure, ParentOneOf<["RowOp", "MatmulOp"]>,
    InferTypeOpAdaptor]> {
  let summary = "reduction of a value over the columns of the row, or of a chunk of it";
  let description = [{
    `add`, `max`, `min`: of floats (a NaN wins) or integers. `argmax`, `argmin`: the first column that has the largest
    (smallest) value, as i32; a NaN never wins; the first column of the row or chunk where nothing wins. `any`, `all`: of i1. An empty row
    gives 0, -inf (integers: the least), +inf (the greatest), 0, 0, false, true.
  }];
  let arguments = (ins Kern_ReduceKind:$kind, Kern_Scalar:$value);
  let results = (outs Kern_Scalar:$result);
  let assemblyFormat = "$kind $value attr-dict `:` type($value)";
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    static bool isArg(ReduceKind k) { return k == ReduceKind::argmax || k == ReduceKind::argmin; }
  }];
}

def Kern_IndexOp : Kern_Op<"index", [Pure,
    ParentOneOf<["RowOp", "MapOp", "ColumnSumOp", "MatmulOp"]>]> {
  let summary = "the column j, or the row i, of this element";
  let arguments = (ins Kern_IndexKind:$kind);
  let results = (outs I32:$result);
  let assemblyFormat = "$kind attr-dict";
}

def Kern_RandomOp : Kern_Op<"random", [Pure,
    ParentOneOf<["RowOp", "MapOp", "ColumnSumOp", "MatmulOp"]>]> {
  let summary = "Philox4x32-10: four random words for a key and a counter";
  let description = [{
    Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC11); the same words as its reference implementation.
  }];
  let arguments = (ins I32:$k0, I32:$k1, I32:$c0, I32:$c1, I32:$c2, I32:$c3);
  let results = (outs I32:$r0, I32:$r1, I32:$r2, I32:$r3);
  let assemblyFormat = [{
    `key` `(` $k0 `,` $k1 `)` `counter` `(` $c0 `,` $c1 `,` $c2 `,` $c3 `)` attr-dict
  }];
}

def Kern_NoiseOp : Kern_Op<"noise", [Pure,
    ParentOneOf<["RowOp", "MapOp", "ColumnSumOp", "MatmulOp"]>]> {
  let summary = "a random word of this element's column";
  let description = [{
    Of column j: word (j / 16) mod 4 of Philox4x32-10 under the counter ((j / 64) · 16 + j mod 16, c1, c2, 0). So the four words of a call serve columns that are 16 apart:
    four vectors of 16 lanes take one call.
  }];
  let arguments = (ins I32:$k0, I32:$k1, I32:$c1, I32:$c2);
  let results = (outs I32:$result);
  let assemblyFormat = [{
    `key` `(` $k0 `,` $k1 `)` `counter` `(` $c1 `,` $c2 `)` attr-dict
  }];
}

#endif
