//===- Recorder.cpp - metrics, traces, progress ---------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/telemetry/Recorder.h"
#include "runtime/support/Files.h"
#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <sys/ioctl.h>
#include <unistd.h>

namespace r1c::runtime {

namespace {

std::FILE *openAt(const fs::path &path, std::optional<int64_t> length) {
  std::FILE *file = std::fopen(path.c_str(), length ? "r+b" : "wb");
  if (!file && length && *length == 0)
    file = std::fopen(path.c_str(), "wb");
  if (!file)
    throw Error(path.string(), ": ", std::strerror(errno));
  if (length) {
    std::fseek(file, 0, SEEK_END);
    if (std::ftell(file) < *length) {
      std::fclose(file);
      throw Error(path.string(), ": is shorter than at the checkpoint; it was "
                                 "changed since");
    }
    if (::ftruncate(::fileno(file), *length) != 0)
      throw Error(path.string(), ": ", std::strerror(errno));
    std::fseek(file, 0, SEEK_END);
  }
  return file;
}

OrderedJson finite(double value) {
  if (std::isfinite(value))
    return value;
  // JSON has no such numbers; a text keeps the difference.
  return std::isnan(value) ? "nan" : value > 0 ? "inf" : "-inf";
}

std::string compact(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", value);
  return text;
}

std::string duration(double seconds) {
  auto whole = static_cast<int64_t>(seconds + 0.5);
  char text[32];
  if (whole < 60)
    std::snprintf(text, sizeof text, "%.1fs", seconds);
  else if (whole < 3600)
    std::snprintf(text, sizeof text, "%ldm%02lds", long(whole / 60),
                  long(whole % 60));
  else
    std::snprintf(text, sizeof text, "%ldh%02ldm", long(whole / 3600),
                  long(whole / 60 % 60));
  return text;
}

} // namespace

std::string sparkline(const std::vector<double> &values, size_t width) {
  static const char *bars[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  std::vector<double> points;
  size_t count = std::min(width, values.size());
  for (size_t i = 0; i < count; ++i) {
    size_t from = i * values.size() / count,
           to = (i + 1) * values.size() / count;
    double sum = 0;
    size_t used = 0;
    for (size_t k = from; k < to; ++k)
      if (std::isfinite(values[k])) {
        sum += values[k];
        ++used;
      }
    points.push_back(used ? sum / static_cast<double>(used) : NAN);
  }
  double low = INFINITY, high = -INFINITY;
  for (double point : points)
    if (std::isfinite(point)) {
      low = std::min(low, point);
      high = std::max(high, point);
    }
  std::string text;
  for (double point : points) {
    if (!std::isfinite(point)) {
      text += ' ';
      continue;
    }
    double part = high > low ? (point - low) / (high - low) : 0;
    text += bars[std::min(7, static_cast<int>(part * 8))];
  }
  return text;
}

Recorder::Recorder(fs::path place, std::optional<Json> kept, bool quiet,
                   bool silent)
    : directory(std::move(place)), quiet(quiet || silent), silent(silent),
      terminal(::isatty(STDERR_FILENO) == 1) {
  if (silent)
    return;
  auto length = [&](const char *name) -> std::optional<int64_t> {
    if (!kept)
      return {};
    return Fields(*kept, "checkpoint's files").integer(name);
  };
  metrics = openAt(directory / "metrics.jsonl", length("metrics"));
  samples = openAt(directory / "samples.jsonl", length("samples"));
  if (!kept)
    return;
  // The curve goes on where it was.
  std::string text = readFile(directory / "metrics.jsonl");
  for (size_t at = 0; at < text.size();) {
    size_t end = std::min(text.find('\n', at), text.size());
    OrderedJson line =
        OrderedJson::parse(text.substr(at, end - at), nullptr, false);
    at = end + 1;
    addToCurve(line);
  }
}

void Recorder::addToCurve(const OrderedJson &line) {
  if (!line.is_object())
    return;
  for (const char *name : {"reward/mean", "reward", "loss"}) {
    if (line.contains(name) && line[name].is_number()) {
      // A reward says more than the loss of the stages before it.
      if (curveName != name) {
        if (!curveName.empty() && curveName != "loss")
          return;
        curveName = name;
        curve.clear();
      }
      curve.push_back(line[name]);
      return;
    }
  }
}

/// Dropped records that are named.
constexpr size_t namedDrops = 5;

Recorder::~Recorder() {
  clearProgress();
  if (leftOut.size() > namedDrops)
    print(concat("warning: ", leftOut.size(),
                 " records of the data were dropped in all"));
  if (silent)
    return;
  std::fclose(metrics);
  std::fclose(samples);
}

void Recorder::beginStage(const std::string &name, int64_t count) {
  stage = name;
  steps = count;
  startStep = -1;
  stageSeconds = 0;
}

void Recorder::beginRound(int64_t number) {
  round = number;
  roundMetrics.clear();
  updateMetrics.clear();
  lines.clear();
  traces.clear();
}

void Recorder::metric(const std::string &name, double value, bool ofUpdate) {
  auto &list = ofUpdate ? updateMetrics : roundMetrics;
  auto at = std::find_if(list.begin(), list.end(), [&](const auto &entry) {
    return entry.first == name;
  });
  if (at == list.end())
    list.push_back({name, value});
  else
    at->second = value;
}

void Recorder::endUpdate(int64_t step, const Clock::Seconds &seconds) {
  lines.push_back({step, std::move(updateMetrics), seconds});
  updateMetrics.clear();
}

void Recorder::endRound(int64_t step, const Clock::Seconds &rest,
                        int64_t tokens) {
  if (silent)
    return;
  if (lines.empty())
    lines.push_back({step, {}, {}});
  // What follows the last update (evaluations, saves) belongs to the round.
  for (size_t p = 0; p < rest.size(); ++p)
    lines.back().seconds[p] += rest[p];
  bool first = true;
  double total = 0;
  for (Line &entry : lines) {
    OrderedJson line = {
        {"step", entry.step}, {"stage", stage}, {"round", round}};
    for (const auto &[name, value] : roundMetrics)
      line[name] = finite(value);
    for (const auto &[name, value] : entry.metrics)
      line[name] = finite(value);
    line["tokens"] = first ? tokens : 0;
    first = false;
    double sum = 0;
    for (double part : entry.seconds)
      sum += part;
    line["seconds"] = sum;
    for (size_t p = 0; p < entry.seconds.size(); ++p)
      line[std::string("seconds/") + partNames[p]] = entry.seconds[p];
    total += sum;
    std::string text =
        line.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
    std::fprintf(metrics, "%s\n", text.c_str());
    addToCurve(line);
    lastLine = std::move(line);
  }
  for (const OrderedJson &trace : traces) {
    OrderedJson line = {{"step", step}, {"stage", stage}, {"round", round}};
    // A column of the data may have one of these names.
    for (auto &[name, value] : trace.items())
      if (!line.contains(name))
        line[name] = value; // the summary shows the traces again
    std::string text =
        line.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
    std::fprintf(samples, "%s\n", text.c_str());
  }
  if (!traces.empty())
    lastTraces = traces;
  flush();
  stageSeconds += total;
  // The rate covers the round, not its last update alone.
  OrderedJson shownLine = lastLine;
  shownLine["tokens"] = tokens;
  shownLine["seconds"] = total;
  if (startStep < 0)
    startStep = lines.front().step - 1;
  if (!quiet)
    progress(shownLine);
}

std::string Recorder::formatted(const OrderedJson &line) const {
  std::string text = stage + " ";
  int64_t step = line["step"];
  text += steps >= 0 ? concat(step, "/", steps) : concat(step);
  auto show = [&](const char *name, const char *label) {
    if (line.contains(name) && line[name].is_number())
      text += concat("  ", label, " ", compact(line[name].get<double>()));
  };
  show(line.contains("reward/mean") ? "reward/mean" : "reward", "reward");
  show("loss", "loss");
  show("grad_norm", "grad norm");
  show("response_length/mean", "length");
  double seconds = line["seconds"], tokens = line["tokens"];
  if (seconds > 0)
    text += concat("  ", static_cast<int64_t>(tokens / seconds), " tok/s");
  if (steps >= 0 && step > startStep)
    text += "  ETA " + duration(stageSeconds / double(step - startStep) *
                                double(std::max<int64_t>(0, steps - step)));
  return text;
}

void Recorder::progress(const OrderedJson &line) {
  std::string text = formatted(line);
  if (terminal) {
    winsize size{};
    size_t width = ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col
                       ? size.ws_col
                       : 120;
    if (text.size() >= width)
      text.resize(width - 1);
    std::fprintf(stderr, "\r\033[K%s", text.c_str());
    shown = true;
    return;
  }
  // Into a file or a pipe: a line now and then, and the last one.
  double now = std::chrono::duration<double>(
                   std::chrono::steady_clock::now().time_since_epoch())
                   .count();
  bool last = steps >= 0 && line["step"].get<int64_t>() >= steps;
  if (!last && now - lastPlain < 5)
    return;
  lastPlain = now;
  std::fprintf(stderr, "%s\n", text.c_str());
}

void Recorder::clearProgress() {
  if (shown)
    std::fprintf(stderr, "\n");
  shown = false;
}

void Recorder::warn(const std::string &text) {
  if (std::find(warned.begin(), warned.end(), text) != warned.end())
    return;
  warned.push_back(text);
  print("warning: " + text);
}

void Recorder::dropped(const std::string &origin, const std::string &reason) {
  if (!leftOut.insert(origin).second)
    return;
  if (leftOut.size() <= namedDrops)
    print(concat("warning: ", origin, ": dropped, ", reason));
  else if (leftOut.size() == namedDrops + 1)
    print("warning: more records are dropped; they are counted at the end");
}

void Recorder::note(const std::string &text) {
  if (!quiet)
    print(text);
}

void Recorder::print(const std::string &text) {
  if (silent)
    return;
  if (shown)
    std::fprintf(stderr, "\r\033[K");
  shown = false;
  std::fprintf(stderr, "%s\n", text.c_str());
}

/// At most `width` bytes, cut between characters, with an ellipsis.
static std::string oneLine(const std::string &text, size_t width) {
  if (text.size() <= width)
    return text;
  size_t end = width;
  while (end > 0 && (text[end] & 0xC0) == 0x80)
    --end;
  return text.substr(0, end) + "…";
}

void Recorder::summary(const std::vector<std::string> &places) {
  clearProgress();
  if (quiet)
    return;
  if (!curve.empty()) {
    double low = INFINITY, high = -INFINITY;
    for (double value : curve) {
      low = std::min(low, value);
      high = std::max(high, value);
    }
    std::fprintf(stderr,
                 "\n%s over %zu updates: %s to %s (lowest %s, highest "
                 "%s)\n  %s\n",
                 curveName.c_str(), curve.size(),
                 compact(curve.front()).c_str(), compact(curve.back()).c_str(),
                 compact(low).c_str(), compact(high).c_str(),
                 sparkline(curve, 60).c_str());
  }
  if (!lastTraces.empty())
    std::fprintf(stderr, "samples of the last round\n");
  for (const OrderedJson &trace : lastTraces) {
    auto text = [&](const char *key) {
      return trace.contains(key) && trace[key].is_string()
                 ? OrderedJson(oneLine(trace[key].get<std::string>(), 60))
                       .dump(-1, ' ', false,
                             OrderedJson::error_handler_t::replace)
                 : std::string();
    };
    std::fprintf(stderr, "  %s → %s\n", text("prompt").c_str(),
                 text("text").c_str());
  }
  for (const std::string &place : places)
    std::fprintf(stderr, "%s\n", place.c_str());
}

/// What a full disk swallows must not look like a run that went well.
void Recorder::flush() {
  for (auto [file, name] : {std::pair(metrics, "metrics.jsonl"),
                            std::pair(samples, "samples.jsonl")})
    if (std::fflush(file) != 0 || std::ferror(file))
      throw Error((directory / name).string(), ": ", std::strerror(errno));
}

Json Recorder::position() {
  if (silent)
    return {};
  flush();
  ::fsync(::fileno(metrics));
  ::fsync(::fileno(samples));
  return {{"metrics", std::ftell(metrics)}, {"samples", std::ftell(samples)}};
}

} // namespace r1c::runtime
