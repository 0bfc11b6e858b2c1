// K and V on their way into packed key blocks: statistics over the tokens, then codes, scales and packing of one block,
// then what needs the whole head (the fold's vectors).
#pragma once

#include "cpu/kernels/exp2.hpp"
#include "cpu/kernels/quantize.hpp"
#include "cpu/kernels/rotate.hpp"
#include "cpu/plan.hpp"
#include "laws/fold.hpp"

namespace octavo::cpu {
namespace {

// One row of an operand as the recipe sees it before smoothing: floats, rotated where it says so.
template <class S>
OCTAVO_INLINE void load_prepared(const Operand& x, std::int64_t at, std::int64_t dim, const std::int32_t* signs,
                                 float* to) {
  load_row<S>(x, at, dim, to);
  if (signs != nullptr) rotate_row<S>(to, signs, dim);
}

// Codes of one row that the caller quantized, as bytes; returns their sum. Padding is zero.
OCTAVO_INLINE std::int32_t load_codes(const Operand& x, std::int64_t at, std::int64_t dim, std::int8_t* to) {
  std::int32_t sum = 0;
  const auto* bytes = static_cast<const std::uint8_t*>(x.data);
  for (std::int64_t d = 0; d < dim; ++d) {
    const std::int64_t index = at + d * x.strides[3];
    std::int8_t code;
    if (x.dtype == DType::s4) {
      const int nibble = (bytes[index >> 1] >> ((index & 1) * 4)) & 15;
      code = static_cast<std::int8_t>((nibble ^ 8) - 8);
    } else {
      code = static_cast<std::int8_t>(bytes[index]);
    }
    to[d] = code;
    sum += code;
  }
  for (std::int64_t d = dim; d < padded(dim); ++d) to[d] = 0;
  return sum;
}

// Scale of a row of caller's codes.
OCTAVO_INLINE float caller_scale(const Operand& x, const laws::Groups& groups, std::int64_t batch_head,
                                 std::int64_t row) {
  return x.scales == nullptr ? 1.0f : x.scales[batch_head * x.scales_per_head + laws::group_of_row(groups, row)];
}

// Sums of K's channels and the range of V over rows i * 128 .. of one head.
template <class S>
void statistics(const Call& call, std::int64_t b, std::int64_t kv_head, std::int64_t i) {
  const Plan& plan = *call.plan;
  const Problem& problem = *plan.problem;
  const Sequence rows = sequence_at(call, b)->rows;
  PartialInfo* partial = partial_at(call, b, kv_head, i);
  const std::int64_t first = i * laws::kMeanBlock;
  const std::int64_t last = first + laws::kMeanBlock < rows.k_rows ? first + laws::kMeanBlock : rows.k_rows;
  alignas(64) float row[kMaxPadded];
  if (plan.smooth_k && !problem.k.quantized) {
    alignas(64) std::int32_t signs[kMaxPadded];
    rotation_signs(signs, problem.head_dim);
    const std::int64_t width = padded(problem.head_dim);
    float* sums = sums_of(partial);
    sum_rows<S>(last - first, problem.head_dim, sums, sums + width, [&](std::int64_t r) __attribute__((always_inline)) {
      load_prepared<S>(problem.k, problem.k.offset(b, kv_head, rows.k_begin + first + r), problem.head_dim,
                       plan.rotate_qk ? signs : nullptr, row);
      return row;
    });
  }
  if (plan.v_statistics) {
    partial->v_amax = 0;
    partial->v_finite = true;
    alignas(64) std::int32_t signs[kMaxPadded];
    if (plan.rotate_v) rotation_signs(signs, problem.value_dim);
    for (std::int64_t r = first; r < last; ++r) {
      load_prepared<S>(problem.v, problem.v.offset(b, kv_head, rows.k_begin + r), problem.value_dim,
                       plan.rotate_v ? signs : nullptr, row);
      const RowRange range = row_range<S>(row, problem.value_dim);
      if (range.amax > partial->v_amax) partial->v_amax = range.amax;
      partial->v_finite = partial->v_finite && range.finite;
    }
  }
}

// The head's mean of K and scale of V from its partial statistics.
template <class S>
void finish_statistics(const Call& call, std::int64_t b, std::int64_t kv_head) {
  const Plan& plan = *call.plan;
  const Problem& problem = *plan.problem;
  const SequenceInfo& sequence = *sequence_at(call, b);
  HeadInfo* head = head_at(call, b, kv_head);
  const std::int64_t width = padded(problem.head_dim);
  float* mean = mean_of_keys(head);
  for (std::int64_t d = 0; d < width; ++d) mean[d] = 0;
  const std::int64_t batch_head = b * problem.kv_heads + kv_head;
  if (problem.k.quantized) {
    if (problem.k.mean != nullptr)
      for (std::int64_t d = 0; d < problem.head_dim; ++d) mean[d] = problem.k.mean[batch_head * problem.head_dim + d];
  } else if (plan.smooth_k) {
    alignas(64) float counts[kMaxPadded] = {};
    for (std::int64_t i = 0; i < sequence.partials; ++i) {
      const float* sums = sums_of(partial_at(call, b, kv_head, i));
      for (std::int64_t d = 0; d < width; d += S::kLanes) {
        S::store(mean + d, S::add(S::load(mean + d), S::load(sums + d)));
        S::store(counts + d, S::add(S::load(counts + d), S::load(sums + width + d)));
      }
    }
    for (std::int64_t d = 0; d < width; ++d) mean[d] = laws::mean_of(mean[d], static_cast<std::int64_t>(counts[d]));
  }
  head->v_scale = head->v_inverse = head->out_scale = 1;
  if (problem.v.quantized) {
    if (problem.recipe.v_scale == Granularity::tensor) head->out_scale = problem.v.scales[batch_head];
  } else if (plan.v_statistics) {
    float amax = 0;
    bool finite = true;
    for (std::int64_t i = 0; i < sequence.partials; ++i) {
      const PartialInfo& partial = *partial_at(call, b, kv_head, i);
      if (partial.v_amax > amax) amax = partial.v_amax;
      finite = finite && partial.v_finite;
    }
    if (plan.value == ValueForm::f16_as_f32) {
      head->out_scale = laws::f16_value_divisor(amax);
      head->v_inverse = 1.0f / head->out_scale;
    } else {
      const laws::Scale scale = laws::scale_of(amax, plan.v_range);
      head->v_inverse = scale.inverse;
      head->out_scale = finite ? scale.scale : __builtin_nanf("");
    }
  }
}

template <class S>
OCTAVO_INLINE void pack_keys(const Call& call, std::int64_t b, std::int64_t kv_head, std::int64_t i, std::byte* block) {
  const Plan& plan = *call.plan;
  const Problem& problem = *plan.problem;
  const Operand& k = problem.k;
  const Sequence rows = sequence_at(call, b)->rows;
  const std::int64_t dim = problem.head_dim, width = padded(dim), first = i * plan.key_block;
  const std::int64_t count = rows.k_rows - first < plan.key_block ? rows.k_rows - first : plan.key_block;
  const float* mean = mean_of_keys(head_at(call, b, kv_head));
  const laws::Groups groups =
      laws::groups_of(Role::k, problem.recipe.k_scale, problem.recipe.scores, problem.recipe.key_block);
  const std::int64_t batch_head = b * problem.kv_heads + kv_head;
  float* factor = part<float>(block, plan.block.key_factor);
  float* addend = part<float>(block, plan.block.key_addend);
  auto* packed = part<std::int32_t>(block, plan.block.keys);
  alignas(64) std::int32_t signs[kMaxPadded];
  if (plan.rotate_qk) rotation_signs(signs, dim);
  alignas(64) float row[kMaxPadded];
  alignas(64) std::int32_t words[S::kLanes * kMaxPadded];  // rows [kLanes][width words] of the widest form

  const std::int64_t ld = plan.score == ScoreForm::f32 ? width : plan.score == ScoreForm::bf16 ? width / 2 : width / 4;
  for (std::int64_t r0 = 0; r0 < plan.key_block; r0 += S::kLanes) {
    for (std::int64_t r = 0; r < S::kLanes; ++r) {
      std::int32_t* to = words + r * ld;
      if (r0 + r >= count) {
        std::memset(to, 0, static_cast<std::size_t>(ld) * 4);
        factor[r0 + r] = 0;
        addend[r0 + r] = -__builtin_inff();
        continue;
      }
      const std::int64_t at = k.offset(b, kv_head, rows.k_begin + first + r0 + r);
      float scale = 1;
      bool finite = true;
      if (k.quantized) {
        load_codes(k, at, dim, reinterpret_cast<std::int8_t*>(to));
        scale = caller_scale(k, groups, batch_head, first + r0 + r);
      } else {
        load_prepared<S>(k, at, dim, plan.rotate_qk ? signs : nullptr, row);
        const RowRange range = plan.smooth_k ? centre_row<S>(row, mean, dim) : row_range<S>(row, dim);
        finite = range.finite;
        // The addend poisons whoever sees the key; see prepare_queries for why its words are zero.
        if (!finite && plan.score != ScoreForm::s8) std::memset(row, 0, static_cast<std::size_t>(width) * 4);
        if (plan.score == ScoreForm::s8) {
          const laws::Scale s = laws::scale_of(range.amax, plan.qk_range);
          scale = s.scale;
          quantize_row<S>(row, dim, s.inverse, plan.qk_range, reinterpret_cast<std::int8_t*>(to));
        } else if (plan.score == ScoreForm::f32) {
          std::memcpy(to, row, static_cast<std::size_t>(width) * 4);
        } else {
          for (std::int64_t d = 0; d < width; d += S::kLanes)
            S::store_bf16(reinterpret_cast<std::uint16_t*>(to) + d, S::load(row + d));
        }
      }
      factor[r0 + r] = scale * plan.logit_scale;
      addend[r0 + r] = finite ? 0.0f : __builtin_nanf("");
    }
    if (plan.score == ScoreForm::s8 && S::kKeyBias != 0)
      for (std::int64_t w = 0; w < S::kLanes * ld; w += S::kLanes)
        S::store(words + w, S::xor_s32(S::load(words + w), S::set1(static_cast<std::int32_t>(0x80808080u))));
    for (std::int64_t w = 0; w < plan.k_steps; w += S::kLanes)
      S::transpose(words + w, ld, packed + w * plan.key_block + r0, plan.key_block);
  }
}

// Words of V: consecutive keys of one column side by side.
template <class S>
OCTAVO_INLINE void pack_values(const Call& call, std::int64_t b, std::int64_t kv_head, std::int64_t i,
                               std::byte* block) {
  const Plan& plan = *call.plan;
  const Problem& problem = *plan.problem;
  const Operand& v = problem.v;
  const Sequence rows = sequence_at(call, b)->rows;
  const HeadInfo& head = *head_at(call, b, kv_head);
  const std::int64_t dim = problem.value_dim, width = padded(dim), first = i * plan.key_block;
  const std::int64_t count = rows.k_rows - first < plan.key_block ? rows.k_rows - first : plan.key_block;
  const std::int64_t batch_head = b * problem.kv_heads + kv_head;
  const laws::Groups groups =
      laws::groups_of(Role::v, problem.recipe.v_scale, problem.recipe.values, problem.recipe.key_block);
  float* v_scale = part<float>(block, plan.block.v_scale);
  auto* v_start = part<std::int32_t>(block, plan.block.v_start);
  auto* packed = part<std::int32_t>(block, plan.block.values);
  alignas(64) std::int32_t signs[kMaxPadded];
  if (plan.rotate_v) rotation_signs(signs, dim);
  alignas(64) float row[4 * kMaxPadded];
  alignas(64) std::int8_t codes[kMaxPadded];
  if (S::kWeightBias != 0 && plan.value == ValueForm::s8)
    for (std::int64_t d = 0; d < plan.v_columns; ++d) v_start[d] = 0;

  const std::int64_t depth = plan.v_depth;
  for (std::int64_t r0 = 0; r0 < plan.key_block; r0 += depth) {
    std::int32_t* to = packed + r0 / depth * plan.v_columns;
    if (r0 >= count) {
      std::memset(to, 0, static_cast<std::size_t>(plan.v_columns) * 4);
      for (std::int64_t r = 0; r < depth; ++r) v_scale[r0 + r] = 0;
      continue;
    }
    float inverse[4] = {1, 1, 1, 1};
    for (std::int64_t r = 0; r < depth; ++r) {
      float* x = row + r * width;
      v_scale[r0 + r] = 0;
      if (r0 + r >= count) {
        std::memset(x, 0, static_cast<std::size_t>(width) * 4);
        continue;
      }
      const std::int64_t at = v.offset(b, kv_head, rows.k_begin + first + r0 + r);
      if (v.quantized) {
        load_codes(v, at, dim, codes);
        for (std::int64_t d = 0; d < width; d += S::kLanes) S::store(x + d, S::to_f32(S::load_s8(codes + d)));
        if (plan.fold) v_scale[r0 + r] = caller_scale(v, groups, batch_head, first + r0 + r);
        continue;
      }
      load_prepared<S>(v, at, dim, plan.rotate_v ? signs : nullptr, x);
      inverse[r] = head.v_inverse;
      if (plan.fold) {
        const RowRange range = row_range<S>(x, dim);
        const laws::Scale scale = laws::scale_of(range.amax, plan.v_range, 0.0f);
        inverse[r] = scale.inverse;
        v_scale[r0 + r] = range.finite ? scale.scale : __builtin_nanf("");
      }
    }
    for (std::int64_t d = 0; d < plan.v_columns; d += S::kLanes) {
      typename S::s32 word;
      if (plan.value == ValueForm::s8) {
        word = S::set1(0);
        typename S::s32 c[4];
        for (int r = 0; r < 4; ++r)
          c[r] = codes_of<S>(S::load(row + r * width + d), S::set1(inverse[r]), S::set1(plan.v_range));
        if (S::kWeightBias != 0) {
          const auto sum = S::add_s32(S::add_s32(c[0], c[1]), S::add_s32(c[2], c[3]));
          S::store(v_start + d, S::add_s32(S::load(v_start + d), sum));
        }
        const auto byte = S::set1(0xff);
        word =
            S::or_s32(S::or_s32(S::and_s32(c[0], byte), S::template shift_left<8>(S::and_s32(c[1], byte))),
                      S::or_s32(S::template shift_left<16>(S::and_s32(c[2], byte)), S::template shift_left<24>(c[3])));
      } else if (plan.value == ValueForm::bf16) {
        // bf16 inputs: the upper halves of their f32 values.
        word =
            S::or_s32(S::template shift_right<16>(S::bits(S::load(row + d))),
                      S::and_s32(S::bits(S::load(row + width + d)), S::set1(static_cast<std::int32_t>(0xffff0000u))));
      } else {
        auto x = S::load(row + d);
        if (plan.value == ValueForm::f16_as_f32) x = S::round_f16(S::mul(x, S::set1(inverse[0])));
        word = S::bits(x);
      }
      S::store(to + d, word);
    }
  }
  if (S::kWeightBias != 0 && plan.value == ValueForm::s8)
    for (std::int64_t d = 0; d < plan.v_columns; ++d) v_start[d] *= S::kWeightBias;
}

template <class S>
void pack_block(const Call& call, std::int64_t b, std::int64_t kv_head, std::int64_t i) {
  std::byte* block = block_at(call, b, kv_head, i);
  pack_keys<S>(call, b, kv_head, i, block);
  pack_values<S>(call, b, kv_head, i, block);
}

// The fold's vectors, once every token's scale is known: addend += log2 s~, inverse = 1 / s~.
template <class S>
void finish_blocks(const Call& call, std::int64_t b, std::int64_t kv_head) {
  const Plan& plan = *call.plan;
  if (!plan.fold) return;
  const std::int64_t blocks = sequence_at(call, b)->blocks;
  float largest = 0;
  for (std::int64_t i = 0; i < blocks; ++i) {
    const float* scale = part<float>(block_at(call, b, kv_head, i), plan.block.v_scale);
    for (std::int64_t r = 0; r < plan.key_block; ++r) largest = laws::grow_largest_scale(largest, scale[r]);
  }
  largest = laws::largest_scale_or_one(largest);
  head_at(call, b, kv_head)->out_scale = largest;
  const auto unit = S::set1(largest), floor = S::set1(static_cast<float>(laws::kFoldFloor));
  for (std::int64_t i = 0; i < blocks; ++i) {
    std::byte* block = block_at(call, b, kv_head, i);
    const float* scale = part<float>(block, plan.block.v_scale);
    float* addend = part<float>(block, plan.block.key_addend);
    float* inverse = part<float>(block, plan.block.inverse);
    for (std::int64_t r = 0; r < plan.key_block; r += S::kLanes) {
      const auto folded = S::max(floor, S::div(S::load(scale + r), unit));  // a NaN scale stays NaN
      const auto b_j = log2<S>(folded);
      if (plan.modifies_scores)
        S::store(part<float>(block, plan.block.fold) + r, b_j);
      else
        S::store(addend + r, S::add(S::load(addend + r), b_j));
      S::store(inverse + r, S::div(S::set1(1.0f), folded));
    }
  }
}

}  // namespace
}  // namespace octavo::cpu
