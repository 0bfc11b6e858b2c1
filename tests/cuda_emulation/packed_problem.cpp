#include "packed_problem.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "core/float_types.hpp"
#include "cuda/operands/bf16_planes.hpp"
#include "reference/operand.hpp"
#include "reference/quantize_steps.hpp"
#include "reference/score_steps.hpp"
#include "reference/softmax_steps.hpp"
#include "spec/format.hpp"
#include "spec/granularity.hpp"
#include "spec/q16.hpp"
#include "spec/scale.hpp"

namespace octavo::test {
namespace {

using cuda::kPackedRows;
using cuda::PackedFormat;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

PackedFormat format_of(Format format, DType input) {
  switch (format) {
    case Format::s8:
    case Format::s4:
      return PackedFormat::s8;
    case Format::f16:
      return PackedFormat::f16;
    case Format::e4m3:
    case Format::e5m2:
      return PackedFormat::float8;
    default:
      return input == DType::f32 ? PackedFormat::f32 : input == DType::bf16 ? PackedFormat::bf16 : PackedFormat::f16;
  }
}

bool scales_by_block(Granularity granularity) {
  return granularity == Granularity::block || granularity == Granularity::block_channel;
}

}  // namespace

bool PackedProblem::serves(const Problem& p) {
  const Recipe& r = p.recipe;
  const bool integer_scores = r.scores == Format::s8 || r.scores == Format::s4;
  const bool integer_values = r.values == Format::s8 || r.values == Format::s4;
  const bool f16_sums = r.accumulator == Accumulator::f16;
  if ((r.accumulator != Accumulator::f32 && !f16_sums) || (f16_sums && (!r.two_level || r.key_block != 64)))
    return false;
  const bool float8_scores = spec::is_float8(r.scores);
  if ((integer_scores || float8_scores) && spec::is_float8(r.values)) {
    const bool blocks = float8_scores && scales_by_block(r.v_scale);
    return spec::is_float8(r.p) && r.key_block == (float8_scores ? 128 : 64) &&
           r.p_reference == MaximumReference::running &&
           (blocks || r.v_scale == Granularity::channel || r.v_scale == Granularity::tensor ||
            r.v_scale == Granularity::none);
  }
  if (r.key_block != kPackedRows && !f16_sums) return false;
  if (integer_scores && integer_values) {
    return spec::is_integer(r.p) && r.v_scale != Granularity::token;
  }
  if (r.p_reference != MaximumReference::running || r.p_range != 1 || r.v_scale != Granularity::none) return false;
  if (integer_scores) return r.values == Format::f16 && r.p == WeightFormat::f16;
  return r.scores == Format::input && r.values == Format::input && r.p == WeightFormat::input;
}

PackedProblem::PackedProblem(const Problem& problem, bool e4m3_codes) : problem_(problem) {
  const Problem& p = problem_;
  const Recipe& r = p.recipe;
  dim_ = cuda::packed_dim(p.head_dim, p.value_dim);
  scores_ = format_of(r.scores, p.q.dtype);
  values_ = format_of(r.values, p.v.dtype);
  if (e4m3_codes && r.values == Format::e4m3 && r.p == WeightFormat::e4m3) {
    if (r.scores == Format::e4m3) scores_ = PackedFormat::e4m3;
    if (cuda::is_byte(scores_)) values_ = PackedFormat::e4m3;
  }
  fold_ = r.v_scale == Granularity::token_folded;
  modifies_ = p.modifies_scores();
  p16_ = r.p == WeightFormat::u16;
  smooth_q_ = r.smooth_q;

  auto& to = params_;
  to.queries = {p.batch, p.q_heads, p.q_rows, {}, p.cu_seqlens_q, {}};
  to.keys = {p.batch, p.kv_heads, p.k_rows, p.kv_lens, p.cu_seqlens_k, {}};
  for (cuda::DeviceSequences* each : {&to.queries, &to.keys}) {
    each->grid = p.varlen() ? cuda::grid_of_varlen(p.batch, each->rows) : cuda::grid_of_batch(each->heads, each->rows);
  }
  to.value_dim = p.value_dim;
  to.causal = p.causal, to.window_left = p.window_left, to.window_right = p.window_right;
  to.softmax_scale = static_cast<float>(p.softmax_scale);
  to.logit_scale = static_cast<float>(p.softmax_scale * std::numbers::log2e);
  to.softcap = static_cast<float>(p.softcap);
  to.mask = p.mask, to.alibi_slopes = p.alibi_slopes, to.sinks = p.sinks;
  to.alibi = p.alibi;
  to.p_range = static_cast<float>(r.p_range);
  to.log2_p_range = std::log2(to.p_range);
  to.running_maximum = r.p_reference == MaximumReference::running;
  to.sum_codes = r.row_sum == RowSum::codes;
  to.p_rounding = cuda::float8_rounding(r.p == WeightFormat::e5m2);
  to.f16_sums = r.accumulator == Accumulator::f16;
  to.rotate_output = r.hadamard_v;
  to.out = p.out;
  to.lse = p.lse;
  to.lse_strides = p.lse_strides;

  to.chunk = {0, to.queries.grid.head_stride, 0, p.q_heads, 0, p.varlen() ? 1 : p.batch};
  const std::int64_t q_blocks = to.chunk.batches * p.q_heads * to.queries.grid.head_stride;
  const std::int64_t k_blocks = to.chunk.batches * p.kv_heads * to.keys.grid.head_stride;
  const auto size = [](std::int64_t n) { return static_cast<std::size_t>(n); };

  // What nobody writes shall be found if it is read: codes of 0x7f and vectors of NaN.
  q_codes.assign(size(cuda::packed_bytes(scores_, q_blocks * kPackedRows * dim_)), 0x7f);
  q_low.assign(scores_ == PackedFormat::s8 ? q_codes.size() : 0, 0x7f);
  k_codes.assign(size(cuda::packed_bytes(scores_, k_blocks * kPackedRows * dim_)), 0x7f);
  v_codes.assign(size(cuda::packed_bytes(values_, k_blocks * kPackedRows * dim_)), 0x7f);
  q_factor.assign(size(q_blocks * kPackedRows), kNan);
  q_constant = q_factor;
  k_factor.assign(size(k_blocks * kPackedRows), kNan);
  k_addend = k_inverse = k_fold = k_factor;
  column_scale.assign(scales_by_block(r.v_scale) ? size(k_blocks * dim_) : 0, kNan);
  output_factor.assign(size(p.batch * p.kv_heads * dim_), 0.0f);
  output_addend.assign(r.smooth_v ? output_factor.size() : 0, 0.0f);
  to.smooth_q_bias.keys = to.keys.grid.head_stride * kPackedRows;
  correction.assign(smooth_q_ ? size(q_blocks * to.smooth_q_bias.keys) : 0, kNan);

  for (std::int64_t b = 0; b < p.batch; ++b) {
    for (std::int64_t h = 0; h < p.kv_heads; ++h) pack_keys_and_values(b, h);
    for (std::int64_t h = 0; h < p.q_heads; ++h) pack_queries(b, h);
  }

  const bool integers = scores_ == PackedFormat::s8;
  to.q.codes = q_codes.data();
  to.q.codes_low = integers && r.smooth_q && r.q_scale == Granularity::token ? q_low.data() : nullptr;
  to.q.factor = q_factor.data();
  to.q.smooth_k_logit_offset = r.smooth_k ? q_constant.data() : nullptr;
  to.k.codes = k_codes.data();
  to.k.factor = cuda::is_byte(scores_) || scores_ == PackedFormat::float8 ? k_factor.data() : nullptr;
  to.k.addend = k_addend.data();
  to.k.inverse = fold_ ? k_inverse.data() : nullptr;
  to.k.fold = fold_ && modifies_ ? k_fold.data() : nullptr;
  to.v.codes = v_codes.data();
  to.v.column_scale = column_scale.empty() ? nullptr : column_scale.data();
  to.v.output_factor = output_factor.data();
  to.v.output_addend = output_addend.empty() ? nullptr : output_addend.data();
  to.smooth_q_bias.addend = correction.empty() ? nullptr : correction.data();
}

std::int64_t PackedProblem::first_q_block(std::int64_t b, std::int64_t head) const {
  const std::int64_t within = problem_.varlen() ? cuda::first_varlen_block(problem_.sequence(b).q_begin, b) : 0;
  return b * params_.queries.grid.batch_stride + head * params_.queries.grid.head_stride + within;
}
std::int64_t PackedProblem::first_k_block(std::int64_t b, std::int64_t head) const {
  const std::int64_t within = problem_.varlen() ? cuda::first_varlen_block(problem_.sequence(b).k_begin, b) : 0;
  return b * params_.keys.grid.batch_stride + head * params_.keys.grid.head_stride + within;
}

void PackedProblem::store_code(std::vector<std::uint8_t>& codes, PackedFormat format, std::int64_t at, float value) {
  if (format == PackedFormat::s8) {
    codes[static_cast<std::size_t>(at)] = static_cast<std::uint8_t>(static_cast<std::int32_t>(value));
    return;
  }
  if (format == PackedFormat::e4m3) {
    codes[static_cast<std::size_t>(at)] = f32_to_e4m3(value);
    return;
  }
  if (format == PackedFormat::f32) {
    std::uint32_t planes[cuda::kPlanesOfF32];
    cuda::split_pair(value, 0, planes);
    for (int plane = 0; plane < cuda::kPlanesOfF32; ++plane) {
      const auto to =
          static_cast<std::size_t>(2 * (cuda::row_of_plane<cuda::kPlanesOfF32>(at / dim_, plane) * dim_ + at % dim_));
      codes[to] = static_cast<std::uint8_t>(planes[plane]);
      codes[to + 1] = static_cast<std::uint8_t>(planes[plane] >> 8);
    }
    return;
  }
  const std::uint16_t bits = format == PackedFormat::bf16 ? f32_to_bf16(value) : f32_to_f16(value);
  codes[static_cast<std::size_t>(2 * at)] = static_cast<std::uint8_t>(bits);
  codes[static_cast<std::size_t>(2 * at + 1)] = static_cast<std::uint8_t>(bits >> 8);
}

void PackedProblem::pack_keys_and_values(std::int64_t b, std::int64_t head) {
  const Problem& p = problem_;
  const Sequence sequence = p.sequence(b);
  const std::int64_t tensor_b = p.varlen() ? 0 : b, keys = sequence.k_rows;
  const auto k =
      reference::quantize_k(reference::load_rows(p.k, tensor_b, head, sequence.k_begin, keys, p.head_dim), p.recipe);
  const auto v = reference::prepare_v(
      reference::quantize_v(reference::load_rows(p.v, tensor_b, head, sequence.k_begin, keys, p.value_dim), p.recipe));
  const bool permuted = cuda::is_byte(values_);
  const std::int64_t tile = cuda::value_tile_keys(scores_, values_);
  const std::int64_t first = first_k_block(b, head);
  for (std::int64_t key = 0; key < cuda::packed_blocks(keys) * kPackedRows; ++key) {
    const std::int64_t block = first + key / kPackedRows;
    const auto in_block = static_cast<std::int32_t>(key % kPackedRows);
    const std::int64_t slot = block * kPackedRows + (permuted ? cuda::slot_of_key(in_block) : in_block);
    const auto at = static_cast<std::size_t>(block * kPackedRows + in_block);
    const bool present = key < keys, sound = present && k.finite[static_cast<std::size_t>(key)];
    for (std::int64_t c = 0; c < dim_; ++c) {
      store_code(k_codes, scores_, slot * dim_ + c, sound && c < p.head_dim ? k.codes.at(key, c) : 0);
      const float value = present && c < p.value_dim ? v.rows.codes.at(key, c) : 0;
      const std::int64_t row = block * kPackedRows + in_block;
      store_code(v_codes, values_, permuted ? (row / tile * dim_ + c) * tile + row % tile : row * dim_ + c, value);
    }
    const double relative = present && fold_ ? v.relative_scales[static_cast<std::size_t>(key)] : 1.0;
    const auto b_of_key = static_cast<float>(std::log2(relative));
    k_factor[at] = sound ? k.scales.at(key, 0) : 0;
    k_addend[at] = !present ? -kInfinity : !sound ? kNan : fold_ && !modifies_ ? b_of_key : 0.0f;
    k_inverse[at] = static_cast<float>(1 / relative);
    k_fold[at] = b_of_key;
  }
  const std::int64_t channels = (b * p.kv_heads + head) * dim_;
  const bool by_block = scales_by_block(p.recipe.v_scale);
  for (std::int64_t c = 0; c < p.value_dim && keys > 0; ++c) {
    const float gain = v.rows.gains.empty() ? 1.0f : v.rows.gains[static_cast<std::size_t>(c)];
    const float scale = fold_ || by_block ? 1.0f : v.rows.scales.at(0, c);
    output_factor[static_cast<std::size_t>(channels + c)] =
        scale * gain * static_cast<float>(v.largest_scale) * v.rows.value_divisor;
    if (p.recipe.smooth_v) output_addend[static_cast<std::size_t>(channels + c)] = v.rows.means.at(0, c) * gain;
  }
  for (std::int64_t block = 0; by_block && block < cuda::packed_blocks(keys); ++block) {
    for (std::int64_t c = 0; c < dim_; ++c) {
      column_scale[static_cast<std::size_t>((first + block) * dim_ + c)] =
          c < p.value_dim ? v.rows.scales.at(block * kPackedRows, c) : 0.0f;
    }
  }
}

void PackedProblem::pack_queries(std::int64_t b, std::int64_t head) {
  const Problem& p = problem_;
  const Sequence sequence = p.sequence(b);
  const std::int64_t tensor_b = p.varlen() ? 0 : b, kv_head = p.kv_head(head);
  const bool wide = spec::is_q16(p.recipe, sequence.q_rows);
  const auto q = reference::quantize_q(
      reference::load_rows(p.q, tensor_b, head, sequence.q_begin, sequence.q_rows, p.head_dim), p.recipe, wide);
  const auto k = reference::prepare_k(reference::quantize_k(
      reference::load_rows(p.k, tensor_b, kv_head, sequence.k_begin, sequence.k_rows, p.head_dim), p.recipe));
  const std::int64_t first = first_q_block(b, head) * kPackedRows;
  for (std::int64_t row = 0; row < sequence.q_rows; ++row) {
    const bool sound = q.finite[static_cast<std::size_t>(row)];
    for (std::int64_t c = 0; c < dim_; ++c) {
      const std::int64_t at = (first + row) * dim_ + c;
      const float code = sound && c < p.head_dim ? q.codes.at(row, c) : 0;
      if (wide) {
        const spec::Q16Code planes = spec::split_q16(static_cast<std::int32_t>(code));
        store_code(q_codes, scores_, at, static_cast<float>(planes.high));
        q_low[static_cast<std::size_t>(at)] = static_cast<std::int8_t>(planes.low);
      } else {
        store_code(q_codes, scores_, at, code);
      }
    }
    q_factor[static_cast<std::size_t>(first + row)] = sound ? q.scales.at(row, 0) * params_.logit_scale : kNan;
    q_constant[static_cast<std::size_t>(first + row)] =
        static_cast<float>(reference::row_constant(q, k, row, p.softmax_scale));
  }
  if (!smooth_q_ || wide) return;
  const std::int64_t k_first = first_k_block(b, kv_head) * kPackedRows;
  for (std::int64_t block = 0; block < cuda::packed_blocks(sequence.q_rows); ++block) {
    const std::vector<double> delta = reference::delta_scores(q, k, block, p.softmax_scale);
    const std::int64_t row = first_q_block(b, head) + block;
    for (std::int64_t key = 0; key < cuda::packed_blocks(sequence.k_rows) * kPackedRows; ++key) {
      const double owed = key < sequence.k_rows ? delta[static_cast<std::size_t>(key)] * std::numbers::log2e : 0.0;
      correction[static_cast<std::size_t>(row * params_.smooth_q_bias.keys + key)] =
          k_addend[static_cast<std::size_t>(k_first + key)] + static_cast<float>(owed);
    }
  }
}

}  // namespace octavo::test
