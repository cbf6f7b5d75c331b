//===- Kernels.cpp - times kernels of a cubin on a GPU --------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// bench_gpu KERNELS.cubin LAUNCHES.json CASES.json [PREFIX...]
//
// Runs the cases whose name starts with one of the prefixes (none: all) and
// prints a line of JSON for each: its name, the median of the seconds that it
// takes, or an error. Links the runtime alone, so that it runs where there is
// no compiler. cases.py writes CASES.json:
//
//   {"cases": [{"name": "...", "buffers": {"a": {"bytes": 64, "fill": F}},
//     "steps": [{"kernel": "mm", "rows": 16, "operands": ["a", ["b", 32]]}]}]}
//
// Steps run one after another; an operand may start at a byte of its buffer.
// A kernel's last operand, the number of its rows, is not listed. F says what
// the numbers are (Fill, below).
//===----------------------------------------------------------------------===//

#include "runtime/device/cuda/Cuda.h"
#include "runtime/support/Files.h"
#include <algorithm>
#include <bit>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <map>
#include <random>

using namespace r1c;
using namespace r1c::runtime;

namespace {

/// All data of a case together is rotated over so many bytes, several times
/// what the second-level cache holds.
constexpr int64_t rotatedBytes = 256 << 20;
/// Of device memory: cases that need more are not run.
constexpr double shareOfMemory = 0.9;
/// Seconds: what takes longer is measured by its first call.
constexpr double tooSlow = 0.5;

uint16_t toBf16(float value) {
  auto bits = std::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/// {"dtype": "bf16"|"f32", "scale": s}: normal, s times as wide; "value": v
/// instead of it: all the same. {"dtype": "i32", ...}: "below": n, random from
/// 0 to n - 1; of element i "within": i % n, "start": i - i % n, "times": i *
/// n. Nothing: zeros.
std::vector<char> pattern(const Json &fill, int64_t bytes) {
  std::string dtype = fill.at("dtype");
  int64_t count = bytes / bytesOf(dtype);
  std::vector<char> data(static_cast<size_t>(bytes));
  std::mt19937 generator(1);
  auto each = [&](auto value) {
    for (int64_t i = 0; i < count; ++i) {
      auto element = value(i);
      std::memcpy(data.data() + i * static_cast<int64_t>(sizeof element),
                  &element, sizeof element);
    }
  };
  if (dtype == "i32") {
    auto number = [&](const char *key) { return fill.value(key, int64_t(0)); };
    int64_t below = number("below"), within = number("within"),
            start = number("start"), times = number("times");
    bool fixed = fill.contains("value");
    each([&](int64_t i) {
      return static_cast<int32_t>(fixed    ? number("value")
                                  : below  ? generator() % below
                                  : within ? i % within
                                  : start  ? i - i % start
                                           : i * times);
    });
    return data;
  }
  std::normal_distribution<float> normal(0, fill.value("scale", 1.0f));
  auto value = [&] {
    return fill.contains("value") ? fill["value"].get<float>()
                                  : normal(generator);
  };
  if (dtype == "bf16")
    each([&](int64_t) { return toBf16(value()); });
  else
    each([&](int64_t) { return value(); });
  return data;
}

constexpr const char *architecture = "sm_90a";

class Bench {
public:
  Bench(const std::string &cubin, const Json &launches)
      : device(makeCudaDevice(architecture)), executable(device->load(cubin)) {
    Json kernels = Json::array();
    for (const auto &[name, launch] : launches.items())
      kernels.push_back({{"name", name}, {"symbol", name}, {"launch", launch}});
    Json target = {{"kind", "cuda"}, {"cpu", architecture}, {"features", ""}};
    manifest = Manifest::parse(dumpJson(Json{{"target", std::move(target)},
                                             {"kernels", std::move(kernels)}}),
                               0);
  }

  Json run(const Json &spec) {
    Json result = {{"name", spec.at("name")}};
    try {
      time(spec, result);
    } catch (const std::exception &error) {
      result["error"] = error.what();
    }
    return result;
  }

  std::string describe() const { return device->describe(); }

private:
  struct Set {
    std::map<std::string, Operand> buffers;
    struct Step {
      std::unique_ptr<Launch> launch;
      int64_t rows;
    };
    std::vector<Step> steps;
  };

  void time(const Json &spec, Json &result) {
    int64_t bytes = 0;
    for (const Json &buffer : spec.at("buffers"))
      bytes += buffer.at("bytes").get<int64_t>();
    auto room = static_cast<int64_t>(shareOfMemory *
                                     static_cast<double>(device->freeMemory()));
    if (bytes > room + pooled())
      throw Error("needs ", bytes >> 20, " MiB of device memory, ", room >> 20,
                  " are free");
    int64_t count = std::clamp<int64_t>(rotatedBytes / bytes + 1, 1, 64);
    std::vector<Set> sets;
    used.clear();
    for (int64_t i = 0; i < count; ++i)
      sets.push_back(make(spec));
    auto all = [&](int64_t rounds) {
      return [&, rounds] {
        for (int64_t i = 0; i < rounds; ++i)
          for (const Set::Step &step :
               sets[static_cast<size_t>(i % count)].steps) {
            device->expectRows(step.rows);
            device->dispatch(*step.launch);
          }
      };
    };
    // Once as it is, for errors and an estimate; then as one recording, in
    // which no launch waits for the host.
    double first = seconds(all(1));
    result["calls"] = 1;
    result["seconds"] = first;
    if (first > tooSlow)
      return;
    double once = seconds([&] { all(count)(); }) / static_cast<double>(count);
    auto rounds = static_cast<int64_t>(0.02 / once);
    rounds = std::clamp<int64_t>(rounds, 1, 400);
    rounds = (rounds + count - 1) / count * count;
    auto recording = device->record(all(rounds));
    auto replay = [&] {
      if (recording)
        device->replay(*recording);
      else
        all(rounds)();
    };
    replay();
    device->synchronize();
    std::vector<double> times;
    for (int i = 0; i < 7; ++i)
      times.push_back(seconds(replay) / static_cast<double>(rounds));
    std::sort(times.begin(), times.end());
    result["seconds"] = times[times.size() / 2];
    result["best"] = times.front();
    result["worst"] = times.back();
    result["calls"] = rounds * static_cast<int64_t>(times.size());
  }

  template <typename Body>
  double seconds(Body &&body) {
    device->synchronize();
    auto start = std::chrono::steady_clock::now();
    body();
    device->synchronize();
    std::chrono::duration<double> took =
        std::chrono::steady_clock::now() - start;
    return took.count();
  }

  Set make(const Json &spec) {
    Set set;
    for (const auto &[name, buffer] : spec.at("buffers").items()) {
      int64_t bytes = buffer.at("bytes");
      Operand operand{take(bytes), bytes};
      if (buffer.contains("fill"))
        fill(operand, buffer["fill"]);
      else
        device->zero(operand.address, bytes);
      set.buffers.emplace(name, operand);
    }
    for (const Json &step : spec.at("steps")) {
      std::string name = step.at("kernel");
      auto kernel = manifest.kernelByName.find(name);
      if (kernel == manifest.kernelByName.end())
        throw Error("no kernel '", name, "'");
      std::vector<Operand> operands;
      for (const Json &entry : step.at("operands")) {
        bool shifted = entry.is_array();
        Operand operand = set.buffers.at((shifted ? entry[0] : entry));
        int64_t offset = shifted ? entry[1].get<int64_t>() : 0;
        operands.push_back({operand.address + offset, operand.bytes - offset});
      }
      int64_t rows = step.at("rows");
      char *where = take(8);
      device->upload(where, &rows, 8);
      operands.push_back({where, 8});
      set.steps.push_back(
          {executable->bind(manifest.kernels[kernel->second], operands), rows});
    }
    return set;
  }

  /// Memory is the device's until it ends, so cases share it.
  char *take(int64_t bytes) {
    auto rounded = static_cast<int64_t>(
        std::bit_ceil(static_cast<uint64_t>(std::max<int64_t>(bytes, 4096))));
    if (bytes > 256 << 20)
      rounded = (bytes + 63) / 64 * 64;
    std::vector<char *> &blocks = pool[rounded];
    size_t &next = used[rounded];
    if (next == blocks.size())
      blocks.push_back(device->allocate(rounded));
    return blocks[next++];
  }
  int64_t pooled() const {
    int64_t bytes = 0;
    for (const auto &[size, blocks] : pool)
      bytes += size * static_cast<int64_t>(blocks.size());
    return bytes;
  }
  /// The host makes no more than 16 MiB of numbers; the rest are copies.
  void fill(const Operand &operand, const Json &how) {
    constexpr int64_t most = 16 << 20;
    bool counted = how.at("dtype") == "i32" && !how.contains("below");
    int64_t bytes = counted ? operand.bytes : std::min(operand.bytes, most);
    auto [at, isNew] = patterns.try_emplace(dumpJson(how));
    if (static_cast<int64_t>(at->second.size()) < bytes)
      at->second = pattern(how, counted ? bytes : most);
    device->upload(operand.address, at->second.data(), bytes);
    for (int64_t done = bytes; done < operand.bytes; done += bytes)
      device->copy(operand.address + done, operand.address,
                   std::min(bytes, operand.bytes - done));
  }

  std::unique_ptr<Device> device;
  std::unique_ptr<Executable> executable;
  Manifest manifest;
  std::map<int64_t, std::vector<char *>> pool; ///< by size
  std::map<int64_t, size_t> used;              ///< of them, by this case
  std::map<std::string, std::vector<char>> patterns;
};

} // namespace

int main(int argc, char **argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: bench_gpu KERNELS.cubin LAUNCHES.json "
                         "CASES.json [PREFIX...]\n");
    return 2;
  }
  try {
    Json cases = parseJson(readFile(argv[3]), argv[3]);
    Bench bench(readFile(argv[1]), parseJson(readFile(argv[2]), argv[2]));
    std::fprintf(stderr, "%s\n", bench.describe().c_str());
    bool good = true;
    for (const Json &spec : cases.at("cases")) {
      std::string name = spec.at("name");
      auto named = [&](std::string_view prefix) {
        return name.starts_with(prefix);
      };
      if (argc > 4 && std::none_of(argv + 4, argv + argc, named))
        continue;
      Json result = bench.run(spec);
      good &= !result.contains("error");
      std::printf("%s\n", dumpJson(result).c_str());
      std::fflush(stdout);
    }
    return good ? 0 : 1;
  } catch (const std::exception &error) {
    std::fprintf(stderr, "bench_gpu: %s\n", error.what());
    return 1;
  }
}
