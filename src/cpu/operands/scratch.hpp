// The scratch memory of a call: what lies there, and accessors.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/operands/call_plan.hpp"
#include "spec/mean.hpp"
#include "spec/scale_layout.hpp"

namespace octavo::cpu {

// A sequence of the batch and where its packed blocks start.
struct SequenceInfo {
  Sequence rows;
  std::int64_t first_block = 0;    // of KV head 0; heads follow, `blocks` each
  std::int64_t blocks = 0;         // key blocks of a head
  std::int64_t first_partial = 0;  // likewise of the 128-row statistics
  std::int64_t partials = 0;
  std::int64_t first_query_range = 0;  // of query head 0, likewise
  std::int64_t query_ranges = 0;
  spec::ScalePlace q_scale_place, k_scale_place, v_scale_place;  // of the caller's codes
};

// One (sequence, KV head) after its statistics. Vectors of its channels follow it in memory: mean_of_keys(),
// value_vectors().
struct alignas(64) HeadInfo {
  std::int64_t pending_partials = 0, pending_blocks = 0;  // remaining tasks; the last one completes the head
  float out_scale = 1;                                    // what O / l is multiplied by
  float v_prescale = 1;                                   // V is multiplied by it (spec/v_prescale.hpp)
  float k_amax = 0;                                       // range of K under one scale per tensor
  std::uint32_t ready = 0;                                // 1: prepared, in calls of one phase
  bool k_finite = true;
  bool block_means = false;  // K's mean is that of a block of keys (spec/block_mean.hpp)
};

// V's channels become codes as x -> (x / gain - mean) * inverse; the epilogue computes O * epilogue_scale + mean. f32
// [padded Dv] each.
struct ValueVectors {
  float *mean, *gain, *inverse, *epilogue_scale;
};

// Statistics of an operand's channels over 128 rows, f32 [padded D] each; which of them a call needs.
struct ChannelExtremes {
  float *low, *high;  // of the finite values
  float* nonfinite;   // NaN where a value is not finite, else 0
};
struct ChannelStats {
  float *sums, *counts;  // of the finite values
  ChannelExtremes extremes;
};
// Gains of the channels of K, and their reciprocals for Q; f32 [padded D] each. Null: all 1.
struct QkGains {
  float *of_k, *of_q;
};
// Range of 128 rows of Q under one scale per tensor.
struct QueryRange {
  float amax = 0;
  bool finite = true;
};

// What the stages read of one query block, besides its words.
struct QueryVectors {
  float factor[kQueryBlock];                 // scale of the row * logit_scale; NaN makes the row NaN
  float smooth_k_logit_offset[kQueryBlock];  // softmax_scale * q . mean of K
  std::int32_t start[kQueryBlock];           // where integer scores start: -key bias * sum of codes
  std::int32_t start_low[kQueryBlock];       // likewise of the low plane of a 16-bit query
};

// A plan and its scratch memory, with the accessors kernels use.
struct Call {
  const Plan* plan;
  std::byte* scratch;
};

OCTAVO_INLINE SequenceInfo* sequence_at(const Call& call, std::int64_t b) {
  return reinterpret_cast<SequenceInfo*>(call.scratch + call.plan->sequences_at) + b;
}
OCTAVO_INLINE HeadInfo* head_at(const Call& call, std::int64_t b, std::int64_t kv_head) {
  const std::int64_t index = b * call.plan->problem->kv_heads + kv_head;
  return reinterpret_cast<HeadInfo*>(call.scratch + call.plan->heads_at +
                                     static_cast<std::size_t>(index) * call.plan->head_bytes);
}
OCTAVO_INLINE float* mean_of_keys(HeadInfo* head) { return reinterpret_cast<float*>(head + 1); }
OCTAVO_INLINE ValueVectors value_vectors(const Call& call, HeadInfo* head) {
  const std::int64_t width = call.plan->v_width;
  float* first = mean_of_keys(head) + call.plan->k_width;
  return {first, first + width, first + 2 * width, first + 3 * width};
}
OCTAVO_INLINE QkGains qk_gains(const Call& call, HeadInfo* head) {
  if (!call.plan->qk_gains) return {nullptr, nullptr};
  float* first = mean_of_keys(head) + call.plan->k_width + 4 * call.plan->v_width;
  return {first, first + call.plan->k_width};
}
inline constexpr std::int64_t kChannelStats = 5;  // vectors of ChannelStats
OCTAVO_INLINE ChannelStats channel_stats_in(float* first, std::int64_t width) {
  return {first, first + width, {first + 2 * width, first + 3 * width, first + 4 * width}};
}
// Of stretch i of 128 rows.
OCTAVO_INLINE float* partial_at(const Call& call, std::int64_t b, std::int64_t kv_head, std::int64_t i) {
  const SequenceInfo& sequence = *sequence_at(call, b);
  const std::int64_t index = sequence.first_partial + kv_head * sequence.partials + i;
  return reinterpret_cast<float*>(call.scratch + call.plan->partials_at +
                                  static_cast<std::size_t>(index) * call.plan->partial_bytes);
}
OCTAVO_INLINE ChannelStats channel_stats_of_k(const Call& call, std::int64_t b, std::int64_t kv_head, std::int64_t i) {
  return channel_stats_in(partial_at(call, b, kv_head, i), call.plan->k_width);
}
OCTAVO_INLINE ChannelStats channel_stats_of_v(const Call& call, std::int64_t b, std::int64_t kv_head, std::int64_t i) {
  const std::int64_t of_k = call.plan->k_needs.any() ? kChannelStats * call.plan->k_width : 0;
  return channel_stats_in(partial_at(call, b, kv_head, i) + of_k, call.plan->v_width);
}
// f32 [128]: largest magnitudes of the rows of K in block i, 0 where no row of the call may see the key; null where
// stray rows need not be found.
OCTAVO_INLINE float* key_magnitudes(const Call& call, std::int64_t b, std::int64_t kv_head, std::int64_t i) {
  if (!call.plan->robust || !call.plan->k_needs.sums) return nullptr;
  const std::int64_t of_v = call.plan->v_needs.any() ? kChannelStats * call.plan->v_width : 0;
  return partial_at(call, b, kv_head, i) + kChannelStats * call.plan->k_width + of_v;
}
// K's mean over block i of 128 keys, f32 [padded D] each: the mean, of as many values. From finish_channel_stats() on
// it is the mean that packing subtracts, if the head has block_means.
struct BlockMean {
  float *mean, *count;
};
OCTAVO_INLINE BlockMean block_mean_of_keys(const Call& call, std::int64_t b, std::int64_t kv_head, std::int64_t i) {
  const std::int64_t of_v = call.plan->v_needs.any() ? kChannelStats * call.plan->v_width : 0;
  float* first = partial_at(call, b, kv_head, i) + kChannelStats * call.plan->k_width + of_v + spec::kMeanBlock;
  return {first, first + call.plan->k_width};
}
// What packing subtracts from the keys of 128-key block i.
OCTAVO_INLINE const float* mean_of_key_block(const Call& call, std::int64_t b, std::int64_t kv_head, std::int64_t i) {
  HeadInfo* head = head_at(call, b, kv_head);
  return head->block_means ? block_mean_of_keys(call, b, kv_head, i).mean : mean_of_keys(head);
}
// f32 [128-key blocks][rows of a task]: what the block's own mean adds to a row's scores, base 2.
OCTAVO_INLINE float* block_offsets_at(const Plan& plan, std::byte* thread, std::int64_t key_block_128) {
  return reinterpret_cast<float*>(thread + plan.thread.block_offsets) + key_block_128 * plan.query_blocks * kQueryBlock;
}
// f32 [padded D]: how far a query block's channels lie from their means (spec/qk_gain.hpp); below 0: nothing finite.
OCTAVO_INLINE float* query_spread_at(const Call& call, std::int64_t b, std::int64_t head, std::int64_t i) {
  const SequenceInfo& sequence = *sequence_at(call, b);
  return reinterpret_cast<float*>(call.scratch + call.plan->query_spreads_at) +
         (sequence.first_query_range + head * sequence.query_ranges + i) * call.plan->k_width;
}
OCTAVO_INLINE QueryRange* query_range_at(const Call& call, std::int64_t b, std::int64_t head, std::int64_t i) {
  const SequenceInfo& sequence = *sequence_at(call, b);
  return reinterpret_cast<QueryRange*>(call.scratch + call.plan->query_ranges_at) + sequence.first_query_range +
         head * sequence.query_ranges + i;
}
OCTAVO_INLINE std::byte* block_at(const Call& call, std::int64_t b, std::int64_t kv_head, std::int64_t i) {
  const SequenceInfo& sequence = *sequence_at(call, b);
  const std::int64_t index = sequence.first_block + kv_head * sequence.blocks + i;
  return call.scratch + call.plan->blocks_at + static_cast<std::size_t>(index) * call.plan->block.bytes;
}
}  // namespace octavo::cpu
