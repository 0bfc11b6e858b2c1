// KVCache::read_k and read_v: the rows of a sequence in natural order.
#include <memory>
#include <utility>

#include "api/kv_cache_device.hpp"
#include "api/tensor_checks.hpp"
#include "core/guard.hpp"
#include "core/text.hpp"
#include "kv_cache/cache.hpp"
#include "spec/cache_layout.hpp"

namespace octavo {
namespace {

Status check_dense(std::string_view name, const TensorView& view, DType dtype, std::array<std::int64_t, 4> shape,
                   int rank) {
  if (!view.given()) return invalid_argument(name, " is missing");
  if (Status status = check_view({name}, view, Pointers::needed, nullptr); !status.ok()) return status;
  if (view.device.type != DeviceType::cpu) return invalid_argument(name, " is on a CUDA device; it must be on the CPU");
  if (view.dtype != dtype) {
    return invalid_argument(name, " is ", to_string(view.dtype), "; it must be ", to_string(dtype));
  }
  if (!has_shape(view, shape, rank) || !is_dense(view)) {
    return invalid_argument(name, " has shape ", shape_string(view), "; it must be ", shape_text(shape, rank),
                            " and dense");
  }
  return {};
}

Status read(const kv_cache::Cache& cache, std::int64_t sequence, bool is_k, const TensorView& codes,
            const TensorView& scales, const TensorView& mean) {
  const KVCacheOptions& options = cache.options();
  if (sequence < 0 || sequence >= options.batch) {
    return invalid_argument("sequence ", sequence, " is named; the cache has sequences 0 to ", options.batch - 1);
  }
  CacheView view = cache.view();
  const CacheSequence entry = cache.entry(sequence);
  const std::int64_t dim = is_k ? view.head_dim : view.value_dim, columns = is_k ? view.k_columns : view.v_columns;
  if (Status status = check_dense("codes", codes, view.format, {view.kv_heads, entry.keys, dim, 0}, 3); !status.ok()) {
    return status;
  }
  if (view.has_scales() != scales.given()) {
    return invalid_argument(scales.given() ? "scales is given; a cache of floats has no scales" : "scales is missing");
  }
  if (scales.given()) {
    if (Status status = check_dense("scales", scales, DType::f32, {view.kv_heads, entry.keys, 0, 0}, 2); !status.ok()) {
      return status;
    }
  }
  if (mean.given()) {
    if (!view.rotated()) return invalid_argument("mean is given; only a cache of s8 or s4 has one");
    if (Status status = check_dense("mean", mean, DType::f32, {view.kv_heads, dim, 0, 0}, 2); !status.ok()) {
      return status;
    }
  }
  std::unique_ptr<kv_cache::Cache> on_host;
  if (cache.on_device()) {
    Result<std::unique_ptr<kv_cache::Cache>> copy = copy_to_host(cache);
    if (!copy.ok()) return copy.status();
    on_host = *std::move(copy);
    view = on_host->view();
  }
  auto* to = static_cast<std::byte*>(codes.data);
  const std::byte* from = is_k ? view.k : view.v;
  for (std::int64_t h = 0; h < view.kv_heads; ++h) {
    for (std::int64_t token = 0; token < entry.keys; ++token) {
      const std::int64_t row = view.row(entry.sequence, h, token), within = row % kCacheStrip;
      for (std::int64_t d = 0; d < dim; ++d) {
        const std::int64_t at =
            is_k ? spec::cache_k_index(view.format, within, d) : spec::cache_v_index(view.format, columns, within, d);
        kv_cache::copy_element(view.format, from, (row - within) * columns + at, to,
                               (h * entry.keys + token) * dim + d);
      }
      if (scales.given())
        static_cast<float*>(scales.data)[h * entry.keys + token] = (is_k ? view.k_scale : view.v_scale)[row];
    }
    for (std::int64_t d = 0; mean.given() && d < dim; ++d) {
      // Nothing is frozen in an empty sequence.
      static_cast<float*>(mean.data)[h * dim + d] =
          entry.keys == 0 ? 0.0f : view.k_mean[view.head(entry.sequence, h) * view.mean_columns + d];
    }
  }
  return {};
}

}  // namespace

Status KVCache::read_k(std::int64_t sequence, const TensorView& codes, const TensorView& scales,
                       const TensorView& mean) const noexcept {
  return guarded([&] { return read(*cache_, sequence, true, codes, scales, mean); });
}
Status KVCache::read_v(std::int64_t sequence, const TensorView& codes, const TensorView& scales) const noexcept {
  return guarded([&] { return read(*cache_, sequence, false, codes, scales, {}); });
}

}  // namespace octavo
