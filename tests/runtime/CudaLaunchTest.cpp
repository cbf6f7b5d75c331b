//===- CudaLaunchTest.cpp - how kernels of a cubin are launched -----------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/device/Elf.h"
#include "runtime/device/cuda/Launch.h"
#include "tests/runtime/CudaFixture.h"
#include <algorithm>
#include <cstring>
#include <random>

using namespace r1c;
using namespace r1c::runtime;
using namespace r1c::runtime::test;

namespace {

TensorMapInfo rowsOf(int64_t operand) {
  TensorMapInfo map;
  map.operand = operand;
  map.dtype = "bf16";
  map.sizes = {32, -1};
  map.strides = {64};
  map.box = {16, 4};
  return map;
}

TEST_F(Cuda, TensorMapsShowAnOperandToItsBuffersEnd) {
  auto device = makeCudaDevice("sm_90a");
  auto executable = device->load(testCubin());
  std::vector<uint16_t> x(32 * 10 + 5); // the last row is not whole
  for (size_t i = 0; i < x.size(); ++i)
    x[i] = static_cast<uint16_t>(i + 1);
  Operand dx = operand(*device, x),
          dy = operand(*device, std::vector<uint16_t>(64)),
          row = operand(*device, std::vector<int64_t>{0});
  KernelInfo kernel = kernelOf("tensor_copy");
  kernel.launch->tensorMaps = {rowsOf(0)};
  // Also from the second row on: rows are then counted from there.
  for (int64_t skipped : {0, 1}) {
    Operand operands[] = {
        {dx.address + 64 * skipped, dx.bytes - 64 * skipped}, dy, row};
    auto launch = executable->bind(kernel, operands);
    for (int64_t first : {0, 5, 8, 9, 20}) {
      device->upload(row.address, &first, 8);
      device->dispatch(*launch);
      std::vector<uint16_t> y(64);
      device->download(y.data(), dy.address, 128);
      for (int64_t i = 0; i < 4; ++i)
        for (int64_t j = 0; j < 16; ++j) {
          int64_t at = skipped + first + i;
          EXPECT_EQ(y[16 * i + j], at < 10 ? at * 32 + 8 + j + 1 : 0)
              << at << ", " << j;
        }
    }
  }
}

TEST_F(Cuda, WrongParameterBlocksAreRefused) {
  auto device = makeCudaDevice("sm_90a");
  auto executable = device->load(testCubin());
  std::vector<Operand> operands(3, operand(*device, std::vector<uint16_t>(64)));
  KernelInfo kernel = kernelOf("tensor_copy");
  std::string error = thrownBy([&] { executable->bind(kernel, operands); });
  EXPECT_EQ(error, "kernel 'tensor_copy' (step.r1:3:5): takes 192 bytes of "
                   "parameters, and its operands and tensor maps make 24");
  kernel.launch->tensorMaps = {rowsOf(0), rowsOf(1)};
  error = thrownBy([&] { executable->bind(kernel, operands); });
  EXPECT_NE(error.find("takes 192 bytes of parameters, and its operands and "
                       "tensor maps make 320"),
            std::string::npos)
      << error;
  kernel.launch->tensorMaps = {rowsOf(0)};
  operands[0].bytes = 60;
  error = thrownBy([&] { executable->bind(kernel, operands); });
  EXPECT_EQ(error, "kernel 'tensor_copy' (step.r1:3:5): operand 0: its 60 "
                   "bytes hold no row of 64");
  operands[0].address += 8;
  error = thrownBy([&] { executable->bind(kernel, operands); });
  EXPECT_NE(error.find("is not a multiple of 16"), std::string::npos) << error;
  operands[0] = {operands[0].address + 8, 112};
  kernel.launch->tensorMaps[0].sizes = {32, 2};
  error = thrownBy([&] { executable->bind(kernel, operands); });
  EXPECT_NE(error.find("covers 128 bytes, its buffer has only 112"),
            std::string::npos)
      << error;
  kernel.launch.reset();
  EXPECT_NE(thrownBy([&] {
              executable->bind(kernel, operands);
            }).find("has no 'launch'"),
            std::string::npos);
}

TEST_F(FakeGpu, LaunchesAreWhatTheManifestSays) {
  auto device = makeCudaDevice("sm_90a");
  auto executable = device->load(testCubin());
  Operand seen = operand(*device, std::vector<int64_t>(64));
  auto launched = [&](auto change) {
    KernelInfo kernel = kernelOf("count_workers");
    change(*kernel.launch);
    device->dispatch(*executable->bind(kernel, {&seen, 1}));
    device->synchronize();
    return fake->launches.back();
  };
  fake->multiprocessors = 7; // asked once, when it was opened
  FakeLaunch launch = launched([](LaunchInfo &info) {});
  EXPECT_EQ(launch.grid, 4u);
  EXPECT_EQ(launch.threads, 32u);
  EXPECT_EQ(launch.shared, 0u);
  EXPECT_EQ(launch.cluster, 1u);
  EXPECT_EQ(launch.block[0], reinterpret_cast<uint64_t>(seen.address));
  launch = launched([](LaunchInfo &info) {
    info.threads = 384;
    info.blocksPerMultiprocessor = 3;
  });
  EXPECT_EQ(launch.grid, 12u);
  EXPECT_EQ(launch.threads, 384u);
  launch = launched([](LaunchInfo &info) {
    info.blocks = 6;
    info.cluster = 2;
  });
  EXPECT_EQ(launch.grid, 6u);
  EXPECT_EQ(launch.cluster, 2u);
  // A persistent grid is a whole number of clusters.
  EXPECT_EQ(launched([](LaunchInfo &info) { info.cluster = 3; }).grid, 3u);
  EXPECT_EQ(launched([](LaunchInfo &info) { info.cluster = 8; }).grid, 8u);

  auto other = device->load(testCubin());
  KernelInfo kernel = kernelOf("count_workers");
  kernel.launch->shared = 200000;
  device->dispatch(*other->bind(kernel, {&seen, 1}));
  device->synchronize();
  EXPECT_EQ(fake->launches.back().shared, 200000u);
}

// What few rows take instead is chosen by what the host says of them, and a
// recording keeps what was chosen.
TEST_F(FakeGpu, FewRowsHaveLaunchesOfTheirOwn) {
  auto device = makeCudaDevice("sm_90a");
  auto executable = device->load(testCubin());
  Operand seen = operand(*device, std::vector<int64_t>(64));
  KernelInfo kernel = kernelOf("count_workers");
  for (int64_t rows : {8, 64}) {
    auto few = std::make_shared<LaunchInfo::FewRows>();
    few->rows = rows;
    few->symbol = kernel.symbol;
    few->launch = *kernel.launch;
    few->launch.fewRows.clear();
    few->launch.threads = 2 * rows;
    kernel.launch->fewRows.push_back(few);
  }
  kernel.launch->threads = 256;
  auto launch = executable->bind(kernel, {&seen, 1});
  auto threads = [&](int64_t most) {
    device->expectRows(most);
    device->dispatch(*launch);
    device->synchronize();
    return fake->launches.back().threads;
  };
  EXPECT_EQ(threads(0), 256u);
  EXPECT_EQ(threads(1), 16u);
  EXPECT_EQ(threads(8), 16u);
  EXPECT_EQ(threads(9), 128u);
  EXPECT_EQ(threads(64), 128u);
  EXPECT_EQ(threads(65), 256u);
  EXPECT_EQ(device->expectRows(3), device->expectRows(8));
  EXPECT_NE(device->expectRows(8), device->expectRows(9));
  EXPECT_EQ(device->expectRows(65), device->expectRows(0));

  device->expectRows(5);
  auto recording = device->record([&] {
    device->dispatch(*launch);
    device->dispatch(*launch);
  });
  device->expectRows(0);
  device->replay(*recording);
  device->synchronize();
  EXPECT_EQ(fake->launches.back().threads, 16u);
}

// A kernel reads its early operands before it waits for its predecessors: it
// must not start before those that write them have ended.
TEST_F(FakeGpu, LaunchesStartEarlyWhereNothingTheyReadIsBeingWritten) {
  auto device = makeCudaDevice("sm_90a");
  auto executable = device->load(testCubin());
  std::vector<float> numbers(16, 1);
  Operand weights = operand(*device, numbers), in = operand(*device, numbers),
          out = operand(*device, numbers), other = operand(*device, numbers),
          size = operand(*device, std::vector<int64_t>{16});
  auto make = [&](Operand x, Operand y, std::vector<int64_t> early,
                  bool overlap = true) {
    KernelInfo kernel = kernelOf("affine");
    kernel.launch->overlap = overlap;
    kernel.launch->early = std::move(early);
    kernel.launch->written = {1};
    Operand operands[] = {x, y, size};
    return executable->bind(kernel, operands);
  };
  auto first = make(in, out, {2}), reads = make(weights, other, {0, 2}),
       plain = make(in, out, {}, false), writes = make(in, weights, {2});
  auto overlaps = [&](std::vector<const Launch *> launches) {
    fake->launches.clear();
    for (const Launch *launch : launches)
      device->dispatch(*launch);
    device->synchronize();
    std::string text;
    for (const FakeLaunch &launch : fake->launches)
      text += launch.overlaps ? 'o' : '-';
    return text;
  };
  EXPECT_EQ(overlaps({&*first}), "-") << "behind an upload";
  EXPECT_EQ(overlaps({&*first, &*reads, &*first}), "ooo");
  EXPECT_EQ(overlaps({&*writes, &*reads}), "o-");
  EXPECT_EQ(overlaps({&*writes, &*first, &*first, &*reads}), "ooo-");
  EXPECT_EQ(overlaps({&*writes, &*plain, &*first, &*reads}), "o-oo")
      << "all that is written has been when a kernel starts alone";
  device->copy(other.address, in.address, 64);
  EXPECT_EQ(overlaps({&*reads, &*reads}), "-o");

  // What a recording begins with follows all that was before it.
  overlaps({&*writes});
  auto recording = device->record([&] {
    device->dispatch(*reads);
    device->dispatch(*writes);
    device->dispatch(*reads);
  });
  fake->launches.clear();
  device->replay(*recording);
  device->dispatch(*first);
  device->synchronize();
  std::string text;
  for (const FakeLaunch &launch : fake->launches)
    text += launch.overlaps ? 'o' : '-';
  EXPECT_EQ(text, "-o--");

  // A kernel that does not say what it writes may write anything.
  KernelInfo kernel = kernelOf("affine");
  kernel.launch->overlap = true;
  Operand operands[] = {weights, out, size};
  auto unsaid = executable->bind(kernel, operands);
  EXPECT_EQ(overlaps({&*first, &*unsaid, &*reads}), "oo-");
  kernel.launch->early = {3};
  EXPECT_NE(
      thrownBy([&] { executable->bind(kernel, operands); }).find("operand 3"),
      std::string::npos);
}

TEST(Written, TouchesWhatWasAdded) {
  using namespace r1c::runtime::cuda;
  char memory[100];
  auto span = [&](int64_t from, int64_t to) {
    return Span{memory + from, memory + to};
  };
  Written written;
  EXPECT_FALSE(written.touches(span(0, 100)));
  std::vector<bool> is(100, false);
  std::mt19937 draw(7);
  for (int i = 0; i < 40; ++i) {
    int64_t from = draw() % 100, to = std::min<int64_t>(100, from + draw() % 9);
    written.add(span(from, to));
    std::fill(is.begin() + from, is.begin() + to, true);
    for (int64_t a = 0; a < 100; ++a)
      for (int64_t b : {a + 1, a + 3, a + 17})
        if (b <= 100) {
          bool any =
              std::find(is.begin() + a, is.begin() + b, true) != is.begin() + b;
          ASSERT_EQ(written.touches(span(a, b)), any) << a << ' ' << b;
        }
  }
  written.clear();
  EXPECT_FALSE(written.touches(span(0, 100)));
}

TEST_F(FakeGpu, TensorMapsAreEncodedAsAsked) {
  auto device = makeCudaDevice("sm_90a");
  auto executable = device->load(testCubin());
  Operand x = operand(*device, std::vector<float>(6 * 64 * 40)),
          y = operand(*device, std::vector<uint16_t>(64)),
          row = operand(*device, std::vector<int64_t>{0});
  KernelInfo kernel = kernelOf("tensor_copy");
  TensorMapInfo &map = kernel.launch->tensorMaps.emplace_back();
  map.operand = 0;
  map.dtype = "f32";
  map.sizes = {60, 40, -1};
  map.strides = {256, 256 * 40};
  map.box = {32, 8, 2};
  map.swizzle = 128;
  Operand operands[] = {x, y, row};
  auto launch = executable->bind(kernel, operands);
  device->dispatch(*launch);
  device->synchronize();
  const std::vector<uint64_t> &block = fake->launches.back().block;
  EXPECT_EQ(block[1], reinterpret_cast<uint64_t>(y.address));
  EXPECT_EQ(block[2], reinterpret_cast<uint64_t>(row.address));
  EXPECT_EQ(block[3], 0u);
  FakeTensorMap encoded;
  std::memcpy(&encoded, &block[8], sizeof encoded);
  EXPECT_EQ(encoded.address, reinterpret_cast<uint64_t>(x.address));
  EXPECT_EQ(encoded.dtype, cuda::mapFloat32);
  EXPECT_EQ(encoded.rank, 3);
  EXPECT_EQ(encoded.swizzle, 3);
  EXPECT_EQ(std::vector<uint64_t>(encoded.sizes, encoded.sizes + 3),
            (std::vector<uint64_t>{60, 40, 6}));
  EXPECT_EQ(std::vector<uint64_t>(encoded.strides, encoded.strides + 2),
            (std::vector<uint64_t>{256, 256 * 40}));
  EXPECT_EQ(std::vector<uint16_t>(encoded.box, encoded.box + 3),
            (std::vector<uint16_t>{32, 8, 2}));
}

// Of the tests without a GPU, the one that sees what ptxas really makes.
TEST(Cubin, IsCheckedToItsEnd) {
  if (std::string(R1C_TEST_CUBIN).empty())
    GTEST_SKIP() << "no nvcc was found when the tests were built";
  std::string image = readFile(builtFile(R1C_TEST_CUBIN));
  auto check = [](const std::string &image) {
    return thrownBy([&] { checkElf(image, "kernels.cubin", ElfKind::cubin); });
  };
  EXPECT_EQ(check(image), "");
  EXPECT_EQ(check(image.substr(0, image.size() - 1)),
            "kernels.cubin is truncated");
  EXPECT_EQ(check(image.substr(0, 70)), "kernels.cubin is truncated");
  EXPECT_EQ(check(testKernels()), "kernels.cubin is not made for a GPU");
}

} // namespace
