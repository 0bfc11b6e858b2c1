// Appends to a key-value cache on a device, with the bits of the CPU's (docs/kv_cache.md):
//   update_cache_words   the host's changes of tables and lengths                       any number of lanes
//   sum_cache_rows       128 rows of K -> sums and numbers of the finite values          one warp a block of rows
//   fix_cache_means      sums -> K's mean of a sequence's first append, zeros below 64   one block a head
//   append_cache_rows    rows of K and V -> codes, scales, kept rows                     one warp a row, of s4 eight
//   advance_lengths      the lengths after the append                                    one lane an entry
// Lengths are read from the device, so that a graph that holds an append adds tokens each time it runs.
#pragma once

#include "cuda/decode/copies.hpp"
#include "cuda/decode/params.hpp"
#include "cuda/operands/load.hpp"
#include "cuda/operands/rotate.hpp"
#include "spec/cache_layout.hpp"
#include "spec/mean.hpp"

namespace octavo::cuda {

template <class Machine>
OCTAVO_DEVICE void update_cache_words(Machine& machine, const CacheUpdateParams& p) {
  begin_kernel(machine);
  for_each_index(machine, p.count, [&](std::int64_t i) { p.words[p.updates[i].word] = p.updates[i].value; });
}

// A row of K or V, rotated for codes.
template <int per_lane, class Machine>
OCTAVO_DEVICE void load_cache_row(Machine& machine, Registers<Machine, float, per_lane>& x, const OperandRows& from,
                                  bool rotates, std::int64_t b, std::int64_t head, std::int64_t row) {
  load_rows<per_lane, 1>(machine, x, from, from.offset(b, head, row), 1);
  if (rotates) rotate_rows<per_lane, 1>(machine, x, from.dim);
}

template <int per_lane, class Machine>
OCTAVO_DEVICE void sum_cache_rows(Machine& machine, const DeviceAppendParams& p) {
  begin_kernel(machine);
  const std::int64_t block = machine.block(0), head = machine.block(1), e = machine.block(2);
  const std::int64_t first = block * spec::kMeanBlock;
  if (p.entries[e].fixes_mean == 0 || first >= p.entries[e].rows) return;
  const std::int64_t left = p.entries[e].rows - first, rows = left < spec::kMeanBlock ? left : spec::kMeanBlock;
  Registers<Machine, float, per_lane> sum, count;
  machine.lanes(
      [](int, float(&s)[per_lane], float(&n)[per_lane]) {
        for (int i = 0; i < per_lane; ++i) s[i] = n[i] = 0;
      },
      sum, count);
  OCTAVO_ROLLED
  for (std::int64_t r = 0; r < rows; ++r) {
    Registers<Machine, float, per_lane> x;
    load_cache_row<per_lane>(machine, x, p.k, true, p.first_entry + e, head, first + r);
    machine.lanes(
        [](int, float(&s)[per_lane], float(&n)[per_lane], float(&v)[per_lane]) {
          OCTAVO_UNROLL
          for (int i = 0; i < per_lane; ++i) {
            if (is_finite(v[i])) s[i] = s[i] + v[i], n[i] = n[i] + 1;
          }
        },
        sum, count, x);
  }
  const std::int64_t columns = p.cache.mean_columns;
  float* const to = p.sums + ((e * p.cache.kv_heads + head) * p.sum_blocks + block) * 2 * columns;
  machine.lanes(
      [&](int lane, float(&s)[per_lane], float(&n)[per_lane]) {
        OCTAVO_UNROLL
        for (int i = 0; i < per_lane; ++i) {
          const int c = channel_of(lane, i);
          if (c < p.cache.head_dim) to[c] = s[i], to[columns + c] = n[i];
        }
      },
      sum, count);
}

template <class Machine>
OCTAVO_DEVICE void fix_cache_means(Machine& machine, const DeviceAppendParams& p) {
  begin_kernel(machine);
  const std::int64_t head = machine.block(0), e = machine.block(1), columns = p.cache.mean_columns;
  const DeviceAppendEntry entry = p.entries[e];
  if (entry.fixes_mean == 0) return;
  const std::int64_t blocks =
      entry.rows < spec::kCacheMeanRows ? 0 : (entry.rows + spec::kMeanBlock - 1) / spec::kMeanBlock;
  const float* const sums = p.sums + (e * p.cache.kv_heads + head) * p.sum_blocks * 2 * columns;
  float* const mean = p.cache.k_mean + p.cache.head(entry.slot, head) * columns;
  const int threads = machine.warps() * kLanes, first = machine.warp() * kLanes;
  machine.lanes([&](int lane) {
    for (std::int64_t c = first + lane; c < columns; c += threads) {
      float sum = 0, count = 0;
      for (std::int64_t i = 0; i < blocks && c < p.cache.head_dim; ++i) {
        sum = sum + sums[2 * i * columns + c];
        count = count + sums[(2 * i + 1) * columns + c];
      }
      mean[c] = spec::mean_of(sum, static_cast<std::int64_t>(count));
    }
  });
}

// The range of a row: its largest finite magnitude; whether all numbers are finite.
struct CacheRowRange {
  float amax;
  bool finite;
};
template <int per_lane, class Machine, class F>
OCTAVO_DEVICE void with_row_range(Machine& machine, Registers<Machine, float, per_lane>& x, const F& f) {
  Registers<Machine, float, 1> amax;
  Registers<Machine, std::uint32_t, 1> nonfinite;
  machine.lanes(
      [](int, float(&v)[per_lane], float(&a)[1], std::uint32_t(&n)[1]) {
        a[0] = 0, n[0] = 0;
        OCTAVO_UNROLL
        for (int i = 0; i < per_lane; ++i) {
          a[0] = spec::grow_amax(a[0], v[i]);
          n[0] |= is_finite(v[i]) ? 0u : 1u;
        }
      },
      x, amax, nonfinite);
  max_over<kLanes>(machine, amax);
  const bool finite = !machine.any(nonfinite);
  machine.lanes([&](int lane, float(&v)[per_lane], float(&a)[1]) { f(lane, v, CacheRowRange{a[0], finite}); }, x, amax);
}

// K or V of a cache.
struct DeviceCacheSide {
  bool is_k;
  std::int64_t dim, columns;
  std::byte* data;
  float* scale;
  std::uint16_t* kept;
  float* kept_unit;
};
OCTAVO_INLINE DeviceCacheSide cache_side(const CacheView& cache, bool is_k) {
  if (is_k) return {true, cache.head_dim, cache.k_columns, cache.k, cache.k_scale, cache.kept_k, cache.kept_k_unit};
  return {false, cache.value_dim, cache.v_columns, cache.v, cache.v_scale, cache.kept_v, cache.kept_v_unit};
}

template <int per_lane>
OCTAVO_DEVICE void keep_cache_row(const DeviceCacheSide& side, std::int64_t slot, int lane, const float (&v)[per_lane],
                                  CacheRowRange range) {
  const float unit = range.finite ? spec::kept_row_unit(range.amax) : 1.0f, inverse = 1.0f / unit;
  OCTAVO_UNROLL
  for (int i = 0; i < per_lane; ++i) {
    const int c = channel_of(lane, i);
    // The rotation leaves zeros of both signs behind the channels.
    if (c < side.columns) side.kept[slot * side.columns + c] = c < side.dim ? f32_to_f16(v[i] * inverse) : 0;
  }
  if (lane == 0) side.kept_unit[slot] = range.finite ? unit : f32_of_bits(0x7fc00000u);
}

// Element `index` of a strip. A byte of s4 has two: of V of two tokens, which one lane writes one after the other.
OCTAVO_DEVICE void store_cache_code(DType format, std::byte* strip, std::int64_t index, float x, spec::Scale scale) {
  switch (format) {
    case DType::f32:
      reinterpret_cast<float*>(strip)[index] = x;
      return;
    case DType::f16:
      reinterpret_cast<std::uint16_t*>(strip)[index] = f32_to_f16(x);
      return;
    case DType::bf16:
      reinterpret_cast<std::uint16_t*>(strip)[index] = f32_to_bf16(x);
      return;
    case DType::e4m3:
      reinterpret_cast<std::uint8_t*>(strip)[index] = spec::e4m3_code(x, scale.inverse);
      return;
    case DType::s4: {
      const std::int32_t code = spec::integer_code(x, scale.inverse, spec::kRangeS4) & 15, shift = index % 2 * 4;
      std::uint8_t& two = reinterpret_cast<std::uint8_t*>(strip)[index / 2];
      two = static_cast<std::uint8_t>((two & ~(15 << shift)) | code << shift);
      return;
    }
    default:
      reinterpret_cast<std::int8_t*>(strip)[index] =
          static_cast<std::int8_t>(spec::integer_code(x, scale.inverse, spec::kRangeS8));
  }
}

// One row by one warp: token `token` of the slot.
template <int per_lane, class Machine>
OCTAVO_DEVICE void append_cache_row(Machine& machine, const DeviceAppendParams& p, const DeviceCacheSide& side,
                                    std::int64_t e, std::int64_t head, std::int64_t token, std::int64_t first) {
  const CacheView& cache = p.cache;
  const DeviceAppendEntry entry = p.entries[e];
  const std::int64_t at = device_row(cache, entry.slot, head, static_cast<std::int32_t>(token));
  if (at < 0) return;
  const OperandRows& from = side.is_k ? p.k : p.v;
  Registers<Machine, float, per_lane> x;
  load_cache_row<per_lane>(machine, x, from, cache.rotated(), p.first_entry + e, head, token - first);
  if (side.is_k && cache.rotated()) {
    subtract_mean<per_lane, 1>(machine, x, cache.k_mean + cache.head(entry.slot, head) * cache.mean_columns, from.dim);
  }
  with_row_range<per_lane>(machine, x, [&](int lane, const float(&v)[per_lane], CacheRowRange range) {
    const spec::Scale scale = spec::scale_of(range.amax, spec::cache_range(cache.format), side.is_k ? 1.0f : 0.0f);
    const std::int64_t within = at % kCacheStrip;
    std::byte* const strip = side.data + (at - within) * side.columns * spec::cache_bits(cache.format) / 8;
    OCTAVO_ROLLED
    for (int i = 0; i < per_lane; ++i) {
      const int c = channel_of(lane, i);
      if (c >= side.columns) continue;
      float number = 0;
      OCTAVO_UNROLL
      for (int k = 0; k < per_lane; ++k) {
        if (k == i) number = v[k];
      }
      const std::int64_t index = side.is_k ? spec::cache_k_index(cache.format, within, c)
                                           : spec::cache_v_index(cache.format, side.columns, within, c);
      store_cache_code(cache.format, strip, index, number, scale);
    }
    if (lane == 0 && side.scale != nullptr) side.scale[at] = range.finite ? scale.scale : f32_of_bits(0x7fc00000u);
    if (side.kept == nullptr) return;
    if (token == 0) keep_cache_row<per_lane>(side, cache.kept_slot(entry.slot, head, 0), lane, v, range);
    if (token < first + entry.rows - kKeptRing) return;  // its place is that of a later row of this append
    keep_cache_row<per_lane>(side, cache.kept_slot(entry.slot, head, 1 + token % kKeptRing), lane, v, range);
  });
}

template <int per_lane, class Machine>
OCTAVO_DEVICE void append_cache_rows(Machine& machine, const DeviceAppendParams& p) {
  begin_kernel(machine);
  const std::int64_t number = machine.block(0) * machine.warps() + machine.warp(), e = machine.block(2);
  const std::int64_t first = device_length(p.cache, p.entries[e].slot), end = first + p.entries[e].rows;
  if (end > p.cache.capacity) return;
  // The tokens of the warp: whole words of V.
  const std::int64_t size = append_tokens_of_warp(p.cache.format), begin = (first / size + number) * size;
  const DeviceCacheSide side = cache_side(p.cache, machine.block(1) % 2 == 0);
  OCTAVO_ROLLED
  for (std::int64_t token = begin < first ? first : begin; token < begin + size && token < end; ++token) {
    append_cache_row<per_lane>(machine, p, side, e, machine.block(1) / 2, token, first);
  }
}

// As kv_cache::Cache::commit() does on the host.
template <class Machine>
OCTAVO_DEVICE void advance_lengths(Machine& machine, const DeviceAppendParams& p) {
  begin_kernel(machine);
  for_each_index(machine, p.count, [&](std::int64_t i) {
    const DeviceAppendEntry entry = p.entries[i];
    const std::int32_t first = device_length(p.cache, entry.slot), end = first + entry.rows;
    if (end > p.cache.capacity) return;
    for (std::int64_t token = first; token < end; token += p.cache.page_size) {
      if (device_row(p.cache, entry.slot, 0, static_cast<std::int32_t>(token)) < 0) return;
    }
    if (entry.rows > 0 && device_row(p.cache, entry.slot, 0, end - 1) < 0) return;
    std::int32_t kept = first == 0 ? 0 : p.cache.kept_begins()[entry.slot];
    if (kept < end - kKeptRing) kept = static_cast<std::int32_t>(end - kKeptRing);
    p.cache.lengths()[entry.slot] = end;
    p.cache.kept_begins()[entry.slot] = kept;
  });
}

}  // namespace octavo::cuda
