// What fuzz targets share: the entry point that libFuzzer and the replay program call, numbers drawn from the input's
// bytes, a file without a disk, and a check that ends the program.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

#define FUZZ_CHECK(condition, ...)                            \
  do {                                                        \
    if (!(condition)) {                                       \
      std::fprintf(stderr, "%s:%d: ", __FILE__, __LINE__);    \
      std::fprintf(stderr, "%s does not hold: ", #condition); \
      std::fprintf(stderr, __VA_ARGS__);                      \
      std::fputc('\n', stderr);                               \
      std::abort();                                           \
    }                                                         \
  } while (0)

namespace octavo::fuzz {

// Decisions from bytes. After the last byte all draws are 0, so 0 should stand for the ordinary.
class Bytes {
 public:
  Bytes(const std::uint8_t* data, std::size_t size) noexcept : data_(data), left_(size) {}

  template <class Integer>
  Integer draw() noexcept {
    Integer value{};
    const std::size_t bytes = left_ < sizeof value ? left_ : sizeof value;
    if (bytes > 0) std::memcpy(&value, data_, bytes);
    data_ += bytes;
    left_ -= bytes;
    return value;
  }
  // 0..count-1, from one byte (or four where that is too few).
  std::int64_t below(std::int64_t count) noexcept {
    return count <= 256 ? draw<std::uint8_t>() % count : draw<std::uint32_t>() % count;
  }
  // True for `parts` of 256 bytes.
  bool chance(int parts) noexcept { return draw<std::uint8_t>() > 255 - parts; }
  std::size_t left() const noexcept { return left_; }
  const std::uint8_t* rest() const noexcept { return data_; }

 private:
  const std::uint8_t* data_;
  std::size_t left_;
};

// A regular file in memory under a path of its own.
class MemoryFile {
 public:
  explicit MemoryFile(const char* name) : descriptor_(memfd_create(name, MFD_CLOEXEC)) {
    FUZZ_CHECK(descriptor_ >= 0, "no file in memory");
    path_ = "/proc/self/fd/" + std::to_string(descriptor_);
  }
  const std::string& path() const noexcept { return path_; }
  void assign(const std::uint8_t* data, std::size_t size) {
    FUZZ_CHECK(ftruncate(descriptor_, 0) == 0, "ftruncate");
    FUZZ_CHECK(pwrite(descriptor_, data, size, 0) == static_cast<ssize_t>(size), "pwrite");
  }

 private:
  int descriptor_;
  std::string path_;
};

}  // namespace octavo::fuzz
