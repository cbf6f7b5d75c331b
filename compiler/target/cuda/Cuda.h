//===- Cuda.h - kernels for Hopper GPUs -------------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// kern functions -> threads (scf, arith, nvvm) -> LLVM dialect -> PTX -> one
// cubin, by ptxas.
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_TARGET_CUDA_CUDA_H
#define R1C_COMPILER_TARGET_CUDA_CUDA_H

#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/PassManager.h"
#include "llvm/ADT/StringMap.h"
#include <string>
#include <vector>

namespace r1c::cuda {

/// The architecture that every machine below has.
inline constexpr llvm::StringLiteral architecture = "sm_90a";

/// A GPU as the compiler needs to know it.
struct Machine {
  llvm::StringLiteral name;
  int64_t memory; ///< bytes
};
/// What of a GPU's memory a plan may take: the driver, its contexts and the
/// kernels' own memory (attention: up to 31 MiB) take some.
constexpr int64_t memoryToPlan(int64_t bytes) { return bytes / 16 * 15; }
/// h100, h200, h800; null for another name.
const Machine *findMachine(llvm::StringRef name);
/// "h100, h200, h800"
std::string machineNames();

struct TargetOptions {
  /// The naive lowering instead of the tuned one: same bits in f32, slow.
  bool reference = false;
  /// When not empty: where to leave PREFIX.ptx and ptxas' report, PREFIX.txt.
  std::string dump;
};

/// What ptxas says of a kernel, and the global memory that it keeps for itself.
struct Usage {
  int64_t registers = 0, spillBytes = 0, stackBytes = 0, sharedBytes = 0,
          ownBytes = 0;
};

struct Kernels {
  std::vector<char> cubin;
  llvm::StringMap<mlir::DictionaryAttr> launches; ///< by kernel
  llvm::StringMap<Usage> usage;                   ///< by kernel
  std::vector<std::string> warnings;              ///< of ptxas
};

/// Every function of `module` with the attribute kern.kernel becomes an entry
/// of a cubin, with the kernel ABI (docs/levels.md). `module` is left as it is.
/// Errors are diagnostics. Needs ptxas of CUDA 13: $R1C_PTXAS, or on the PATH,
/// or in /usr/local/cuda/bin.
mlir::FailureOr<Kernels> buildKernels(mlir::ModuleOp module,
                                      const TargetOptions &options);

/// kern-to-threads{reference=}: kernel functions become functions of one thread
/// with the kernel ABI, on pointers, scf, arith, math and nvvm. Each has an
/// attribute kern.launch.
std::unique_ptr<mlir::Pass>
createKernToThreadsPass(const TargetOptions &options = {});

/// What follows kern-to-threads: to the LLVM and nvvm dialects, entries marked
/// nvvm.kernel, with their parameter block.
void addLowerToNVVM(mlir::OpPassManager &pm);

/// Registers the passes and the pipeline r1c-threads-to-nvvm.
void registerCudaPasses();

} // namespace r1c::cuda

#endif // R1C_COMPILER_TARGET_CUDA_CUDA_H
