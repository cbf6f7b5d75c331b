//===- Policy.cpp - a policy at run time ----------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/execute/Policy.h"
#include "runtime/checkpoint/Safetensors.h"
#include "runtime/support/Files.h"
#include "runtime/support/Philox.h"
#include <set>

namespace r1c::runtime {

int64_t Parameter::elements() const {
  int64_t count = 1;
  for (int64_t extent : shape)
    count = product(count, extent);
  return count;
}

std::string Parameter::nameOf(int64_t layer) const {
  size_t at = name.find("{}");
  if (at == std::string::npos)
    return name;
  return name.substr(0, at) + std::to_string(layer) + name.substr(at + 2);
}

Range Parameter::layer(int64_t layer) const {
  Range result = range;
  result.address += layer * stride;
  result.bytes = elements() * 4;
  return result;
}

Policy::Policy(const Fields &d, const Memory &memory, uint32_t index,
               const Base &base)
    : name(d.text("name")), index(index) {
  within(
      [&] { return "policy '" + name + "'"; },
      [&] {
        source = d.get("source");
        if (d.has("model"))
          model = d.get("model");
        trained = d.flag("trained", false);
        if (d.has("tokenizer"))
          tokenizer = makeTokenizer(d.object("tokenizer"), base);
        d.forEach("parameters", [&](const Fields &fields) {
          Parameter parameter;
          parameter.name = fields.text("name");
          parameter.shape = fields.integers("shape");
          parameter.layers = fields.integer("layers", 0);
          parameter.range = memory.buffer(fields.text("buffer"));
          parameter.stride = fields.integer("stride", 0);
          parameter.init = fields.has("init") ? fields.get("init") : Json();
          int64_t offset = fields.integer("offset", 0);
          int64_t end =
              sum(offset, sum(product(parameter.copies() - 1, parameter.stride),
                              product(parameter.elements(), 4)));
          if (parameter.range.dtype != "f32")
            throw Error(fields.where(), ": master weights are f32, buffer '",
                        parameter.range.name, "' is ", parameter.range.dtype);
          if (offset < 0 || parameter.stride < 0 || parameter.layers < 0 ||
              parameter.elements() < 0 || end > parameter.range.bytes)
            throw Error(fields.where(), ": '", parameter.name,
                        "' ends at byte ", end, " of buffer '",
                        parameter.range.name, "', which has ",
                        parameter.range.bytes);
          parameter.range.address += offset;
          parameter.range.bytes -= offset;
          parameters.push_back(std::move(parameter));
        });
        for (const std::string &buffer : d.texts("state"))
          state.push_back(memory.buffer(buffer));
        updates = memory.optional(d, "updates");
        if (d.has("programs")) {
          Fields programs = d.object("programs");
          packName = programs.text("pack", "");
          rolloutName = programs.text("rollout", "");
          filteredName = programs.text("rollout.filtered", "");
        }
        if (d.has("rollout"))
          rollout.emplace(d.object("rollout"), memory);
      });
}

void Policy::initialise(uint64_t seed) const {
  PhiloxKey key = keyOf(seed);
  for (size_t p = 0; p < parameters.size(); ++p) {
    const Parameter &parameter = parameters[p];
    Fields init(parameter.init,
                "policy '" + name + "': init of '" + parameter.name + "'");
    std::string kind = init.text("kind");
    int64_t count = parameter.elements();
    std::vector<float> values(count);
    for (int64_t layer = 0; layer < parameter.copies(); ++layer) {
      if (kind == "constant") {
        std::fill(values.begin(), values.end(),
                  static_cast<float>(init.number("value")));
      } else if (kind == "normal") {
        double std = init.number("std"), mean = init.number("mean", 0);
        for (int64_t i = 0; i < count; ++i) {
          // Two numbers a counter: elements 2k and 2k + 1 share one.
          uint64_t element = static_cast<uint64_t>(layer * count + i);
          auto words = philox({static_cast<uint32_t>(element / 2),
                               static_cast<uint32_t>(element >> 33),
                               static_cast<uint32_t>(p) | index << 16,
                               static_cast<uint32_t>(Draw::parameter)},
                              key);
          auto [even, odd] = normalsOf(words);
          values[i] =
              static_cast<float>(mean + std * (element % 2 ? odd : even));
        }
      } else {
        throw Error(init.where(), ": no kind '", kind,
                    "'; there are normal and constant");
      }
      parameter.layer(layer).write(values);
    }
  }
}

void Policy::load(const std::filesystem::path &directory) const {
  within([&] { return "policy '" + name + "'"; },
         [&] {
           Safetensors file(directory);
           // A tied model's file may hold its head a second time, and old ones
           // tables that a rotary embedding computes.
           std::set<std::string> read{"lm_head.weight"};
           for (const Parameter &parameter : parameters)
             for (int64_t layer = 0; layer < parameter.copies(); ++layer) {
               const Tensor &tensor = file.get(parameter.nameOf(layer));
               read.insert(parameter.nameOf(layer));
               if (tensor.shape != parameter.shape)
                 throw Error(directory.string(), ": tensor '",
                             parameter.nameOf(layer), "' has shape ",
                             dumpJson(tensor.shape),
                             ", the step file was compiled "
                             "for ",
                             dumpJson(parameter.shape));
               within(
                   [&] {
                     return directory.string() + ": tensor '" +
                            parameter.nameOf(layer) + "'";
                   },
                   [&] { parameter.layer(layer).write(tensor.floats()); });
             }
           for (const auto &[tensor, contents] : file.all())
             if (!read.count(tensor) &&
                 tensor.find("rotary_emb.inv_freq") == std::string::npos)
               throw Error(directory.string(), ": holds the tensor '", tensor,
                           "', which the model of its config.json does not "
                           "have");
         });
}

void Policy::copyFrom(const Policy &other) const {
  auto fail = [&](const std::string &why) {
    throw Error("policy '", other.name, "' cannot be copied to '", name,
                "': ", why);
  };
  if (parameters.size() != other.parameters.size())
    fail("they have different numbers of parameters");
  for (size_t p = 0; p < parameters.size(); ++p) {
    const Parameter &to = parameters[p], &from = other.parameters[p];
    if (to.name != from.name || to.shape != from.shape ||
        to.layers != from.layers)
      fail("parameter '" + to.name + "' differs");
    for (int64_t layer = 0; layer < to.copies(); ++layer) {
      Range target = to.layer(layer), source = from.layer(layer);
      target.device->copy(target.address, source.address, target.bytes);
    }
  }
}

} // namespace r1c::runtime
