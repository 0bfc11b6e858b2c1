// The oracle of attention over a key-value cache: over the codes as they are stored, with the arithmetic of
// docs/kv_cache.md in double, one row and one key at a time.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "reference/cache_masks.hpp"
#include "reference/cache_side.hpp"
#include "reference/operand.hpp"
#include "reference/reference.hpp"
#include "spec/rotation.hpp"

namespace octavo::reference {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

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
  const Matrix loaded = load_rows(p.q, i, q_head, p.entries[i].q_begin + row, 1, cache.head_dim);
  std::vector<float> x(loaded.row(0), loaded.row(0) + cache.head_dim);
  QueryRow q;
  q.finite = all_finite(x);
  if (!q.finite) std::fill(x.begin(), x.end(), 0.0f);
  if (cache.rotated()) spec::rotate_row(x.data(), cache.head_dim);
  q.plain.assign(x.begin(), x.end());
  if (!cache.rotated()) return q;
  const float range = spec::cache_query_range(cache.format);
  const spec::Scale scale = spec::scale_of(amax_of(x), range);
  for (const float value : x)
    q.of_codes.push_back(static_cast<double>(spec::integer_code(value, scale.inverse, range)) *
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
        seen_(spec::visible_keys(p.causal, p.window_left, p.window_right, entry_.q_rows, entry_.keys, row)),
        terms_(cache_terms(p, i, q_head, row, seen_)) {
    state_.o.assign(static_cast<std::size_t>(p.cache.value_dim), 0.0);
    if (p.cache.kept_k != nullptr)
      near_ =
          spec::cache_near_keys(spec::diagonal(p.causal, entry_.q_rows, entry_.keys, row), seen_, entry_.kept_begin);
  }

  RowState run() {
    for (std::int64_t block = 0; block < entry_.keys; block += spec::kCacheKeyBlock) add_block(block);
    for (std::int64_t key = seen_.begin; key < seen_.end; ++key) {
      if (is_kept(key) && !is_hidden(key)) add_kept(key);
    }
    return state_;
  }
  double constant() const { return q_.constant; }
  double common() const { return terms_.common; }

 private:
  bool is_kept(std::int64_t key) const {
    return p_.cache.kept_k != nullptr && (key == 0 || (key >= near_.begin && key < near_.end));
  }
  double term(std::int64_t key) const { return terms_.of_key[static_cast<std::size_t>(key)]; }
  bool is_hidden(std::int64_t key) const { return term(key) == -kInfinity; }
  double score(double product, std::int64_t key) const {
    double s = p_.softmax_scale * product;
    if (p_.softcap > 0) s = p_.softcap * std::tanh((s + q_.constant) / p_.softcap);
    return s + term(key);
  }
  void see(double s, double v_scale) {
    state_.sees = true;
    if (!q_.finite || std::isnan(s) || s == kInfinity || std::isnan(v_scale)) state_.is_nan = true;
  }

  void add_kept(std::int64_t key) {
    const StoredRow k = kept_row({p_.cache, true}, entry_, head_, key);
    const StoredRow v = kept_row({p_.cache, false}, entry_, head_, key);
    const double s = score(dot(q_.plain, k.values) * k.scale, key);
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
      if (is_kept(key) || is_hidden(key)) continue;
      const StoredRow k = stored_row({p_.cache, true}, entry_, head_, key);
      scores.push_back(score(dot(codes ? q_.of_codes : q_.plain, k.values) * k.scale, key));
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
      const auto range = static_cast<double>(spec::cache_weight_range(p_.cache.format));
      if (codes) weight = most == 0 ? 0 : std::nearbyint(u[j] / most * range) * most / range;
      for (std::size_t d = 0; d < sums.size(); ++d) sums[d] += weight * values[j].values[d];
    }
    state_.add(r, sum, sums);
  }

  const CacheAttentionProblem& p_;
  const CacheSequence entry_;
  const std::int64_t head_;
  const QueryRow q_;
  const spec::KeyRange seen_;
  const CacheTerms terms_;
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
    // Without the mask's common term, which would cost the scores their digits.
    const double constant = p.softcap > 0 ? 0.0 : attention.constant(), rest = sink - constant - attention.common();
    const double m = std::max(state.m, rest);
    const double l = state.l * std::exp(state.m - m) + std::exp(rest - m);
    for (double& value : o) value *= std::exp(state.m - m) / l;
    lse = m == rest && rest > state.m ? sink + std::log(l) : m + std::log(l) + constant + attention.common();
    if (p.cache.rotated()) spec::rotate_row_back(o.data(), p.cache.value_dim);
    if (state.is_nan || std::isnan(sink) || sink == kInfinity) {
      std::fill(o.begin(), o.end(), static_cast<double>(kNan));
      lse = static_cast<double>(kNan);
    }
  }
  const std::int64_t out_row = p.entries[i].q_begin + row;
  store_output_row(p.out, i, q_head, out_row, o.data(), p.cache.value_dim);
  if (p.lse != nullptr)
    p.lse[i * p.lse_strides[0] + q_head * p.lse_strides[1] + out_row * p.lse_strides[2]] = static_cast<float>(lse);
}

}  // namespace

void attention(const CacheAttentionProblem& problem) {
  for (std::int64_t i = 0; i < problem.batch; ++i)
    for (std::int64_t head = 0; head < problem.q_heads; ++head)
      for (std::int64_t row = 0; row < problem.entries[i].q_rows; ++row) attend_row(problem, i, head, row);
}

}  // namespace octavo::reference
