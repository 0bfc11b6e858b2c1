// Where the sequences of a varlen tensor begin, as given: cu_seqlens s32 or s64 [B + 1], 0 = entry 0 <=
// entry 1 <= ... <= entry B = total.
#pragma once

#include <cstdint>
#include <string_view>

#include "api/tensor_checks.hpp"
#include "core/problem.hpp"

namespace octavo {

struct CuSeqlens {
  std::string_view name;   // in messages
  IntegerArray at;         // data == nullptr: not varlen
  std::int64_t batch = 0;  // sequences
  bool readable = true;    // by the host: they are not on a device

  bool varlen() const noexcept { return at.data != nullptr; }
  std::int64_t rows(std::int64_t b) const noexcept { return at[b + 1] - at[b]; }
};

// `view` [B + 1]; with a batch >= 0 of that many sequences. `expected_shape` is for the message ("[batch + 1] like
// cu_seqlens_q").
Status read_cu_seqlens(std::string_view name, const TensorView& view, std::int64_t batch,
                       std::string_view expected_shape, Pointers pointers, ByteRange& range, CuSeqlens& sequences);
// The same for values that the host must read: the tensor must be on the CPU.
Status read_host_cu_seqlens(std::string_view name, const TensorView& view, std::int64_t batch,
                            std::string_view expected_shape, ByteRange& range, CuSeqlens& sequences);

// The values rise from 0 to `total`, the rows of `tensor`. Those on a device are not checked: kernels clamp them.
Status check_cu_seqlens(const CuSeqlens& sequences, std::int64_t total, std::string_view tensor);

// The sum of count(rows) over all sequences, for example of their row groups.
template <class Count>
std::int64_t sum_over_sequences(const CuSeqlens& sequences, Count count) noexcept {
  std::int64_t sum = 0;
  for (std::int64_t b = 0; b < sequences.batch; ++b) sum += count(sequences.rows(b));
  return sum;
}

}  // namespace octavo
