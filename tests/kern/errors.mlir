// RUN: r1c-opt %s --split-input-file --verify-diagnostics

func.func @row_without_columns(%x: tensor<?xf32>) {
  // expected-error@+1 {{has no operand or result with columns: use kern.map, or give offsets for ragged rows}}
  %0 = kern.row (%a = %x : row tensor<?xf32>) -> (row tensor<?xf32>) {
    kern.yield %a : f32
  }
  return
}

// -----

func.func @not_uniform(%x: tensor<?x8xf32>) {
  // expected-error@+1 {{result #0 has one value a row, but the yielded value differs between columns: reduce it with kern.reduce}}
  %0 = kern.row (%a = %x : element tensor<?x8xf32>) -> (row tensor<?xf32>) {
    kern.yield %a : f32
  }
  return
}

// -----

func.func @columns_differ(%x: tensor<?x8xf32>, %w: tensor<9xf32>) {
  // expected-error@+1 {{operand #1: columns is 9 but another operand or result says 8}}
  %0 = kern.row (%a = %x : element tensor<?x8xf32>, %b = %w : column tensor<9xf32>) -> (element tensor<?x8xf32>) {
    kern.yield %a : f32
  }
  return
}

// -----

func.func @missing_index(%x: tensor<?x8xf32>) {
  // expected-error@+1 {{operand #0 reads index operand 0, but there are 0}}
  %0 = kern.map (%a = %x : gather(0) tensor<?x8xf32>) -> (element tensor<?x8xf32>) {
    kern.yield %a : f32
  }
  return
}

// -----

func.func @gather_without_index(%x: tensor<?x8xf32>) {
  // expected-error@+1 {{operand #0 needs an index operand: write gather(n)}}
  %0 = kern.map (%a = %x : gather tensor<?x8xf32>) -> (element tensor<?x8xf32>) {
    kern.yield %a : f32
  }
  return
}

// -----

func.func @no_lane(%x: tensor<?x4xi32>) {
  // expected-error@+1 {{operand #0 has no lane 4 in 'tensor<?x4xi32>'}}
  %0 = kern.map (%a = %x : row[4] tensor<?x4xi32>) -> (element tensor<?xi32>) {
    kern.yield %a : i32
  }
  return
}

// -----

func.func @unknown_access(%x: tensor<?x4xi32>) {
  // expected-error@+1 {{unknown access 'diagonal': expected element, row, column, one, gather, gather_row, scatter, chunk or beside}}
  %0 = kern.map (%a = %x : diagonal tensor<?x4xi32>) -> (element tensor<?xi32>) {
    kern.yield %a : i32
  }
  return
}

// -----

func.func @ragged_column(%x: tensor<8xf32>, %o: tensor<?xi32>) {
  // expected-error@+1 {{operand #0: a ragged row has no columns}}
  %0 = kern.row (%a = %x : column tensor<8xf32>) offsets(%o : tensor<?xi32>) -> (element tensor<?xf32>) {
    kern.yield %a : f32
  }
  return
}

// -----

func.func @scatter_without_init(%x: tensor<?x8xf32>, %i: tensor<?xi32>) {
  // expected-error@+1 {{result #0 is scattered and needs an init}}
  %0 = kern.map (%a = %x : element tensor<?x8xf32>) indices(%i : tensor<?xi32>) -> (scatter(0) tensor<?x8xf32>) {
    kern.yield %a : f32
  }
  return
}

// -----

func.func @yield_type(%x: tensor<?x8xf32>) {
  // expected-error@+1 {{region yields ('f32') but the results hold ('bf16')}}
  %0 = kern.map (%a = %x : element tensor<?x8xf32>) -> (element tensor<?x8xbf16>) {
    kern.yield %a : f32
  }
  return
}

// -----

func.func @foreign_op(%x: tensor<?x8xf32>) {
  %0 = kern.map (%a = %x : element tensor<?x8xf32>) -> (element tensor<?x8xf32>) {
    // expected-error@+1 {{is not an elementwise operation of arith or math, and cannot stand inside a kernel's region}}
    %t = tensor.from_elements %a : tensor<1xf32>
    kern.yield %a : f32
  }
  return
}

// -----

func.func @reduce_in_map(%x: tensor<?x8xf32>) {
  %0 = kern.map (%a = %x : element tensor<?x8xf32>) -> (element tensor<?x8xf32>) {
    // expected-error@+1 {{expects parent op to be one of 'kern.row, kern.matmul'}}
    %s = kern.reduce add %a : f32
    kern.yield %s : f32
  }
  return
}

// -----

func.func @reduce_flags(%x: tensor<?x8xi1>) {
  %0 = kern.row (%a = %x : element tensor<?x8xi1>) -> (row tensor<?xi1>) {
    // expected-error@+1 {{add does not reduce i1: extend it first, from 'i1'}}
    %s = kern.reduce add %a : i1
    kern.yield %s : i1
  }
  return
}

// -----

func.func @plain_b(%x: tensor<?x8xf32>, %w: tensor<8x8xf32>) {
  // expected-error@+1 {{b must be !kern.packed<...>, not 'tensor<8x8xf32>': pack it with kern.pack}}
  %0 = kern.matmul %x, %w : tensor<?x8xf32>, tensor<8x8xf32> -> (tensor<?x8xf32>)
  return
}

// -----

func.func @depth(%x: tensor<?x8xf32>, %w: !kern.packed<9x8xf32>) {
  // expected-error@+1 {{a has 8 columns but b has K = 9}}
  %0 = kern.matmul %x, %w : tensor<?x8xf32>, !kern.packed<9x8xf32> -> (tensor<?x8xf32>)
  return
}

// -----

func.func @odd_depth(%x: tensor<?x9xbf16>, %w: !kern.packed<9x8xbf16>) {
  // expected-error@+1 {{bf16 needs an even K, not 9}}
  %0 = kern.matmul %x, %w : tensor<?x9xbf16>, !kern.packed<9x8xbf16> -> (tensor<?x8xf32>)
  return
}

// -----

func.func @result_shape(%x: tensor<?x8xf32>, %w: !kern.packed<8x8xf32>) {
  // expected-error@+1 {{result #0 must have shape [?, 8], not 'tensor<?x16xf32>'}}
  %0 = kern.matmul %x, %w : tensor<?x8xf32>, !kern.packed<8x8xf32> -> (tensor<?x16xf32>)
  return
}

// -----

func.func @paired_plain(%x: tensor<?x8xf32>, %w: !kern.packed<8x64xf32>) {
  // expected-error@+1 {{needs a region: it is paired or has several results}}
  %0 = kern.matmul %x, %w paired : tensor<?x8xf32>, !kern.packed<8x64xf32> -> (tensor<?x32xf32>)
  return
}

// -----

func.func @init_region(%x: tensor<?x8xf32>, %w: !kern.packed<8x32xf32>, %c: tensor<?x32xf32>) {
  // expected-error@+1 {{with init or transpose_a gives plain f32 sums: apply kern.map to them}}
  %0 = kern.matmul %x, %w : tensor<?x8xf32>, !kern.packed<8x32xf32> init(%c : tensor<?x32xf32>) acc(%s) -> (tensor<?x32xf32>) {
    kern.yield %s : f32
  }
  return
}

// -----

// expected-error@+1 {{a packed matrix holds f32 or bf16, not 'f64'}}
func.func @packed_type(%w: !kern.packed<8x32xf64>) {
  return
}

// -----

func.func @pack_size(%w: tensor<8x16xf32>) {
  // expected-error@+1 {{sources fill 16 of 32 columns}}
  %0 = kern.pack %w : tensor<8x16xf32> -> !kern.packed<8x32xf32>
  return
}

// -----

func.func @rope_heads(%x: tensor<?x8xf32>, %p: tensor<?xi32>) {
  // expected-error@+1 {{3 heads of 4 to be turned are more than the 2 that there are}}
  %0 = kern.rope %x at %p {heads = 3, frequencies = array<f32: 1.0, 0.5>} : tensor<?x8xf32> at tensor<?xi32> -> tensor<?x8xf32>
  return
}

// -----

func.func @rope_cut(%x: tensor<?x8xf32>, %p: tensor<?xi32>) {
  // expected-error@+1 {{result #1, 'tensor<?x2xf32>', is not cut between heads of 4 columns (twice the number of frequencies)}}
  %0:2 = kern.rope %x at %p {heads = 2, frequencies = array<f32: 1.0, 0.5>} : tensor<?x8xf32> at tensor<?xi32> -> tensor<?x4xf32>, tensor<?x2xf32>
  return
}

// -----

func.func @rope_columns(%x: tensor<?x8xf32>, %p: tensor<?xi32>) {
  // expected-error@+1 {{inputs have 2 heads of 4, results 3}}
  %0:2 = kern.rope %x at %p {heads = 2, frequencies = array<f32: 1.0, 0.5>} : tensor<?x8xf32> at tensor<?xi32> -> tensor<?x4xf32>, tensor<?x8xf32>
  return
}

// -----

func.func @rope_init(%x: tensor<?x8xf32>, %p: tensor<?xi32>, %c: tensor<?x8xf32>) {
  // expected-error@+1 {{init 'tensor<?x8xf32>' and result 'tensor<?x4xf32>' differ in type}}
  %0:2 = kern.rope %x at %p scatter %p inits(%c) {heads = 2, frequencies = array<f32: 1.0, 0.5>} : tensor<?x8xf32> at tensor<?xi32> scatter tensor<?xi32> inits(tensor<?x8xf32>) -> tensor<?x4xf32>, tensor<?x4xf32>
  return
}

// -----

func.func @rope_inits(%x: tensor<?x8xf32>, %p: tensor<?xi32>) {
  // expected-error@+1 {{2 inits for 1 results}}
  %0 = kern.rope %x at %p scatter %p inits(%x, %x) {heads = 2, frequencies = array<f32: 1.0, 0.5>} : tensor<?x8xf32> at tensor<?xi32> scatter tensor<?xi32> inits(tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @rope_rows(%x: tensor<4x8xf32>, %p: tensor<5xi32>) {
  // expected-error@+1 {{input #0 and positions differ in rows}}
  %0 = kern.rope %x at %p {heads = 2, frequencies = array<f32: 1.0, 0.5>} : tensor<4x8xf32> at tensor<5xi32> -> tensor<5x8xf32>
  return
}

// -----

func.func @rope_to(%x: tensor<4x8xf32>, %p: tensor<4xi32>, %to: tensor<5xi32>) {
  // expected-error@+1 {{scattered rows and positions differ in rows}}
  %0 = kern.rope %x at %p scatter %to inits(%x) {heads = 2, frequencies = array<f32: 1.0, 0.5>} : tensor<4x8xf32> at tensor<4xi32> scatter tensor<5xi32> inits(tensor<4x8xf32>) -> tensor<4x8xf32>
  return
}

// -----

func.func @rope_none(%x: tensor<?x8xf32>, %p: tensor<?xi32>) {
  // expected-error@+1 {{needs frequencies, one for two columns of a head}}
  %0 = kern.rope %x at %p {heads = 2, frequencies = array<f32>} : tensor<?x8xf32> at tensor<?xi32> -> tensor<?x8xf32>
  return
}

// -----

func.func @beside_width(%x: tensor<?x8xf32>) {
  // expected-error@+1 {{result #0, 'tensor<?x12xf32>', must be some times as wide as the columns of the others, 8}}
  %0 = kern.map (%a = %x : element tensor<?x8xf32>) -> (beside tensor<?x12xf32>) {
    kern.yield %a, %a : f32, f32
  }
  return
}

// -----

func.func @beside_count(%x: tensor<?x8xf32>) {
  // expected-error@+1 {{region yields ('f32') but the results hold ('f32', 'f32')}}
  %0 = kern.map (%a = %x : element tensor<?x8xf32>) -> (beside tensor<?x16xf32>) {
    kern.yield %a : f32
  }
  return
}

// -----

func.func @beside_in_a_row(%x: tensor<?x8xf32>) {
  // expected-error@+1 {{result #0 cannot be beside: write element, row or scatter(n)}}
  %0 = kern.row (%a = %x : element tensor<?x8xf32>) -> (beside tensor<?x16xf32>) {
    kern.yield %a, %a : f32, f32
  }
  return
}

// -----

func.func @heads(%q: tensor<?x12xf32>, %k: tensor<?x8xf32>, %p: tensor<?xi32>) {
  // expected-error@+1 {{3 heads are not a multiple of 2 key-value heads}}
  %0 = kern.attention %q, %k, %k at %p from %p {heads = 3, kv_heads = 2, scale = 1.0 : f32} : tensor<?x12xf32>, tensor<?x8xf32>, tensor<?x8xf32>, tensor<?xi32>, tensor<?xi32> -> tensor<?x12xf32>
  return
}

// -----

func.func @shared_rows(%q: tensor<?x8xf32>, %p: tensor<?xi32>, %s: tensor<4xi32>) {
  // expected-error@+1 {{q, shared and shared_bases differ in rows}}
  %0 = kern.attention %q, %q, %q at %p from %p shared %p from %s {heads = 2, kv_heads = 2, scale = 1.0 : f32} : tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>, tensor<?xi32>, tensor<?xi32> shared tensor<?xi32> from tensor<4xi32> -> tensor<?x8xf32>
  return
}

// -----

func.func @shared_cache(%q: tensor<?x8xf32>, %p: tensor<?xi32>) {
  // expected-error@+1 {{'cached' goes with keys of one place; a shared prompt may be written by the same run of commands}}
  %0 = kern.attention %q, %q, %q at %p from %p shared %p from %p {cached, heads = 2, kv_heads = 2, scale = 1.0 : f32} : tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>, tensor<?xi32>, tensor<?xi32> shared tensor<?xi32> from tensor<?xi32> -> tensor<?x8xf32>
  return
}

// -----

func.func @half_shared(%q: tensor<?x8xf32>, %p: tensor<?xi32>) {
  // expected-error@+1 {{shared and shared_bases stand together or not at all}}
  %0 = "kern.attention"(%q, %q, %q, %p, %p, %p) <{heads = 2, kv_heads = 2, scale = 1.0 : f32, operandSegmentSizes = array<i32: 1, 1, 1, 1, 1, 1, 0, 0>}> : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>, tensor<?xi32>, tensor<?xi32>, tensor<?xi32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @unit_rows(%q: tensor<?x8xf32>, %l: tensor<?x2xf32>, %p: tensor<?xi32>, %s: tensor<4xi32>) {
  // expected-error@+1 {{q, bases and shared differ in rows}}
  %0:3 = kern.attention_backward %q, %q, %q out %q lse %l seed %q offsets %p from %s shared %p {heads = 2, kv_heads = 2, scale = 1.0 : f32} : tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x2xf32>, tensor<?x8xf32>, tensor<?xi32> from tensor<4xi32> shared tensor<?xi32> -> tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>
  return
}

// -----

func.func @half_unit(%q: tensor<?x8xf32>, %l: tensor<?x2xf32>, %p: tensor<?xi32>) {
  // expected-error@+1 {{bases and shared stand together or not at all}}
  %0:3 = "kern.attention_backward"(%q, %q, %q, %q, %l, %q, %p, %p) <{heads = 2, kv_heads = 2, scale = 1.0 : f32, operandSegmentSizes = array<i32: 1, 1, 1, 1, 1, 1, 1, 0, 1>}> : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x2xf32>, tensor<?x8xf32>, tensor<?xi32>, tensor<?xi32>) -> (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>)
  return
}

// -----

func.func @quantile(%x: tensor<?xf64>, %o: tensor<?xi32>) {
  // expected-error@+1 {{q must be between 0 and 1}}
  %0 = kern.quantile 1.5 of %x offsets %o : tensor<?xf64>, tensor<?xi32> -> tensor<?xf64>
  return
}

// -----

func.func @chunk_operand(%x: tensor<?x8xf32>, %m: tensor<?x1xf32>) {
  // expected-error@+1 {{operand #1 cannot be chunk: only results can}}
  %0 = kern.row (%a = %x : element tensor<?x8xf32>, %b = %m : chunk tensor<?x1xf32>) -> (element tensor<?x8xf32>) {
    kern.yield %a : f32
  }
  return
}

// -----

func.func @chunk_of_map(%x: tensor<?x8xf32>) {
  // expected-error@+1 {{result #0 cannot be chunk: write element, row or scatter(n)}}
  %0 = kern.map (%a = %x : element tensor<?x8xf32>) -> (chunk tensor<?x1xf32>) {
    kern.yield %a : f32
  }
  return
}

// -----

func.func @chunk_of_ragged(%x: tensor<?xf32>, %o: tensor<?xi32>) {
  // expected-error@+1 {{result #0 cannot be chunk: write element, row or scatter(n)}}
  %0 = kern.row (%a = %x : element tensor<?xf32>) offsets(%o : tensor<?xi32>) -> (chunk tensor<?x1xf32>) {
    %s = kern.reduce add %a : f32
    kern.yield %s : f32
  }
  return
}

// -----

func.func @chunk_beside_row(%x: tensor<?x300xf32>) {
  // expected-error@+1 {{result #1 cannot be row beside results of chunks, whose reductions do not see the row: bring the chunks together in a second kern.row}}
  %0:2 = kern.row (%a = %x : element tensor<?x300xf32>) -> (chunk tensor<?x2xf32>, row tensor<?xf32>) {
    %s = kern.reduce add %a : f32
    kern.yield %s, %s : f32, f32
  }
  return
}

// -----

func.func @chunks_of_row(%x: tensor<?x300xf32>) {
  // expected-error@+1 {{result #0 must have 2 columns, one for 256 of 300, not 'tensor<?x3xf32>'}}
  %0 = kern.row (%a = %x : element tensor<?x300xf32>) -> (chunk tensor<?x3xf32>) {
    %s = kern.reduce add %a : f32
    kern.yield %s : f32
  }
  return
}

// -----

func.func @chunks_of_product(%x: tensor<?x8xf32>, %w: !kern.packed<8x300xf32>) {
  // expected-error@+1 {{result #0 must have shape [?, 2], not 'tensor<?x300xf32>'}}
  %0 = kern.matmul %x, %w : tensor<?x8xf32>, !kern.packed<8x300xf32> acc(%a) -> (chunk tensor<?x300xf32>) {
    %s = kern.reduce add %a : f32
    kern.yield %s : f32
  }
  return
}

// -----

func.func @row_of_product(%x: tensor<?x8xf32>, %w: !kern.packed<8x300xf32>) {
  // expected-error@+1 {{result #0 cannot be row: write element, chunk or beside}}
  %0 = kern.matmul %x, %w : tensor<?x8xf32>, !kern.packed<8x300xf32> acc(%a) -> (row tensor<?xf32>) {
    %s = kern.reduce add %a : f32
    kern.yield %s : f32
  }
  return
}

// -----

func.func @chunk_not_uniform(%x: tensor<?x8xf32>, %w: !kern.packed<8x300xf32>) {
  // expected-error@+1 {{result #0 has one value a chunk, but the yielded value differs between columns: reduce it with kern.reduce}}
  %0 = kern.matmul %x, %w : tensor<?x8xf32>, !kern.packed<8x300xf32> acc(%a) -> (chunk tensor<?x2xf32>) {
    %s = kern.reduce add %a : f32
    %d = arith.subf %a, %s : f32
    kern.yield %d : f32
  }
  return
}

// -----

func.func @chunk_without_region(%x: tensor<?x8xf32>, %w: !kern.packed<8x300xf32>) {
  // expected-error@+1 {{needs a region that reduces: it has a result of chunks}}
  %0 = kern.matmul %x, %w : tensor<?x8xf32>, !kern.packed<8x300xf32> -> (chunk tensor<?x2xf32>)
  return
}

// -----

func.func @chunk_paired(%x: tensor<?x8xf32>, %w: !kern.packed<8x64xf32>) {
  // expected-error@+1 {{paired takes no reductions: reduce the stored result in a kern.row}}
  %0 = kern.matmul %x, %w paired : tensor<?x8xf32>, !kern.packed<8x64xf32> acc(%a, %b) -> (chunk tensor<?x1xf32>) {
    %s = kern.reduce add %a : f32
    kern.yield %s : f32
  }
  return
}

// -----

func.func @backward_out(%q: tensor<?x8xbf16>, %k: tensor<?x4xbf16>, %y: tensor<?x8xf32>, %l: tensor<?x2xf32>, %o: tensor<?xi32>) {
  // expected-error@+1 {{q, out and d_out must have the same type}}
  %0:3 = kern.attention_backward %q, %k, %k out %y lse %l seed %q offsets %o {heads = 2, kv_heads = 1, scale = 1.0 : f32} : tensor<?x8xbf16>, tensor<?x4xbf16>, tensor<?x4xbf16>, tensor<?x8xf32>, tensor<?x2xf32>, tensor<?x8xbf16>, tensor<?xi32> -> tensor<?x8xf32>, tensor<?x4xf32>, tensor<?x4xf32>
  return
}

// -----

func.func @backward_gradients(%q: tensor<?x8xf32>, %k: tensor<?x4xf32>, %y: tensor<?x8xf32>, %l: tensor<?x2xf32>, %o: tensor<?xi32>) {
  // expected-error@+1 {{dq must be of float32 or of q's element type}}
  %0:3 = kern.attention_backward %q, %k, %k out %y lse %l seed %q offsets %o {heads = 2, kv_heads = 1, scale = 1.0 : f32} : tensor<?x8xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x8xf32>, tensor<?x2xf32>, tensor<?x8xf32>, tensor<?xi32> -> tensor<?x8xbf16>, tensor<?x4xbf16>, tensor<?x4xbf16>
  return
}

// -----

func.func @backward_mixed(%q: tensor<?x8xbf16>, %k: tensor<?x4xbf16>, %y: tensor<?x8xbf16>, %l: tensor<?x2xf32>, %o: tensor<?xi32>) {
  // expected-error@+1 {{dq, dk and dv must have the shapes of q, k and v and one element type}}
  %0:3 = kern.attention_backward %q, %k, %k out %y lse %l seed %q offsets %o {heads = 2, kv_heads = 1, scale = 1.0 : f32} : tensor<?x8xbf16>, tensor<?x4xbf16>, tensor<?x4xbf16>, tensor<?x8xbf16>, tensor<?x2xf32>, tensor<?x8xbf16>, tensor<?xi32> -> tensor<?x8xf32>, tensor<?x4xbf16>, tensor<?x4xf32>
  return
}

// -----

func.func @backward_shape(%q: tensor<?x8xf32>, %k: tensor<?x4xf32>, %y: tensor<?x8xf32>, %l: tensor<?x2xf32>, %o: tensor<?xi32>) {
  // expected-error@+1 {{dq, dk and dv must have the shapes of q, k and v and one element type}}
  %0:3 = kern.attention_backward %q, %k, %k out %y lse %l seed %q offsets %o {heads = 2, kv_heads = 1, scale = 1.0 : f32} : tensor<?x8xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x8xf32>, tensor<?x2xf32>, tensor<?x8xf32>, tensor<?xi32> -> tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x4xf32>
  return
}

// -----

func.func @turned_alone(%x: tensor<?x8xf32>, %w: !kern.packed<8x8xf32>, %p: tensor<?xi32>, %t: tensor<?x2xf32>) {
  // expected-error@+1 {{turned and heads stand together, and scatter and caches behind turned alone}}
  %0 = kern.matmul %x, %w : tensor<?x8xf32>, !kern.packed<8x8xf32> turned(%t : tensor<?x2xf32>) -> (tensor<?x8xf32>)
  return
}

// -----

func.func @heads_alone(%x: tensor<?x8xf32>, %w: !kern.packed<8x8xf32>, %p: tensor<?xi32>, %t: tensor<?x2xf32>) {
  // expected-error@+1 {{turned and heads stand together, and scatter and caches behind turned alone}}
  %0 = kern.matmul %x, %w : tensor<?x8xf32>, !kern.packed<8x8xf32> -> (tensor<?x8xf32>) attributes {heads = 1 : i64}
  return
}

// -----

func.func @scatter_alone(%x: tensor<?x8xf32>, %w: !kern.packed<8x8xf32>, %p: tensor<?xi32>, %t: tensor<?x2xf32>) {
  // expected-error@+1 {{turned and heads stand together, and scatter and caches behind turned alone}}
  %0 = kern.matmul %x, %w : tensor<?x8xf32>, !kern.packed<8x8xf32> scatter(%p : tensor<?xi32>) -> (tensor<?x8xf32>)
  return
}

// -----

func.func @turned_init(%x: tensor<?x8xf32>, %w: !kern.packed<8x8xf32>, %p: tensor<?xi32>, %t: tensor<?x2xf32>, %c: tensor<?x8xf32>) {
  // expected-error@+1 {{turned excludes transpose_a, paired, init, and reductions}}
  %0 = kern.matmul %x, %w : tensor<?x8xf32>, !kern.packed<8x8xf32> init(%c : tensor<?x8xf32>) turned(%t : tensor<?x2xf32>) -> (tensor<?x8xf32>) attributes {heads = 1 : i64}
  return
}

// -----

func.func @turned_types(%x: tensor<?x8xf32>, %w: !kern.packed<8x8xf32>, %p: tensor<?xi32>, %t: tensor<?x2xf32>) {
  // expected-error@+1 {{turned results differ in element type}}
  %0:2 = kern.matmul %x, %w : tensor<?x8xf32>, !kern.packed<8x8xf32> turned(%t : tensor<?x2xf32>) -> (tensor<?x4xf32>, tensor<?x4xbf16>) attributes {heads = 1 : i64}
  return
}

// -----

func.func @turned_integers(%x: tensor<?x8xf32>, %w: !kern.packed<8x8xf32>, %p: tensor<?xi32>, %t: tensor<?x2xf32>) {
  // expected-error@+1 {{turned results are f32 or bf16, not 'i32'}}
  %0 = kern.matmul %x, %w : tensor<?x8xf32>, !kern.packed<8x8xf32> turned(%t : tensor<?x2xf32>) -> (tensor<?x8xi32>) attributes {heads = 1 : i64}
  return
}

// -----

func.func @turned_columns(%x: tensor<?x8xf32>, %w: !kern.packed<8x8xf32>, %p: tensor<?xi32>, %t: tensor<?x4xf32>) {
  // expected-error@+1 {{inputs have 2 heads of 4, results 3}}
  %0:2 = kern.matmul %x, %w : tensor<?x8xf32>, !kern.packed<8x8xf32> turned(%t : tensor<?x4xf32>) -> (tensor<?x8xf32>, tensor<?x4xf32>) attributes {heads = 1 : i64}
  return
}

// -----

func.func @turned_yield(%x: tensor<?x8xf32>, %w: !kern.packed<8x8xf32>, %p: tensor<?xi32>, %t: tensor<?x2xf32>) {
  // expected-error@+1 {{region yields ('f32', 'f32') but the results hold ('f32')}}
  %0:2 = kern.matmul %x, %w : tensor<?x8xf32>, !kern.packed<8x8xf32> acc(%s) turned(%t : tensor<?x2xf32>) -> (tensor<?x4xf32>, tensor<?x4xf32>) attributes {heads = 1 : i64} {
    kern.yield %s, %s : f32, f32
  }
  return
}

// -----

func.func @turned_odd(%x: tensor<?x8xf32>, %w: !kern.packed<8x8xf32>, %t: tensor<?x3xf32>) {
  // expected-error@+1 {{is turned by rows of as many cosines as sines, not by 'tensor<?x3xf32>'}}
  %0 = kern.matmul %x, %w : tensor<?x8xf32>, !kern.packed<8x8xf32> turned(%t : tensor<?x3xf32>) -> (tensor<?x8xf32>) attributes {heads = 1 : i64}
  return
}

// -----

func.func @turned_rows(%x: tensor<4x8xf32>, %w: !kern.packed<8x8xf32>, %t: tensor<5x2xf32>) {
  // expected-error@+1 {{input #0 and positions differ in rows}}
  %0 = kern.matmul %x, %w : tensor<4x8xf32>, !kern.packed<8x8xf32> turned(%t : tensor<5x2xf32>) -> (tensor<4x8xf32>) attributes {heads = 1 : i64}
  return
}

// -----

func.func @angles_none(%p: tensor<?xi32>) {
  // expected-error@+1 {{needs frequencies}}
  %0 = kern.angles %p {frequencies = array<f32>} : tensor<?xi32> -> tensor<?x0xf32>
  return
}

// -----

func.func @angles_columns(%p: tensor<?xi32>) {
  // expected-error@+1 {{result must have a row a position and two columns a frequency, not 'tensor<?x2xf32>'}}
  %0 = kern.angles %p {frequencies = array<f32: 1.0, 0.5>} : tensor<?xi32> -> tensor<?x2xf32>
  return
}

// -----

func.func @beside_plain(%a: tensor<?x8xf32>, %b: !kern.packed<8x16xf32>) {
  // expected-error@+1 {{result #0 cannot be beside in a product that is paired, turned, reduces, or has no region}}
  %0 = kern.matmul %a, %b : tensor<?x8xf32>, !kern.packed<8x16xf32> -> (beside tensor<?x32xf32>)
  return
}

// -----

func.func @beside_paired(%a: tensor<?x8xf32>, %b: !kern.packed<8x32xf32>) {
  // expected-error@+1 {{result #0 cannot be beside in a product that is paired, turned, reduces, or has no region}}
  %0 = kern.matmul %a, %b paired : tensor<?x8xf32>, !kern.packed<8x32xf32> acc(%s, %t) -> (beside tensor<?x32xf32>) {
    kern.yield %s, %t : f32, f32
  }
  return
}

// -----

func.func @beside_product_width(%a: tensor<?x8xf32>, %b: !kern.packed<8x16xf32>) {
  // expected-error@+1 {{result #0, 'tensor<?x24xf32>', must be some times as wide as the columns of the others, 16}}
  %0 = kern.matmul %a, %b : tensor<?x8xf32>, !kern.packed<8x16xf32> acc(%s) -> (beside tensor<?x24xf32>) {
    kern.yield %s : f32
  }
  return
}
