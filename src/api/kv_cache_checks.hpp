// Checks that appends to a key-value cache and attention over one share.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "api/tensor_checks.hpp"
#include "kv_cache/cache.hpp"

namespace octavo {

// The sequences that a call names, or all of them; distinct. `rows`: the batch of `tensor`.
Status named_sequences(const kv_cache::Cache& cache, std::span<const std::int64_t> given, std::int64_t rows,
                       std::string_view tensor, std::vector<std::int64_t>& sequences);

Status check_cache_layout(Layout layout);
// A float tensor with 4 axes; varlen sequences: with 3.
Status check_cache_rows(std::string_view name, const TensorView& view, Layout layout, bool packed, Axes& axes,
                        ByteRange& range);

// Attention over a cache, after and with every check.
Status attend_to(const kv_cache::Cache& cache, const CacheQuery& query, const CacheAttentionParams& params,
                 const Execution& execution);

}  // namespace octavo
