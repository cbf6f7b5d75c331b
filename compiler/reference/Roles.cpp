//===- Roles.cpp - run a model's functions by role ------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "compiler/reference/Roles.h"
#include "compiler/phases/expand/FunctionWriter.h"
#include "compiler/reference/Network.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::reference;

std::string reference::keyOf(DictionaryAttr attributes) {
  std::string key = roleOf(attributes).str();
  for (StringRef name :
       {StringRef(role::parameter), StringRef(role::of), StringRef(role::name)})
    if (auto text = attributes.getAs<StringAttr>(name))
      key += " " + text.getValue().str();
  return key;
}

/// The K × N matrix that a packed operand stands for.
static std::optional<Datum> packed(DictionaryAttr attributes,
                                   const Environment &environment) {
  SmallVector<const Tensor *> weights;
  for (auto name :
       attributes.getAs<ArrayAttr>(role::parameter).getAsRange<StringAttr>()) {
    auto found = environment.find("parameter " + name.getValue().str());
    if (found == environment.end())
      return std::nullopt;
    weights.push_back(&std::get<Tensor>(found->second));
  }
  StringRef layout = attributes.getAs<StringAttr>(role::layout).getValue();
  // Below each other, as they are stored; the matrix is that transposed, or
  // (backward) the same.
  Tensor all({0, weights.front()->columns()});
  for (const Tensor *weight : weights) {
    all.shape[0] += weight->rows();
    all.values.insert(all.values.end(), weight->values.begin(),
                      weight->values.end());
  }
  if (layout == "backward")
    return all;
  Tensor result({all.columns(), all.rows()});
  int64_t half = all.rows() / 2;
  for (int64_t n = 0; n < all.rows(); ++n) {
    int64_t to = n;
    if (layout == "paired")
      to = n % half / 16 * 32 + n / half * 16 + n % 16;
    for (int64_t k = 0; k < all.columns(); ++k)
      result(k, to) = all(n, k);
  }
  return result;
}

std::optional<Datum> reference::bind(DictionaryAttr attributes,
                                     const Environment &environment) {
  std::string key = keyOf(attributes);
  if (key == "packed")
    return packed(attributes, environment);
  auto found = environment.find(key);
  if (found != environment.end())
    return found->second;
  if (key == "angles") {
    auto positions =
        bind(makeRole(attributes.getContext(), "positions"), environment);
    if (!positions)
      return std::nullopt;
    return anglesOf(std::get<Tensor>(*positions),
                    attributes.getAs<DenseF32ArrayAttr>(role::frequencies));
  }
  // In the interpreter of kern the parts of the context are tensors.
  auto context = environment.find("context");
  if (context == environment.end())
    return std::nullopt;
  const Context &c = std::get<Context>(context->second);
  if (key == "positions")
    return Tensor::list({c.positions.begin(), c.positions.end()});
  if (key == "bases")
    return Tensor::list({c.bases.begin(), c.bases.end()});
  if (key == "shared")
    return c.shared.empty()
               ? Tensor::list(std::vector<double>(c.positions.size()))
               : Tensor::list({c.shared.begin(), c.shared.end()});
  if (key == "shared_bases")
    return c.shared.empty()
               ? Tensor::list({c.bases.begin(), c.bases.end()})
               : Tensor::list({c.sharedBases.begin(), c.sharedBases.end()});
  if (key == "offsets") {
    // Each unit of rows begins with a position 0.
    std::vector<double> offsets;
    for (size_t i = 0; i < c.positions.size(); ++i)
      if (c.positions[i] == 0)
        offsets.push_back(i);
    offsets.push_back(c.positions.size());
    return Tensor::list(offsets);
  }
  return std::nullopt;
}

FailureOr<std::vector<Datum>>
reference::bindArguments(func::FuncOp func, const Environment &environment) {
  std::vector<Datum> arguments;
  for (unsigned i = 0; i < func.getNumArguments(); ++i) {
    auto datum = bind(func.getArgAttrDict(i), environment);
    if (!datum)
      return func.emitError("no value for '")
             << keyOf(func.getArgAttrDict(i)) << "' of @" << func.getName();
    arguments.push_back(std::move(*datum));
  }
  return arguments;
}

FailureOr<Environment> reference::run(func::FuncOp func,
                                      const Environment &environment) {
  auto arguments = bindArguments(func, environment);
  if (failed(arguments))
    return failure();
  auto results = reference::evaluate(func, *arguments);
  if (failed(results))
    return failure();
  Environment byKey;
  for (auto [i, result] : llvm::enumerate(*results))
    if (!byKey.emplace(keyOf(func.getResultAttrDict(i)), result).second)
      return func.emitError("two results of one role: '")
             << keyOf(func.getResultAttrDict(i)) << "'";
  return byKey;
}
