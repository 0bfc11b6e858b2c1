// The order of the steps for each operand; the arithmetic of each step is in src/spec.
#include "reference/quantize_steps.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "reference/operand.hpp"
#include "spec/block_mean.hpp"
#include "spec/format.hpp"
#include "spec/mean.hpp"
#include "spec/qk_gain.hpp"
#include "spec/rotation.hpp"
#include "spec/scale.hpp"
#include "spec/stray_rows.hpp"
#include "spec/value_centre.hpp"

namespace octavo::reference {
namespace {

// The value of x's code.
float rounded(float x, float inverse, Format format, float range) {
  switch (format) {
    case Format::s8:
    case Format::s4:
      return static_cast<float>(spec::integer_code(x, inverse, range));
    case Format::e4m3:
      return e4m3_to_f32(spec::e4m3_code(x, inverse));
    case Format::e5m2:
      return e5m2_to_f32(spec::e5m2_code(x, inverse));
    case Format::f16:
      return f16_to_f32(f32_to_f16(x));
    case Format::input:
      return x;
  }
  return x;
}

std::vector<bool> finite_rows(const Matrix& floats, const Scales& scales) {
  std::vector<bool> finite(static_cast<std::size_t>(floats.rows), true);
  for (std::int64_t row = 0; row < floats.rows; ++row) {
    bool ok = std::isfinite(scales.at(row, 0));
    for (std::int64_t c = 0; c < floats.cols; ++c) ok = ok && is_finite(floats.at(row, c));
    finite[static_cast<std::size_t>(row)] = ok;
  }
  return finite;
}

float row_amax(const Matrix& x, std::int64_t row) {
  float amax = 0;
  for (std::int64_t c = 0; c < x.cols; ++c) amax = spec::grow_amax(amax, x.at(row, c));
  return amax;
}

// A channel's mean over blocks of 128 rows of max |x - mean of the block's|, over the rows that count.
float mean_spread(const Matrix& x, std::int64_t c, const RowFlags& counted,
                  const std::vector<std::vector<float>>& mean_of_block) {
  float sum = 0;
  std::int64_t blocks = 0;
  for (std::int64_t first = 0; first < x.rows; first += spec::kMeanBlock) {
    const float mean = mean_of_block[static_cast<std::size_t>(first / spec::kMeanBlock) % mean_of_block.size()]
                                    [static_cast<std::size_t>(c)];
    float low = std::numeric_limits<float>::infinity(), high = -low;
    for (std::int64_t row = first; row < std::min(x.rows, first + spec::kMeanBlock); ++row) {
      if (!flag(counted, row) || !is_finite(x.at(row, c))) continue;
      low = std::min(low, x.at(row, c));
      high = std::max(high, x.at(row, c));
    }
    if (low > high) continue;
    sum += spec::spread(low, high, mean);
    ++blocks;
  }
  return blocks > 0 ? sum / static_cast<float>(blocks) : 0.0f;
}

// V's centre under the fold (spec/value_centre.hpp), in the domain of the values as given.
std::vector<float> value_centre(const Matrix& v, const RowFlags& seen) {
  std::vector<float> sums(static_cast<std::size_t>(v.cols), 0.0f);
  float weights = 0;
  for (std::int64_t first = 0; first < v.rows; first += spec::kMeanBlock) {
    std::vector<float> block_sums(sums.size(), 0.0f);
    float block_weights = 0;
    for (std::int64_t row = first; row < std::min(v.rows, first + spec::kMeanBlock); ++row) {
      if (!flag(seen, row)) continue;
      bool finite = true;
      for (std::int64_t c = 0; c < v.cols; ++c) finite = finite && is_finite(v.at(row, c));
      const float weight = spec::centre_weight(row_amax(v, row), finite);
      if (weight == 0) continue;
      block_weights += weight;
      for (std::int64_t c = 0; c < v.cols; ++c) block_sums[static_cast<std::size_t>(c)] += weight * v.at(row, c);
    }
    weights += block_weights;
    for (std::size_t c = 0; c < sums.size(); ++c) sums[c] += block_sums[c];
  }
  for (float& sum : sums) sum = spec::centre_of(sum, weights);
  return sums;
}

// c_d = the channel's amax divided by the geometric mean of all channels' amax; channels without values keep 1.
std::vector<float> channel_gains(const Matrix& v, const RowFlags& seen) {
  std::vector<float> gains(static_cast<std::size_t>(v.cols), 0.0f);
  double log_sum = 0;
  std::int64_t count = 0;
  for (std::int64_t c = 0; c < v.cols; ++c) {
    float& amax = gains[static_cast<std::size_t>(c)];
    for (std::int64_t row = 0; row < v.rows; ++row) {
      if (flag(seen, row)) amax = spec::grow_amax(amax, v.at(row, c));
    }
    if (amax > 0) {
      log_sum += std::log(static_cast<double>(amax));
      ++count;
    }
  }
  const double typical = count > 0 ? std::exp(log_sum / static_cast<double>(count)) : 1.0;
  for (float& gain : gains) gain = gain > 0 ? static_cast<float>(gain / typical) : 1.0f;
  return gains;
}

}  // namespace

void rotate_rows(Matrix& x) {
  for (std::int64_t row = 0; row < x.rows; ++row) spec::rotate_row(x.row(row), x.cols);
}

void scale_columns(Matrix& x, const std::vector<float>& factors) {
  for (std::int64_t row = 0; row < x.rows; ++row) {
    for (std::int64_t c = 0; c < x.cols; ++c) x.at(row, c) *= factors[static_cast<std::size_t>(c)];
  }
}

void clear_unseen(Matrix& x, const RowFlags& seen) {
  for (std::int64_t row = 0; row < x.rows; ++row) {
    if (!flag(seen, row)) std::fill(x.row(row), x.row(row) + x.cols, 0.0f);
  }
}

RowFlags counted_rows(const Matrix& x, std::int64_t first, std::int64_t rows, const RowFlags& seen, bool robust) {
  RowFlags counted(static_cast<std::size_t>(x.rows), false);
  spec::ExponentHistogram magnitudes;
  for (std::int64_t row = first; row < first + rows; ++row) {
    counted[static_cast<std::size_t>(row)] = flag(seen, row);
    if (flag(seen, row)) spec::add_row(magnitudes, row_amax(x, row));
  }
  const std::uint32_t limit = robust ? spec::exponent_limit(magnitudes) : spec::kAnyExponent;
  for (std::int64_t row = first; row < first + rows; ++row) {
    if (spec::is_stray(row_amax(x, row), limit)) counted[static_cast<std::size_t>(row)] = false;
  }
  return counted;
}

std::vector<float> column_means(const Matrix& x, std::int64_t first, std::int64_t rows, const RowFlags& counted) {
  std::vector<float> means(static_cast<std::size_t>(x.cols));
  for (std::int64_t c = 0; c < x.cols; ++c) {
    means[static_cast<std::size_t>(c)] =
        spec::column_mean(x.row(first) + c, rows, x.cols, [&](std::int64_t row) { return flag(counted, first + row); });
  }
  return means;
}

std::vector<float> qk_gains(const std::vector<Matrix>& q_heads, const Matrix& k, const RowFlags& seen, bool robust) {
  const RowFlags counted_k = counted_rows(k, 0, k.rows, seen, robust);
  const std::vector<float> mean_of_k = column_means(k, 0, k.rows, counted_k);
  std::vector<float> gains(static_cast<std::size_t>(k.cols)), spread_of_q(gains.size(), 0.0f);
  for (const Matrix& q : q_heads) {
    RowFlags counted(static_cast<std::size_t>(q.rows));
    std::vector<std::vector<float>> means;
    for (std::int64_t first = 0; first < q.rows; first += spec::kQueryBlock) {
      const std::int64_t rows = std::min(spec::kQueryBlock, q.rows - first);
      const RowFlags of_block = counted_rows(q, first, rows, {}, robust);
      for (std::int64_t row = first; row < first + rows; ++row) {
        counted[static_cast<std::size_t>(row)] = of_block[static_cast<std::size_t>(row)];
      }
      means.push_back(column_means(q, first, rows, of_block));
    }
    for (std::int64_t c = 0; c < k.cols; ++c) {
      float& u = spread_of_q[static_cast<std::size_t>(c)];
      u = std::max(u, mean_spread(q, c, counted, means));
    }
  }
  for (std::int64_t c = 0; c < k.cols; ++c) {
    const auto i = static_cast<std::size_t>(c);
    gains[i] = spec::gain_of(spread_of_q[i], mean_spread(k, c, counted_k, {mean_of_k}));
  }
  return gains;
}

Matrix block_means(const Matrix& k, const RowFlags& counted, const std::vector<float>& mean,
                   const std::vector<float>& gains) {
  Matrix means((k.rows + spec::kMeanBlock - 1) / spec::kMeanBlock, k.cols);
  spec::BlockMeanEvidence evidence;
  for (std::int64_t c = 0; c < k.cols; ++c) {
    const auto i = static_cast<std::size_t>(c);
    spec::ChannelSpreads spreads;
    for (std::int64_t block = 0; block < means.rows; ++block) {
      const std::int64_t first = block * spec::kMeanBlock, last = std::min(k.rows, first + spec::kMeanBlock);
      float low = std::numeric_limits<float>::infinity(), high = -low, count = 0;
      for (std::int64_t row = first; row < last; ++row) {
        if (!flag(counted, row) || !is_finite(k.at(row, c))) continue;
        low = std::min(low, k.at(row, c));
        high = std::max(high, k.at(row, c));
        ++count;
      }
      const float own = spec::column_mean(k.row(first) + c, last - first, k.cols,
                                          [&](std::int64_t row) { return flag(counted, first + row); });
      means.at(block, c) = low > high ? mean[i] : own;
      spec::add_spreads(spreads, count, low, high, mean[i], own);
    }
    spec::add_channel(evidence, spreads, gains[i]);
  }
  return spec::takes_block_means(evidence) ? means : Matrix();
}

void subtract_means(Matrix& x, std::int64_t first, std::int64_t rows, const float* means) {
  for (std::int64_t row = first; row < first + rows; ++row) {
    for (std::int64_t c = 0; c < x.cols; ++c) x.at(row, c) -= means[c];
  }
}

QuantizedRows round_rows(const Matrix& x, Format format, spec::Groups groups, float range) {
  if (range == 0) range = spec::range_of(format);
  // A token of V that is all zeros has the scale 0: it adds nothing to O.
  const bool tokens_of_v = groups.role == Role::v && (groups.granularity == Granularity::token ||
                                                      groups.granularity == Granularity::token_folded);
  const bool scaled = groups.granularity != Granularity::none;

  QuantizedRows result;
  result.codes = Matrix(x.rows, x.cols);
  result.scales = {groups, x.cols, {}};
  const auto scale_count = static_cast<std::size_t>(spec::scales_per_head(groups, x.rows, x.cols));
  const auto group_of = [&](std::int64_t row, std::int64_t c) {
    const std::int64_t group = spec::group_of_row(groups, row);
    return static_cast<std::size_t>(spec::per_channel(groups.granularity) ? group * x.cols + c : group);
  };

  std::vector<float> amax(scale_count, 0.0f);
  std::vector<bool> finite(scale_count, true);
  for (std::int64_t row = 0; scaled && row < x.rows; ++row) {
    for (std::int64_t c = 0; c < x.cols; ++c) {
      const std::size_t group = group_of(row, c);
      amax[group] = spec::grow_amax(amax[group], x.at(row, c));
      if (!is_finite(x.at(row, c))) finite[group] = false;
    }
  }

  std::vector<float> inverse(scale_count);
  result.scales.values.resize(scale_count);
  for (std::size_t group = 0; group < scale_count; ++group) {
    const spec::Scale scale = spec::scale_of(amax[group], range, tokens_of_v ? 0.0f : 1.0f);
    inverse[group] = scale.inverse;
    result.scales.values[group] = finite[group] ? scale.scale : std::numeric_limits<float>::quiet_NaN();
  }

  for (std::int64_t row = 0; row < x.rows; ++row) {
    for (std::int64_t c = 0; c < x.cols; ++c) {
      result.codes.at(row, c) = rounded(x.at(row, c), scaled ? inverse[group_of(row, c)] : 1.0f, format, range);
    }
  }
  return result;
}

QuantizedRows quantize_q(Matrix q, const Recipe& recipe, bool wide, const std::vector<float>& gains) {
  if (!gains.empty()) {
    std::vector<float> inverse;
    for (float gain : gains) inverse.push_back(1.0f / gain);
    scale_columns(q, inverse);
  }
  if (recipe.hadamard) rotate_rows(q);
  Matrix rotated = q;
  Matrix means;
  if (recipe.smooth_q && !wide) {
    means = Matrix((q.rows + spec::kQueryBlock - 1) / spec::kQueryBlock, q.cols);
    for (std::int64_t block = 0; block < means.rows; ++block) {
      const std::int64_t first = block * spec::kQueryBlock;
      const std::int64_t rows = std::min(spec::kQueryBlock, q.rows - first);
      const std::vector<float> mean = column_means(q, first, rows, counted_rows(q, first, rows, {}, recipe.robust));
      std::copy(mean.begin(), mean.end(), means.row(block));
      subtract_means(q, first, rows, means.row(block));
    }
  }
  const spec::Groups groups = spec::groups_of(Role::q, recipe);
  QuantizedRows result =
      wide ? round_rows(q, Format::s8, groups, spec::kRangeQ16) : round_rows(q, recipe.scores, groups);
  result.means = std::move(means);
  result.finite = finite_rows(rotated, result.scales);
  result.floats = std::move(rotated);
  return result;
}

QuantizedRows quantize_k(Matrix k, const Recipe& recipe, const RowFlags& seen, const std::vector<float>& gains) {
  Matrix means, of_blocks;
  if (recipe.smooth_k) means = Matrix(1, k.cols);
  if (!gains.empty()) {
    // Means are those of K as given, as the gains' statistics are; then they are multiplied and rotated like K.
    if (recipe.smooth_k) {
      const RowFlags counted = counted_rows(k, 0, k.rows, seen, recipe.robust);
      const std::vector<float> mean = column_means(k, 0, k.rows, counted);
      std::copy(mean.begin(), mean.end(), means.row(0));
      if (spec::divides_mean_blocks(recipe.key_block)) of_blocks = block_means(k, counted, mean, gains);
      for (Matrix* m : {&means, &of_blocks}) {
        scale_columns(*m, gains);
        if (recipe.hadamard) rotate_rows(*m);
      }
    }
    scale_columns(k, gains);
  }
  if (recipe.hadamard) rotate_rows(k);
  if (recipe.smooth_k && gains.empty()) {
    const std::vector<float> mean = column_means(k, 0, k.rows, counted_rows(k, 0, k.rows, seen, recipe.robust));
    std::copy(mean.begin(), mean.end(), means.row(0));
  }
  Matrix coded = k;
  if (recipe.smooth_k) subtract_means(k, 0, k.rows, means.row(0));
  clear_unseen(k, seen);
  for (std::int64_t block = 0; block < of_blocks.rows; ++block) {
    const std::int64_t first = block * spec::kMeanBlock;
    subtract_means(coded, first, std::min(spec::kMeanBlock, k.rows - first), of_blocks.row(block));
  }
  clear_unseen(coded, seen);
  QuantizedRows result = round_rows(of_blocks.empty() ? k : coded, recipe.scores, spec::groups_of(Role::k, recipe));
  if (!of_blocks.empty()) subtract_means(of_blocks, 0, of_blocks.rows, means.row(0));
  result.block_shifts = std::move(of_blocks);
  result.means = std::move(means);
  result.finite = finite_rows(k, result.scales);
  result.floats = std::move(k);
  return result;
}

QuantizedRows quantize_v(Matrix v, const Recipe& recipe, const RowFlags& seen) {
  const bool folded = recipe.v_scale == Granularity::token_folded;
  Matrix means;
  if (recipe.smooth_v) means = Matrix(1, v.cols);
  if (recipe.smooth_v && folded) {
    const std::vector<float> centre = value_centre(v, seen);
    std::copy(centre.begin(), centre.end(), means.row(0));
    if (recipe.hadamard_v) rotate_rows(means);
  }
  if (recipe.hadamard_v) rotate_rows(v);
  std::vector<float> gains;
  if (recipe.channel_gains) {
    Matrix centred = v;
    if (!means.empty()) subtract_means(centred, 0, v.rows, means.row(0));
    gains = channel_gains(centred, seen);
    for (std::int64_t row = 0; row < v.rows; ++row) {
      for (std::int64_t c = 0; c < v.cols; ++c) v.at(row, c) /= gains[static_cast<std::size_t>(c)];
    }
    for (std::int64_t c = 0; c < means.cols; ++c) means.at(0, c) /= gains[static_cast<std::size_t>(c)];
  }
  if (recipe.smooth_v && folded) subtract_means(v, 0, v.rows, means.row(0));
  if (recipe.smooth_v && !folded) {
    const std::vector<float> mean = column_means(v, 0, v.rows, seen);
    std::copy(mean.begin(), mean.end(), means.row(0));
    subtract_means(v, 0, v.rows, means.row(0));
  }
  clear_unseen(v, seen);
  float divisor = 1.0f;
  if (recipe.values == Format::f16) {
    float amax = 0.0f;
    for (float x : v.data) amax = spec::grow_amax(amax, x);
    divisor = spec::f16_value_divisor(amax);
    for (float& x : v.data) x /= divisor;
  }
  QuantizedRows result =
      round_rows(v, recipe.values, spec::groups_of(Role::v, recipe), static_cast<float>(recipe.v_range));
  result.means = std::move(means);
  result.gains = std::move(gains);
  result.value_divisor = divisor;
  return result;
}

QuantizedRows from_codes(const Operand& operand, Role role, const Recipe& recipe, std::int64_t b, std::int64_t h,
                         const spec::ScalePlace& place, std::int64_t first, std::int64_t rows, std::int64_t dim) {
  const spec::Groups groups = spec::groups_of(role, recipe);
  QuantizedRows result;
  result.codes = load_rows(operand, b, h, first, rows, dim);
  result.scales = {groups, dim, {}};
  if (const float* scales = spec::scales_at(operand, place, h); scales != nullptr) {
    result.scales.values.assign(scales, scales + spec::scales_per_head(groups, rows, dim));
  }
  if (const float* means = spec::means_at(operand, place, h); means != nullptr) {
    result.means = Matrix(role == Role::q ? spec::query_blocks(rows) : 1, dim);
    std::copy(means, means + result.means.rows * dim, result.means.data.begin());
  }
  if (role == Role::v) return result;

  result.floats = Matrix(rows, dim);
  for (std::int64_t row = 0; row < rows; ++row) {
    const float* mean = role == Role::q && !result.means.empty() ? result.means.row(row / spec::kQueryBlock) : nullptr;
    for (std::int64_t c = 0; c < dim; ++c) {
      const float value = result.codes.at(row, c) * result.scales.at(row, c);
      result.floats.at(row, c) = mean != nullptr ? value + mean[c] : value;
    }
  }
  result.finite = finite_rows(result.floats, result.scales);
  return result;
}

}  // namespace octavo::reference
