// The products of K with the mean that smooth_q subtracted from a query block; they replace the keys' own addend.
#pragma once

#include "cpu/operands/pack_q.hpp"

namespace octavo::cpu {
namespace {

// The bias with the keys' own addend, for all query blocks of the task at once:
//   smooth_q_bias[query_block][j] = key_addend[j] + logit_scale * mean_q . K'_j,   K'_j = rotated K_j - mean_k
// The rotation is orthonormal, so mean_q . K'_j = (rotated-back mean_q) . K_j - mean_q . mean_k with K as the caller
// has it, and no float copy of K is kept. kQueryBlocks >= query_blocks; means of absent query blocks are zeros. Keys
// first_block * key_block .. last_block * key_block.
template <class S, int kQueryBlocks>
__attribute__((noinline)) void smooth_q_bias_of(const Call& call, std::byte* thread, std::int64_t query_blocks,
                                                std::int64_t b, std::int64_t kv_head, std::int64_t first_block,
                                                std::int64_t last_block) {
  const Plan& plan = *call.plan;
  const Problem& problem = *plan.problem;
  const Operand& k = problem.k;
  const Sequence sequence = sequence_at(call, b)->rows;
  const std::int64_t dim = problem.head_dim, width = plan.k_width;
  const RowSource source(k, b, kv_head, sequence.k_begin);
  const float* key_mean = mean_of_keys(head_at(call, b, kv_head));
  const float* gain = qk_gains(call, head_at(call, b, kv_head)).of_k;
  float* means = part<float>(thread, plan.thread.mean);
  float* smooth_q_bias = part<float>(thread, plan.thread.smooth_q_bias);
  const spec::Groups groups = spec::groups_of(Role::k, problem.recipe);
  alignas(64) std::int32_t signs[kMaxPadded];
  rotation_signs(signs, dim);
  float constant[kQueryBlocks];
  std::memset(means + query_blocks * width, 0, static_cast<std::size_t>((kQueryBlocks - query_blocks) * width) * 4);
  for (std::int64_t query_block = 0; query_block < query_blocks; ++query_block) {
    constant[query_block] = k.quantized ? 0.0f : dot<S>(means + query_block * width, key_mean, width);
    float* mean = means + query_block * width;
    if (plan.rotate_qk && !k.quantized) rotate_row_back<S>(mean, signs, dim);
    // K as the caller has it lacks its gains.
    for (std::int64_t d = 0; gain != nullptr && d < width; d += S::kLanes)
      S::store(mean + d, S::mul(S::load(mean + d), S::load(gain + d)));
  }
  const float* scales = spec::scales_at(k, sequence_at(call, b)->k_scale_place, kv_head);
  const bool direct = !k.quantized && k.dtype == DType::f32 && k.strides[3] == 1 && dim % S::kLanes == 0;
  alignas(64) float buffer[kSmoothQBiasKeys * kMaxPadded];
  alignas(64) float sums[kQueryBlocks][S::kLanes * S::kLanes];

  for (std::int64_t i = first_block; i < last_block; ++i) {
    const float* addend = part<float>(block_at(call, b, kv_head, i), plan.block.key_addend);
    const std::int64_t first = i * plan.key_block;
    const std::int64_t left = sequence.k_rows - first;
    for (std::int64_t r0 = 0; r0 < plan.key_block; r0 += S::kLanes) {
      for (std::int64_t r = 0; r < S::kLanes; r += kSmoothQBiasKeys) {
        const float* rows[kSmoothQBiasKeys];
        for (std::int64_t u = 0; u < kSmoothQBiasKeys; ++u) {
          // Past the end any row will do: the addend is -infinity there.
          const std::int64_t j = r0 + r + u < left ? r0 + r + u : left - 1;
          const std::int64_t at = source.at(first + j);
          if (direct) {
            rows[u] = static_cast<const float*>(k.data) + at;
            fetch_ahead(k, at, dim);
            continue;
          }
          float* x = buffer + u * width;
          rows[u] = x;
          if (k.quantized) {
            load_code_values<S>(k, at, dim, x);
            const float scale = caller_scale(scales, groups, first + j);
            for (std::int64_t d = 0; d < width; d += S::kLanes) S::store(x + d, S::mul(S::load(x + d), S::set1(scale)));
          } else {
            load_row<S>(k, at, dim, x);
          }
        }
        typename S::f32 sum[kSmoothQBiasKeys][kQueryBlocks];
        for (auto& of_key : sum)
          for (auto& x : of_key) x = S::set1(0.0f);
        for (std::int64_t d = 0; d < dim; d += S::kLanes) {
          typename S::f32 m[kQueryBlocks];
#pragma GCC unroll 4
          for (int query_block = 0; query_block < kQueryBlocks; ++query_block)
            m[query_block] = S::load(means + query_block * width + d);
#pragma GCC unroll 4
          for (int u = 0; u < kSmoothQBiasKeys; ++u) {
            const auto x = S::load(rows[u] + d);
#pragma GCC unroll 4
            for (int query_block = 0; query_block < kQueryBlocks; ++query_block)
              sum[u][query_block] = S::fma(x, m[query_block], sum[u][query_block]);
          }
        }
        for (int query_block = 0; query_block < kQueryBlocks; ++query_block)
          for (int u = 0; u < kSmoothQBiasKeys; ++u)
            S::store(sums[query_block] + (r + u) * S::kLanes, sum[u][query_block]);
      }
      for (std::int64_t query_block = 0; query_block < query_blocks; ++query_block) {
        const auto delta = S::sub(S::row_sum(sums[query_block]), S::set1(constant[query_block]));
        const auto of_key = S::load(addend + r0), nothing = S::set1(-__builtin_inff());
        const auto bias = S::fma(delta, S::set1(plan.logit_scale), of_key);
        // A NaN of the caller's becomes the one whose payload exp2 keeps; of a key that no row may see nothing remains.
        const auto value = S::select(S::equal(bias, bias), bias, S::set1(__builtin_nanf("")));
        S::store(smooth_q_bias + query_block * plan.longest_keys + first + r0,
                 S::select(S::equal(of_key, nothing), nothing, value));
      }
    }
  }
}

template <class S>
OCTAVO_INLINE void add_smooth_q_bias(const Call& call, std::byte* thread, std::int64_t query_blocks, std::int64_t b,
                                     std::int64_t kv_head, std::int64_t first_block, std::int64_t last_block) {
  if (query_blocks == 1)
    smooth_q_bias_of<S, 1>(call, thread, query_blocks, b, kv_head, first_block, last_block);
  else
    smooth_q_bias_of<S, static_cast<int>(kMaxQueryBlocks)>(call, thread, query_blocks, b, kv_head, first_block,
                                                           last_block);
}

}  // namespace
}  // namespace octavo::cpu
