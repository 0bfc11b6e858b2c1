// Checks that appends to a key-value cache and attention over one share.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "api/device_check.hpp"
#include "api/tensor_checks.hpp"
#include "kv_cache/cache.hpp"

namespace octavo {

// The sequences that a call names, or all of them; distinct. `rows`: the batch of `tensor`.
Status named_sequences(const kv_cache::Cache& cache, std::span<const std::int64_t> given, std::int64_t rows,
                       std::string_view tensor, std::vector<std::int64_t>& sequences);

Status check_cache_layout(Layout layout);
// All tensors where the cache is; the extents need not have been checked.
Status check_cache_device(const kv_cache::Cache& cache, std::span<const NamedTensor> tensors);
// unimplemented for a cache on a device. `call`: "fork()".
Status check_on_cpu(const kv_cache::Cache& cache, std::string_view call);
// The slots of entries, and whether the call is recorded into a graph; failed_precondition: the graph would lack what
// the host has changed since the last call.
Result<bool> check_capture(const kv_cache::Cache& cache, const Execution& execution,
                           std::span<const std::int64_t> slots);
// A float tensor with 4 axes; packed sequences: with 3.
Status check_cache_rows(std::string_view name, const TensorView& view, Layout layout, bool packed, Axes& axes,
                        ByteRange& range);

// Attention over a cache, after and with every check.
Status attend_to(const kv_cache::Cache& cache, const CacheQuery& query, const CacheAttentionParams& params,
                 const Execution& execution);

}  // namespace octavo
