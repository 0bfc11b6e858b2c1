// The oracle of a key-value cache: appends by the scalar rules of spec, and attention over the codes as they are stored
// with the arithmetic of docs/kv_cache.md in double, one row and one key at a time.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numbers>
#include <vector>

#include "reference/operand.hpp"
#include "reference/reference.hpp"
#include "spec/cache_layout.hpp"
#include "spec/mean.hpp"
#include "spec/rotation.hpp"
#include "spec/scale.hpp"

namespace octavo::reference {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// K or V of a cache.
struct Side {
  const CacheView& cache;
  bool is_k;
  std::int64_t dim() const { return is_k ? cache.head_dim : cache.value_dim; }
  std::int64_t columns() const { return is_k ? cache.k_columns : cache.v_columns; }
  std::byte* data() const { return is_k ? cache.k : cache.v; }
  float* scales() const { return is_k ? cache.k_scale : cache.v_scale; }
  std::uint16_t* kept() const { return is_k ? cache.kept_k : cache.kept_v; }
  float* kept_units() const { return is_k ? cache.kept_k_unit : cache.kept_v_unit; }
  // Element of a token's row (its number in the arrays).
  std::int64_t element(std::int64_t row, std::int64_t channel) const {
    const std::int64_t token = row % kCacheStrip, strip = row - token;
    return strip * columns() + (is_k ? spec::cache_k_index(cache.format, token, channel)
                                     : spec::cache_v_index(cache.format, columns(), token, channel));
  }
};

std::vector<float> transformed_row(const Side& side, const Operand& x, std::int64_t b, std::int64_t head,
                                   std::int64_t row) {
  const Matrix loaded = load_rows(x, b, head, row, 1, side.dim());
  std::vector<float> result(loaded.row(0), loaded.row(0) + side.dim());
  if (side.cache.rotated()) spec::rotate_row(result.data(), side.dim());
  return result;
}

float amax_of(const std::vector<float>& x) {
  float amax = 0;
  for (const float value : x) amax = spec::grow_amax(amax, value);
  return amax;
}
bool all_finite(const std::vector<float>& x) {
  return std::all_of(x.begin(), x.end(), [](float value) { return is_finite(value); });
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

// A stored row without its scale, and that scale.
struct StoredRow {
  std::vector<double> values;
  double scale = 1;
};
StoredRow stored_row(const Side& side, const CacheSequence& entry, std::int64_t head, std::int64_t token) {
  const std::int64_t row = side.cache.row(entry.sequence, head, token);
  StoredRow result;
  for (std::int64_t d = 0; d < side.dim(); ++d)
    result.values.push_back(read_element(side.data(), side.cache.format, side.element(row, d)));
  if (side.cache.has_scales()) result.scale = side.scales()[row];
  return result;
}
StoredRow kept_row(const Side& side, const CacheSequence& entry, std::int64_t head, std::int64_t token) {
  const std::int64_t slot = side.cache.kept_slot(entry.sequence, head, token == 0 ? 0 : 1 + token % kKeptRing);
  StoredRow result;
  for (std::int64_t d = 0; d < side.dim(); ++d)
    result.values.push_back(f16_to_f32(side.kept()[slot * side.columns() + d]));
  result.scale = side.kept_units()[slot];
  return result;
}

// A query row: what meets the codes, and what meets kept and float rows.
struct QueryRow {
  bool finite = true;
  std::vector<double> of_codes, plain;
  double constant = 0;  // softmax_scale * q.mean(K)
};

QueryRow query_row(const CacheAttentionProblem& p, std::int64_t i, std::int64_t q_head, std::int64_t row) {
  const CacheView& cache = p.cache;
  const Matrix loaded = load_rows(p.q, i, q_head, row, 1, cache.head_dim);
  std::vector<float> x(loaded.row(0), loaded.row(0) + cache.head_dim);
  QueryRow q;
  q.finite = all_finite(x);
  if (!q.finite) std::fill(x.begin(), x.end(), 0.0f);
  if (cache.rotated()) spec::rotate_row(x.data(), cache.head_dim);
  q.plain.assign(x.begin(), x.end());
  if (!cache.rotated()) return q;
  const spec::Scale scale = spec::scale_of(amax_of(x), spec::kRangeQ16);
  for (const float value : x)
    q.of_codes.push_back(static_cast<double>(spec::integer_code(value, scale.inverse, spec::kRangeQ16)) *
                         static_cast<double>(scale.scale));
  const float* mean = cache.k_mean + cache.head(p.entries[i].sequence, q_head / p.group()) * cache.mean_columns;
  for (std::size_t d = 0; d < x.size(); ++d) q.constant += p.softmax_scale * q.plain[d] * static_cast<double>(mean[d]);
  return q;
}

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (std::size_t d = 0; d < a.size(); ++d) sum += a[d] * b[d];
  return sum;
}

// The running state of a row, in natural units.
struct RowState {
  double m = -kInfinity, l = 0;
  bool sees = false, is_nan = false;
  std::vector<double> o;

  // Keys with scores `s` and weights 2^...: `value[j]` is what the weight exp(s - r) of key j multiplies.
  void add(double r, double weight_sum, const std::vector<double>& sums) {
    const double next = std::max(m, r), alpha = m == -kInfinity ? 0.0 : std::exp(m - next), beta = std::exp(r - next);
    m = next;
    l = l * alpha + beta * weight_sum;
    for (std::size_t d = 0; d < o.size(); ++d) o[d] = o[d] * alpha + beta * sums[d];
  }
};

class RowAttention {
 public:
  RowAttention(const CacheAttentionProblem& p, std::int64_t i, std::int64_t q_head, std::int64_t row)
      : p_(p),
        entry_(p.entries[i]),
        head_(q_head / p.group()),
        q_(query_row(p, i, q_head, row)),
        seen_(spec::visible_keys(p.causal, p.window_left, p.window_right, p.q_rows, entry_.keys, row)) {
    state_.o.assign(static_cast<std::size_t>(p.cache.value_dim), 0.0);
    if (p.cache.kept_k != nullptr)
      near_ = spec::cache_near_keys(spec::diagonal(p.causal, p.q_rows, entry_.keys, row), seen_, entry_.kept_begin);
  }

  RowState run() {
    for (std::int64_t block = 0; block < entry_.keys; block += spec::kCacheKeyBlock) add_block(block);
    for (std::int64_t key = seen_.begin; key < seen_.end; ++key) {
      if (is_kept(key)) add_kept(key);
    }
    return state_;
  }
  double constant() const { return q_.constant; }

 private:
  bool is_kept(std::int64_t key) const {
    return p_.cache.kept_k != nullptr && (key == 0 || (key >= near_.begin && key < near_.end));
  }
  double score(double product) const {
    if (p_.softcap > 0) return p_.softcap * std::tanh((p_.softmax_scale * product + q_.constant) / p_.softcap);
    return p_.softmax_scale * product;
  }
  void see(double s, double v_scale) {
    state_.sees = true;
    if (!q_.finite || std::isnan(s) || std::isnan(v_scale)) state_.is_nan = true;
  }

  void add_kept(std::int64_t key) {
    const StoredRow k = kept_row({p_.cache, true}, entry_, head_, key);
    const StoredRow v = kept_row({p_.cache, false}, entry_, head_, key);
    const double s = score(dot(q_.plain, k.values) * k.scale);
    see(s, v.scale);
    if (state_.is_nan) return;
    std::vector<double> sums;
    for (const double value : v.values) sums.push_back(value * v.scale);
    state_.add(s, 1, sums);
  }

  void add_block(std::int64_t start) {
    const bool codes = p_.cache.rotated();
    std::vector<double> scores;
    std::vector<StoredRow> values;
    const std::int64_t end = std::min(start + spec::kCacheKeyBlock, entry_.keys);
    for (std::int64_t key = std::max(start, seen_.begin); key < std::min(end, seen_.end); ++key) {
      if (is_kept(key)) continue;
      const StoredRow k = stored_row({p_.cache, true}, entry_, head_, key);
      scores.push_back(score(dot(codes ? q_.of_codes : q_.plain, k.values) * k.scale));
      values.push_back(stored_row({p_.cache, false}, entry_, head_, key));
      see(scores.back(), values.back().scale);
    }
    if (scores.empty() || state_.is_nan) return;
    const double r = *std::max_element(scores.begin(), scores.end());
    double sum = 0, most = 0;
    std::vector<double> u;
    for (std::size_t j = 0; j < scores.size(); ++j) {
      const double w = std::exp(scores[j] - r);
      sum += w;
      u.push_back(w * values[j].scale);
      most = std::max(most, u.back());
    }
    std::vector<double> sums(state_.o.size(), 0.0);
    for (std::size_t j = 0; j < scores.size(); ++j) {
      double weight = u[j];
      if (codes)
        weight = most == 0 ? 0
                           : std::nearbyint(u[j] / most * spec::kCacheWeightRange) * most /
                                 static_cast<double>(spec::kCacheWeightRange);
      for (std::size_t d = 0; d < sums.size(); ++d) sums[d] += weight * values[j].values[d];
    }
    state_.add(r, sum, sums);
  }

  const CacheAttentionProblem& p_;
  const CacheSequence entry_;
  const std::int64_t head_;
  const QueryRow q_;
  const spec::KeyRange seen_;
  spec::KeyRange near_{0, 0};
  RowState state_;
};

void attend_row(const CacheAttentionProblem& p, std::int64_t i, std::int64_t q_head, std::int64_t row) {
  RowAttention attention(p, i, q_head, row);
  RowState state = attention.run();
  double sink = -kInfinity;
  if (p.sinks.data != nullptr)
    sink = read_element(p.sinks.data, p.sinks.dtype, i * p.sinks.strides[0] + q_head * p.sinks.strides[1]);
  double lse = sink;
  std::vector<double>& o = state.o;
  if (state.sees) {
    const double constant = p.softcap > 0 ? 0.0 : attention.constant();
    const double m = std::max(state.m, sink - constant);
    const double l = state.l * std::exp(state.m - m) + std::exp(sink - constant - m);
    for (double& value : o) value *= std::exp(state.m - m) / l;
    lse = m + std::log(l) + constant;
    if (p.cache.rotated()) spec::rotate_row_back(o.data(), p.cache.value_dim);
    if (state.is_nan || std::isnan(sink) || sink == kInfinity) {
      std::fill(o.begin(), o.end(), static_cast<double>(kNan));
      lse = static_cast<double>(kNan);
    }
  }
  store_output_row(p.out, i, q_head, row, o.data(), p.cache.value_dim);
  if (p.lse != nullptr)
    p.lse[i * p.lse_strides[0] + q_head * p.lse_strides[1] + row * p.lse_strides[2]] = static_cast<float>(lse);
}

}  // namespace

void append(const CacheAppendProblem& problem) {
  for (std::int64_t i = 0; i < problem.count; ++i)
    for (std::int64_t head = 0; head < problem.cache.kv_heads; ++head) append_head(problem, i, head);
}

void attention(const CacheAttentionProblem& problem) {
  for (std::int64_t i = 0; i < problem.batch; ++i)
    for (std::int64_t head = 0; head < problem.q_heads; ++head)
      for (std::int64_t row = 0; row < problem.q_rows; ++row) attend_row(problem, i, head, row);
}

}  // namespace octavo::reference
