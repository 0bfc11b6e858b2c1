// Bytes of a file by offset: the only code that calls the operating system and converts its errors to messages.
// Files are read, not mapped: a file that shrinks while it is in use then gives an error, not a signal, and tensors
// that lie at odd offsets come out aligned.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "octavo/status.hpp"

namespace octavo::io {

class InputFile {
 public:
  /// Errors: failed_precondition (missing, not readable, not a regular file).
  static Result<InputFile> open(const std::string& path);

  InputFile(InputFile&& other) noexcept;
  InputFile& operator=(InputFile&& other) noexcept;
  ~InputFile();

  const std::string& path() const noexcept { return path_; }
  std::uint64_t size() const noexcept { return size_; }
  /// Reads exactly `bytes` bytes; fewer in the file is an error.
  Status read(std::uint64_t offset, void* to, std::size_t bytes) const;
  /// A failed_precondition that begins with the file's name: "'a.npy': <what>", `what` with anything but printable
  /// ASCII as \xNN.
  Status malformed(const std::string& what) const;
  /// An unimplemented that begins with the file's name.
  Status unsupported(const std::string& what) const;

 private:
  InputFile() = default;
  std::string path_;
  int descriptor_ = -1;
  std::uint64_t size_ = 0;
};

/// A file that is written front to back. What stood at the path before is replaced.
class OutputFile {
 public:
  static Result<OutputFile> create(const std::string& path);

  OutputFile(OutputFile&& other) noexcept;
  OutputFile& operator=(OutputFile&& other) noexcept;
  ~OutputFile();

  Status write(const void* from, std::size_t bytes);
  /// Errors that the system reports late (a full disk, a lost share) surface here.
  Status close();

 private:
  OutputFile() = default;
  std::string path_;
  int descriptor_ = -1;
};

}  // namespace octavo::io
