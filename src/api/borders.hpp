// Where the sequences of a packed tensor begin, as the caller wrote it: cu_seqlens s32 or s64 [B + 1], 0 = entry 0 <=
// entry 1 <= ... <= entry B = total.
#pragma once

#include <cstdint>
#include <string_view>

#include "api/views.hpp"
#include "core/problem.hpp"

namespace octavo {

struct Borders {
  std::string_view name;   // in messages
  IntegerArray at;         // data == nullptr: the tensor is not packed
  std::int64_t batch = 0;  // sequences

  bool packed() const noexcept { return at.data != nullptr; }
  std::int64_t rows(std::int64_t b) const noexcept { return at[b + 1] - at[b]; }
};

// `view` [B + 1]; with a batch >= 0 that many sequences, as `batch_words` has them ("[batch + 1] like cu_seqlens_q").
Status read_borders(std::string_view name, const TensorView& view, std::int64_t batch, std::string_view batch_words,
                    Pointers pointers, ByteRange& range, Borders& borders);
// The same, with values that are read here: on the CPU.
Status read_host_borders(std::string_view name, const TensorView& view, std::int64_t batch,
                         std::string_view batch_words, ByteRange& range, Borders& borders);

// They rise from 0 to `total`, the rows of `tensor`.
Status check_borders(const Borders& borders, std::int64_t total, std::string_view tensor);

// Row groups (or whatever `count` says of a number of rows) of all sequences.
template <class Count>
std::int64_t sum_over_sequences(const Borders& borders, Count count) noexcept {
  std::int64_t sum = 0;
  for (std::int64_t b = 0; b < borders.batch; ++b) sum += count(borders.rows(b));
  return sum;
}

}  // namespace octavo
