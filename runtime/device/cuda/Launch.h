//===- Launch.h - kernels of a cubin, bound to operands ---------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_DEVICE_CUDA_LAUNCH_H
#define R1C_RUNTIME_DEVICE_CUDA_LAUNCH_H

#include "runtime/device/Device.h"
#include "runtime/device/cuda/Driver.h"
#include "runtime/device/cuda/Written.h"
#include <set>
#include <unordered_map>

namespace r1c::runtime::cuda {

/// A kernel's one parameter (docs/levels.md, kernel ABI on CUDA): the operands'
/// addresses, then at the next multiple of 64 the tensor maps.
struct ParameterBlock {
  struct alignas(64) Line {
    char bytes[64];
  };
  std::vector<Line> lines; ///< zero behind the block
  int64_t bytes = 0;       ///< of the block itself

  ParameterBlock(const Driver &driver, const LaunchInfo &launch,
                 std::span<const Operand> operands);
  char *data() { return lines.empty() ? nullptr : lines.front().bytes; }
};

/// The number of elements of each dimension of a tensor map, with an open last
/// one measured. Throws r1c::Error where the operand does not hold it.
std::vector<uint64_t> sizesOf(const TensorMapInfo &map, const Operand &operand);

struct CudaLaunch : Launch {
  CudaLaunch(ParameterBlock block) : block(std::move(block)) {}
  CudaLaunch(const CudaLaunch &) = delete;

  Function function = nullptr;
  LaunchConfig config{};
  LaunchAttribute attributes[2]{};
  ParameterBlock block;
  void *parameters[1] = {nullptr};
  std::string name; ///< for messages
  /// Whether the last attribute lets it start before its predecessors end; what
  /// it then reads at once, and what it writes.
  bool overlaps = false;
  std::vector<Span> early, written;
  /// Instead of it where there are no more than so many rows.
  struct FewRows {
    int64_t rows;
    std::unique_ptr<CudaLaunch> launch;
  };
  std::vector<FewRows> fewRows;
};

class CudaExecutable : public Executable {
public:
  /// `image` is a cubin. `multiprocessors` and `stream` are the device's, and
  /// `bounds`: for how many rows bound kernels have others.
  CudaExecutable(std::shared_ptr<const Driver> driver, std::string_view image,
                 int64_t multiprocessors, Stream stream,
                 std::set<int64_t> &bounds);
  ~CudaExecutable() override;

  std::unique_ptr<Launch> bind(const KernelInfo &kernel,
                               std::span<const Operand> operands) override;

private:
  Function find(const std::string &symbol, const LaunchInfo &launch);
  std::unique_ptr<CudaLaunch> bind(const KernelInfo &kernel,
                                   const std::string &symbol,
                                   const LaunchInfo &info,
                                   std::span<const Operand> operands);

  std::shared_ptr<const Driver> driver;
  int64_t multiprocessors;
  Stream stream;
  std::set<int64_t> &bounds;
  Module module = nullptr;
  std::unordered_map<std::string, Function> functions;
};

} // namespace r1c::runtime::cuda

#endif // R1C_RUNTIME_DEVICE_CUDA_LAUNCH_H
