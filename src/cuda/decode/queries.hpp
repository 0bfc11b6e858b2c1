// The rows of a tile of Q, into shared memory, with the keys that each sees. What meets codes is rotated and taken as
// codes, and in f32 for kept keys; what meets floats as planes of 16-bit floats.
#pragma once

#include "cuda/decode/append.hpp"
#include "cuda/decode/float_products.hpp"
#include "cuda/decode/terms.hpp"
#include "spec/base2.hpp"

namespace octavo::cuda {

OCTAVO_INLINE RowKeys keys_of_decode_row(const DecodeParams& p, const DecodeTask& task, std::int32_t query) {
  const spec::KeyRange seen =
      spec::visible_keys(p.causal, p.window_left, p.window_right, task.q_rows, task.keys, query);
  spec::KeyRange near{0, 0};
  if (p.keeps()) {
    near = spec::cache_near_keys(spec::diagonal(p.causal, task.q_rows, task.keys, query), seen, task.kept_begin);
  }
  return {static_cast<std::int32_t>(seen.begin), static_cast<std::int32_t>(seen.end),
          static_cast<std::int32_t>(near.begin), static_cast<std::int32_t>(near.end)};
}

// Where the products read the code of a channel in its plane (decode/products.hpp).
template <DType kFormat>
OCTAVO_INLINE constexpr std::uint32_t place_of_query_code(std::uint32_t channel) {
  if constexpr (kFormat == DType::s8) return channel;
  const auto nibble = static_cast<std::uint32_t>(spec::cache_nibble(channel % 8));
  return channel / 32 * 32 + 4 * (channel % 32 / 8 + 4 * (nibble % 2)) + nibble / 2;
}

// Channels c and c + 1 of row r.
template <DType kFormat, class Machine>
OCTAVO_DEVICE void store_query_codes(Machine& machine, DecodeShared shared, std::uint32_t r, std::uint32_t c,
                                     float first, float second, float inverse) {
  constexpr float kRange = spec::cache_query_range(kFormat);
  const std::int32_t codes[2] = {spec::integer_code(first, inverse, kRange),
                                 spec::integer_code(second, inverse, kRange)};
  const std::uint32_t low_at = shared.code_plane(0) + r * shared.code_row();
  if constexpr (kFormat == DType::s4) {
    OCTAVO_UNROLL
    for (std::uint32_t j = 0; j < 2; ++j) {
      machine.store_shared(low_at + place_of_query_code<kFormat>(c + j), static_cast<std::int8_t>(codes[j]));
    }
  } else {
    std::uint32_t high = 0, low = 0;
    OCTAVO_UNROLL
    for (int j = 0; j < 2; ++j) {
      const spec::Q16Code code = spec::split_q16(codes[j]);
      high |= (static_cast<std::uint32_t>(code.high) & 255u) << (8 * j);
      low |= (static_cast<std::uint32_t>(code.low) & 255u) << (8 * j);
    }
    machine.store_shared(shared.code_plane(1) + r * shared.code_row() + c, static_cast<std::uint16_t>(high));
    machine.store_shared(low_at + c, static_cast<std::uint16_t>(low));
  }
}

// Rotates a row and finds softmax_scale * q.mean(K), which lane 0 stores.
template <int kPerLane, class Machine>
OCTAVO_DEVICE void rotate_query(Machine& machine, const DecodeParams& p, const DecodeTask& task, std::uint32_t row_at,
                                Registers<Machine, float, kPerLane>& x) {
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
  machine.lanes(
      [&](int lane, float(&sum)[1]) {
        if (lane == 0) machine.store_shared(row_at + 8, p.softmax_scale * sum[0]);
      },
      product);
}

// One row by one warp; behind the last row of the tile zeros that see nothing.
template <DType kFormat, int kPerLane, class Machine>
OCTAVO_DEVICE void prepare_decode_row(Machine& machine, const DecodeParams& p, DecodeShared shared,
                                      const DecodeTask& task, std::int32_t r) {
  using Format = DecodeFormat<kFormat>;
  const bool exists = r < task.rows;
  const auto at = static_cast<std::uint32_t>(r), row_at = row_in_shared(r);
  const DecodeRow row = decode_row(p, task, exists ? r : 0);
  Registers<Machine, float, kPerLane> x;
  const std::int64_t from = p.q.offset(p.first_entry + task.entry, row.head, task.q_begin + row.query);
  load_rows<kPerLane, 1>(machine, x, p.q, from, exists ? 1 : 0);
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
  if constexpr (Format::kCodes) rotate_query<kPerLane>(machine, p, task, row_at, x);
  const RowKeys keys = exists ? keys_of_decode_row(p, task, row.query) : RowKeys{0, 0, 0, 0};
  const float plain = finite ? p.softmax_scale * spec::kLog2E : f32_of_bits(0x7fc00000u);
  with_row_range<kPerLane>(machine, x, [&](int lane, const float(&v)[kPerLane], CacheRowRange range) {
    float unit;  // of what the products take
    if constexpr (Format::kCodes) {
      const spec::Scale scale = spec::scale_of(range.amax, spec::cache_query_range(kFormat));
      unit = scale.scale;
      OCTAVO_UNROLL
      for (int i = 0; i < kPerLane; i += 2) {
        const auto c = static_cast<std::uint32_t>(channel_of(lane, i));
        if (c >= shared.dim) continue;
        store_query_codes<kFormat>(machine, shared, at, c, v[i], v[i + 1], scale.inverse);
        machine.store_shared(shared.floats(at) + 4 * c, v[i]);
        machine.store_shared(shared.floats(at) + 4 * c + 4, v[i + 1]);
      }
    } else {
      // A power of two that brings the row into f16; bf16 has the range of f32.
      unit = Format::kBf16 ? 1.0f : spec::f16_value_divisor(range.amax);
      const float inverse = 1.0f / unit;
      OCTAVO_UNROLL
      for (int i = 0; i < kPerLane; i += 2) {
        const auto c = static_cast<std::uint32_t>(channel_of(lane, i));
        if (c >= shared.dim) continue;
        float a = v[i] * inverse, b = v[i + 1] * inverse;
        OCTAVO_UNROLL
        for (std::uint32_t plane = 0; plane < static_cast<std::uint32_t>(Format::kPlanes); ++plane) {
          machine.store_shared(shared.float_plane(plane) + at * shared.float_row() + 2 * c,
                               take_plane<kFormat, Machine>(a, b));
        }
      }
      unit = unit * spec::cache_product_unit(kFormat);
      if (lane == 0) machine.store_shared(row_at + 8, 0.0f);
    }
    if (lane == 0) machine.store_shared(row_at + 16, keys);
    if (lane == 1) machine.store_shared(row_at, plain * unit);
    if (lane == 1) machine.store_shared(row_at + 4, plain);
    if (lane == 2) {
      RowTermsOfCache terms{0, 0, 0, 0};
      if (exists && modifies_scores(p)) terms = terms_of_decode_row<Machine>(p, task, row, {keys.begin, keys.end});
      machine.store_shared(row_at + 12, offset_of_terms(terms));
      machine.store_shared(row_at + 32, terms);
    }
  });
}

template <DType kFormat, int kPerLane, class Machine>
OCTAVO_DEVICE void prepare_decode_rows(Machine& machine, const DecodeParams& p, DecodeShared shared,
                                       const DecodeTask& task) {
  OCTAVO_ROLLED
  for (std::int32_t r = machine.warp(); r < kDecodeRows; r += kDecodeWarps) {
    prepare_decode_row<kFormat, kPerLane>(machine, p, shared, task, r);
  }
  machine.sync("the queries are prepared");
}

}  // namespace octavo::cuda
