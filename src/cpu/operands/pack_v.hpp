// Packs V: its words, and its scales where they belong to the block.
//   V rows -> strips of words [key_block / v_depth][kStrip], v_depth consecutive keys of a column in one word
#pragma once

#include "cpu/operands/channel_stats.hpp"
#include "spec/fold.hpp"

namespace octavo::cpu {
namespace {

// The inputs of packing a block of V.
struct ValueRows {
  const Plan* plan;
  RowSource source;
  std::int64_t first, count;  // of the block
  spec::Groups groups;
  ValueVectors vectors;
  const std::int32_t* signs;
  const float* scales;  // of the head's codes, where the caller gave them
  float unit;           // what V is multiplied by
  SeenKeys seen;

  bool is_there(std::int64_t r) const { return r < count && seen(first + r); }
  OCTAVO_MEMBER std::int64_t at(std::int64_t r) const { return source.at(first + r); }
};

// The block's largest value, so that V near f32's end is found (v_prescale.hpp).
OCTAVO_INLINE void note_range(BlockFlags& flags, RowRange range) {
  if (range.amax > flags.value_amax) flags.value_amax = range.amax;
  flags.finite_values = flags.finite_values && range.finite;
}

// Row r of the block: floats, rotated, divided by gains, centred.
template <class S>
OCTAVO_INLINE void load_value(const ValueRows& values, std::int64_t r, float* to) {
  const Plan& plan = *values.plan;
  load_transformed<S>(plan.problem->v, values.at(r), plan.problem->value_dim, plan.rotate_v ? values.signs : nullptr,
                      to, values.unit);
  for (std::int64_t d = 0; plan.channel_gains && d < plan.v_width; d += S::kLanes)
    S::store(to + d, S::div(S::load(to + d), S::load(values.vectors.gain + d)));
  for (std::int64_t d = 0; plan.smooth_v && d < plan.v_width; d += S::kLanes)
    S::store(to + d, S::sub(S::load(to + d), S::load(values.vectors.mean + d)));
}

// Rows first..first+count-1 of the block into [count][v_width], and their ranges.
template <class S>
OCTAVO_INLINE void load_values(const ValueRows& values, std::int64_t first, std::int64_t count, float* rows,
                               RowRange* ranges) {
  const Plan& plan = *values.plan;
  const std::int64_t dim = plan.problem->value_dim;
  if (plan.channel_gains) {
    for (std::int64_t r = 0; r < count; ++r) load_value<S>(values, first + r, rows + r * plan.v_width);
    return centre_rows<S>(rows, count, plan.v_width, dim, nullptr, ranges);
  }
  const std::int64_t from = values.first + first;
  load_transform_rows<S>(values.source, from, from + count, dim, plan.v_width, plan.rotate_v ? values.signs : nullptr,
                         plan.smooth_v ? values.vectors.mean : nullptr, rows, ranges, values.unit);
}

// Scales that belong to the key block: of all its channels, or of each. `inverse` [v_width] is for the codes, `scale`
// [v_columns] for the product.
template <class S>
OCTAVO_INLINE void scale_block(const ValueRows& values, float* row, float* inverse, float* scale) {
  const Plan& plan = *values.plan;
  const Operand& v = plan.problem->v;
  const std::int64_t dim = plan.problem->value_dim;
  const bool by_channel = spec::per_channel(values.groups.granularity);
  for (std::int64_t d = 0; d < plan.v_columns; ++d) scale[d] = 1;
  for (std::int64_t d = 0; d < plan.v_width; ++d) inverse[d] = 1;
  if (v.quantized) {
    const std::int64_t group = spec::group_of_row(values.groups, values.first);
    const float* given = values.scales + (by_channel ? group * dim : group);
    for (std::int64_t d = 0; d < dim; ++d) scale[d] = given[by_channel ? d : 0] * values.unit;
    return;
  }
  alignas(64) float low[kMaxPadded], high[kMaxPadded], nonfinite[kMaxPadded];
  const ChannelExtremes extremes{low, high, nonfinite};
  RowRange of_block{0.0f, true};
  if (by_channel) clear_extremes<S>(extremes, plan.v_width);
  for (std::int64_t r = 0; r < values.count; ++r) {
    if (!values.is_there(r)) continue;
    load_value<S>(values, r, row);
    if (by_channel)
      widen_extremes<S>(extremes, row, dim);
    else
      grow_range(of_block, row_range<S>(row, dim));
  }
  for (std::int64_t d = 0; d < dim; ++d) {
    const RowScale of_column = row_scale_of(by_channel ? column_range(extremes, d, 0.0f) : of_block, plan.v_range);
    inverse[d] = of_column.inverse;
    scale[d] = of_column.scale;
  }
}

// Rows r0.. of one word's depth as numbers of V's format, [v_depth][v_width]; absent rows are zeros. A token's own
// scale goes to the fold's vector, or is multiplied in.
template <class S>
OCTAVO_INLINE void number_values(const ValueRows& values, std::int64_t r0, const float* inverse, float* numbers,
                                 float* v_scale, BlockFlags& flags) {
  const Plan& plan = *values.plan;
  const Problem& problem = *plan.problem;
  const Operand& v = problem.v;
  const std::int64_t dim = problem.value_dim, width = plan.v_width;
  const bool by_token = plan.fold || problem.recipe.v_scale == Granularity::token;
  for (std::int64_t r = 0; r < plan.v_depth; ++r) {
    float* x = numbers + r * width;
    v_scale[r0 + r] = 0;
    if (!values.is_there(r0 + r)) {
      std::memset(x, 0, static_cast<std::size_t>(width) * 4);
      continue;
    }
    float scale = 1;
    if (v.quantized) {
      load_code_values<S>(v, values.at(r0 + r), dim, x);
      if (by_token) scale = caller_scale(values.scales, values.groups, values.first + r0 + r) * values.unit;
      if (!S::kFullRangeS8 && plan.pv_form == PvForm::s8)
        for (std::int64_t d = 0; d < dim; ++d)
          if (x[d] == -128) flags.full_range_s8_in_v = true;
    } else {
      load_value<S>(values, r0 + r, x);
      spec::Scale of_token{1, 1};
      const RowRange range = row_range<S>(x, dim);
      note_range(flags, range);
      if (by_token) {
        of_token = spec::scale_of(range.amax, plan.v_range, 0.0f);
        scale = range.finite ? of_token.scale : __builtin_nanf("");
      }
      for (std::int64_t d = 0; d < plan.v_columns; d += S::kLanes) {
        const auto factor = by_token ? S::set1(of_token.inverse) : S::load(inverse + d);
        S::store(x + d, number_in<S>(problem.recipe.values, S::load(x + d), factor, plan.v_range));
      }
    }
    if (plan.fold) v_scale[r0 + r] = spec::scale_to_fold(scale);
    if (by_token && !plan.fold)
      for (std::int64_t d = 0; d < plan.v_columns; d += S::kLanes)
        S::store(x + d, S::mul(S::load(x + d), S::set1(scale)));
  }
}

// at(column, to) for the vectors of columns of step `step`, `to` being where their words lie.
template <class S, class At>
OCTAVO_INLINE void for_each_value_vector(const Plan& plan, std::int64_t step, std::int32_t* words, const At& at) {
  const std::int64_t columns = plan.v_columns, steps = plan.key_block / plan.v_depth;
  for (std::int64_t strip = 0; strip < columns; strip += kStrip) {
    const std::int64_t width = strip_width(columns, strip);
    std::int32_t* to = words + strip * steps + step * width;
    for (std::int64_t d = 0; d < width; d += S::kLanes) at(strip + d, to + d);
  }
}

// Four rows' codes of one vector of columns as words, byte r from row r.
template <class S>
OCTAVO_INLINE typename S::s32 join_codes(const typename S::s32 (&c)[4]) {
  const auto byte = S::set1(0xff);
  return S::or_s32(S::or_s32(S::and_s32(c[0], byte), S::template shift_left<8>(S::and_s32(c[1], byte))),
                   S::or_s32(S::template shift_left<16>(S::and_s32(c[2], byte)), S::template shift_left<24>(c[3])));
}

// Integer words of the whole block from the caller's floats, kLanes rows at a time in `rows` [kLanes][v_width].
// `inverse` [v_width]: of the columns, unless tokens have scales of their own, which go to `v_scale`.
template <class S>
OCTAVO_INLINE void code_values(const ValueRows& values, bool by_token, const float* inverse, float* rows,
                               float* v_scale, std::int32_t* v_start, std::int32_t* words, BlockFlags& flags) {
  const Plan& plan = *values.plan;
  const std::int64_t width = plan.v_width;
  const auto range = S::set1(plan.v_range);
  for (std::int64_t first = 0; first < plan.key_block; first += S::kLanes) {
    const std::int64_t left = values.count - first;
    const std::int64_t count = left < 0 ? 0 : left < S::kLanes ? left : S::kLanes;
    RowRange ranges[S::kLanes];
    float of_row[S::kLanes] = {};
    load_values<S>(values, first, count, rows, ranges);
    for (std::int64_t r = 0; r < S::kLanes; ++r) {
      v_scale[first + r] = 0;
      float* x = rows + r * width;
      const bool there = values.is_there(first + r);
      if (!there || (by_token && !ranges[r].finite)) std::memset(x, 0, static_cast<std::size_t>(width) * 4);
      if (there) note_range(flags, ranges[r]);
      if (!there || !by_token) continue;
      const spec::Scale scale = spec::scale_of(ranges[r].amax, plan.v_range, 0.0f);
      of_row[r] = scale.inverse;
      v_scale[first + r] = ranges[r].finite ? scale.scale : __builtin_nanf("");
    }
    for (std::int64_t r = 0; r < S::kLanes; r += 4) {
      for_each_value_vector<S>(plan, (first + r) / 4, words,
                               [&](std::int64_t d, std::int32_t* to) __attribute__((always_inline)) {
                                 typename S::s32 c[4];
                                 for (int i = 0; i < 4; ++i) {
                                   const auto x = S::load(rows + (r + i) * width + d);
                                   c[i] = by_token ? S::round_to_s32(S::mul(x, S::set1(of_row[r + i])))
                                                   : codes_of<S>(x, S::load(inverse + d), range);
                                 }
                                 if (S::kWeightBias != 0) {
                                   const auto sum = S::add_s32(S::add_s32(c[0], c[1]), S::add_s32(c[2], c[3]));
                                   S::store(v_start + d, S::add_s32(S::load(v_start + d), sum));
                                 }
                                 S::store(to, join_codes<S>(c));
                               });
    }
  }
}

// One word of each column from numbers [v_depth][width].
template <class S>
OCTAVO_INLINE void write_value_words(const Plan& plan, const float* numbers, std::int32_t* v_start, std::int64_t step,
                                     std::int32_t* words) {
  const std::int64_t width = plan.v_width;
  for_each_value_vector<S>(plan, step, words, [&](std::int64_t d, std::int32_t* to) __attribute__((always_inline)) {
    typename S::s32 word = S::bits(S::load(numbers + d));
    if (plan.pv_form == PvForm::s8) {
      typename S::s32 c[4];
      for (int r = 0; r < 4; ++r) c[r] = S::round_to_s32(S::load(numbers + r * width + d));
      if (S::kWeightBias != 0) {
        const auto sum = S::add_s32(S::add_s32(c[0], c[1]), S::add_s32(c[2], c[3]));
        S::store(v_start + d, S::add_s32(S::load(v_start + d), sum));
      }
      word = join_codes<S>(c);
    } else if (plan.pv_form == PvForm::bf16) {
      // Numbers that bf16 holds exactly: the upper halves of their f32 forms.
      word = S::or_s32(S::template shift_right<16>(word), S::and_s32(S::bits(S::load(numbers + width + d)),
                                                                     S::set1(static_cast<std::int32_t>(0xffff0000u))));
    }
    S::store(to, word);
  });
}

// The words of values that stay the caller's floats, in one pass. False: take number_values().
template <class S>
OCTAVO_INLINE bool copy_values(const ValueRows& values, std::int32_t* words, BlockFlags& flags) {
  const Plan& plan = *values.plan;
  const Operand& v = plan.problem->v;
  const bool as_given = plan.problem->recipe.values == Format::input && plan.pv_form == PvForm::f32 &&
                        plan.problem->recipe.v_scale == Granularity::none && !plan.rotate_v && !plan.smooth_v &&
                        !plan.channel_gains && values.unit == 1;
  if (!as_given || v.quantized || v.strides[3] != 1 || plan.problem->value_dim != plan.v_columns) return false;
  auto most = S::set1(0);
  for (std::int64_t r = 0; r < plan.key_block; ++r) {
    const bool there = values.is_there(r);
    const std::int64_t at = there ? values.at(r) : 0;
    for_each_value_vector<S>(plan, r, words, [&](std::int64_t d, std::int32_t* to) __attribute__((always_inline)) {
      const auto x = there ? load_as_f32<S>(v.dtype, v.data, at + d) : S::set1(0.0f);
      most = S::max_s32(most, magnitude<S>(x));
      S::store(to, S::bits(x));
    });
  }
  // A pattern below infinity's is a number's; else the rows are ranged one by one.
  alignas(64) std::int32_t of_lanes[S::kLanes];
  S::store(of_lanes, most);
  std::int32_t largest = 0;
  for (const std::int32_t x : of_lanes) largest = x > largest ? x : largest;
  if (largest >= 0x7f800000) return false;
  note_range(flags, {f32_of_bits(static_cast<std::uint32_t>(largest)), true});
  return true;
}

template <class S>
OCTAVO_INLINE void pack_values(const Call& call, std::int64_t b, std::int64_t kv_head, std::int64_t i, std::byte* block,
                               std::byte* thread) {
  const Plan& plan = *call.plan;
  const Problem& problem = *plan.problem;
  const SequenceInfo& sequence = *sequence_at(call, b);
  const Sequence rows = sequence.rows;
  const std::int64_t first = i * plan.key_block, left = rows.k_rows - first;
  alignas(64) std::int32_t signs[kMaxPadded];
  if (plan.rotate_v) rotation_signs(signs, problem.value_dim);
  const ValueRows values{&plan,
                         RowSource(problem.v, b, kv_head, rows.k_begin),
                         first,
                         left < plan.key_block ? left : plan.key_block,
                         spec::groups_of(Role::v, problem.recipe),
                         value_vectors(call, head_at(call, b, kv_head)),
                         signs,
                         spec::scales_at(problem.v, sequence.v_scale_place, kv_head),
                         head_at(call, b, kv_head)->v_prescale,
                         seen_keys(call, b, kv_head)};
  auto& flags = *part<BlockFlags>(block, plan.block.flags);
  flags.full_range_s8_in_v = false;
  flags.finite_values = true;
  flags.value_amax = 0;
  alignas(64) float numbers[4 * kMaxPadded], of_block[kMaxPadded];
  const float* inverse = values.vectors.inverse;
  if (plan.v_block_scales) {
    scale_block<S>(values, numbers, of_block, part<float>(block, plan.block.column_scale));
    inverse = of_block;
  }

  const bool biased = S::kWeightBias != 0 && plan.pv_form == PvForm::s8;
  auto* v_start = part<std::int32_t>(block, plan.block.v_start);
  for (std::int64_t d = 0; biased && d < plan.v_columns; ++d) v_start[d] = 0;
  const bool coded = plan.pv_form == PvForm::s8 && !problem.v.quantized;
  if (coded)
    code_values<S>(values, plan.fold, inverse, part<float>(thread, plan.thread.rows),
                   part<float>(block, plan.block.v_scale), v_start, part<std::int32_t>(block, plan.block.values),
                   flags);
  auto* words = part<std::int32_t>(block, plan.block.values);
  const bool done = coded || copy_values<S>(values, words, flags);
  for (std::int64_t r0 = 0; r0 < plan.key_block && !done; r0 += plan.v_depth) {
    number_values<S>(values, r0, inverse, numbers, part<float>(block, plan.block.v_scale), flags);
    write_value_words<S>(plan, numbers, v_start, r0 / plan.v_depth, words);
  }
  for (std::int64_t d = 0; biased && d < plan.v_columns; ++d) v_start[d] *= S::kWeightBias;
}

}  // namespace
}  // namespace octavo::cpu
