// POSIX calls behind InputFile and OutputFile: interrupted and partial transfers are finished here.
#include "io/file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace octavo::io {
namespace {

// Some systems refuse single transfers above 2^31 bytes.
constexpr std::size_t kLargestTransfer = std::size_t{1} << 30;

Status system_error(const std::string& path, const char* action) {
  return {StatusCode::kFailedPrecondition, "'" + path + "': cannot " + action + ": " + std::strerror(errno)};
}

// Names in a hostile file may hold anything; what is said about them is plain ASCII, safe for a terminal and a log.
std::string printable(const std::string& text) {
  constexpr char kHex[] = "0123456789abcdef";
  std::string result;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7F) {
      result += c;
    } else {
      result += {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  return result;
}

}  // namespace

Result<InputFile> InputFile::open(const std::string& path) {
  InputFile file;
  file.path_ = path;
  // Without O_NONBLOCK, opening a pipe would wait for its writer.
  file.descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file.descriptor_ < 0) return system_error(path, "open for reading");
  struct stat info{};
  if (::fstat(file.descriptor_, &info) != 0) return system_error(path, "inspect");
  if (!S_ISREG(info.st_mode)) {
    return file.malformed(S_ISDIR(info.st_mode) ? "is a directory; a regular file is required"
                                                : "is not a regular file; pipes and devices are not supported");
  }
  file.size_ = static_cast<std::uint64_t>(info.st_size);
  return file;
}

InputFile::InputFile(InputFile&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)), size_(other.size_) {}

InputFile& InputFile::operator=(InputFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(descriptor_, other.descriptor_);
  std::swap(size_, other.size_);
  return *this;
}

InputFile::~InputFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

Status InputFile::read(std::uint64_t offset, void* to, std::size_t bytes) const {
  if (offset > size_ || bytes > size_ - offset) {
    return malformed("ends at byte " + std::to_string(size_) + "; " + std::to_string(bytes) + " bytes at offset " +
                     std::to_string(offset) + " were expected (truncated?)");
  }
  auto* target = static_cast<char*>(to);
  while (bytes > 0) {
    const ssize_t got = ::pread(descriptor_, target, std::min(bytes, kLargestTransfer), static_cast<off_t>(offset));
    if (got < 0) {
      if (errno == EINTR) continue;
      return system_error(path_, "read");
    }
    if (got == 0) {
      return malformed("became shorter while it was read: nothing at offset " + std::to_string(offset) + " of " +
                       std::to_string(size_));
    }
    target += got;
    offset += static_cast<std::uint64_t>(got);
    bytes -= static_cast<std::size_t>(got);
  }
  return {};
}

Status InputFile::malformed(const std::string& what) const {
  return {StatusCode::kFailedPrecondition, "'" + path_ + "': " + printable(what)};
}

Status InputFile::unsupported(const std::string& what) const {
  return {StatusCode::kUnimplemented, "'" + path_ + "': " + printable(what)};
}

Result<OutputFile> OutputFile::create(const std::string& path) {
  OutputFile file;
  file.path_ = path;
  file.descriptor_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (file.descriptor_ < 0) return system_error(path, "open for writing");
  return file;
}

OutputFile::OutputFile(OutputFile&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)) {}

OutputFile& OutputFile::operator=(OutputFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

OutputFile::~OutputFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

Status OutputFile::write(const void* from, std::size_t bytes) {
  const auto* source = static_cast<const char*>(from);
  while (bytes > 0) {
    const ssize_t put = ::write(descriptor_, source, std::min(bytes, kLargestTransfer));
    if (put < 0) {
      if (errno == EINTR) continue;
      return system_error(path_, "write");
    }
    source += put;
    bytes -= static_cast<std::size_t>(put);
  }
  return {};
}

Status OutputFile::close() {
  if (descriptor_ >= 0 && ::close(std::exchange(descriptor_, -1)) != 0) return system_error(path_, "finish writing");
  return {};
}

}  // namespace octavo::io
