// What the own means of K's blocks add to the scores of query rows (spec/block_mean.hpp), for a chunk of query blocks:
//   offset[key block][row] = logit_scale * (q - mean_q) . (mean of the block - mean)
// Rotation and gains cancel in the product, so all are taken as given. A thread takes one row and kMeansAtOnce key
// blocks, 32 channels at a time through shared memory: rows f32 [128][33] | means f32 [kMeansAtOnce][32]. For heads
// with one mean the blocks return at once.
#pragma once

#include "cuda/attention/params.hpp"
#include "cuda/operands/bf16_planes.hpp"
#include "cuda/operands/load.hpp"
#include "cuda/operands/tile_config.hpp"
#include "spec/base2.hpp"
#include "spec/q16.hpp"

namespace octavo::cuda {

// A row in shared memory is one element longer than the slice, so that the lanes of a warp read different banks.
inline constexpr int kMeansAtOnce = 16;
inline constexpr std::uint32_t kSliceChannels = 32, kSliceRow = kSliceChannels + 1;
inline constexpr std::uint32_t kMeansAt = kPackedRows * kSliceRow * 4;
inline constexpr std::uint32_t kBlockOffsetsSharedBytes = kMeansAt + kMeansAtOnce * kSliceChannels * 4;

// Query block `block` of (head y, batch entry z) of the chunk, against all its key blocks.
template <class Machine>
OCTAVO_DEVICE void find_block_offsets(Machine& machine, const BlockOffsetParams& p, std::int64_t block) {
  const Chunk& chunk = p.chunk;
  const std::int64_t head = chunk.first_head + machine.block(1), kv_head = head / p.heads_per_kv_head;
  const BlockOfRows rows =
      block_of_rows(p.queries.sequences, chunk.first_block + block, head, chunk.first_batch + machine.block(2));
  if (!rows.live || p.taken[rows.b * p.keys.heads + kv_head] == 0) return;
  const OperandRows& q = p.queries.x;
  const SequenceRows keys = sequence_rows(p.keys, rows.b);
  const std::int64_t first_key_block = first_block_of(p.keys, rows.b, kv_head, keys.begin);
  const std::int64_t blocks = packed_blocks(keys.rows);
  const std::int64_t q_at = rows.b * q.strides[0] + head * q.strides[1] + (rows.begin + rows.row) * q.strides[2];
  const bool smoothed = p.unrotated_means != nullptr && !(p.q16 && rows.rows < spec::kQ16Rows);
  const std::int64_t entry = ((machine.block(2) * chunk.heads + machine.block(1)) * chunk.blocks + block);
  const int thread0 = machine.warp() * kLanes;

  Registers<Machine, float, kMeansAtOnce> sums;
  for (std::int64_t first = 0; first < blocks; first += kMeansAtOnce) {
    const std::int64_t count = blocks - first < kMeansAtOnce ? blocks - first : kMeansAtOnce;
    machine.lanes(
        [](int, float(&s)[kMeansAtOnce]) {
          OCTAVO_UNROLL
          for (int i = 0; i < kMeansAtOnce; ++i) s[i] = 0;
        },
        sums);
    for (std::int64_t c0 = 0; c0 < q.dim; c0 += kSliceChannels) {
      machine.sync("slice is free");
      machine.lanes(
          [&](int lane, float(&)[kMeansAtOnce]) {
            const std::int64_t c = c0 + lane;
            const float mean =
                smoothed && c < q.dim ? sum_of_planes(p.unrotated_means, rows.block, packed_dim(q.dim, 0), c) : 0.0f;
            for (std::int64_t r = machine.warp(); r < kPackedRows; r += kCodeWarps) {
              const bool exists = rows.row + r < rows.rows && c < q.dim;
              const float x =
                  exists ? load_number<Machine>(q, q_at + r * q.strides[2] + c * q.strides[3]) - mean : 0.0f;
              machine.store_shared(static_cast<std::uint32_t>(r) * kSliceRow * 4 + static_cast<std::uint32_t>(lane) * 4,
                                   x);
            }
            for (std::int64_t j = machine.warp(); j < kMeansAtOnce; j += kCodeWarps) {
              const float x = j < count && c < q.dim ? p.shift[(first_key_block + first + j) * q.dim + c] : 0.0f;
              machine.store_shared(kMeansAt + static_cast<std::uint32_t>(j * kSliceChannels + lane) * 4, x);
            }
          },
          sums);
      machine.sync("slice is there");
      machine.lanes(
          [&](int lane, float(&s)[kMeansAtOnce]) {
            if (thread0 >= kPackedRows) return;
            const std::uint32_t row = static_cast<std::uint32_t>(thread0 + lane) * kSliceRow * 4;
            for (std::uint32_t c = 0; c < kSliceChannels; ++c) {
              const float x = machine.template shared<float>(row + c * 4);
              OCTAVO_UNROLL
              for (int j = 0; j < kMeansAtOnce; ++j) {
                s[j] += x * machine.template shared<float>(kMeansAt +
                                                           (static_cast<std::uint32_t>(j) * kSliceChannels + c) * 4);
              }
            }
          },
          sums);
    }
    machine.lanes(
        [&](int lane, float(&s)[kMeansAtOnce]) {
          OCTAVO_UNROLL
          for (int j = 0; j < kMeansAtOnce; ++j) {
            if (j >= count || thread0 >= kPackedRows) continue;
            // A row of Q that is not finite is marked in its factor.
            const float offset = is_finite(s[j]) ? spec::bounded(p.logit_scale * s[j]) : 0.0f;
            p.offsets.of_row[(entry * p.offsets.key_blocks + first + j) * kPackedRows + thread0 + lane] = offset;
          }
        },
        sums);
  }
}

}  // namespace octavo::cuda
