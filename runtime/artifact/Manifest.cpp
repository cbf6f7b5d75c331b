//===- Manifest.cpp - manifest.json, checked ------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/artifact/Manifest.h"
#include "runtime/artifact/MemoryPlan.h"

namespace r1c::runtime {

int64_t bytesOf(const std::string &dtype) {
  static const std::unordered_map<std::string, int64_t> sizes = {
      {"f64", 8}, {"i64", 8}, {"f32", 4}, {"i32", 4}, {"bf16", 2},
      {"f16", 2}, {"i16", 2}, {"i8", 1},  {"u8", 1},  {"i1", 1}};
  auto at = sizes.find(dtype);
  return at == sizes.end() ? 0 : at->second;
}

const BufferInfo *Manifest::findBuffer(const std::string &name) const {
  auto at = bufferByName.find(name);
  return at == bufferByName.end() ? nullptr : &buffers[at->second];
}

std::string KernelInfo::describe() const {
  return concat("kernel '", name.empty() ? symbol : name, "'",
                loc.empty() ? "" : " (" + loc + ")");
}

namespace {

/// The whole number of a field, refused outside [least, most].
int64_t inRange(int64_t value, int64_t least, int64_t most,
                const std::string &where, const char *name) {
  if (value < least || value > most)
    throw Error(where, ": '", name, "' = ", value, " is not from ", least,
                " to ", most);
  return value;
}

// The limits are those of the hardware (compute capability 9.0): what breaks
// one would only fail when the kernel is bound, with an error that says less.
TensorMapInfo parseTensorMap(const Fields &fields, int64_t operands) {
  TensorMapInfo map;
  auto fail = [&](const auto &...text) {
    throw Error(fields.where(), ": ", text...);
  };
  map.operand = fields.integer("operand");
  if (map.operand < 0 || (operands >= 0 && map.operand >= operands))
    fail("there is no operand ", map.operand);
  map.dtype = fields.text("dtype");
  if (map.dtype != "bf16" && map.dtype != "f32")
    fail("'dtype' is '", map.dtype, "'; it must be bf16 or f32");
  map.sizes = fields.integers("sizes");
  map.strides = fields.integers("strides");
  map.box = fields.integers("box");
  map.swizzle = fields.integer("swizzle", 0);
  size_t rank = map.sizes.size();
  if (rank < 1 || rank > 5)
    fail("'sizes' has ", rank, " dimensions; 1 to 5 can be");
  if (map.strides.size() != rank - 1)
    fail("'strides' has ", map.strides.size(), " entries; ", rank - 1,
         " are needed, none for the first dimension");
  if (map.box.size() != rank)
    fail("'box' has ", map.box.size(), " entries; ", rank, " are needed");
  for (size_t i = 0; i < rank; ++i) {
    bool open = i + 1 == rank && map.sizes[i] == -1;
    if (!open)
      inRange(map.sizes[i], 1, int64_t(1) << 32, fields.where(), "sizes");
    inRange(map.box[i], 1, 256, fields.where(), "box");
  }
  for (int64_t stride : map.strides)
    if (stride < 16 || stride % 16 || stride >= int64_t(1) << 40)
      fail("a stride of ", stride, " bytes; it must be a multiple of 16");
  int64_t row = map.box[0] * bytesOf(map.dtype);
  if (row % 16)
    fail("a row of the box has ", row, " bytes; it must be a multiple of 16");
  if (map.swizzle != 0 && map.swizzle != 32 && map.swizzle != 64 &&
      map.swizzle != 128)
    fail("'swizzle' is ", map.swizzle, "; it must be 0, 32, 64 or 128");
  if (map.swizzle && row > map.swizzle)
    fail("a row of the box has ", row, " bytes, more than the swizzle's ",
         map.swizzle);
  return map;
}

LaunchInfo parseLaunch(const Fields &fields, int64_t operands) {
  LaunchInfo launch;
  auto number = [&](const char *name, int64_t otherwise, int64_t most) {
    return inRange(fields.integer(name, otherwise), otherwise, most,
                   fields.where(), name);
  };
  launch.threads =
      inRange(fields.integer("threads"), 1, 1024, fields.where(), "threads");
  launch.shared = number("shared", 0, 227 * 1024);
  launch.blocksPerMultiprocessor = number("blocks_per_sm", 1, 32);
  launch.blocks = number("blocks", 0, INT32_MAX);
  launch.cluster = number("cluster", 1, 16);
  launch.overlap = fields.flag("overlap", false);
  auto numbers = [&](const char *name) {
    std::vector<int64_t> list = fields.integers(name);
    for (int64_t operand : list)
      inRange(operand, 0, (operands < 0 ? INT32_MAX : operands) - 1,
              fields.where(), name);
    return list;
  };
  if (fields.has("early"))
    launch.early = numbers("early");
  if (fields.has("written"))
    launch.written = numbers("written");
  if (launch.blocks % launch.cluster)
    throw Error(fields.where(), ": ", launch.blocks,
                " blocks are no whole number of clusters of ", launch.cluster);
  fields.forEach("tensor_maps", [&](const Fields &map) {
    launch.tensorMaps.push_back(parseTensorMap(map, operands));
  });
  fields.forEach("few_rows", [&](const Fields &few) {
    auto other = std::make_shared<LaunchInfo::FewRows>();
    int64_t least =
        launch.fewRows.empty() ? 1 : launch.fewRows.back()->rows + 1;
    other->rows =
        inRange(few.integer("rows"), least, INT32_MAX, few.where(), "rows");
    other->symbol = few.text("symbol");
    other->launch = parseLaunch(few.object("launch"), operands);
    if (!other->launch.fewRows.empty())
      throw Error(few.where(), ": has 'few_rows' itself");
    launch.fewRows.push_back(std::move(other));
  });
  return launch;
}

} // namespace

Manifest Manifest::parse(const std::string &text, size_t constants) {
  Manifest manifest;
  manifest.json = parseJson(text, "manifest.json");
  Fields top(manifest.json, "manifest.json");
  manifest.producer = top.text("producer", "");
  Fields target = top.object("target");
  manifest.targetKind = target.text("kind");
  manifest.targetCpu = target.text("cpu");
  manifest.targetFeatures = target.text("features");

  auto unique = [](auto &map, const Fields &fields, size_t index) {
    std::string name = fields.text("name");
    if (!map.emplace(name, index).second)
      throw Error(fields.where(), ": the name '", name, "' is given twice");
    return name;
  };

  // Larger sizes would overflow sums below.
  auto size = [&](const Fields &fields, const char *name) {
    int64_t value = fields.integer(name);
    if (value < 0 || value > mostMemory)
      throw Error(fields.where(), ": '", name, "' = ", value,
                  " is out of range");
    return value;
  };

  std::unordered_map<std::string, size_t> arenaByName;
  top.forEach("arenas", [&](const Fields &fields) {
    std::string name = unique(arenaByName, fields, manifest.arenas.size());
    int64_t bytes = size(fields, "bytes");
    if (name == "constants" && static_cast<size_t>(bytes) < constants)
      throw Error(fields.where(), ": constants.bin has ", constants,
                  " bytes, the arena only ", bytes);
    manifest.arenas.push_back({name, bytes});
  });
  if (constants && !arenaByName.count("constants"))
    throw Error("manifest.json: constants.bin has ", constants,
                " bytes, but there is no arena 'constants'");

  top.forEach("buffers", [&](const Fields &fields) {
    BufferInfo buffer;
    buffer.name =
        unique(manifest.bufferByName, fields, manifest.buffers.size());
    std::string arena = fields.text("arena");
    auto at = arenaByName.find(arena);
    if (at == arenaByName.end())
      throw Error(fields.where(), ": no arena '", arena, "'");
    buffer.arena = at->second;
    buffer.offset = size(fields, "offset");
    buffer.bytes = size(fields, "bytes");
    buffer.dtype = fields.text("dtype");
    if (!bytesOf(buffer.dtype))
      throw Error(fields.where(), ": buffer '", buffer.name,
                  "': there is no dtype '", buffer.dtype, "'");
    buffer.loc = fields.text("loc", "");
    int64_t end = manifest.arenas[buffer.arena].bytes;
    if (buffer.offset % 64)
      throw Error(fields.where(), ": buffer '", buffer.name,
                  "' starts at byte ", buffer.offset,
                  ", which is not a multiple of 64");
    if (buffer.offset + buffer.bytes > end)
      throw Error(fields.where(), ": buffer '", buffer.name, "' ends at byte ",
                  buffer.offset + buffer.bytes, ", behind arena '", arena,
                  "' of ", end);
    if (arena == "constants" &&
        static_cast<size_t>(buffer.offset + buffer.bytes) > constants)
      throw Error(fields.where(), ": constants.bin has ", constants,
                  " bytes, and buffer '", buffer.name, "' ends at byte ",
                  buffer.offset + buffer.bytes);
    manifest.buffers.push_back(std::move(buffer));
  });

  top.forEach("kernels", [&](const Fields &fields) {
    KernelInfo kernel;
    kernel.name =
        unique(manifest.kernelByName, fields, manifest.kernels.size());
    kernel.symbol = fields.text("symbol");
    kernel.what = fields.text("what", "");
    kernel.operands = fields.integer("operands", -1);
    kernel.flopsPerRow = fields.integer("flops_per_row", 0);
    kernel.bytesPerRow = fields.integer("bytes_per_row", 0);
    kernel.bytes = fields.integer("bytes", 0);
    if ((kernel.flopsPerRow || kernel.bytesPerRow) && kernel.operands < 1)
      throw Error(fields.where(), ": a cost by rows, and no operand");
    kernel.loc = fields.text("loc", "");
    if (fields.has("launch"))
      kernel.launch = parseLaunch(fields.object("launch"), kernel.operands);
    manifest.kernels.push_back(std::move(kernel));
  });

  std::unordered_map<std::string, size_t> paramByName;
  top.forEach("params", [&](const Fields &fields) {
    ParamInfo param;
    param.name = unique(paramByName, fields, manifest.params.size());
    param.value = fields.get("value");
    if (fields.flag("open", false)) {
      param.buffer = fields.text("buffer");
      const BufferInfo *buffer = manifest.findBuffer(param.buffer);
      if (!buffer)
        throw Error(fields.where(), ": no buffer '", param.buffer, "'");
      if (buffer->dtype != "f64" || buffer->bytes < 8)
        throw Error(fields.where(), ": buffer '", param.buffer,
                    "' must hold one f64");
      if (!param.value.is_number())
        throw Error(fields.where(), ": an open param must be a number");
    }
    manifest.params.push_back(std::move(param));
  });

  std::unordered_map<std::string, size_t> stageByName;
  top.forEach("stages", [&](const Fields &fields) {
    StageInfo stage;
    stage.name = unique(stageByName, fields, manifest.stages.size());
    stage.limit = fields.text("limit");
    if (stage.limit != "steps" && stage.limit != "rounds" &&
        stage.limit != "epochs")
      throw Error(fields.where(), ": 'limit' is '", stage.limit,
                  "'; it must be steps, rounds or epochs");
    stage.count = fields.integer("count");
    if (stage.count < 0)
      throw Error(fields.where(), ": 'count' = ", stage.count, " is negative");
    stage.body = fields.array("body");
    stage.loc = fields.text("loc", "");
    manifest.stages.push_back(std::move(stage));
  });
  if (top.has("programs"))
    top.object("programs");
  for (const char *list : {"policies", "data", "externs"}) {
    std::unordered_map<std::string, size_t> names;
    top.forEach(list, [&](const Fields &fields) { unique(names, fields, 0); });
  }
  return manifest;
}

} // namespace r1c::runtime
