// Q on its way into the first product: one query block's rows become codes (or floats), row factors and, where Q is
// smoothed, the correction that is owed to every key of the block.
#pragma once

#include "cpu/kernels/prepare.hpp"
#include "cpu/kernels/stages.hpp"
#include "laws/query_width.hpp"

namespace octavo::cpu {
namespace {

// Whether a sequence's keys get smooth_q's correction. A quantized Q without means has nothing to give back.
OCTAVO_INLINE bool owes_correction(const Plan& plan, std::int64_t q_rows) {
  const Operand& q = plan.problem->q;
  if (q.quantized) return q.mean != nullptr;
  return plan.smooth_q && !laws::query_is_wide(plan.problem->recipe, q_rows);
}

template <class S>
OCTAVO_INLINE float dot(const float* a, const float* b, std::int64_t dim) {
  auto sum = S::set1(0.0f);
  for (std::int64_t d = 0; d < dim; d += S::kLanes) sum = S::fma(S::load(a + d), S::load(b + d), sum);
  return S::reduce_add(sum);
}

// 16-bit codes of a row as two byte planes.
template <class S>
OCTAVO_INLINE void quantize_row_wide(const float* x, std::int64_t dim, float inverse, std::int8_t* high,
                                     std::int8_t* low, std::int32_t* high_sum, std::int32_t* low_sum) {
  *high_sum = *low_sum = 0;
  alignas(64) std::int32_t codes[kMaxPadded];
  for (std::int64_t d = 0; d < padded(dim); d += S::kLanes)
    S::store(codes + d, codes_of<S>(S::load(x + d), S::set1(inverse), S::set1(laws::kRangeWide)));
  for (std::int64_t d = 0; d < padded(dim); ++d) {
    const laws::WideCode wide = laws::split_wide(codes[d]);
    high[d] = static_cast<std::int8_t>(wide.high);
    low[d] = static_cast<std::int8_t>(wide.low);
    *high_sum += wide.high;
    *low_sum += wide.low;
  }
}

// Fills slot `slot` of the thread's scratch with rows first..first+rows-1 of the query block they lie in.
template <class S>
__attribute__((noinline)) void prepare_queries(const Call& call, std::byte* thread, std::int64_t slot, std::int64_t b,
                                               std::int64_t head, std::int64_t first, std::int64_t rows) {
  const Plan& plan = *call.plan;
  const Problem& problem = *plan.problem;
  const Operand& q = problem.q;
  const Sequence sequence = sequence_at(call, b)->rows;
  const std::int64_t dim = problem.head_dim, width = padded(dim);
  const std::int64_t block_first = first / kQueryBlock * kQueryBlock;
  const std::int64_t block_last =
      block_first + kQueryBlock < sequence.q_rows ? block_first + kQueryBlock : sequence.q_rows;
  const bool wide = !q.quantized && laws::query_is_wide(problem.recipe, sequence.q_rows);
  const bool smooth = plan.smooth_q && !q.quantized && !wide;
  const float* key_mean = mean_of_keys(head_at(call, b, problem.kv_head(head)));
  const std::int64_t batch_head = b * problem.q_heads + head;
  const laws::Groups groups =
      laws::groups_of(Role::q, problem.recipe.q_scale, problem.recipe.scores, problem.recipe.key_block);

  auto* words = part<std::int32_t>(thread, plan.thread.queries) + slot * kQueryBlock * plan.q_ld;
  auto* words_low = part<std::int32_t>(thread, plan.thread.queries_low) + slot * kQueryBlock * plan.q_ld;
  QueryVectors& vectors = part<QueryVectors>(thread, plan.thread.row_vectors)[slot];
  float* mean = part<float>(thread, plan.thread.mean) + slot * width;
  float* buffer = part<float>(thread, plan.thread.rows);
  alignas(64) std::int32_t signs[kMaxPadded];
  if (plan.rotate_qk) rotation_signs(signs, dim);

  for (std::int64_t d = 0; d < width; ++d) mean[d] = 0;
  if (q.quantized && q.mean != nullptr) {
    const float* given = q.mean + batch_head * q.means_per_head + block_first / kQueryBlock * dim;
    for (std::int64_t d = 0; d < dim; ++d) mean[d] = given[d];
  }
  if (!q.quantized) {
    const std::int64_t from = smooth ? block_first : first, to = smooth ? block_last : first + rows;
    for (std::int64_t r = from; r < to; ++r)
      load_prepared<S>(q, q.offset(b, head, sequence.q_begin + r), dim, plan.rotate_qk ? signs : nullptr,
                       buffer + (r - block_first) * width);
    if (smooth) {
      alignas(64) float counts[kMaxPadded];
      sum_rows<S>(to - from, dim, mean, counts,
                  [&](std::int64_t r) __attribute__((always_inline)) { return buffer + r * width; });
      for (std::int64_t d = 0; d < width; ++d) mean[d] = laws::mean_of(mean[d], static_cast<std::int64_t>(counts[d]));
    }
  }

  for (std::int64_t i = 0; i < (rows + kGroupRows - 1) / kGroupRows * kGroupRows; ++i) {
    std::int32_t* to = words + i * plan.q_ld;
    std::int32_t* to_low = words_low + i * plan.q_ld;
    vectors.start[i] = vectors.start_low[i] = 0;
    vectors.factor[i] = vectors.constant[i] = 0;
    if (i >= rows) {
      std::memset(to, 0, static_cast<std::size_t>(plan.q_ld) * 4);
      if (wide) std::memset(to_low, 0, static_cast<std::size_t>(plan.q_ld) * 4);
      continue;
    }
    std::int32_t sum = 0, sum_low = 0;
    float* x = buffer + (first + i - block_first) * width;
    if (q.quantized) {
      auto* codes = reinterpret_cast<std::int8_t*>(to);
      sum = load_codes(q, q.offset(b, head, sequence.q_begin + first + i), dim, codes);
      const float scale = caller_scale(q, groups, batch_head, first + i);
      vectors.factor[i] = scale;
      if (plan.owes_constant) {  // the row as it was before K's mean was taken off
        for (std::int64_t d = 0; d < width; d += S::kLanes)
          S::store(x + d, S::fma(S::to_f32(S::load_s8(codes + d)), S::set1(scale), S::load(mean + d)));
        vectors.constant[i] = plan.softmax_scale * dot<S>(x, key_mean, width);
      }
    } else {
      if (plan.owes_constant) vectors.constant[i] = plan.softmax_scale * dot<S>(x, key_mean, width);
      const RowRange range = smooth ? centre_row<S>(x, mean, dim) : row_range<S>(x, dim);
      vectors.factor[i] = 1;
      // A poisoned row is NaN through its factor; its words are zero, so that no NaN of the caller's own making (whose
      // payload the exponent arithmetic of exp2 could destroy) enters the scores.
      if (!range.finite && plan.score != ScoreForm::s8) std::memset(x, 0, static_cast<std::size_t>(width) * 4);
      if (plan.score == ScoreForm::f32) {
        std::memcpy(to, x, static_cast<std::size_t>(width) * 4);
      } else if (plan.score == ScoreForm::bf16) {
        for (std::int64_t d = 0; d < width; d += S::kLanes)
          S::store_bf16(reinterpret_cast<std::uint16_t*>(to) + d, S::load(x + d));
      } else if (wide) {
        const laws::Scale scale = laws::scale_of(range.amax, laws::kRangeWide);
        quantize_row_wide<S>(x, dim, scale.inverse, reinterpret_cast<std::int8_t*>(to),
                             reinterpret_cast<std::int8_t*>(to_low), &sum, &sum_low);
        vectors.factor[i] = scale.scale;
      } else {
        const laws::Scale scale = laws::scale_of(range.amax, plan.qk_range);
        sum = quantize_row<S>(x, dim, scale.inverse, plan.qk_range, reinterpret_cast<std::int8_t*>(to));
        vectors.factor[i] = scale.scale;
      }
      if (!range.finite) vectors.factor[i] = __builtin_nanf("");
    }
    vectors.start[i] = -S::kKeyBias * sum;
    vectors.start_low[i] = -S::kKeyBias * sum_low;
  }
}

// Delta_S of smooth_q joined with the keys' own addend, for the task's query blocks at once:
//   correction[slot][j] = key_addend[j] + logit_scale * mean_q . K'_j,   K'_j = rotated K_j - mean_k
// The rotation is orthonormal, so mean_q . K'_j = (rotated-back mean_q) . K_j - mean_q . mean_k with K as the caller
// has it: nothing of K needs to be kept in floats. Means of absent slots are zeros. Keys first_block * key_block ..
// last_block * key_block.
template <class S>
__attribute__((noinline)) void correct_keys(const Call& call, std::byte* thread, std::int64_t slots, std::int64_t b,
                                            std::int64_t kv_head, std::int64_t first_block, std::int64_t last_block) {
  const Plan& plan = *call.plan;
  const Problem& problem = *plan.problem;
  const Operand& k = problem.k;
  const Sequence sequence = sequence_at(call, b)->rows;
  const std::int64_t dim = problem.head_dim, width = padded(dim);
  const float* key_mean = mean_of_keys(head_at(call, b, kv_head));
  float* means = part<float>(thread, plan.thread.mean);
  float* correction = part<float>(thread, plan.thread.correction);
  const laws::Groups groups =
      laws::groups_of(Role::k, problem.recipe.k_scale, problem.recipe.scores, problem.recipe.key_block);
  alignas(64) std::int32_t signs[kMaxPadded];
  rotation_signs(signs, dim);
  float constant[kMaxQueryBlocks];
  std::memset(means + slots * width, 0, static_cast<std::size_t>((kMaxQueryBlocks - slots) * width) * 4);
  for (std::int64_t slot = 0; slot < slots; ++slot) {
    constant[slot] = k.quantized ? 0.0f : dot<S>(means + slot * width, key_mean, width);
    if (plan.rotate_qk && !k.quantized) rotate_row_back<S>(means + slot * width, signs, dim);
  }
  const bool direct = !k.quantized && k.dtype == DType::f32 && k.strides[3] == 1 && dim % S::kLanes == 0;
  // The rows are read once, from memory that left the caches long ago: their loads are what this costs.
  const std::int64_t ahead = direct ? kCorrectionPrefetch * k.strides[2] : 0;
  alignas(64) float buffer[kCorrectionKeys * kMaxPadded];
  alignas(64) std::int8_t codes[kMaxPadded];
  alignas(64) float sums[kMaxQueryBlocks][S::kLanes * S::kLanes];

  for (std::int64_t i = first_block; i < last_block; ++i) {
    const float* addend = part<float>(block_at(call, b, kv_head, i), plan.block.key_addend);
    const std::int64_t first = i * plan.key_block;
    const std::int64_t left = sequence.k_rows - first;
    for (std::int64_t r0 = 0; r0 < plan.key_block; r0 += S::kLanes) {
      for (std::int64_t r = 0; r < S::kLanes; r += kCorrectionKeys) {
        const float* rows[kCorrectionKeys];
        for (std::int64_t u = 0; u < kCorrectionKeys; ++u) {
          // Past the end: any row does, the addend is -infinity there.
          const std::int64_t j = r0 + r + u < left ? r0 + r + u : left - 1;
          const std::int64_t at = k.offset(b, kv_head, sequence.k_begin + first + j);
          if (direct) {
            rows[u] = static_cast<const float*>(k.data) + at;
            continue;
          }
          float* x = buffer + u * width;
          rows[u] = x;
          if (k.quantized) {
            load_codes(k, at, dim, codes);
            const float scale = caller_scale(k, groups, b * problem.kv_heads + kv_head, first + j);
            for (std::int64_t d = 0; d < width; d += S::kLanes)
              S::store(x + d, S::mul(S::to_f32(S::load_s8(codes + d)), S::set1(scale)));
          } else {
            load_row<S>(k, at, dim, x);
          }
        }
        typename S::f32 sum[kCorrectionKeys][kMaxQueryBlocks];
        for (auto& of_key : sum)
          for (auto& x : of_key) x = S::set1(0.0f);
        for (std::int64_t d = 0; d < dim; d += S::kLanes) {
          typename S::f32 m[kMaxQueryBlocks];
#pragma GCC unroll 4
          for (int slot = 0; slot < kMaxQueryBlocks; ++slot) m[slot] = S::load(means + slot * width + d);
#pragma GCC unroll 4
          for (int u = 0; u < kCorrectionKeys; ++u) {
            const auto x = S::load(rows[u] + d);
            __builtin_prefetch(rows[u] + d + ahead);
#pragma GCC unroll 4
            for (int slot = 0; slot < kMaxQueryBlocks; ++slot) sum[u][slot] = S::fma(x, m[slot], sum[u][slot]);
          }
        }
        for (int slot = 0; slot < kMaxQueryBlocks; ++slot)
          for (int u = 0; u < kCorrectionKeys; ++u) S::store(sums[slot] + (r + u) * S::kLanes, sum[u][slot]);
      }
      for (std::int64_t slot = 0; slot < slots; ++slot) {
        const auto delta = S::sub(S::row_sum(sums[slot]), S::set1(constant[slot]));
        const auto owed = S::fma(delta, S::set1(plan.logit_scale), S::load(addend + r0));
        // A NaN of the caller's becomes the one whose payload exp2 keeps.
        S::store(correction + slot * plan.longest_keys + first + r0,
                 S::select(S::equal(owed, owed), owed, S::set1(__builtin_nanf(""))));
      }
    }
  }
}

}  // namespace
}  // namespace octavo::cpu
