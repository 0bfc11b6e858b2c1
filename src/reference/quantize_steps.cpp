// The order of the steps for each operand; the arithmetic of each step is in src/spec.
#include "reference/quantize_steps.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "reference/operand.hpp"
#include "spec/format.hpp"
#include "spec/mean.hpp"
#include "spec/rotation.hpp"
#include "spec/scale.hpp"

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

// c_d = the channel's amax divided by the geometric mean of all channels' amax; channels without values keep 1.
std::vector<float> channel_gains(const Matrix& v) {
  std::vector<float> gains(static_cast<std::size_t>(v.cols), 0.0f);
  double log_sum = 0;
  std::int64_t count = 0;
  for (std::int64_t c = 0; c < v.cols; ++c) {
    float& amax = gains[static_cast<std::size_t>(c)];
    for (std::int64_t row = 0; row < v.rows; ++row) amax = spec::grow_amax(amax, v.at(row, c));
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

std::vector<float> column_means(const Matrix& x, std::int64_t first, std::int64_t rows) {
  std::vector<float> means(static_cast<std::size_t>(x.cols));
  for (std::int64_t c = 0; c < x.cols; ++c) {
    means[static_cast<std::size_t>(c)] = spec::column_mean(x.row(first) + c, rows, x.cols);
  }
  return means;
}

void subtract_means(Matrix& x, std::int64_t first, std::int64_t rows, const float* means) {
  for (std::int64_t row = first; row < first + rows; ++row) {
    for (std::int64_t c = 0; c < x.cols; ++c) x.at(row, c) -= means[c];
  }
}

QuantizedRows round_rows(const Matrix& x, Format format, spec::Groups groups, float range) {
  if (range == 0) range = spec::range_of(format);
  // A token of V without a value adds nothing, and the fold wants to know how large it is: scale 0.
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

QuantizedRows quantize_q(Matrix q, const Recipe& recipe, bool wide) {
  if (recipe.hadamard) rotate_rows(q);
  Matrix rotated = q;
  Matrix means;
  if (recipe.smooth_q && !wide) {
    means = Matrix((q.rows + spec::kQueryBlock - 1) / spec::kQueryBlock, q.cols);
    for (std::int64_t block = 0; block < means.rows; ++block) {
      const std::int64_t first = block * spec::kQueryBlock;
      const std::int64_t rows = std::min(spec::kQueryBlock, q.rows - first);
      const std::vector<float> mean = column_means(q, first, rows);
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

QuantizedRows quantize_k(Matrix k, const Recipe& recipe) {
  if (recipe.hadamard) rotate_rows(k);
  Matrix means;
  if (recipe.smooth_k) {
    means = Matrix(1, k.cols);
    const std::vector<float> mean = column_means(k, 0, k.rows);
    std::copy(mean.begin(), mean.end(), means.row(0));
    subtract_means(k, 0, k.rows, means.row(0));
  }
  QuantizedRows result = round_rows(k, recipe.scores, spec::groups_of(Role::k, recipe));
  result.means = std::move(means);
  result.finite = finite_rows(k, result.scales);
  result.floats = std::move(k);
  return result;
}

QuantizedRows quantize_v(Matrix v, const Recipe& recipe) {
  if (recipe.hadamard_v) rotate_rows(v);
  std::vector<float> gains;
  if (recipe.channel_gains) {
    gains = channel_gains(v);
    for (std::int64_t row = 0; row < v.rows; ++row) {
      for (std::int64_t c = 0; c < v.cols; ++c) v.at(row, c) /= gains[static_cast<std::size_t>(c)];
    }
  }
  Matrix means;
  if (recipe.smooth_v) {
    means = Matrix(1, v.cols);
    const std::vector<float> mean = column_means(v, 0, v.rows);
    std::copy(mean.begin(), mean.end(), means.row(0));
    subtract_means(v, 0, v.rows, means.row(0));
  }
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
