// Masks by position: scores of keys behind the causal diagonal, outside the window or behind the sequence become
// -infinity.
// A lane's columns are slots; visibility is counted in keys.
#pragma once

#include <cstdint>

#include "cuda/attention/task.hpp"
#include "cuda/operands/packed_block.hpp"
#include "cuda/tile/machine.hpp"
#include "spec/kept_keys.hpp"

namespace octavo::cuda {

template <class Shape>
OCTAVO_INLINE constexpr int key_of_column(int column) {
  return Shape::kByteValues ? key_of_slot(column) : column;
}

// Key of element i of a lane's scores, counted from the tile's first. Columns 2t and 2t + 1 of tiles 2u and 2u + 1.
template <class Shape>
OCTAVO_INLINE constexpr int key_of_element(int lane, int i) {
  return key_of_column<Shape>(i / 4 * 8 + lane % 4 * 2 + i % 2);
}

// Row of the sequence that a lane's half belongs to; the warp's first is `first_row`.
OCTAVO_INLINE constexpr std::int32_t row_of_lane(std::int32_t first_row, int lane, int half) {
  return first_row + lane / 4 + 8 * half;
}

template <class Shape, class Machine>
OCTAVO_DEVICE void mask_keys(Machine& machine, const AttentionKernelParams& p, const AttentionTask& task,
                             std::int32_t warp_row, std::int32_t first_key,
                             Registers<Machine, float, Shape::kKeys / 2>& scores) {
  machine.lanes(
      [&](int lane, float(&s)[Shape::kKeys / 2]) {
        OCTAVO_UNROLL
        for (int half = 0; half < 2; ++half) {
          const Keys32 seen = keys_of_row(p, task, row_of_lane(warp_row, lane, half));
          const auto begin = seen.begin - first_key;
          const auto end = seen.end - first_key;
          OCTAVO_UNROLL
          for (int tile = 0; tile < Shape::kKeys / 8; ++tile) {
            OCTAVO_UNROLL
            for (int j = 0; j < 2; ++j) {
              const int i = 4 * tile + 2 * half + j, key = key_of_element<Shape>(lane, i);
              if (key < begin || key >= end) s[i] = -__builtin_inff();
            }
          }
        }
      },
      scores);
}

OCTAVO_INLINE spec::PositionMask position_mask(const AttentionKernelParams& p, std::int64_t queries,
                                               std::int64_t keys) {
  return {p.causal, p.window_left, p.window_right, queries, keys};
}
OCTAVO_INLINE spec::KeptKeys kept_keys_of(const KeptKeysOfCall& kept, const spec::PositionMask& mask) {
  Recipe recipe;
  recipe.keep_first = kept.first, recipe.keep_near = kept.near, recipe.keep_heavy = kept.heavy;
  recipe.smooth_q = kept.smooth_q;
  return spec::kept_keys_of(recipe, mask);
}

// The first keys are hidden by the addends of smooth_q's bias where there is one.
OCTAVO_INLINE bool hides_first_keys(const AttentionKernelParams& p, bool q16) {
  return p.smooth_q_bias.addend == nullptr || q16;
}

// Whether some of `rows` rows from `first_row` on may keep keys of the tile at `first_key` that must be hidden from
// them: near ones and, with `first`, the first ones.
template <class Shape>
OCTAVO_DEVICE bool may_keep_keys(const AttentionKernelParams& p, std::int64_t queries, std::int64_t keys, bool first,
                                 std::int32_t first_row, std::int32_t rows, std::int32_t first_key) {
  const auto after_first = first ? static_cast<std::int32_t>(p.kept.first) : 0;
  // No row has near keys outside these, unless all are.
  const std::int64_t low = spec::diagonal(p.causal, queries, keys, first_row) - spec::kMostKeptNear * spec::kNearStrip;
  const std::int64_t high =
      spec::diagonal(p.causal, queries, keys, first_row + rows - 1) + spec::kMostKeptNear * spec::kNearStrip;
  const bool all = p.kept.near > 0 && spec::is_short(queries, keys);
  return all || first_key < after_first || (high >= first_key && low < first_key + Shape::kKeys);
}

OCTAVO_DEVICE Keys32 near_keys_of_row(const AttentionKernelParams& p, std::int64_t queries, std::int64_t keys,
                                      std::int32_t row) {
  const spec::PositionMask mask = position_mask(p, queries, keys);
  const spec::KeyRange near = spec::near_keys(kept_keys_of(p.kept, mask), mask, row);
  return {static_cast<std::int32_t>(near.begin), static_cast<std::int32_t>(near.end)};
}

// Hides from each row the keys that it keeps: near ones, near_keys(which of the warp's rows), and those before
// `after_first`.
template <class Shape, class Machine, class NearKeys>
OCTAVO_DEVICE void mask_kept_keys(Machine& machine, std::int32_t after_first, std::int32_t first_key,
                                  NearKeys&& near_keys, Registers<Machine, float, Shape::kKeys / 2>& scores) {
  machine.lanes(
      [&](int lane, float(&s)[Shape::kKeys / 2]) {
        OCTAVO_UNROLL
        for (int half = 0; half < 2; ++half) {
          const Keys32 near = near_keys(row_of_lane(0, lane, half));
          const auto begin = near.begin - first_key, end = near.end - first_key;
          OCTAVO_UNROLL
          for (int tile = 0; tile < Shape::kKeys / 8; ++tile) {
            OCTAVO_UNROLL
            for (int j = 0; j < 2; ++j) {
              const int i = 4 * tile + 2 * half + j, key = key_of_element<Shape>(lane, i);
              if ((key >= begin && key < end) || key + first_key < after_first) s[i] = -__builtin_inff();
            }
          }
        }
      },
      scores);
}

}  // namespace octavo::cuda
