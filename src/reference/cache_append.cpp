// The oracle of a key-value cache's appends: the scalar rules of spec, one row at a time.
#include <algorithm>
#include <limits>
#include <vector>

#include "reference/cache_side.hpp"
#include "reference/operand.hpp"
#include "reference/reference.hpp"
#include "spec/mean.hpp"
#include "spec/rotation.hpp"

namespace octavo::reference {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<float> transformed_row(const Side& side, const Operand& x, std::int64_t b, std::int64_t head,
                                   std::int64_t row) {
  const Matrix loaded = load_rows(x, b, head, row, 1, side.dim());
  std::vector<float> result(loaded.row(0), loaded.row(0) + side.dim());
  if (side.cache.rotated()) spec::rotate_row(result.data(), side.dim());
  return result;
}

void store_float(DType format, std::byte* data, std::int64_t at, float x) {
  if (format == DType::f32) {
    reinterpret_cast<float*>(data)[at] = x;
  } else {
    reinterpret_cast<std::uint16_t*>(data)[at] =
        format == DType::f16 ? f32_to_f16_saturating(x) : f32_to_bf16_saturating(x);
  }
}

void store_code(DType format, std::byte* data, std::int64_t at, float x, float inverse) {
  auto* bytes = reinterpret_cast<std::uint8_t*>(data);
  if (format == DType::e4m3) {
    bytes[at] = spec::e4m3_code(x, inverse);
    return;
  }
  const std::int32_t code = spec::integer_code(x, inverse, spec::cache_range(format));
  if (format == DType::s8) {
    bytes[at] = static_cast<std::uint8_t>(code);
    return;
  }
  const int shift = at % 2 == 0 ? 0 : 4;
  bytes[at / 2] = static_cast<std::uint8_t>((bytes[at / 2] & (0xf0 >> shift)) | (code & 15) << shift);
}

void keep(const Side& side, std::int64_t slot, const std::vector<float>& x) {
  const bool finite = all_finite(x);
  const float unit = finite ? spec::kept_row_unit(amax_of(x)) : 1.0f;
  for (std::int64_t d = 0; d < side.columns(); ++d) {
    const float value = d < side.dim() ? x[static_cast<std::size_t>(d)] : 0.0f;
    side.kept()[slot * side.columns() + d] = f32_to_f16(value / unit);
  }
  side.kept_units()[slot] = finite ? unit : kNan;
}

void append_row(const Side& side, const CacheAppend& entry, std::int64_t head, std::int64_t token,
                const std::vector<float>& x) {
  const CacheView& cache = side.cache;
  const std::int64_t row = cache.row(entry.sequence, head, token);
  const auto value = [&](std::int64_t d) { return d < side.dim() ? x[static_cast<std::size_t>(d)] : 0.0f; };
  if (!cache.has_scales()) {
    for (std::int64_t d = 0; d < side.columns(); ++d)
      store_float(cache.format, side.data(), side.element(row, d), value(d));
    return;
  }
  const float range = spec::cache_range(cache.format);
  const spec::Scale scale = spec::scale_of(amax_of(x), range, side.is_k ? 1.0f : 0.0f);
  side.scales()[row] = all_finite(x) ? scale.scale : kNan;
  for (std::int64_t d = 0; d < side.columns(); ++d)
    store_code(cache.format, side.data(), side.element(row, d), value(d), scale.inverse);
  if (side.kept() == nullptr) return;
  if (token == 0) keep(side, cache.kept_slot(entry.sequence, head, 0), x);
  keep(side, cache.kept_slot(entry.sequence, head, 1 + token % kKeptRing), x);
}

void append_head(const CacheAppendProblem& problem, std::int64_t i, std::int64_t head) {
  const CacheView& cache = problem.cache;
  const CacheAppend& entry = problem.entries[i];
  for (const bool is_k : {true, false}) {
    const Side side{cache, is_k};
    std::vector<std::vector<float>> rows;
    for (std::int64_t r = 0; r < entry.rows; ++r)
      rows.push_back(transformed_row(side, is_k ? problem.k : problem.v, i, head, r));
    if (is_k && cache.rotated()) {
      float* mean = cache.k_mean + cache.head(entry.sequence, head) * cache.mean_columns;
      if (entry.fixes_mean) {
        std::fill(mean, mean + cache.mean_columns, 0.0f);
        std::vector<float> column(rows.size());
        for (std::int64_t d = 0; entry.rows >= spec::kCacheMeanRows && d < side.dim(); ++d) {
          for (std::size_t r = 0; r < rows.size(); ++r) column[r] = rows[r][static_cast<std::size_t>(d)];
          mean[d] = spec::column_mean(column.data(), entry.rows, 1);
        }
      }
      for (std::vector<float>& row : rows)
        for (std::int64_t d = 0; d < side.dim(); ++d) row[static_cast<std::size_t>(d)] -= mean[d];
    }
    for (std::int64_t r = 0; r < entry.rows; ++r)
      append_row(side, entry, head, entry.first + r, rows[static_cast<std::size_t>(r)]);
  }
}

}  // namespace

void append(const CacheAppendProblem& problem) {
  for (std::int64_t i = 0; i < problem.count; ++i)
    for (std::int64_t head = 0; head < problem.cache.kv_heads; ++head) append_head(problem, i, head);
}

}  // namespace octavo::reference
