// Which keys exist for a call: those of key_mask, in robust recipes only those that some row may see by its position
// and the mask. The others are zeros, count in no statistic, and their addend is -infinity.
#pragma once

#include "cpu/operands/read_number.hpp"
#include "cpu/operands/scratch.hpp"
#include "spec/mean.hpp"
#include "spec/visibility.hpp"

namespace octavo::cpu {
namespace {

struct SeenKeys {
  spec::KeyRange range;
  const std::uint8_t* bytes;  // null: all of the range

  bool operator()(std::int64_t key) const {
    return key >= range.begin && key < range.end && (bytes == nullptr || bytes[key] != 0);
  }
  bool all(std::int64_t first, std::int64_t last) const {
    if (first >= last) return true;
    if (first < range.begin || last > range.end) return false;
    for (std::int64_t key = first; bytes != nullptr && key < last; ++key)
      if (bytes[key] == 0) return false;
    return true;
  }
};

OCTAVO_INLINE std::uint8_t* seen_bytes(const Call& call, std::int64_t b, std::int64_t kv_head) {
  const std::int64_t index = b * call.plan->problem->kv_heads + kv_head;
  return reinterpret_cast<std::uint8_t*>(call.scratch + call.plan->seen_at) + index * call.plan->longest_keys;
}

OCTAVO_INLINE SeenKeys seen_keys(const Call& call, std::int64_t b, std::int64_t kv_head) {
  const Problem& problem = *call.plan->problem;
  const Sequence& rows = sequence_at(call, b)->rows;
  const spec::KeyRange visible = spec::visible_keys_of_rows(problem.causal, problem.window_left, problem.window_right,
                                                            rows.q_rows, rows.k_rows, 0, rows.q_rows);
  return {call.plan->robust ? visible : spec::KeyRange{0, rows.k_rows},
          call.plan->hides_keys ? seen_bytes(call, b, kv_head) : nullptr};
}

// What one row of the mask shows of keys first..last-1, joined into `seen`.
OCTAVO_INLINE void add_shown(const Broadcast& mask, std::int64_t at, std::int64_t first, std::int64_t last,
                             std::uint8_t* seen) {
  const std::int64_t step = mask.strides[3];
  if (mask.dtype == DType::boolean && step == 1) {
    const auto* from = static_cast<const std::uint8_t*>(mask.data) + at;
    for (std::int64_t j = first; j < last; ++j) seen[j] |= static_cast<std::uint8_t>(from[j] != 0);
  } else if (mask.dtype == DType::f32 && step == 1) {
    const float* from = static_cast<const float*>(mask.data) + at;
    for (std::int64_t j = first; j < last; ++j) seen[j] |= static_cast<std::uint8_t>(from[j] != -__builtin_inff());
  } else if (mask.dtype == DType::boolean) {
    const auto* from = static_cast<const std::uint8_t*>(mask.data) + at;
    for (std::int64_t j = first; j < last; ++j) seen[j] |= static_cast<std::uint8_t>(from[j * step] != 0);
  } else {
    for (std::int64_t j = first; j < last; ++j)
      seen[j] |= static_cast<std::uint8_t>(read_number(mask, at + j * step) != -__builtin_inff());
  }
}

// The bytes of keys i * 128 .. of one head.
template <class S>
void mark_seen(const Call& call, std::int64_t b, std::int64_t kv_head, std::int64_t i) {
  const Problem& problem = *call.plan->problem;
  const Sequence& rows = sequence_at(call, b)->rows;
  const std::int64_t first = i * spec::kMeanBlock;
  const std::int64_t last = first + spec::kMeanBlock < rows.k_rows ? first + spec::kMeanBlock : rows.k_rows;
  std::uint8_t* seen = seen_bytes(call, b, kv_head);
  const Broadcast& mask = problem.mask;
  const bool by_mask = call.plan->robust && mask.data != nullptr;
  for (std::int64_t j = first; j < last; ++j) seen[j] = !by_mask;
  if (by_mask) {
    const std::int64_t group = problem.q_heads / problem.kv_heads;
    const std::int64_t heads = mask.strides[1] == 0 ? 1 : group;
    for (std::int64_t h = 0; h < heads; ++h) {
      const std::int64_t at = b * mask.strides[0] + (kv_head * group + h) * mask.strides[1];
      if (mask.strides[2] == 0) {
        if (rows.q_rows > 0) add_shown(mask, at, first, last, seen);
        continue;
      }
      for (std::int64_t row = 0; row < rows.q_rows; ++row) {
        const spec::KeyRange range = spec::visible_keys(problem.causal, problem.window_left, problem.window_right,
                                                        rows.q_rows, rows.k_rows, row);
        add_shown(mask, at + row * mask.strides[2], range.begin > first ? range.begin : first,
                  range.end < last ? range.end : last, seen);
      }
    }
  }
  const Broadcast& exists = problem.key_mask;
  for (std::int64_t j = first; exists.data != nullptr && j < last; ++j)
    if (static_cast<const std::uint8_t*>(exists.data)[b * exists.strides[0] + j * exists.strides[3]] == 0) seen[j] = 0;
}

}  // namespace
}  // namespace octavo::cpu
