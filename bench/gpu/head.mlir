// A head 4096 wide over 131072 tokens as fuse and the schedule leave it (r1c
// compile --compile-to schedule of a GRPO step): products behind which a
// vocabulary is reduced by chunks of 256 columns, log-probabilities of those;
// for a slice of targets of an update with the logits stored, then their
// gradients and two products.
func.func @head_chunks(%arg0: tensor<?x4096xbf16>, %arg1: !kern.packed<4096x131072xbf16>, %arg2: tensor<?xi32>, %arg3: tensor<f32>) -> (tensor<?x512xf32>, tensor<?x512xf32>, tensor<?x512xf32>, tensor<?x512xf32>) attributes {kern.kernel} {
  %0:4 = kern.matmul %arg0, %arg1 : tensor<?x4096xbf16>, !kern.packed<4096x131072xbf16> acc(%arg4) with (%arg5 = %arg2 : row tensor<?xi32>, %arg6 = %arg3 : one tensor<f32>) -> (chunk tensor<?x512xf32>, chunk tensor<?x512xf32>, chunk tensor<?x512xf32>, chunk tensor<?x512xf32>) {
    %cst = arith.constant 1.000000e+00 : f32
    %cst_0 = arith.constant 0.000000e+00 : f32
    %1 = arith.cmpf oeq, %arg6, %cst_0 : f32
    %2 = arith.divf %cst, %arg6 : f32
    %3 = arith.select %1, %cst, %2 : f32
    %4 = arith.mulf %arg4, %3 : f32
    %5 = kern.reduce max %4 : f32
    %cst_1 = arith.constant 0xFF800000 : f32
    %6 = arith.cmpf oeq, %5, %cst_1 : f32
    %cst_2 = arith.constant 0.000000e+00 : f32
    %7 = arith.select %6, %cst_2, %5 : f32
    %8 = arith.subf %4, %7 : f32
    %cst_3 = arith.constant -1.100000e+02 : f32
    %9 = arith.cmpf olt, %8, %cst_3 : f32
    %10 = arith.select %9, %cst_3, %8 : f32
    %11 = math.exp %10 : f32
    %12 = kern.reduce add %11 : f32
    %13 = arith.mulf %11, %10 : f32
    %14 = kern.reduce add %13 : f32
    %15 = kern.index column
    %16 = arith.cmpi eq, %15, %arg5 : i32
    %cst_4 = arith.constant 0.000000e+00 : f32
    %17 = arith.select %16, %4, %cst_4 : f32
    %18 = kern.reduce add %17 : f32
    kern.yield %5, %12, %14, %18 : f32, f32, f32, f32
  }
  return %0#0, %0#1, %0#2, %0#3 : tensor<?x512xf32>, tensor<?x512xf32>, tensor<?x512xf32>, tensor<?x512xf32>
}
func.func @head_chunks_stored(%arg0: tensor<?x4096xbf16>, %arg1: !kern.packed<4096x131072xbf16>, %arg2: tensor<?xi32>, %arg3: tensor<f32>) -> (tensor<?x512xf32>, tensor<?x512xf32>, tensor<?x512xf32>, tensor<?x512xf32>, tensor<?x131072xf32>) attributes {kern.kernel} {
  %0:5 = kern.matmul %arg0, %arg1 : tensor<?x4096xbf16>, !kern.packed<4096x131072xbf16> acc(%arg4) with (%arg5 = %arg2 : row tensor<?xi32>, %arg6 = %arg3 : one tensor<f32>) -> (chunk tensor<?x512xf32>, chunk tensor<?x512xf32>, chunk tensor<?x512xf32>, chunk tensor<?x512xf32>, tensor<?x131072xf32>) {
    %cst = arith.constant 1.000000e+00 : f32
    %cst_0 = arith.constant 0.000000e+00 : f32
    %1 = arith.cmpf oeq, %arg6, %cst_0 : f32
    %2 = arith.divf %cst, %arg6 : f32
    %3 = arith.select %1, %cst, %2 : f32
    %4 = arith.mulf %arg4, %3 : f32
    %5 = kern.reduce max %4 : f32
    %cst_1 = arith.constant 0xFF800000 : f32
    %6 = arith.cmpf oeq, %5, %cst_1 : f32
    %cst_2 = arith.constant 0.000000e+00 : f32
    %7 = arith.select %6, %cst_2, %5 : f32
    %8 = arith.subf %4, %7 : f32
    %cst_3 = arith.constant -1.100000e+02 : f32
    %9 = arith.cmpf olt, %8, %cst_3 : f32
    %10 = arith.select %9, %cst_3, %8 : f32
    %11 = math.exp %10 : f32
    %12 = kern.reduce add %11 : f32
    %13 = arith.mulf %11, %10 : f32
    %14 = kern.reduce add %13 : f32
    %15 = kern.index column
    %16 = arith.cmpi eq, %15, %arg5 : i32
    %cst_4 = arith.constant 0.000000e+00 : f32
    %17 = arith.select %16, %4, %cst_4 : f32
    %18 = kern.reduce add %17 : f32
    kern.yield %5, %12, %14, %18, %arg4 : f32, f32, f32, f32, f32
  }
  return %0#0, %0#1, %0#2, %0#3, %0#4 : tensor<?x512xf32>, tensor<?x512xf32>, tensor<?x512xf32>, tensor<?x512xf32>, tensor<?x131072xf32>
}
func.func @head_rows(%arg0: tensor<?x512xf32>, %arg1: tensor<?x512xf32>, %arg2: tensor<?x512xf32>, %arg3: tensor<?x512xf32>) -> (tensor<?xf32>, tensor<?xf32>, tensor<?xf32>) attributes {kern.kernel} {
  %0:3 = kern.row (%arg4 = %arg0 : element tensor<?x512xf32>, %arg5 = %arg1 : element tensor<?x512xf32>, %arg6 = %arg2 : element tensor<?x512xf32>, %arg7 = %arg3 : element tensor<?x512xf32>) -> (row tensor<?xf32>, row tensor<?xf32>, row tensor<?xf32>) {
    %1 = kern.reduce max %arg4 : f32
    %cst = arith.constant 0xFF800000 : f32
    %2 = arith.cmpf oeq, %1, %cst : f32
    %cst_0 = arith.constant 0.000000e+00 : f32
    %3 = arith.select %2, %cst_0, %1 : f32
    %4 = arith.subf %arg4, %3 : f32
    %cst_1 = arith.constant -1.100000e+02 : f32
    %5 = arith.cmpf olt, %4, %cst_1 : f32
    %6 = arith.select %5, %cst_1, %4 : f32
    %7 = math.exp %6 : f32
    %8 = arith.mulf %arg5, %7 : f32
    %9 = kern.reduce add %8 : f32
    %10 = arith.mulf %6, %arg5 : f32
    %11 = arith.addf %arg6, %10 : f32
    %12 = arith.mulf %7, %11 : f32
    %13 = kern.reduce add %12 : f32
    %14 = math.log %9 : f32
    %15 = arith.divf %13, %9 : f32
    %16 = kern.reduce add %arg7 : f32
    %17 = arith.subf %16, %1 : f32
    %18 = math.log %9 : f32
    %19 = arith.subf %17, %18 : f32
    %20 = arith.subf %14, %15 : f32
    %21 = arith.addf %1, %14 : f32
    kern.yield %19, %20, %21 : f32, f32, f32
  }
  return %0#0, %0#1, %0#2 : tensor<?xf32>, tensor<?xf32>, tensor<?xf32>
}
func.func @head_logits_gradient(%arg0: tensor<?x131072xf32>, %arg1: tensor<?xi32>, %arg2: tensor<?xi32>, %arg3: tensor<f32>, %arg4: tensor<?xf32>, %arg5: tensor<?xf32>) -> tensor<?x131072xbf16> attributes {kern.kernel} {
  %0 = kern.map (%arg6 = %arg0 : gather(0) tensor<?x131072xf32>, %arg7 = %arg2 : row tensor<?xi32>, %arg8 = %arg3 : one tensor<f32>, %arg9 = %arg4 : row tensor<?xf32>, %arg10 = %arg5 : row tensor<?xf32>) indices(%arg1 : tensor<?xi32>) -> (element tensor<?x131072xbf16>) {
    %cst = arith.constant 1.000000e+00 : f32
    %cst_0 = arith.constant 0.000000e+00 : f32
    %1 = arith.cmpf oeq, %arg8, %cst_0 : f32
    %2 = arith.divf %cst, %arg8 : f32
    %3 = arith.select %1, %cst, %2 : f32
    %4 = arith.mulf %arg6, %3 : f32
    %5 = arith.subf %4, %arg9 : f32
    %6 = math.exp %5 : f32
    %7 = kern.index column
    %8 = arith.cmpi eq, %7, %arg7 : i32
    %cst_1 = arith.constant 1.000000e+00 : f32
    %cst_2 = arith.constant 0.000000e+00 : f32
    %9 = arith.select %8, %cst_1, %cst_2 : f32
    %10 = arith.subf %9, %6 : f32
    %11 = arith.mulf %arg10, %10 : f32
    %12 = arith.mulf %11, %3 : f32
    %13 = arith.truncf %12 : f32 to bf16
    kern.yield %13 : bf16
  }
  return %0 : tensor<?x131072xbf16>
}
func.func @head_hidden_gradient(%arg0: tensor<?x131072xbf16>, %arg1: !kern.packed<131072x4096xbf16>) -> tensor<?x4096xf32> attributes {kern.kernel} {
  %0 = kern.matmul %arg0, %arg1 : tensor<?x131072xbf16>, !kern.packed<131072x4096xbf16> -> (tensor<?x4096xf32>)
  return %0 : tensor<?x4096xf32>
}
func.func @head_weight_gradient(%arg0: tensor<?x131072xbf16>, %arg1: tensor<?x4096xbf16>, %arg2: tensor<131072x4096xf32>) -> tensor<131072x4096xf32> attributes {kern.kernel} {
  %0 = kern.matmul %arg0, %arg1 transpose_a : tensor<?x131072xbf16>, tensor<?x4096xbf16> init(%arg2 : tensor<131072x4096xf32>) -> (tensor<131072x4096xf32>)
  return %0 : tensor<131072x4096xf32>
}
