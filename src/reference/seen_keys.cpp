// The definition, row by row and key by key.
#include "reference/seen_keys.hpp"

#include <algorithm>
#include <limits>

#include "reference/operand.hpp"
#include "spec/visibility.hpp"

namespace octavo::reference {
namespace {

// Whether the mask lets a row of a query head attend to a key: false, or minus infinity, hides it.
bool mask_shows(const Problem& p, std::int64_t b, std::int64_t q_head, std::int64_t row, std::int64_t key) {
  const Broadcast& mask = p.mask;
  if (mask.data == nullptr) return true;
  const double value =
      read_element(mask.data, mask.dtype,
                   b * mask.strides[0] + q_head * mask.strides[1] + row * mask.strides[2] + key * mask.strides[3]);
  return mask.dtype == DType::boolean ? value != 0 : value != -std::numeric_limits<double>::infinity();
}

}  // namespace

RowFlags seen_keys(const Problem& p, const Sequence& sequence, std::int64_t b, std::int64_t kv_head) {
  // Recipes as published take their statistics over hidden keys, too.
  RowFlags seen(static_cast<std::size_t>(sequence.k_rows), !p.recipe.robust);
  const std::int64_t group = p.q_heads / p.kv_heads;
  for (std::int64_t row = 0; p.recipe.robust && row < sequence.q_rows; ++row) {
    const spec::KeyRange range =
        spec::visible_keys(p.causal, p.window_left, p.window_right, sequence.q_rows, sequence.k_rows, row);
    for (std::int64_t key = range.begin; key < range.end; ++key) {
      if (seen[static_cast<std::size_t>(key)]) continue;
      for (std::int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
        if (mask_shows(p, b, head, row, key)) seen[static_cast<std::size_t>(key)] = true;
      }
    }
  }
  const Broadcast& exists = p.key_mask;
  for (std::int64_t key = 0; exists.data != nullptr && key < sequence.k_rows; ++key) {
    if (read_element(exists.data, exists.dtype, b * exists.strides[0] + key * exists.strides[3]) == 0) {
      seen[static_cast<std::size_t>(key)] = false;
    }
  }
  if (std::all_of(seen.begin(), seen.end(), [](bool x) { return x; })) return {};
  return seen;
}

}  // namespace octavo::reference
