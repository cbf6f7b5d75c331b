//===- Kernels.h - kernel functions, compiled for CUDA, run here -*- C++ -*-==//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_TARGET_CUDA_EMULATE_KERNELS_H
#define R1C_COMPILER_TARGET_CUDA_EMULATE_KERNELS_H

#include "compiler/target/cuda/Cuda.h"
#include "compiler/target/cuda/emulate/Emulate.h"

namespace r1c::cuda::emulate {

/// The kernels of a module, lowered for CUDA up to the NVVM dialect, and run by
/// the interpreter.
class EmulatedKernels {
public:
  /// Errors are diagnostics. `module` is left as it is; its context must stay.
  static mlir::FailureOr<std::unique_ptr<EmulatedKernels>>
  load(mlir::ModuleOp module, const TargetOptions &options);

  /// `buffers`: those of the kernel ABI, `size`: rows or sequences; negative:
  /// the kernel has none. `multiprocessors`: how many blocks there are for each
  /// that the launch asks for on a multiprocessor.
  llvm::Error run(llvm::StringRef name, llvm::ArrayRef<Buffer> buffers,
                  int64_t size, int64_t multiprocessors, unsigned seed = 0,
                  Statistics *statistics = nullptr) const;
  /// The kernel that launches of so many rows take where the host knows their
  /// number (`few_rows`): `name`'s own or another. `run` takes what it is told.
  llvm::StringRef forRows(llvm::StringRef name, int64_t size) const;

  /// For whoever launches them in another way: the kernels, and how one is
  /// launched (docs/levels.md), null if there is none of that name.
  const Program &getProgram() const { return *program; }
  mlir::DictionaryAttr launchOf(llvm::StringRef name) const {
    return launches.lookup(name);
  }

private:
  std::unique_ptr<Program> program;
  llvm::StringMap<mlir::DictionaryAttr> launches;
};

/// Bytes of a packed bf16 weight (K x N), from the layout of CPUs,
/// [ceil(N/32)][K/2][32][2], to that of CUDA, [N][K]; `paired`: there by turns
/// of a gate and of up, here all of the gate first.
std::vector<uint16_t> packedForCuda(llvm::ArrayRef<uint16_t> cpu, int64_t k,
                                    int64_t n, bool paired = false);
/// And back.
std::vector<uint16_t> packedForCpu(llvm::ArrayRef<uint16_t> cuda, int64_t k,
                                   int64_t n, bool paired = false);

} // namespace r1c::cuda::emulate

#endif // R1C_COMPILER_TARGET_CUDA_EMULATE_KERNELS_H
