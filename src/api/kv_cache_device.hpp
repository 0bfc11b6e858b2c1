// What a key-value cache on a CUDA device can be and do, and its memory.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "api/device_check.hpp"
#include "kv_cache/cache.hpp"

namespace octavo {

// What the kernels of a cache on a device support.
Status check_device_options(const KVCacheOptions& options, std::int64_t value_dim);
// Memory of the device, with what it holds at first.
kv_cache::DeviceAllocator allocator_of(Device device);

// All tensors where the cache is; the extents need not have been checked.
Status check_cache_device(const kv_cache::Cache& cache, std::span<const NamedTensor> tensors);
// What a cache on a device holds, in the host's memory; a cache there, of one on the host. Both wait for the legacy
// default stream.
Result<std::unique_ptr<kv_cache::Cache>> copy_to_host(const kv_cache::Cache& cache);
Result<std::unique_ptr<kv_cache::Cache>> copy_to_device(const kv_cache::Cache& cache, Device device);
// Whether a call on these slots is recorded into a graph; failed_precondition: the graph would lack what the host has
// changed since the last call.
Result<bool> check_capture(const kv_cache::Cache& cache, const Execution& execution,
                           std::span<const std::int64_t> slots);
// A graph runs again with lengths that the host does not know: it can neither take pages nor fix a mean.
Status check_captured_append(const kv_cache::Cache& cache, std::span<const CacheAppend> entries);

}  // namespace octavo
