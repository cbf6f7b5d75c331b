//===- NcclLayout.cpp - our declarations of NCCL against nccl.h -----------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
// Compiled where nccl.h is at hand; there is nothing to run.
//===----------------------------------------------------------------------===//

#include "runtime/collective/nccl/Library.h"
#include <nccl.h>
#include <type_traits>

namespace {

namespace ours = r1c::runtime::nccl;

template <typename A, typename B>
constexpr bool alike =
    sizeof(A) == sizeof(B) && std::is_pointer_v<A> == std::is_pointer_v<B>;

template <typename A, typename B>
struct Same : std::false_type {};
template <typename R, typename... A, typename S, typename... B>
  requires(sizeof...(A) == sizeof...(B))
struct Same<R(A...), S(B...)>
    : std::bool_constant<alike<R, S> && (alike<A, B> && ...)> {};

#define R1C_COMPARE(name, parameters)                                          \
  static_assert(Same<std::remove_pointer_t<decltype(ours::Library::name)>,     \
                     std::remove_pointer_t<decltype(&::name)>>::value,         \
                #name);
R1C_NCCL_FUNCTIONS(R1C_COMPARE)
#undef R1C_COMPARE

static_assert(sizeof(ours::UniqueId) == sizeof(ncclUniqueId));
static_assert(ours::success == ncclSuccess);
static_assert(ours::inProgress == ncclInProgress);
static_assert(ours::float32 == ncclFloat32);
static_assert(ours::sum == ncclSum);

} // namespace
