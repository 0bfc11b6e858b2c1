// smooth_q's bias for a chunk of query blocks, joined with the keys' addend:
//   bias[j] = addend[j] + logit_scale * mean_q . K'_j,   K'_j = rotated K_j - mean_k
// The rotation is orthonormal, so mean_q . K'_j = (mean_q rotated back) . K_j - mean_q . mean_k with K as given. A
// skinny product, means [query blocks, D] times K [128, D], by mma.sync on planes of bf16 (operands/bf16_planes.hpp):
// a warp holds the planes of 8 or 16 keys and meets the means of 16 query blocks at a time.
#pragma once

#include "cuda/attention/params.hpp"
#include "cuda/attention/qk.hpp"
#include "cuda/operands/bf16_planes.hpp"
#include "cuda/operands/row_scales.hpp"
#include "cuda/operands/v_factors.hpp"

namespace octavo::cuda {

// The planes of 8 keys as operand B of the product: for each step of 16 channels two registers of each plane. Keys
// behind the sequence's end are zeros.
template <int per_lane>
constexpr int kKeyRegisters = 2 * kPlanesOfF32 * 2 * per_lane;
template <int per_lane, class Machine, int n>
OCTAVO_DEVICE void load_key_planes(Machine& machine, const OperandRows& k, std::int64_t at, std::int64_t rows,
                                   Registers<Machine, std::uint32_t, n>& planes, int to) {
  machine.lanes(
      [&](int lane, std::uint32_t(&r)[n]) {
        const std::int64_t row = lane / 4, row_at = at + row * k.strides[2];
        const auto channel = [&](int i) { return 8 * i + 2 * (lane % 4); };
        const auto put = [&](int i, float a, float b) {
          OCTAVO_UNROLL
          for (int plane = 0; plane < kPlanesOfF32; ++plane) {
            r[to + (i / 2 * kPlanesOfF32 + plane) * 2 + i % 2] = take_upper_halves(a, b);
          }
        };
        if (k.pairs) {
          OCTAVO_UNROLL
          for (int i = 0; i < 4 * per_lane; ++i) {
            float a = 0, b = 0;
            if (row < rows && channel(i) < k.dim) load_pair<Machine>(k, row_at, channel(i), a, b);
            put(i, a, b);
          }
          return;
        }
        // A rolled loop, as in load_rows().
        OCTAVO_ROLLED
        for (int i = 0; i < 4 * per_lane; ++i) {
          const std::int64_t c = channel(i);
          float a = 0, b = 0;
          if (row < rows && c < k.dim) a = load_number<Machine>(k, row_at + c * k.strides[3]);
          if (row < rows && c + 1 < k.dim) b = load_number<Machine>(k, row_at + (c + 1) * k.strides[3]);
          OCTAVO_UNROLL
          for (int each = 0; each < 4 * per_lane; ++each) {
            if (each == i) put(each, a, b);
          }
        }
      },
      planes);
}

// Means [16 query blocks] of step `step` as operand A; blocks from `count` on are zeros.
template <int per_lane, class Machine>
OCTAVO_DEVICE void load_mean_planes(Machine& machine, const std::uint32_t* means, std::int64_t count, int step,
                                    Registers<Machine, std::uint32_t, 4 * kPlanesOfF32>& planes) {
  constexpr int kWords = 32 * per_lane / 2;
  machine.lanes(
      [&](int lane, std::uint32_t(&r)[4 * kPlanesOfF32]) {
        OCTAVO_UNROLL
        for (int i = 0; i < 4; ++i) {  // as place_in_a has it
          const std::int64_t block = lane / 4 + 8 * (i % 2);
          const int word = 8 * step + lane % 4 + i / 2 * 4;
          OCTAVO_UNROLL
          for (int plane = 0; plane < kPlanesOfF32; ++plane) {
            r[4 * plane + i] = block < count ? means[(block * kPlanesOfF32 + plane) * kWords + word] : 0u;
          }
        }
      },
      planes);
}

// Planes that hold all digits of a number of K.
OCTAVO_INLINE int planes_of(DType dtype) { return dtype == DType::f32 ? 3 : dtype == DType::bf16 ? 1 : 2; }

// Key block `block` of (head y, batch entry z) of the chunk, against all its query blocks. In a varlen batch key blocks
// count over all sequences. The keys' addend has the fold where `fold` has an addend.
template <int per_lane, class Machine>
OCTAVO_DEVICE void add_smooth_q_bias(Machine& machine, const SmoothQBiasParams& p, const FoldParams& fold,
                                     std::int64_t block) {
  constexpr int kTiles = per_lane > 4 ? 1 : 2, kSteps = 2 * per_lane;  // of 8 keys, of 16 channels
  const Chunk& chunk = p.chunk;
  const std::int64_t head = chunk.first_head + machine.block(1), kv_head = head / p.heads_per_kv_head;
  const BlockOfRows keys = block_of_rows(p.keys.sequences, block, kv_head, chunk.first_batch + machine.block(2));
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
  const float* const scales = k.quantized ? scales_of(k, keys.b, kv_head) : nullptr;
  const std::int64_t entry = (machine.block(2) * chunk.heads + machine.block(1)) * chunk.blocks;
  const int planes = planes_of(k.dtype);
  const bool folds = fold.addend != nullptr;
  const float largest = folds ? largest_scale(machine, fold.largest, keys.b * p.keys.sequences.heads + kv_head) : 1;

  OCTAVO_ROLLED
  for (std::int64_t key0 = machine.warp() * 8 * kTiles; key0 < kPackedRows; key0 += kCodeWarps * 8 * kTiles) {
    Registers<Machine, std::uint32_t, kTiles * kKeyRegisters<per_lane>> key_planes;
    OCTAVO_UNROLL
    for (int tile = 0; tile < kTiles; ++tile) {
      const std::int64_t key = key0 + 8 * tile;
      load_key_planes<per_lane>(machine, k, k_at + key * k.strides[2], keys.rows - keys.row - key, key_planes,
                                tile * kKeyRegisters<per_lane>);
    }
    OCTAVO_ROLLED
    for (std::int64_t first = from; first < to; first += 16) {
      Registers<Machine, float, 4 * kTiles> sums;
      clear<Machine, float, 4 * kTiles>(machine, sums);
      OCTAVO_UNROLL
      for (int step = 0; step < kSteps; ++step) {
        Registers<Machine, std::uint32_t, 4 * kPlanesOfF32> means;
        load_mean_planes<per_lane>(machine,
                                   p.unrotated_means + (first_query + first) * (kPlanesOfF32 * 32 * per_lane / 2),
                                   to - first, step, means);
        // The smaller planes first; those below 2^-24 of the product are left out.
        OCTAVO_UNROLL
        for (int of_key = kPlanesOfF32 - 1; of_key >= 0; --of_key) {
          if (of_key >= planes) continue;
          OCTAVO_UNROLL
          for (int of_mean = kPlanesOfF32 - 1 - of_key; of_mean >= 0; --of_mean) {
            OCTAVO_UNROLL
            for (int tile = 0; tile < kTiles; ++tile) {
              machine.template mma<Mma::bf16>(sums, 4 * tile, means, 4 * of_mean, key_planes,
                                              tile * kKeyRegisters<per_lane> + (step * kPlanesOfF32 + of_key) * 2);
            }
          }
        }
      }
      machine.lanes(
          [&](int lane, float(&s)[4 * kTiles]) {
            OCTAVO_UNROLL
            for (int tile = 0; tile < kTiles; ++tile) {
              const std::int64_t key = key0 + 8 * tile + lane % 4 * 2;  // and the next
              float scale[2], addend[2];
              OCTAVO_UNROLL
              for (int i = 0; i < 2; ++i) {
                scale[i] = scales != nullptr && keys.row + key + i < keys.rows
                               ? scales[spec::group_of_row(p.groups, keys.row + key + i)]
                               : 1.0f;
                const std::int64_t at = keys.block * kPackedRows + key + i;
                addend[i] = folds ? folded_addend<Machine>(fold, largest, at) : fold.presence[at];
              }
              OCTAVO_UNROLL
              for (int half = 0; half < 2; ++half) {
                const std::int64_t query = first + lane / 4 + 8 * half;
                if (query >= to) continue;
                const float dot = p.dot_key_mean[first_query + query];
                float* const bias =
                    p.bias.addend + (entry + query + offset - chunk.first_block) * p.bias.keys + keys.row + key;
                OCTAVO_UNROLL
                for (int i = 0; i < 2; ++i) {
                  const float delta = s[4 * tile + 2 * half + i] * scale[i] - dot;
                  // Of a key that does not exist nothing remains, whatever its row holds.
                  bias[i] = addend[i] == -__builtin_inff() ? addend[i] : addend[i] + p.logit_scale * delta;
                }
              }
            }
          },
          sums);
    }
  }
}

}  // namespace octavo::cuda
