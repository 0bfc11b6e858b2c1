// What smoothing took off Q and owes to every key of a query block: Delta_S, in place of the keys' own addend.
#pragma once

#include "cpu/operands/pack_q.hpp"

namespace octavo::cpu {
namespace {

// Delta_S of smooth_q joined with the keys' own addend, for the task's query blocks at once:
//   correction[slot][j] = key_addend[j] + logit_scale * mean_q . K'_j,   K'_j = rotated K_j - mean_k
// The rotation is orthonormal, so mean_q . K'_j = (rotated-back mean_q) . K_j - mean_q . mean_k with K as the caller
// has it: nothing of K needs to be kept in floats. kSlots >= slots; means of absent slots are zeros. Keys first_block *
// key_block .. last_block * key_block.
template <class S, int kSlots>
__attribute__((noinline)) void correct_keys_of(const Call& call, std::byte* thread, std::int64_t slots, std::int64_t b,
                                               std::int64_t kv_head, std::int64_t first_block,
                                               std::int64_t last_block) {
  const Plan& plan = *call.plan;
  const Problem& problem = *plan.problem;
  const Operand& k = problem.k;
  const Sequence sequence = sequence_at(call, b)->rows;
  const std::int64_t dim = problem.head_dim, width = plan.k_width;
  const RowSource source(k, b, kv_head, sequence.k_begin);
  const float* key_mean = mean_of_keys(head_at(call, b, kv_head));
  float* means = part<float>(thread, plan.thread.mean);
  float* correction = part<float>(thread, plan.thread.correction);
  const spec::Groups groups = spec::groups_of(Role::k, problem.recipe);
  alignas(64) std::int32_t signs[kMaxPadded];
  rotation_signs(signs, dim);
  float constant[kSlots];
  std::memset(means + slots * width, 0, static_cast<std::size_t>((kSlots - slots) * width) * 4);
  for (std::int64_t slot = 0; slot < slots; ++slot) {
    constant[slot] = k.quantized ? 0.0f : dot<S>(means + slot * width, key_mean, width);
    if (plan.rotate_qk && !k.quantized) rotate_row_back<S>(means + slot * width, signs, dim);
  }
  const float* scales = spec::scales_at(k, sequence_at(call, b)->k_sides, kv_head);
  const bool direct = !k.quantized && k.dtype == DType::f32 && k.strides[3] == 1 && dim % S::kLanes == 0;
  alignas(64) float buffer[kCorrectionKeys * kMaxPadded];
  alignas(64) float sums[kSlots][S::kLanes * S::kLanes];

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
        typename S::f32 sum[kCorrectionKeys][kSlots];
        for (auto& of_key : sum)
          for (auto& x : of_key) x = S::set1(0.0f);
        for (std::int64_t d = 0; d < dim; d += S::kLanes) {
          typename S::f32 m[kSlots];
#pragma GCC unroll 4
          for (int slot = 0; slot < kSlots; ++slot) m[slot] = S::load(means + slot * width + d);
#pragma GCC unroll 4
          for (int u = 0; u < kCorrectionKeys; ++u) {
            const auto x = S::load(rows[u] + d);
#pragma GCC unroll 4
            for (int slot = 0; slot < kSlots; ++slot) sum[u][slot] = S::fma(x, m[slot], sum[u][slot]);
          }
        }
        for (int slot = 0; slot < kSlots; ++slot)
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

template <class S>
OCTAVO_INLINE void correct_keys(const Call& call, std::byte* thread, std::int64_t slots, std::int64_t b,
                                std::int64_t kv_head, std::int64_t first_block, std::int64_t last_block) {
  if (slots == 1)
    correct_keys_of<S, 1>(call, thread, slots, b, kv_head, first_block, last_block);
  else
    correct_keys_of<S, static_cast<int>(kMaxQueryBlocks)>(call, thread, slots, b, kv_head, first_block, last_block);
}

}  // namespace
}  // namespace octavo::cpu
