// A packed key block from K's and V's rows, and the fold's vectors, which need the scale of every token.
#pragma once

#include "cpu/operands/pack_k.hpp"
#include "cpu/operands/pack_v.hpp"
#include "cpu/simd/exp2.hpp"
#include "spec/fold.hpp"
#include "spec/stray_rows.hpp"

namespace octavo::cpu {
namespace {

template <class S>
void pack_block(const Call& call, std::int64_t b, std::int64_t kv_head, std::int64_t i, std::byte* thread) {
  std::byte* block = block_at(call, b, kv_head, i);
  pack_keys<S>(call, b, kv_head, i, block, thread);
  pack_values<S>(call, b, kv_head, i, block, thread);
}

// The fold's vectors, once every token's scale is known: addend += log2 s~, inverse = 1 / s~.
template <class S>
void finish_blocks(const Call& call, std::int64_t b, std::int64_t kv_head) {
  const Plan& plan = *call.plan;
  if (!plan.fold) return;
  const std::int64_t blocks = sequence_at(call, b)->blocks;
  std::uint32_t limit = spec::kAnyExponent;
  if (plan.robust) {
    spec::ExponentHistogram histogram;
    for (std::int64_t i = 0; i < blocks; ++i) {
      const float* scale = part<float>(block_at(call, b, kv_head, i), plan.block.v_scale);
      for (std::int64_t r = 0; r < plan.key_block; ++r) spec::add_row(histogram, scale[r]);
    }
    limit = spec::exponent_limit(histogram);
  }
  float largest = 0, largest_of_all = 0;
  for (std::int64_t i = 0; i < blocks; ++i) {
    const float* scale = part<float>(block_at(call, b, kv_head, i), plan.block.v_scale);
    for (std::int64_t r = 0; r < plan.key_block; ++r) {
      largest_of_all = spec::grow_largest_scale(largest_of_all, scale[r]);
      if (!spec::is_stray(scale[r], limit)) largest = spec::grow_largest_scale(largest, scale[r]);
    }
  }
  largest = spec::power_of_two_scale(spec::largest_scale_or_one(spec::bounded_largest_scale(largest, largest_of_all)));
  head_at(call, b, kv_head)->out_scale = largest;
  const auto unit = S::set1(largest), floor = S::set1(static_cast<float>(spec::kFoldFloor));
  for (std::int64_t i = 0; i < blocks; ++i) {
    std::byte* block = block_at(call, b, kv_head, i);
    const float* scale = part<float>(block, plan.block.v_scale);
    float* addend = part<float>(block, plan.block.key_addend);
    float* inverse = part<float>(block, plan.block.inverse);
    for (std::int64_t r = 0; r < plan.key_block; r += S::kLanes) {
      const auto folded = S::max(floor, S::div(S::load(scale + r), unit));  // a NaN scale stays NaN
      const auto b_j = log2<S>(folded);
      if (plan.score_mod)
        S::store(part<float>(block, plan.block.fold) + r, b_j);
      else
        S::store(addend + r, S::add(S::load(addend + r), b_j));
      // A NaN b makes the rows that see the token NaN; the others must stay as they are.
      const auto one = S::set1(1.0f);
      S::store(inverse + r, S::select(S::equal(folded, folded), S::div(one, folded), one));
    }
  }
}

}  // namespace
}  // namespace octavo::cpu
