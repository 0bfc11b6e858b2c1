#include "api/kv_cache_checks.hpp"

#include "core/text.hpp"
#include "cuda/host/cuda.hpp"

namespace octavo {

Status named_sequences(const kv_cache::Cache& cache, std::span<const std::int64_t> given, std::int64_t rows,
                       std::string_view tensor, std::vector<std::int64_t>& sequences) {
  const std::int64_t batch = cache.options().batch;
  if (given.empty()) {
    if (rows != batch) {
      return invalid_argument(tensor, " has batch size ", rows, " and the cache ", batch,
                              " sequences; name the sequences, or give all of them");
    }
    for (std::int64_t b = 0; b < batch; ++b) sequences.push_back(b);
    return {};
  }
  if (static_cast<std::int64_t>(given.size()) != rows) {
    return invalid_argument(tensor, " has batch size ", rows, " and ", given.size(),
                            " sequences are named; there must be one for each");
  }
  std::vector<bool> named(static_cast<std::size_t>(batch), false);
  for (const std::int64_t sequence : given) {
    if (sequence < 0 || sequence >= batch) {
      return invalid_argument("sequence ", sequence, " is named; the cache has sequences 0 to ", batch - 1);
    }
    if (named[static_cast<std::size_t>(sequence)]) {
      return invalid_argument("sequence ", sequence, " is named twice; sequences of a call must be distinct");
    }
    named[static_cast<std::size_t>(sequence)] = true;
    sequences.push_back(sequence);
  }
  return {};
}

Status check_cache_layout(Layout layout) {
  if (layout == Layout::nhd || layout == Layout::hnd) return {};
  return invalid_argument("layout is the unknown value ", static_cast<int>(layout), "; allowed are NHD and HND");
}

namespace {

std::string place_of(Device device) {
  return device.type == DeviceType::cpu ? "the CPU" : text("CUDA device ", device.index);
}

}  // namespace

Status check_cache_device(const kv_cache::Cache& cache, std::span<const NamedTensor> tensors) {
  Device device;
  if (Status status = check_devices(tensors, device); !status.ok()) return status;
  const Device own = cache.options().device;
  if (device.type == own.type && (own.type == DeviceType::cpu || device == own)) return {};
  return invalid_argument("the tensors are on ", place_of(device), " and the key-value cache is on ", place_of(own),
                          "; they must be on one device");
}

Status check_on_cpu(const kv_cache::Cache& cache, std::string_view call) {
  if (!cache.on_device()) return {};
  return unimplemented(call, " of a key-value cache on ", place_of(cache.options().device),
                       "; append(), attend(), set_block_table(), trim(), reset(), advance(), read_k() and read_v() are "
                       "supported there");
}

Result<bool> check_capture(const kv_cache::Cache& cache, const Execution& execution,
                           std::span<const std::int64_t> slots) {
  if (!cache.on_device()) return false;
  Result<bool> capturing = cuda::runtime()->is_capturing(cache.options().device.index, execution.stream);
  if (capturing.ok() && *capturing && cache.has_updates(slots)) {
    return Status(StatusCode::kFailedPrecondition,
                  "the stream is being captured into a graph, and the device does not have the cache's lengths and "
                  "block tables yet; make a call on these sequences before the capture");
  }
  return capturing;
}

Status check_cache_rows(std::string_view name, const TensorView& view, Layout layout, bool packed, Axes& axes,
                        ByteRange& range) {
  if (!view.given()) return invalid_argument(name, " is missing");
  if (Status status = check_view({name}, view, Pointers::needed, &range); !status.ok()) return status;
  if (Status status = check_operand_shape({name}, view, layout, packed, axes); !status.ok()) return status;
  return check_float_dtype({name}, view);
}

}  // namespace octavo
