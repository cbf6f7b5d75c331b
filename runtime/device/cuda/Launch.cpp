//===- Launch.cpp - kernels of a cubin, bound to operands -----------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/device/cuda/Launch.h"
#include "runtime/device/Elf.h"
#include "runtime/support/Error.h"
#include <algorithm>
#include <cstring>

namespace r1c::runtime::cuda {

std::vector<uint64_t> sizesOf(const TensorMapInfo &map,
                              const Operand &operand) {
  int64_t element = bytesOf(map.dtype);
  std::vector<uint64_t> sizes(map.sizes.begin(), map.sizes.end());
  size_t last = sizes.size() - 1;
  // The bytes from one element of the last dimension to the next.
  int64_t step = last ? map.strides[last - 1] : element;
  if (map.sizes[last] == -1) {
    sizes[last] = static_cast<uint64_t>(operand.bytes / step);
    if (sizes[last] == 0)
      throw Error("its ", operand.bytes, " bytes hold no row of ", step);
  }
  int64_t end = static_cast<int64_t>(sizes[0]) * element;
  for (size_t i = 1; i < sizes.size(); ++i)
    end += static_cast<int64_t>(sizes[i] - 1) * map.strides[i - 1];
  if (end > operand.bytes)
    throw Error("a tensor map of it covers ", end,
                " bytes, its buffer has only ", operand.bytes, " from there");
  return sizes;
}

static void encode(const Driver &driver, const TensorMapInfo &map,
                   const Operand &operand, char *target) {
  if (reinterpret_cast<uintptr_t>(operand.address) % 16)
    throw Error("its address is not a multiple of 16, which a tensor map "
                "needs");
  std::vector<uint64_t> sizes = sizesOf(map, operand);
  std::vector<uint64_t> strides(map.strides.begin(), map.strides.end());
  strides.push_back(0); // the driver wants an address, even of nothing
  std::vector<uint32_t> box(map.box.begin(), map.box.end());
  std::vector<uint32_t> ones(sizes.size(), 1);
  auto rank = static_cast<uint32_t>(sizes.size());
  int swizzle = 0; // CUtensorMapSwizzle counts 0, 32, 64, 128 bytes
  for (int64_t bytes = map.swizzle; bytes >= 32; bytes /= 2)
    ++swizzle;
  TensorMap encoded;
  driver.check(driver.cuTensorMapEncodeTiled(
                   &encoded, map.dtype == "bf16" ? mapBfloat16 : mapFloat32,
                   rank, operand.address, sizes.data(), strides.data(),
                   box.data(), ones.data(), /*interleave=*/0, swizzle,
                   mapPromoteL2To256, /*outOfBounds: zero*/ 0),
               "driver refuses a tensor map");
  std::memcpy(target, &encoded, sizeof encoded);
}

ParameterBlock::ParameterBlock(const Driver &driver, const LaunchInfo &launch,
                               std::span<const Operand> operands) {
  const std::vector<TensorMapInfo> &maps = launch.tensorMaps;
  auto addresses = static_cast<int64_t>(operands.size() * 8);
  int64_t first = (addresses + 63) / 64 * 64;
  bytes = maps.empty() ? addresses
                       : first + static_cast<int64_t>(maps.size()) * 128;
  lines.resize((bytes + 63) / 64, Line{});
  for (size_t i = 0; i < operands.size(); ++i)
    std::memcpy(data() + 8 * i, &operands[i].address, 8);
  for (size_t i = 0; i < maps.size(); ++i)
    within([&] { return concat("operand ", maps[i].operand); },
           [&] {
             if (maps[i].operand >= static_cast<int64_t>(operands.size()))
               throw Error("a tensor map of it is asked for, and there is no "
                           "such operand");
             encode(driver, maps[i], operands[maps[i].operand],
                    data() + first + 128 * i);
           });
}

CudaExecutable::CudaExecutable(std::shared_ptr<const Driver> owner,
                               std::string_view image, int64_t multiprocessors,
                               Stream stream, std::set<int64_t> &bounds)
    : driver(std::move(owner)), multiprocessors(multiprocessors),
      stream(stream), bounds(bounds) {
  // The driver is given no size, and reads as far as the headers say.
  checkElf(image, "kernels.cubin", ElfKind::cubin);
  Result result = driver->cuModuleLoadData(&module, image.data());
  if (result == noBinaryForGpu)
    throw Error("kernels.cubin was made for another kind of GPU");
  if (result != success)
    throw Error("kernels.cubin cannot be loaded: ", driver->describe(result));
}

CudaExecutable::~CudaExecutable() {
  // Its kernels may still be under way.
  driver->cuStreamSynchronize(stream);
  driver->cuModuleUnload(module);
}

Function CudaExecutable::find(const std::string &symbol,
                              const LaunchInfo &launch) {
  auto [at, added] = functions.emplace(symbol, nullptr);
  if (!added)
    return at->second;
  Function function;
  Result result =
      driver->cuModuleGetFunction(&function, module, symbol.c_str());
  if (result != success) {
    functions.erase(at);
    if (result == notFound)
      throw Error("kernels.cubin has no symbol '", symbol, "'");
    driver->check(result, "cannot load the kernel");
  }
  if (launch.shared > 0)
    driver->check(driver->cuFuncSetAttribute(function, maxDynamicShared,
                                             static_cast<int>(launch.shared)),
                  "does not give a block so much shared memory");
  if (launch.cluster > 8)
    driver->check(driver->cuFuncSetAttribute(function, nonPortableCluster, 1),
                  "knows no clusters of this size");
  return at->second = function;
}

std::unique_ptr<Launch>
CudaExecutable::bind(const KernelInfo &kernel,
                     std::span<const Operand> operands) {
  return within(
      [&] { return kernel.describe(); },
      [&]() -> std::unique_ptr<Launch> {
        if (!kernel.launch)
          throw Error("has no 'launch', which a GPU needs");
        const LaunchInfo &info = *kernel.launch;
        auto launch = bind(kernel, kernel.symbol, info, operands);
        for (const auto &few : info.fewRows) {
          launch->fewRows.push_back(
              {few->rows, bind(kernel, few->symbol, few->launch, operands)});
          bounds.insert(few->rows);
        }
        return launch;
      });
}

std::unique_ptr<CudaLaunch>
CudaExecutable::bind(const KernelInfo &kernel, const std::string &symbol,
                     const LaunchInfo &info,
                     std::span<const Operand> operands) {
  for (const auto &list :
       {info.early, info.written.value_or(std::vector<int64_t>())})
    for (int64_t i : list)
      if (i >= static_cast<int64_t>(operands.size()))
        throw Error("reads or writes operand ", i,
                    ", and there is no such operand");
  Function function = find(symbol, info);
  auto launch =
      std::make_unique<CudaLaunch>(ParameterBlock(*driver, info, operands));
  launch->function = function;
  launch->name = kernel.describe();
  launch->parameters[0] = launch->block.data();
  size_t offset = 0, size = 0;
  // A kernel that reads another block than it is given would
  // compute with whatever lies behind it.
  if (driver->cuFuncGetParamInfo(function, 0, &offset, &size) != success)
    size = 0;
  auto have = static_cast<int64_t>(launch->block.lines.size() *
                                   sizeof(ParameterBlock::Line));
  auto wanted = static_cast<int64_t>(size);
  if (wanted < launch->block.bytes || wanted > have)
    throw Error("takes ", wanted,
                " bytes of parameters, and its operands and "
                "tensor maps make ",
                launch->block.bytes);

  LaunchConfig &config = launch->config;
  int64_t blocks = info.blocks;
  if (blocks == 0) {
    blocks = multiprocessors * info.blocksPerMultiprocessor;
    blocks -= blocks % info.cluster;
    blocks = std::max(blocks, info.cluster);
  }
  config.gridX = static_cast<unsigned>(blocks);
  config.blockX = static_cast<unsigned>(info.threads);
  config.gridY = config.gridZ = 1;
  config.blockY = config.blockZ = 1;
  config.sharedBytes = static_cast<unsigned>(info.shared);
  config.stream = stream;
  config.attributes = launch->attributes;
  auto attribute = [&](int id) -> LaunchAttribute & {
    LaunchAttribute &next = launch->attributes[config.attributeCount++];
    next.id = id;
    return next;
  };
  if (info.cluster > 1) {
    LaunchAttribute &cluster = attribute(clusterDimension);
    cluster.cluster[0] = static_cast<unsigned>(info.cluster);
    cluster.cluster[1] = cluster.cluster[2] = 1;
  }
  if (info.overlap)
    attribute(programmaticSerialization).allowed = 1;
  launch->overlaps = info.overlap;
  auto span = [&](const Operand &operand) -> Span {
    return {operand.address, operand.address + operand.bytes};
  };
  for (int64_t i : info.early)
    launch->early.push_back(span(operands[i]));
  if (info.written)
    for (int64_t i : *info.written)
      launch->written.push_back(span(operands[i]));
  else
    for (const Operand &operand : operands)
      launch->written.push_back(span(operand));
  return launch;
}

} // namespace r1c::runtime::cuda
