//===- Clock.h - where a round's time goes ----------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_TELEMETRY_CLOCK_H
#define R1C_RUNTIME_TELEMETRY_CLOCK_H

#include <array>
#include <chrono>

namespace r1c::runtime {

/// The parts of a round. Each moment counts for one: the innermost.
enum class Part { sample, score, train, update };
inline constexpr const char *partNames[] = {"sample", "score", "train",
                                            "update"};

class Clock {
public:
  using Seconds = std::array<double, 4>;

  /// Attributes the time of its life to a part.
  class Scope {
  public:
    Scope(Clock &clock, Part part) : clock(clock), outer(clock.current) {
      clock.turn(part);
    }
    ~Scope() { clock.turn(outer); }
    Scope(const Scope &) = delete;
    Scope &operator=(const Scope &) = delete;

  private:
    Clock &clock;
    Part outer;
  };

  Part part() const { return current; }

  /// The seconds a part since the last call.
  Seconds take() {
    turn(current);
    Seconds result = seconds;
    seconds = {};
    return result;
  }

private:
  void turn(Part part) {
    auto now = std::chrono::steady_clock::now();
    seconds[static_cast<size_t>(current)] +=
        std::chrono::duration<double>(now - since).count();
    since = now;
    current = part;
  }

  Part current = Part::score;
  std::chrono::steady_clock::time_point since =
      std::chrono::steady_clock::now();
  Seconds seconds{};
};

} // namespace r1c::runtime

#endif // R1C_RUNTIME_TELEMETRY_CLOCK_H
