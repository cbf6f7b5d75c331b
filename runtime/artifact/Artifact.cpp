//===- Artifact.cpp - the artifact step.r1x -------------------------------===//
//
// Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/artifact/Artifact.h"
#include "runtime/support/Files.h"
#include "runtime/support/Json.h"
#include <cstring>
#include <memory>
#include <zip.h>

namespace r1c::runtime {

namespace {

struct ZipCloser {
  void operator()(zip_t *zip) const { zip_discard(zip); }
  void operator()(zip_file_t *file) const { zip_fclose(file); }
  void operator()(zip_source_t *source) const { zip_source_free(source); }
};
using Zip = std::unique_ptr<zip_t, ZipCloser>;
using ZipFile = std::unique_ptr<zip_file_t, ZipCloser>;
using ZipSource = std::unique_ptr<zip_source_t, ZipCloser>;

/// Larger parts than this are taken for corrupt sizes; weights are not inside.
constexpr zip_uint64_t largestPart = zip_uint64_t(4) << 30;

std::string readPart(zip_t *zip, const char *name) {
  zip_stat_t info;
  if (zip_stat(zip, name, 0, &info) != 0)
    throw Error("has no ", name, "; not an artifact of r1c");
  if (!(info.valid & ZIP_STAT_SIZE) || info.size > largestPart)
    throw Error(name, " has no plausible size");
  ZipFile file(zip_fopen(zip, name, 0));
  if (!file)
    throw Error(name, " cannot be opened: ", zip_strerror(zip));
  std::string bytes(info.size, '\0');
  size_t have = 0;
  // Read past the end: only then does libzip compare the check sum.
  char beyond;
  for (;;) {
    bool full = have == bytes.size();
    zip_int64_t got = zip_fread(file.get(), full ? &beyond : &bytes[have],
                                full ? 1 : bytes.size() - have);
    if (got < 0)
      throw Error(name, " is corrupt: ", zip_file_strerror(file.get()));
    if (got == 0)
      break;
    if (full)
      throw Error(name, " is longer than it says");
    have += static_cast<size_t>(got);
  }
  if (have != bytes.size())
    throw Error(name, " is truncated");
  return bytes;
}

void addPart(zip_t *zip, const char *name, const std::string &bytes) {
  ZipSource source(zip_source_buffer(zip, bytes.data(), bytes.size(), 0));
  if (!source)
    throw Error(name, ": ", zip_strerror(zip));
  zip_int64_t index = zip_file_add(zip, name, source.get(), ZIP_FL_ENC_UTF_8);
  if (index < 0)
    throw Error(name, ": ", zip_strerror(zip));
  source.release(); // the archive owns it now
  auto at = static_cast<zip_uint64_t>(index);
  zip_set_file_compression(zip, at, ZIP_CM_STORE, 0);
  // The same compilation gives the same file, whenever it is done.
  zip_file_set_dostime(zip, at, 0, (1 << 5) | 1, 0);
}

/// The part that holds the kernels, by the kind of the manifest's target; none
/// for a kind that is not known here.
const char *kernelsPart(const std::string &manifest) {
  Json json = parseJson(manifest, "manifest.json");
  Fields top(json, "manifest.json");
  std::string kind =
      top.has("target") ? top.object("target").text("kind", "cpu") : "cpu";
  return kind == "cuda" ? "kernels.cubin" : kind == "cpu" ? "kernels.so" : "";
}

void checkVersion(const std::string &manifest) {
  Json json = parseJson(manifest, "manifest.json");
  Fields format = Fields(json, "manifest.json").object("format");
  int64_t major = format.integer("major"), minor = format.integer("minor");
  if (major == formatMajor && minor <= formatMinor && minor >= 0)
    return;
  throw Error("artifact format ", major, ".", minor,
              ", but this runtime reads ", formatMajor, ".", formatMinor,
              "; compile the step file again with a matching r1c");
}

} // namespace

uint64_t Artifact::fingerprint() const {
  return runtime::fingerprint(
      constants, runtime::fingerprint(kernels, runtime::fingerprint(manifest)));
}

void writeArtifact(const std::string &path, const Artifact &artifact) {
  within([&] { return path; },
         [&] {
           zip_error_t error;
           zip_error_init(&error);
           ZipSource buffer(zip_source_buffer_create(nullptr, 0, 0, &error));
           if (!buffer)
             throw Error(zip_error_strerror(&error));
           Zip zip(zip_open_from_source(buffer.get(), ZIP_TRUNCATE, &error));
           if (!zip)
             throw Error(zip_error_strerror(&error));
           // Closing the archive must leave the bytes for us to read.
           zip_source_keep(buffer.get());
           addPart(zip.get(), "manifest.json", artifact.manifest);
           if (const char *part = kernelsPart(artifact.manifest); *part)
             addPart(zip.get(), part, artifact.kernels);
           addPart(zip.get(), "constants.bin", artifact.constants);
           addPart(zip.get(), "step.r1", artifact.source);
           if (zip_close(zip.get()) != 0)
             throw Error(zip_strerror(zip.get()));
           zip.release();
           zip_source_open(buffer.get());
           zip_source_seek(buffer.get(), 0, SEEK_END);
           zip_int64_t size = zip_source_tell(buffer.get());
           zip_source_seek(buffer.get(), 0, SEEK_SET);
           std::string bytes(size > 0 ? static_cast<size_t>(size) : 0, '\0');
           zip_int64_t got =
               zip_source_read(buffer.get(), bytes.data(), bytes.size());
           zip_source_close(buffer.get());
           if (got != size)
             throw Error("the archive cannot be assembled");
           fs::path target(path);
           if (target.has_parent_path())
             fs::create_directories(target.parent_path());
           writeFileAtomically(target, bytes);
         });
}

Artifact readArtifact(const std::string &path) {
  return within(
      [&] { return path; },
      [&] {
        if (!fs::exists(path))
          throw Error("no such file");
        if (fs::path(path).extension() == ".r1")
          throw Error("is a step file: r1c compile makes an artifact of it, "
                      "r1c run both makes and runs it");
        int code = 0;
        Zip zip(zip_open(path.c_str(), ZIP_RDONLY | ZIP_CHECKCONS, &code));
        if (!zip) {
          zip_error_t error;
          zip_error_init_with_code(&error, code);
          Error report("not an artifact of r1c, or a damaged one: ",
                       zip_error_strerror(&error));
          zip_error_fini(&error);
          throw report;
        }
        Artifact artifact;
        artifact.manifest = readPart(zip.get(), "manifest.json");
        checkVersion(artifact.manifest);
        if (const char *part = kernelsPart(artifact.manifest); *part)
          artifact.kernels = readPart(zip.get(), part);
        artifact.constants = readPart(zip.get(), "constants.bin");
        artifact.source = readPart(zip.get(), "step.r1");
        return artifact;
      });
}

} // namespace r1c::runtime
