// What the questions about layouts and those about sums share: how many words a kernel takes and gives, bytes among
// them, lists of answers.
#pragma once

#include <string>
#include <vector>

#include "word_kernels_sm90.hpp"

namespace octavo::cuda {

using Words = std::vector<std::uint32_t>;

inline constexpr std::size_t kMmaIn = 320, kMmaOut = 128;
inline constexpr std::size_t kTileWords = kWordWgmmaBytes / 4, kWgmmaIn = kTileWords + 1024, kWgmmaOut = 512;

inline void put_byte(std::uint32_t* words, std::size_t at, std::uint32_t byte) {
  words[at / 4] |= byte << (8 * (at % 4));
}

// A JSON array of JSON values.
inline std::string list_of(const std::vector<std::string>& values) {
  std::string list = "[";
  for (const std::string& value : values) list += (list.size() > 1 ? ", " : "") + value;
  return list + "]";
}

}  // namespace octavo::cuda
