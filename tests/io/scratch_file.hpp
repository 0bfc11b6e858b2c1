// A file in a temporary directory that goes with the object: what the tests of file formats read and write.
#pragma once

#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

namespace octavo::io {

class ScratchFile {
 public:
  explicit ScratchFile(std::string_view suffix) {
    static std::atomic<int> count{0};
    path_ = (std::filesystem::temp_directory_path() /
             ("octavo_test_" + std::to_string(::getpid()) + "_" + std::to_string(count++) + std::string(suffix)))
                .string();
  }
  ScratchFile(std::string_view suffix, std::string_view content) : ScratchFile(suffix) { write(content); }
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;
  ~ScratchFile() {
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
  }

  const std::string& path() const { return path_; }
  void write(std::string_view content) const {
    std::ofstream(path_, std::ios::binary).write(content.data(), static_cast<std::streamsize>(content.size()));
  }
  std::string content() const {
    std::ifstream stream(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
  }

 private:
  std::string path_;
};

}  // namespace octavo::io
