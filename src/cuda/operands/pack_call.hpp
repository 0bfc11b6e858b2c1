// Packs the operands of an attention call in one launch: K, Q (with its blocks' means, where these are not known yet,
// and the means in the basis of K as given) and V; then factors of V that need none of its codes.
#pragma once

#include "cuda/operands/bf16_planes.hpp"
#include "cuda/operands/channel_stats.hpp"
#include "cuda/operands/pack_qk.hpp"
#include "cuda/operands/pack_v.hpp"
#include "cuda/operands/v_factors.hpp"

namespace octavo::cuda {

// The mean of 128 rows of Q in the basis of K as given, by one warp.
template <int per_lane, class Machine>
OCTAVO_DEVICE void unrotate_mean(Machine& machine, const UnrotateMeansParams& p, const BlockOfRows& at) {
  const float* const mean = p.given.mean != nullptr ? means_of(p.given, at.b, at.head) + at.row / kPackedRows * p.dim
                                                    : p.mean + at.block * p.dim;
  const std::int64_t kv_head = at.b * (p.queries.heads / p.heads_per_kv_head) + at.head / p.heads_per_kv_head;
  const float* const key_mean = p.key_mean != nullptr ? p.key_mean + kv_head * p.dim : nullptr;
  const float* const gain = p.gain != nullptr ? p.gain + kv_head * p.dim : nullptr;
  const std::int64_t words = packed_dim(p.dim, 0) / 2;  // V may have more channels than Q
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
        for (int i = 0; i < per_lane; i += 2) {
          const int c = channel_of(lane, i);
          if (c / 2 >= words) continue;
          float a = c < p.dim ? v[i] : 0.0f, b = c + 1 < p.dim ? v[i + 1] : 0.0f;
          if (gain != nullptr && c < p.dim) a *= gain[c];
          if (gain != nullptr && c + 1 < p.dim) b *= gain[c + 1];
          OCTAVO_UNROLL
          for (int plane = 0; plane < kPlanesOfF32; ++plane) {
            p.unrotated[(at.block * kPlanesOfF32 + plane) * words + c / 2] = take_upper_halves(a, b);
          }
        }
        if (lane == 0) p.dot_key_mean[at.block] = d[0];
      },
      x, dot);
}

template <int per_lane, class Machine>
OCTAVO_DEVICE void pack_call(Machine& machine, const PackCallParams& p) {
  begin_kernel(machine);
  const PartOfGrid own = part_of_grid(machine, p.parts);
  if (own.part == 3) return value_factors(machine, p.factors, own.block);
  const bool of_v = own.part == 2, of_q = own.part == 1;
  const BlockOfRows at = own_block(machine, (of_v ? p.v.steps : p.rows[own.part].steps).sequences, own);
  if (!at.live) return;
  if (of_v) return pack_values<per_lane>(machine, p.v, at);
  if (of_q && p.q_mean.mean != nullptr) {
    channel_stats<per_lane>(machine, p.q_mean, at);
    machine.sync("Q's mean");
  }
  if (of_q && p.unrotate.unrotated != nullptr && machine.warp() == 0) unrotate_mean<per_lane>(machine, p.unrotate, at);
  pack_rows<per_lane>(machine, p.rows[own.part], at);
}

}  // namespace octavo::cuda
