//===- Safetensors.cpp - tensor files of Hugging Face ---------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/checkpoint/Safetensors.h"
#include "runtime/support/Files.h"
#include "runtime/support/Json.h"
#include <bit>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <set>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace r1c::runtime {

namespace {

int64_t elementBytes(const std::string &dtype) {
  static const std::map<std::string, int64_t> sizes = {
      {"F64", 8}, {"I64", 8},  {"U64", 8}, {"F32", 4}, {"I32", 4},
      {"U32", 4}, {"BF16", 2}, {"F16", 2}, {"I16", 2}, {"U16", 2},
      {"I8", 1},  {"U8", 1},   {"BOOL", 1}};
  auto at = sizes.find(dtype);
  return at == sizes.end() ? 0 : at->second;
}

float fromHalf(uint16_t bits) {
  uint32_t sign = uint32_t(bits & 0x8000) << 16, exponent = (bits >> 10) & 31,
           fraction = bits & 0x3ff;
  if (exponent == 0) { // zero or subnormal: fraction * 2^-24
    float value = static_cast<float>(fraction) * 0x1p-24f;
    return sign ? -value : value;
  }
  uint32_t wide = exponent == 31 ? 0xff : exponent + 112;
  return std::bit_cast<float>(sign | wide << 23 | fraction << 13);
}

} // namespace

int64_t Tensor::elements() const {
  int64_t count = 1;
  for (int64_t extent : shape)
    count *= extent;
  return count;
}

std::vector<float> Tensor::floats() const {
  int64_t count = elements();
  std::vector<float> result(count);
  if (dtype == "F32") {
    std::memcpy(result.data(), data, count * 4);
    return result;
  }
  for (int64_t i = 0; i < count; ++i) {
    if (dtype == "F64") {
      double wide;
      std::memcpy(&wide, data + i * 8, 8);
      result[i] = static_cast<float>(wide);
      continue;
    }
    uint16_t half;
    std::memcpy(&half, data + i * 2, 2);
    if (dtype == "BF16")
      result[i] = std::bit_cast<float>(uint32_t(half) << 16);
    else if (dtype == "F16")
      result[i] = fromHalf(half);
    else
      throw Error("the dtype ", dtype, " is not one of weights");
  }
  return result;
}

Safetensors::Safetensors(const std::filesystem::path &place)
    : path(place.string()) {
  if (!fs::exists(place))
    throw Error(path, ": no such file or directory");
  std::set<fs::path> files;
  fs::path index = place / "model.safetensors.index.json";
  if (!fs::is_directory(place)) {
    files = {place};
  } else if (!fs::exists(index)) {
    files = {place / "model.safetensors"};
  } else {
    Json json = parseJson(readFile(index), index.string());
    Fields map = Fields(json, index.string()).object("weight_map");
    for (const auto &[name, file] : map.json().items())
      files.insert(place / map.text(name.c_str()));
  }
  for (const fs::path &file : files)
    add(file);
}

const Tensor &Safetensors::get(const std::string &name) const {
  auto at = tensors.find(name);
  if (at == tensors.end())
    throw Error(path, ": no tensor '", name, "'");
  return at->second;
}

void Safetensors::add(const std::filesystem::path &file) {
  within([&] { return file.string(); },
         [&] {
           int handle = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
           if (handle < 0)
             throw Error(std::strerror(errno));
           struct stat info;
           int failed = ::fstat(handle, &info);
           auto size = static_cast<uint64_t>(info.st_size);
           void *start = failed || size < 8 ? MAP_FAILED
                                            : ::mmap(nullptr, size, PROT_READ,
                                                     MAP_PRIVATE, handle, 0);
           ::close(handle);
           if (start == MAP_FAILED)
             throw Error("not a safetensors file");
           mappings.emplace_back(start, [size](void *p) { ::munmap(p, size); });
           auto *bytes = static_cast<const char *>(start);
           uint64_t header;
           std::memcpy(&header, bytes, 8);
           if (header > size - 8)
             throw Error("not a safetensors file, or a truncated one");
           Json json = parseJson(std::string_view(bytes + 8, header), "header");
           uint64_t room = size - 8 - header;
           Fields all(json, "header");
           for (const auto &[name, value] : json.items()) {
             if (name == "__metadata__")
               continue;
             Fields fields = all.object(name.c_str());
             Tensor tensor;
             tensor.dtype = fields.text("dtype");
             for (const char *needed : {"shape", "data_offsets"})
               fields.get(needed); // an absent list must not read as empty
             tensor.shape = fields.integers("shape");
             std::vector<int64_t> offsets = fields.integers("data_offsets");
             int64_t expected = elementBytes(tensor.dtype);
             if (!expected)
               throw Error("tensor '", name, "' has the unknown dtype ",
                           tensor.dtype);
             for (int64_t extent : tensor.shape)
               if (extent < 0 ||
                   __builtin_mul_overflow(expected, extent, &expected))
                 throw Error("tensor '", name, "' has an impossible shape");
             if (offsets.size() != 2 || offsets[0] < 0 ||
                 offsets[1] < offsets[0] ||
                 static_cast<uint64_t>(offsets[1]) > room ||
                 offsets[1] - offsets[0] != expected)
               throw Error("tensor '", name, "' does not lie inside the file");
             tensor.data = bytes + 8 + header + offsets[0];
             tensor.bytes = expected;
             tensors[name] = std::move(tensor);
           }
         });
}

void writeSafetensors(const std::filesystem::path &path,
                      const std::vector<TensorToWrite> &tensors) {
  nlohmann::ordered_json header = {{"__metadata__", {{"format", "pt"}}}};
  uint64_t offset = 0;
  for (const TensorToWrite &tensor : tensors) {
    header[tensor.name] = {{"dtype", tensor.dtype},
                           {"shape", tensor.shape},
                           {"data_offsets", {offset, offset + tensor.size()}}};
    offset += tensor.size();
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' '); // data starts aligned
  uint64_t size = text.size();
  writeFile(path, [&](const std::function<void(std::string_view)> &write) {
    write({reinterpret_cast<const char *>(&size), 8});
    write(text);
    std::string piece;
    for (const TensorToWrite &tensor : tensors) {
      write(tensor.bytes);
      if (!tensor.range)
        continue;
      Device &device = *tensor.range.device;
      device.synchronize();
      constexpr int64_t most = 16 << 20;
      for (int64_t at = 0; at < tensor.range.bytes; at += most) {
        piece.resize(
            static_cast<size_t>(std::min(most, tensor.range.bytes - at)));
        device.download(piece.data(), tensor.range.address + at,
                        static_cast<int64_t>(piece.size()));
        write(piece);
      }
    }
  });
}

} // namespace r1c::runtime
