//===- Emulate.h - lowered CUDA kernels, run on the host --------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// An interpreter of kernels in the LLVM and NVVM dialects, as they are just
// before translation to LLVM IR. It follows the PTX ISA, and where that leaves
// something undefined, it stops with an error instead of giving a number:
// README.md lists what is checked and what the model leaves out.
//===----------------------------------------------------------------------===//

#ifndef R1C_COMPILER_TARGET_CUDA_EMULATE_EMULATE_H
#define R1C_COMPILER_TARGET_CUDA_EMULATE_EMULATE_H

#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinOps.h"
#include "llvm/Support/Error.h"

#include <memory>
#include <string>

namespace r1c::cuda::emulate {

/// Memory of the host that a kernel sees as global memory, at the same
/// address.
struct Buffer {
  void *data = nullptr;
  size_t bytes = 0;
  /// Reads may go this far (0: to `bytes`), writes only to `bytes`.
  size_t readable = 0;
  bool writable = true;
  /// Ranges of bytes that the kernels before this one write: of a buffer that
  /// is `cached`.
  mlir::SmallVector<std::pair<size_t, size_t>> fresh = {};
};

/// What a CUtensorMap describes; dimensions go from the fastest to the slowest.
struct TensorMap {
  unsigned operand = 0; ///< index into the buffers: where the tensor starts
  unsigned elementBytes = 2;             ///< 2: bf16, 4: f32
  mlir::SmallVector<int64_t, 5> sizes;   ///< elements; the last may be -1: to
                                         ///< the end of the buffer
  mlir::SmallVector<int64_t, 4> strides; ///< bytes, of all but the fastest
  mlir::SmallVector<int64_t, 5> box;     ///< elements
  unsigned swizzle = 0;                  ///< bytes: 0, 32, 64 or 128
};

/// How a kernel is launched, and how the run is scheduled.
struct Launch {
  int64_t threads = 1; ///< a block
  int64_t blocks = 1;  ///< of the grid
  int64_t shared = 0;  ///< bytes of dynamic shared memory
  int64_t cluster = 1; ///< blocks of a cluster
  mlir::SmallVector<TensorMap> tensorMaps;
  /// Whether the kernel starts while those before it end. Then a thread must
  /// wait (griddepcontrol.wait) before it reads any buffer but `early`, or what
  /// is fresh in one that is `cached`, or writes one, and some thread of the
  /// grid must.
  bool overlap = false;
  mlir::SmallVector<int64_t> early, cached; ///< buffers
  /// The buffers that the kernel may write; without a list, all writable ones.
  std::optional<mlir::SmallVector<int64_t>> written;

  /// 0: asynchronous copies happen as late as they can, threads go in order.
  /// Otherwise copies happen at moments, and threads go in an order, drawn from
  /// this seed.
  unsigned seed = 0;
  /// An error after that many instructions of one block: a loop without end.
  uint64_t maxSteps = uint64_t(1) << 36;

  /// Reads a kernel's `launch` dictionary (docs/levels.md); `multiprocessors`:
  /// what `blocks_per_sm` is multiplied by.
  static llvm::Expected<Launch> parse(mlir::DictionaryAttr attribute,
                                      int64_t multiprocessors);
};

/// What a run was.
struct Statistics {
  uint64_t steps = 0; ///< instructions of threads
  uint64_t wgmmas = 0, bulkCopies = 0;
};

struct Code;

/// The functions of a module, decoded once. Needs the module's context, not the
/// module itself, to stay.
class Program {
public:
  /// `module`: any op with functions of the LLVM dialect inside (a gpu.module
  /// too). An op that the interpreter does not know is an error when a thread
  /// comes to it.
  static llvm::Expected<std::unique_ptr<Program>>
  decode(mlir::Operation *module);
  ~Program();

  /// Runs a whole grid. The kernel has one by-value parameter block: the
  /// buffers' addresses in order, and from the next multiple of 64 bytes on the
  /// tensor maps. Buffers must not overlap. The error says where (location,
  /// block, thread) and what the kernel did wrong.
  llvm::Error run(llvm::StringRef kernel, const Launch &launch,
                  llvm::ArrayRef<Buffer> buffers,
                  Statistics *statistics = nullptr) const;

private:
  Program();
  std::unique_ptr<Code> code;
};

/// Decodes and runs.
llvm::Error runKernel(mlir::Operation *module, llvm::StringRef kernel,
                      const Launch &launch, llvm::ArrayRef<Buffer> buffers);

} // namespace r1c::cuda::emulate

#endif // R1C_COMPILER_TARGET_CUDA_EMULATE_EMULATE_H
