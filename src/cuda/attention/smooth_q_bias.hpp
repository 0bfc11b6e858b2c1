// smooth_q's bias for a chunk of query blocks, joined with the keys' addend:
//   bias[j] = addend[j] + logit_scale * mean_q . K'_j,   K'_j = rotated K_j - mean_k
// The rotation is orthonormal, so mean_q . K'_j = (mean_q rotated back) . K_j - mean_q . mean_k with K as
// given. A skinny product, means [query blocks, D] times K [128, D]: a thread takes one key and kMeansAtOnce means, 32
// channels at a time through shared memory: keys f32 [128][33] | means f32 [kMeansAtOnce][32].
#pragma once

#include "cuda/attention/params.hpp"
#include "cuda/operands/row_scales.hpp"

namespace octavo::cuda {

// The means of 128 rows of Q in the basis of K as given. One warp a query block.
template <int per_lane, class Machine>
OCTAVO_DEVICE void unrotate_means(Machine& machine, const UnrotateMeansParams& p) {
  const BlockOfRows at = own_block(machine, p.queries);
  if (!at.live) return;
  const std::int64_t head = at.b * p.queries.heads + at.head;
  const float* mean = p.means_per_head > 0 ? p.mean + head * p.means_per_head + at.row / kPackedRows * p.dim
                                           : p.mean + at.block * p.dim;
  const std::int64_t kv_head = at.b * (p.queries.heads / p.heads_per_kv_head) + at.head / p.heads_per_kv_head;
  const float* const key_mean = p.key_mean != nullptr ? p.key_mean + kv_head * p.dim : nullptr;
  const float* const gain = p.gain != nullptr ? p.gain + kv_head * p.dim : nullptr;
  Registers<Machine, float, per_lane> x;
  Registers<Machine, float, 1> dot;
  machine.lanes(
      [&](int lane, float(&v)[per_lane], float(&d)[1]) {
        d[0] = 0;
        OCTAVO_UNROLL
        for (int i = 0; i < per_lane; ++i) {
          const int c = channel_of(lane, i);
          v[i] = c < p.dim ? mean[c] : 0.0f;
          if (c < p.dim && key_mean != nullptr) d[0] += v[i] * key_mean[c];
        }
      },
      x, dot);
  sum_over<kLanes>(machine, dot);
  if (p.rotate) rotate_rows_back<per_lane, 1>(machine, x, p.dim);
  machine.lanes(
      [&](int lane, float(&v)[per_lane], float(&d)[1]) {
        OCTAVO_UNROLL
        for (int i = 0; i < per_lane; ++i) {
          const int c = channel_of(lane, i);
          if (c < p.dim) p.unrotated[at.block * p.dim + c] = gain != nullptr ? v[i] * gain[c] : v[i];
        }
        if (lane == 0) p.dot_key_mean[at.block] = d[0];
      },
      x, dot);
}

// Block (x, y, z) of threads: key block x of (head y, batch entry z) of the chunk, against all its query blocks. In a
// varlen batch key blocks count over all sequences.
template <class Machine>
OCTAVO_DEVICE void add_smooth_q_bias(Machine& machine, const SmoothQBiasParams& p) {
  const Chunk& chunk = p.chunk;
  const std::int64_t head = chunk.first_head + machine.block(1), kv_head = head / p.heads_per_kv_head;
  const BlockOfRows keys =
      block_of_rows(p.keys.sequences, machine.block(0), kv_head, chunk.first_batch + machine.block(2));
  if (!keys.live) return;
  const OperandRows& k = p.keys.x;
  const SequenceRows queries = sequence_rows(p.queries, keys.b);
  const bool varlen = p.queries.varlen();
  const std::int64_t first_query = first_block_of(p.queries, keys.b, head, queries.begin);
  // The chunk's query blocks of this sequence, counted in it.
  const std::int64_t offset = varlen ? first_varlen_block(queries.begin, keys.b) : 0;
  const std::int64_t from = chunk.first_block > offset ? chunk.first_block - offset : 0;
  const std::int64_t blocks = packed_blocks(queries.rows);
  const std::int64_t behind = chunk.first_block + chunk.blocks - offset;
  const std::int64_t to = behind < blocks ? behind : blocks;
  const std::int64_t k_at = keys.b * k.strides[0] + kv_head * k.strides[1] + (keys.begin + keys.row) * k.strides[2];
  const std::int64_t scales_at = (keys.b * p.keys.sequences.heads + kv_head) * k.scales_per_head;
  const std::int64_t entry = (machine.block(2) * chunk.heads + machine.block(1)) * chunk.blocks;
  const int thread0 = machine.warp() * kLanes;

  Registers<Machine, float, kMeansAtOnce> sums;
  for (std::int64_t first = from; first < to; first += kMeansAtOnce) {
    const std::int64_t count = to - first < kMeansAtOnce ? to - first : kMeansAtOnce;
    machine.lanes(
        [](int, float(&s)[kMeansAtOnce]) {
          OCTAVO_UNROLL
          for (int i = 0; i < kMeansAtOnce; ++i) s[i] = 0;
        },
        sums);
    for (std::int64_t c0 = 0; c0 < k.dim; c0 += kSliceChannels) {
      machine.sync("slice is free");
      // A warp reads rows of 32 channels, one channel a lane.
      machine.lanes(
          [&](int lane, float(&)[kMeansAtOnce]) {
            const std::int64_t c = c0 + lane;
            for (std::int64_t r = machine.warp(); r < kPackedRows; r += kCodeWarps) {
              const bool exists = keys.row + r < keys.rows && c < k.dim;
              const float x = exists ? load_number(k, k_at + r * k.strides[2] + c * k.strides[3]) : 0.0f;
              machine.store_shared(static_cast<std::uint32_t>(r) * kKeyRow * 4 + static_cast<std::uint32_t>(lane) * 4,
                                   x);
            }
            for (std::int64_t j = machine.warp(); j < kMeansAtOnce; j += kCodeWarps) {
              const float x = j < count && c < k.dim ? p.unrotated_means[(first_query + first + j) * k.dim + c] : 0.0f;
              machine.store_shared(kMeansAt + static_cast<std::uint32_t>(j * kSliceChannels + lane) * 4, x);
            }
          },
          sums);
      machine.sync("slice is there");
      machine.lanes(
          [&](int lane, float(&s)[kMeansAtOnce]) {
            const std::uint32_t row = static_cast<std::uint32_t>(thread0 + lane) * kKeyRow * 4;
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
          const std::int64_t key = thread0 + lane;
          const std::int64_t slot = p.permuted ? slot_of_key(static_cast<std::int32_t>(key)) : key;
          float scale = 1;
          if (k.quantized && k.scales != nullptr && keys.row + key < keys.rows) {
            scale = k.scales[scales_at + spec::group_of_row(p.groups, keys.row + key)];
          }
          const float addend = p.addend[keys.block * kPackedRows + slot];
          OCTAVO_UNROLL
          for (int j = 0; j < kMeansAtOnce; ++j) {
            if (j >= count) continue;
            const std::int64_t block = first + j + offset - chunk.first_block;
            const float delta = s[j] * scale - p.dot_key_mean[first_query + first + j];
            // Of a key that does not exist nothing remains, whatever its row holds.
            p.bias.addend[(entry + block) * p.bias.keys + keys.row + slot] =
                addend == -__builtin_inff() ? addend : addend + p.logit_scale * delta;
          }
        },
        sums);
  }
}

}  // namespace octavo::cuda
