//===- Values.h - what templates compute with ----------------- -*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_DATA_JINJA_VALUES_H
#define R1C_RUNTIME_DATA_JINJA_VALUES_H

#include "runtime/support/Json.h"

/// Values are JSON; what is not defined is JSON's "discarded". The functions
/// here do what Python's of the same name do, and throw r1c::Error without a
/// place where they cannot.
namespace r1c::runtime::jinja {

inline Json undefined() { return Json(Json::value_t::discarded); }
inline bool isDefined(const Json &value) { return !value.is_discarded(); }

bool isTrue(const Json &value);
bool equal(const Json &a, const Json &b);
bool contains(const Json &whole, const Json &part);
/// As print writes it.
std::string textOf(const Json &value);
/// "a text", "a list", … for messages.
std::string kindOf(const Json &value);

Json elementAt(const Json &base, const Json &index);
Json sliceOf(const Json &base, const Json &from, const Json &to,
             const Json &step);
/// What a loop over the value goes through.
std::vector<Json> elementsOf(const Json &value);

Json arithmetic(const std::string &operation, const Json &a, const Json &b);
bool ordered(const std::string &operation, const Json &a, const Json &b);

Json applyFilter(const std::string &name, const Json &value,
                 const std::vector<Json> &arguments);
bool applyTest(const std::string &name, const Json &value,
               const std::vector<Json> &arguments);
Json callMethod(const Json &value, const std::string &name,
                const std::vector<Json> &arguments);

} // namespace r1c::runtime::jinja

#endif // R1C_RUNTIME_DATA_JINJA_VALUES_H
