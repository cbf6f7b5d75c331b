//===- DataSet.h - JSON lines with declared columns -------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_DATA_DATASET_H
#define R1C_RUNTIME_DATA_DATASET_H

#include "runtime/data/tokenizer/Tokenizer.h"
#include "runtime/support/Json.h"
#include <deque>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace r1c::runtime {

/// An output of another engine: token ids, never text.
struct Recorded {
  std::string origin;
  Json line;
  std::vector<int32_t> ids;
  std::vector<float> logp; ///< zeros where the data has none
};

/// One line of a data set, checked; with recorded outputs all lines of one
/// prompt.
struct Row {
  std::string origin; ///< "train.jsonl:12"
  Json line;          ///< the whole object
  std::string prompt; ///< the prompt template filled in
  std::vector<std::string> completions;
  std::vector<int32_t> promptIds; ///< instead of `prompt`, where columns say so
  std::vector<Recorded> recorded;
};

/// A text with {column} in it.
struct Template {
  bool chat = false;
  std::string text, system;

  static Template parse(const Fields &fields, const Base &base);
  /// Fills in the line's columns. A brace that encloses no name stands for
  /// itself. Throws when the line has no such column.
  std::string fill(const Json &line, const Tokenizer *tokenizer) const;
};

/// A `data` declaration and its rows.
class DataSet {
public:
  /// `description` is an entry of the manifest's "data". Files that do not
  /// exist are an error unless `mayBeAbsent` (a stage of the run writes them).
  DataSet(const Fields &description, const Base &base,
          const Tokenizer *tokenizer, bool mayBeAbsent);

  const std::string &name() const { return setName; }
  int64_t size() const { return static_cast<int64_t>(rows.size()); }
  const Row &row(int64_t index) const { return rows[index]; }
  /// The kinds of the declared columns: "text", "number", "flag".
  const std::map<std::string, std::string> &columns() const { return kinds; }

  /// Checks one line and appends it: as a row, or, if the lines bring token
  /// ids, to the row of its prompt.
  void append(const std::string &line, const std::string &origin);

  /// The line that `write` makes from an output: the row's own columns, and the
  /// text under the name that the completion template reads.
  Json completed(const Json &line, const std::string &text) const;

private:
  void appendRecorded(Row row);

  std::string setName;
  Template prompt;
  std::vector<Template> completions;
  std::map<std::string, std::string> kinds;
  std::string idsColumn, promptIdsColumn, logpColumn;
  std::map<std::string, size_t> rowOfPrompt; ///< with `idsColumn`
  const Tokenizer *tokenizer;
  std::deque<Row> rows; // rows stay where they are when more are appended
};

/// In which order the rows of a data set, or of a mixture, are taken: a
/// function of (seed, id, epoch), so that a cursor is a few integers.
class DataCursor {
public:
  /// `weights` empty: one shuffle over all rows of all sets an epoch; else each
  /// draw chooses a set by weight, and each set has its own epochs.
  DataCursor(std::vector<const DataSet *> sets, std::vector<double> weights,
             uint64_t seed, uint32_t id, bool shuffled = true);

  /// The seed may be known only after the commands are loaded (a resumed run).
  void reseed(uint64_t value);

  const Row &next();
  /// Rows taken so far.
  int64_t position() const { return taken; }
  /// Rows in one epoch: those of all sets together.
  int64_t epochSize() const;
  double epochs() const;

  Json save() const;
  void restore(const Json &state);

private:
  struct Shuffle {
    int64_t epoch = -1;
    std::vector<int64_t> order;
  };
  int64_t pick(Shuffle &shuffle, int64_t size, int64_t position, uint32_t id);

  std::vector<const DataSet *> sets;
  std::vector<double> weights;
  uint64_t seed;
  uint32_t id;
  bool shuffled;
  int64_t taken = 0;
  std::vector<int64_t> counts; // a set's draws so far; with weights only
  std::vector<Shuffle> shuffles;
};

} // namespace r1c::runtime

#endif // R1C_RUNTIME_DATA_DATASET_H
