// Which keys exist for a call: those of key_mask, and in robust recipes only those that some row may see. The others
// take part in nothing.
#pragma once

#include <cstdint>

#include "core/problem.hpp"
#include "reference/quantize_steps.hpp"

namespace octavo::reference {

// Keys of sequence b for the query heads of one KV head. What hides a key from every row: its position (causal, window)
// and the mask. All true: empty.
RowFlags seen_keys(const Problem& problem, const Sequence& sequence, std::int64_t b, std::int64_t kv_head);

}  // namespace octavo::reference
