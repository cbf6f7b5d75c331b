//===- Binding.cpp - a region's arguments in memory -----------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "kernels/common/Kernel.h"
#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace r1c;
using namespace r1c::kernels;
using kern::AccessAttr;
using kern::AccessKind;

static AccessAttr accessAt(ArrayAttr access, unsigned i) {
  return cast<AccessAttr>(access[i]);
}

/// The static size of the last dimension.
static int64_t width(Value tensor) {
  return cast<RankedTensorType>(tensor.getType()).getShape().back();
}

Binding::Binding(Kernel &k, RegionEmitter &region, ValueRange inputs,
                 ValueRange indices, ArrayAttr access, int64_t lanes,
                 int64_t columns, bool flat)
    : k(k), region(region), inputs(inputs), indices(indices), access(access),
      lanes(lanes), columns(columns), flat(flat), starts(inputs.size()) {
  size_t offset = region.arguments.size() - inputs.size();
  for (unsigned i = 0; i < inputs.size(); ++i) {
    AccessKind kind = accessAt(access, i).getKind();
    RegionEmitter::Argument &argument = region.arguments[offset + i];
    argument.varies = flat ? kind != AccessKind::one
                           : kind == AccessKind::element ||
                                 kind == AccessKind::column ||
                                 kind == AccessKind::gather;
    argument.load = [this, i] { return this->flat ? loadFlat(i) : load(i); };
  }
  region.rowsVary = flat;
  auto truncate = [this](Value v) -> Value {
    return arith::TruncIOp::create(this->k.builder, this->k.e.loc,
                                   this->k.builder.getI32Type(), v);
  };
  region.rowIndex = [this, truncate] {
    return truncate(this->flat ? column : row);
  };
  region.columnIndex = [this, truncate]() -> Value {
    return this->flat ? this->k.e.i32(0) : truncate(column);
  };
}

Value Binding::rowIn(AccessAttr a) {
  Emit &e = k.e;
  if (a.getIndex() < 0)
    return row;
  Type i32 = e.b.getI32Type();
  return e.toI64(e.load(e.at(k.pointer(indices[a.getIndex()]), row, i32), i32));
}

void Binding::startRow(Value newRow, Value newFirst) {
  Emit &e = k.e;
  row = newRow;
  first = newFirst;
  resultStarts.clear();
  region.startRow();
  for (unsigned i = 0; i < inputs.size(); ++i) {
    AccessAttr a = accessAt(access, i);
    Type element = kern::elementTypeOf(inputs[i]);
    Value base = k.pointer(inputs[i]);
    switch (a.getKind()) {
    case AccessKind::element:
      starts[i] = columns >= 0 ? e.at(base, e.mul(row, columns), element)
                               : e.at(base, first, element);
      break;
    case AccessKind::gather:
      // Ragged gathers go element by element.
      starts[i] =
          columns >= 0 ? e.at(base, e.mul(rowIn(a), columns), element) : base;
      break;
    default:
      starts[i] = base;
    }
  }
}

Value Binding::load(unsigned i) {
  Emit &e = k.e;
  AccessAttr a = accessAt(access, i);
  Type element = kern::elementTypeOf(inputs[i]);
  switch (a.getKind()) {
  case AccessKind::element:
  case AccessKind::column:
    return e.load(e.at(starts[i], column, element), element, lanes, mask);
  case AccessKind::gather: {
    if (columns >= 0)
      return e.load(e.at(starts[i], column, element), element, lanes, mask);
    Type i32 = e.b.getI32Type();
    Value index = e.load(
        e.at(k.pointer(indices[a.getIndex()]), e.add(first, column), i32), i32,
        lanes, mask);
    return lanes == 1
               ? e.load(e.at(starts[i], e.toI64(index), element), element)
               : e.gather(starts[i], index, element, mask);
  }
  case AccessKind::row:
  case AccessKind::gather_row: {
    Value index = rowIn(a);
    if (a.getLane() >= 0)
      index = e.add(e.mul(index, width(inputs[i])), a.getLane());
    return e.load(e.at(starts[i], index, element), element);
  }
  case AccessKind::one:
    return e.load(e.at(starts[i], std::max<int64_t>(0, a.getLane()), element),
                  element);
  case AccessKind::scatter:
  case AccessKind::chunk:
  case AccessKind::beside:
    break;
  }
  llvm_unreachable("not an operand's access");
}

Value Binding::loadFlat(unsigned i) {
  Emit &e = k.e;
  AccessAttr a = accessAt(access, i);
  Type element = kern::elementTypeOf(inputs[i]);
  Value base = k.pointer(inputs[i]);
  Type i32 = e.b.getI32Type();
  if (a.getKind() == AccessKind::one)
    return e.load(e.at(base, std::max<int64_t>(0, a.getLane()), element),
                  element);
  if (a.getIndex() < 0 && a.getLane() < 0)
    return e.load(e.at(base, column, element), element, lanes, mask);
  int64_t stride = a.getLane() >= 0 ? width(inputs[i]) : 1;
  int64_t lane = std::max<int64_t>(0, a.getLane());
  if (a.getIndex() < 0) { // row[k]: a stride
    Value start = e.at(base, e.add(e.mul(column, stride), lane), element);
    if (lanes == 1)
      return e.load(start, element);
    Value steps = e.iota(lanes);
    return e.gather(start, e.mul(steps, e.splatInt(steps.getType(), stride)),
                    element, mask);
  }
  Value index = e.load(e.at(k.pointer(indices[a.getIndex()]), column, i32), i32,
                       lanes, mask);
  Value start = e.at(base, lane, element);
  if (lanes == 1)
    return e.load(e.at(start, e.mul(e.toI64(index), stride), element), element);
  if (stride != 1)
    index = e.mul(index, e.splatInt(index.getType(), stride));
  return e.gather(start, index, element, mask);
}

Value Binding::resultRow(Value tensor, AccessAttr a) {
  Value &start = resultStarts[tensor];
  if (!start) {
    Emit &e = k.e;
    Type element = kern::elementTypeOf(tensor);
    int64_t stride =
        a.getKind() == AccessKind::beside ? width(tensor) : columns;
    Value offset = columns >= 0 ? e.mul(rowIn(a), stride) : first;
    start = e.at(k.pointer(tensor), offset, element);
  }
  return start;
}

Value Binding::place(Value tensor, AccessAttr a, int64_t part) {
  Value at = part ? k.e.add(column, part * columns) : column;
  return k.e.at(resultRow(tensor, a), at, kern::elementTypeOf(tensor));
}

void Binding::store(Value value, Value tensor, AccessAttr a, int64_t part) {
  Emit &e = k.e;
  Type element = kern::elementTypeOf(tensor);
  if (!flat) {
    e.store(value, place(tensor, a, part), element, mask);
    return;
  }
  Value base = k.pointer(tensor);
  if (a.getIndex() < 0) {
    e.store(value, e.at(base, column, element), element, mask);
    return;
  }
  Type i32 = e.b.getI32Type();
  Value index = e.load(e.at(k.pointer(indices[a.getIndex()]), column, i32), i32,
                       lanes, mask);
  if (lanes == 1)
    e.store(value, e.at(base, e.toI64(index), element), element);
  else
    e.scatter(value, base, index, element, mask);
}
