#include "api/kv_cache_device.hpp"

#include <memory>
#include <string>
#include <utility>

#include "api/selection.hpp"
#include "core/text.hpp"
#include "cuda/host/cuda.hpp"
#include "octavo/device.hpp"

namespace octavo {
namespace {

constexpr std::int64_t kMostDeviceDim = 256;

std::string place_of(Device device) {
  return device.type == DeviceType::cpu ? "the CPU" : text("CUDA device ", device.index);
}

}  // namespace

Status check_device_options(const KVCacheOptions& o, std::int64_t value_dim) {
  if (o.device.type == DeviceType::cpu) return {};
  if (o.device.type != DeviceType::cuda) {
    return invalid_argument("device has the unknown type ", static_cast<int>(o.device.type),
                            "; allowed are cpu and cuda");
  }
  if (Status status = cuda::check_device("the key-value cache", o.device.index); !status.ok()) return status;
  if (o.head_dim > kMostDeviceDim || value_dim > kMostDeviceDim) {
    return unimplemented("head_dim is ", o.head_dim, " and value_head_dim ", value_dim,
                         "; a key-value cache on a CUDA device supports 1 to ", kMostDeviceDim);
  }
  constexpr std::int64_t kMostHeads = 32767;  // an append's blocks are of K and V of a head; a grid has up to 65535
  if (o.kv_heads > kMostHeads) {
    return unimplemented("kv_heads is ", o.kv_heads, "; a key-value cache on a CUDA device supports 1 to ", kMostHeads);
  }
  constexpr std::int64_t kMostTokens = std::int64_t{1} << 30;
  if (o.capacity > kMostTokens || o.page_size > kMostTokens) {
    return unimplemented("capacity is ", o.capacity, " and page_size ", o.page_size,
                         "; a key-value cache on a CUDA device supports up to ", kMostTokens);
  }
  return {};
}

kv_cache::DeviceAllocator allocator_of(Device device) {
  return [device](std::size_t bytes, const void* initial) -> Result<std::shared_ptr<void>> {
    const Result<DeviceMemory> memory = DeviceMemory::allocate(device, bytes);
    if (!memory.ok()) return memory.status();
    if (initial != nullptr) {
      if (Status status = memory->copy_from(initial, bytes); !status.ok()) return status;
    }
    auto kept = std::make_shared<DeviceMemory>(*memory);
    void* const data = kept->data();
    return std::shared_ptr<void>(std::move(kept), data);
  };
}

Status check_captured_append(const kv_cache::Cache& cache, std::span<const CacheAppend> entries) {
  if (cache.paged() && !cache.external()) {
    return unimplemented(
        "an append to a paged key-value cache while the stream is being captured into a graph: the "
        "host takes its pages; contiguous caches and those over a caller's pool support it");
  }
  for (const CacheAppend& entry : entries) {
    if (!entry.fixes_mean) continue;
    return Status(StatusCode::kFailedPrecondition,
                  "the stream is being captured into a graph and a sequence is empty; its first append, which fixes "
                  "K's mean, must come before the capture");
  }
  return {};
}

Status check_cache_device(const kv_cache::Cache& cache, std::span<const NamedTensor> tensors) {
  Device device;
  if (Status status = check_devices(tensors, device); !status.ok()) return status;
  const Device own = cache.options().device;
  if (device.type == own.type && (own.type == DeviceType::cpu || device == own)) return {};
  return invalid_argument("the tensors are on ", place_of(device), " and the key-value cache is on ", place_of(own),
                          "; they must be on one device");
}

namespace {

// Copies that no call has brought to the device yet.
Status make_copies(const kv_cache::Cache& cache) {
  kv_cache::Cache::Changes changes = cache.take_changes({});
  if (!changes.has_copies()) {
    changes.brought();
    return {};
  }
  const auto run = [&]() -> Status {
    const Result<const Implementation*> selected = select_cache_implementation({}, cache.options().device);
    if (!selected.ok()) return selected.status();
    CacheAppendProblem problem;
    problem.cache = cache.view();
    problem.changes = changes.of_call(false);
    return (*selected)->backend().append(**selected, problem, {});
  };
  Status status = run();
  if (status.ok()) changes.brought();
  return status;
}

kv_cache::Transfer transfer(int device, cuda::CopyKind kind) {
  return [=](void* to, const void* from, std::size_t bytes) {
    return cuda::runtime()->copy(device, to, from, bytes, kind);
  };
}

}  // namespace

Result<std::unique_ptr<kv_cache::Cache>> copy_to_host(const kv_cache::Cache& cache) {
  if (Status status = make_copies(cache); !status.ok()) return status;
  return cache.copied({}, {}, transfer(cache.options().device.index, cuda::CopyKind::to_host));
}

Result<std::unique_ptr<kv_cache::Cache>> copy_to_device(const kv_cache::Cache& cache, Device device) {
  return cache.copied(device, allocator_of(device), transfer(device.index, cuda::CopyKind::to_device));
}

Result<bool> check_capture(const kv_cache::Cache& cache, const Execution& execution,
                           std::span<const std::int64_t> slots) {
  if (!cache.on_device()) return false;
  Result<bool> capturing = cuda::runtime()->is_capturing(cache.options().device.index, execution.stream);
  if (capturing.ok() && *capturing && cache.has_changes(slots)) {
    return Status(StatusCode::kFailedPrecondition,
                  "the stream is being captured into a graph, and the device does not have the cache's lengths, "
                  "block tables and copies yet; make a call on these sequences before the capture");
  }
  return capturing;
}

}  // namespace octavo
