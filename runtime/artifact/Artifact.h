//===- Artifact.h - the artifact step.r1x -----------------------*- C++ -*-===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef R1C_RUNTIME_ARTIFACT_ARTIFACT_H
#define R1C_RUNTIME_ARTIFACT_ARTIFACT_H

#include <cstdint>
#include <string>

namespace r1c::runtime {

/// The format's version. A reader takes files of its own major version whose
/// minor version is not above its own.
inline constexpr int64_t formatMajor = 0;
inline constexpr int64_t formatMinor = 7;

/// The parts of an artifact as they lie in the zip file; dialects/rt/README.md
/// says what is in them. This header is all that the compiler needs to write
/// one: the manifest is text, whoever made it.
struct Artifact {
  std::string manifest;  ///< manifest.json
  std::string kernels;   ///< kernels.so, or kernels.cubin for a GPU
  std::string constants; ///< constants.bin: contents of the arena "constants"
  std::string source;    ///< step.r1

  /// Identifies the manifest, kernels and constants.
  uint64_t fingerprint() const;
};

/// Writes the artifact, atomically: nobody ever sees half of one. Throws
/// r1c::Error.
void writeArtifact(const std::string &path, const Artifact &artifact);

/// Reads and checks the container (all parts present, check sums, format
/// version). Throws r1c::Error with the path in its message.
Artifact readArtifact(const std::string &path);

} // namespace r1c::runtime

#endif // R1C_RUNTIME_ARTIFACT_ARTIFACT_H
