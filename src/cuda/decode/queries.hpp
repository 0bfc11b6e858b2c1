// The rows of a tile of Q, into shared memory: rotated, in f32 and as 16-bit codes, with the keys that each sees.
#pragma once

#include "cuda/decode/append.hpp"
#include "cuda/decode/tile.hpp"
#include "spec/base2.hpp"

namespace octavo::cuda {

OCTAVO_INLINE RowKeys keys_of_decode_row(const DecodeParams& p, const DecodeTask& task, std::int32_t query) {
  const spec::KeyRange seen = spec::visible_keys(p.causal, p.window_left, p.window_right, p.q_rows, task.keys, query);
  spec::KeyRange near{0, 0};
  if (p.keeps()) {
    near = spec::cache_near_keys(spec::diagonal(p.causal, p.q_rows, task.keys, query), seen, task.kept_begin);
  }
  return {static_cast<std::int32_t>(seen.begin), static_cast<std::int32_t>(seen.end),
          static_cast<std::int32_t>(near.begin), static_cast<std::int32_t>(near.end)};
}

// One row by one warp; behind the last row of the tile zeros that see nothing.
template <int kDim, class Machine>
OCTAVO_DEVICE void prepare_decode_row(Machine& machine, const DecodeParams& p, const DecodeTask& task, std::int32_t r) {
  using Shared = DecodeShared<kDim>;
  constexpr int kPerLane = kDim / kLanes;
  const bool exists = r < task.rows;
  const DecodeRow row = decode_row(p, task, exists ? r : 0);
  Registers<Machine, float, kPerLane> x;
  load_rows<kPerLane, 1>(machine, x, p.q, p.q.offset(p.first_entry + task.entry, row.head, row.query), exists ? 1 : 0);
  Registers<Machine, std::uint32_t, 1> nonfinite;
  machine.lanes(
      [](int, float(&v)[kPerLane], std::uint32_t(&n)[1]) {
        n[0] = 0;
        OCTAVO_UNROLL
        for (int i = 0; i < kPerLane; ++i) n[0] |= is_finite(v[i]) ? 0u : 1u;
      },
      x, nonfinite);
  const bool finite = !machine.any(nonfinite);
  if (!finite) {
    machine.lanes(
        [](int, float(&v)[kPerLane]) {
          for (int i = 0; i < kPerLane; ++i) v[i] = 0;
        },
        x);
  }
  rotate_rows<kPerLane, 1>(machine, x, p.q.dim);
  const float* const mean = p.cache.k_mean + p.cache.head(task.slot, task.head) * p.cache.mean_columns;
  Registers<Machine, float, 1> product;
  machine.lanes(
      [&](int lane, float(&v)[kPerLane], float(&sum)[1]) {
        sum[0] = 0;
        OCTAVO_UNROLL
        for (int i = 0; i < kPerLane; ++i) {
          const int c = channel_of(lane, i);
          if (c < p.q.dim) sum[0] = __builtin_fmaf(v[i], mean[c], sum[0]);
        }
      },
      x, product);
  sum_over<kLanes>(machine, product);
  const RowKeys keys = exists ? keys_of_decode_row(p, task, row.query) : RowKeys{0, 0, 0, 0};
  const float plain = finite ? p.softmax_scale * spec::kLog2E : f32_of_bits(0x7fc00000u);
  with_row_range<kPerLane>(machine, x, [&](int lane, const float(&v)[kPerLane], CacheRowRange range) {
    const spec::Scale scale = spec::scale_of(range.amax, spec::kRangeQ16);
    const auto at = static_cast<std::uint32_t>(r);
    OCTAVO_UNROLL
    for (int i = 0; i < kPerLane; i += 2) {
      const auto c = static_cast<std::uint32_t>(channel_of(lane, i));
      std::uint32_t high = 0, low = 0;
      OCTAVO_UNROLL
      for (int j = 0; j < 2; ++j) {
        const spec::Q16Code code = spec::split_q16(spec::integer_code(v[i + j], scale.inverse, spec::kRangeQ16));
        high |= (static_cast<std::uint32_t>(code.high) & 255u) << (8 * j);
        low |= (static_cast<std::uint32_t>(code.low) & 255u) << (8 * j);
        machine.store_shared(Shared::kFloatsAt + at * Shared::kFloatRow + 4 * (c + static_cast<std::uint32_t>(j)),
                             v[i + j]);
      }
      machine.store_shared(Shared::kHighAt + at * Shared::kPlaneRow + c, static_cast<std::uint16_t>(high));
      machine.store_shared(Shared::kLowAt + at * Shared::kPlaneRow + c, static_cast<std::uint16_t>(low));
    }
    if (lane == 0) machine.store_shared(Shared::kRowsAt + at * Shared::kRowBytes + 16, keys);
    if (lane == 1) machine.store_shared(Shared::kRowsAt + at * Shared::kRowBytes, plain * scale.scale);
    if (lane == 1) machine.store_shared(Shared::kRowsAt + at * Shared::kRowBytes + 4, plain);
  });
  machine.lanes(
      [&](int lane, float(&sum)[1]) {
        if (lane != 0) return;
        machine.store_shared(Shared::kRowsAt + static_cast<std::uint32_t>(r) * Shared::kRowBytes + 8,
                             p.softmax_scale * sum[0]);
      },
      product);
}

template <int kDim, class Machine>
OCTAVO_DEVICE void prepare_decode_rows(Machine& machine, const DecodeParams& p, const DecodeTask& task) {
  OCTAVO_ROLLED
  for (std::int32_t r = machine.warp(); r < kDecodeRows; r += kDecodeWarps) {
    prepare_decode_row<kDim>(machine, p, task, r);
  }
  machine.sync("the queries are prepared");
}

}  // namespace octavo::cuda
