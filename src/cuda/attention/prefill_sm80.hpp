// Attention by mma.sync (compute capability 8.0 and later), FlashAttention's online softmax over packed operands:
//   for each tile of keys:   T = score_mod(Q K^T),   m = max(m, row maxima of T),   l, O rescaled,   O += 2^(T - m) V
// A block takes 64 or 128 query rows of a head, or of several heads with few rows each; a warp takes 16 of them with
// all keys of a tile. Tiles are copied by cp.async during the work on the one before. Between the products no data
// moves: a lane's scores become the weights it needs (packed_block.hpp).
#pragma once

#include <cstdint>

#include "cuda/attention/load_tiles.hpp"
#include "cuda/attention/params.hpp"
#include "cuda/attention/pv.hpp"
#include "cuda/attention/qk.hpp"
#include "cuda/attention/task.hpp"
#include "cuda/attention/tile_shape.hpp"
#include "cuda/attention/warp_rows.hpp"
#include "cuda/tile/machine.hpp"

namespace octavo::cuda {

// Whether the kernel has the product of 16-bit Q, too, whose planes are codes of s8.
template <class Shape, AttentionVariant variant>
constexpr bool takes_q16 = Shape::kScores == PackedFormat::s8 && modifies_scores(variant);

// A warp of the mma.sync kernels: how it comes to its operands and multiplies them.
template <class Machine, class Shape, AttentionVariant variant>
struct AttentionWarp : WarpRows<Machine, Shape, variant> {
  using Rows = WarpRows<Machine, Shape, variant>;
  using Rows::folded, Rows::out, Rows::p, Rows::planes, Rows::query_factor, Rows::step, Rows::warp_task;
  using Rows::q16, Rows::weights;
  using typename Rows::Scores;

  Registers<Machine, std::uint32_t, kQueryRegisters<Shape>> q;

  OCTAVO_DEVICE AttentionWarp(Machine& machine, const AttentionKernelParams& params, const AttentionTask& its)
      : Rows(machine, params, its) {}

  // The tile that begins at `key`, to stage `stage`: its rows first..end - 1.
  template <std::uint32_t first = 0, std::uint32_t end = Shape::kKeys>
  OCTAVO_DEVICE void load_keys(Machine& machine, std::int32_t key, std::uint32_t stage) const {
    const WarpTask at = warp_task(machine);
    load_key_tile<Shape, first, end>(machine, p, at.first_slot + static_cast<std::uint32_t>(key),
                                     addends_of(p, q16()) + at.addend_at + key, stage);
  }
  template <std::uint32_t first = 0, std::uint32_t end = Shape::kValueRows>
  OCTAVO_DEVICE void load_values(Machine& machine, std::int32_t key, std::uint32_t stage) const {
    load_value_tile<Shape, variant, first, end>(machine, p,
                                                warp_task(machine).first_slot + static_cast<std::uint32_t>(key), stage);
  }

  OCTAVO_DEVICE bool sees_tile(Machine& machine, std::int32_t key) const {
    const Keys32 seen = warp_task(machine).some;
    return seen.begin < key + Shape::kKeys && seen.end > key;
  }
  template <int first = 0, int end = Shape::kKeys>
  OCTAVO_DEVICE void qk(Machine& machine, std::uint32_t stage, Scores& scores) {
    if constexpr (takes_q16<Shape, variant>) {
      if (q16()) return qk_tile_q16<Shape>(machine, kLowQueryAt<Shape>, stage, query_factor, scores);
    }
    qk_tile<Shape, first, end>(machine, q, stage, query_factor, scores);
  }

  template <int first = 0, int end = Shape::kKeys>
  OCTAVO_DEVICE void pv(Machine& machine, std::uint32_t stage) {
    const bool column_scales = Shape::kBlockScales && !folded && p.v.column_scale != nullptr;
    if constexpr (kF16Sums<Shape>) {
      if (p.f16_sums)
        return pv_two_level<Shape, kF16SumProduct<Shape>, planes, false>(machine, weights, step, false, 0, stage, out);
    }
    if constexpr (kTwoLevels<Shape>) {
      // Where Hopper's kernel takes the long sequences, the short ones share its V.
      constexpr bool kFlips = takes_q16<Shape, variant> && Shape::kIntegerValues;
      pv_two_level<Shape, kPvProduct<Shape>, planes, kFlips, first, end>(machine, weights, step, column_scales,
                                                                         p.v.flip, stage, out);
    } else {
      pv_one_level<Shape>(machine, weights, stage, out);
    }
  }

  // The task and the warp are found again: kept in registers through the loop, they would displace scores and O.
  OCTAVO_DEVICE void epilogue(Machine& machine) {
    machine.renew_warp();
    Rows::epilogue(machine, task_of_warp(p, find_task(machine, p, Shape::kRows), machine.warp()));
  }
};

// Tiles use the stages in turn.
template <class Shape>
OCTAVO_INLINE constexpr std::uint32_t stage_of_tile(std::int32_t key) {
  return static_cast<std::uint32_t>(key) / Shape::kKeys % Shape::kStages;
}

// Two stages per operand: the next tile is copied during the work on this one.
template <class Shape, class Machine, class Warp>
OCTAVO_DEVICE void load_ahead(Machine& machine, Warp& warp, std::int32_t key, std::int32_t end) {
  const std::uint32_t stage = stage_of_tile<Shape>(key);
  if (key < end) {
    warp.load_keys(machine, key, stage);
    warp.load_values(machine, key, stage);
  }
  machine.commit_copies();
  machine.template wait_copies<1>();
  machine.sync("the tile has come");
}
template <class Shape, class Machine, class Warp>
OCTAVO_DEVICE void walk_two_stages(Machine& machine, Warp& warp, std::int32_t first, std::int32_t end) {
  if (first >= end) return;
  load_ahead<Shape>(machine, warp, first + Shape::kKeys, end);
  if (!warp.q16()) load_query<Shape>(machine, warp.q);
  OCTAVO_ROLLED
  for (std::int32_t key = first; key < end; key += Shape::kKeys) {
    const std::uint32_t stage = stage_of_tile<Shape>(key);
    if (warp.sees_tile(machine, key)) {
      typename Warp::Scores scores;
      warp.qk(machine, stage, scores);
      warp.softmax(machine, key, stage, scores);
      warp.pv(machine, stage);
    }
    machine.sync("the tile is done with");
    load_ahead<Shape>(machine, warp, key + 2 * Shape::kKeys, end);
  }
}

// One stage per operand: the next keys are copied during PV, the next values during QK. The vectors of the fold and of
// V are needed after QK, so they are copied with V.
template <class Shape, class Machine, class Warp>
OCTAVO_DEVICE void walk_one_stage(Machine& machine, Warp& warp, std::int32_t first, std::int32_t end) {
  OCTAVO_ROLLED
  for (std::int32_t key = first; key < end; key += Shape::kKeys) {
    const bool sees = warp.sees_tile(machine, key);
    machine.template wait_copies<1>();
    machine.sync("the keys have come");
    typename Warp::Scores scores;
    if (sees) warp.qk(machine, 0, scores);
    machine.template wait_copies<0>();
    machine.sync("the keys are done with, the values have come");
    if (key + Shape::kKeys < end) warp.load_keys(machine, key + Shape::kKeys, 0);
    machine.commit_copies();
    if (sees) {
      warp.softmax(machine, key, 0, scores);
      warp.pv(machine, 0);
    }
    machine.sync("the values are done with");
    if (key + Shape::kKeys < end) warp.load_values(machine, key + Shape::kKeys, 0);
    machine.commit_copies();
  }
}

// K and V share one place. Each half of it is copied during the work on the other.
template <class Shape, int first, class Machine, class Warp>
OCTAVO_DEVICE void multiply_half_of_keys(Machine& machine, Warp& warp, std::int32_t key, bool sees,
                                         typename Warp::Scores& scores) {
  constexpr int kEnd = first + Shape::kKeys / 2;
  machine.template wait_copies<1>();
  machine.sync("half of the keys has come");
  if (sees) warp.template qk<first, kEnd>(machine, 0, scores);
  machine.sync("half of the keys is done with");
  warp.template load_values<first, kEnd>(machine, key, 0);
  machine.commit_copies();
}
template <class Shape, int first, class Machine, class Warp>
OCTAVO_DEVICE void multiply_half_of_values(Machine& machine, Warp& warp, std::int32_t next, bool sees, bool loads) {
  constexpr int kEnd = first + Shape::kKeys / 2;
  machine.template wait_copies<1>();
  machine.sync("half of the values has come");
  if (sees) warp.template pv<first, kEnd>(machine, 0);
  machine.sync("half of the values is done with");
  if (loads) warp.template load_keys<first, kEnd>(machine, next, 0);
  machine.commit_copies();
}
template <class Shape, class Machine, class Warp>
OCTAVO_DEVICE void walk_halves(Machine& machine, Warp& warp, std::int32_t first, std::int32_t end) {
  constexpr int kHalf = Shape::kKeys / 2;
  OCTAVO_ROLLED
  for (std::int32_t key = first; key < end; key += Shape::kKeys) {
    const std::int32_t next = key + Shape::kKeys;
    const bool sees = warp.sees_tile(machine, key);
    typename Warp::Scores scores;
    multiply_half_of_keys<Shape, 0>(machine, warp, key, sees, scores);
    multiply_half_of_keys<Shape, kHalf>(machine, warp, key, sees, scores);
    if (sees) warp.softmax(machine, key, 0, scores);
    multiply_half_of_values<Shape, 0>(machine, warp, next, sees, next < end);
    multiply_half_of_values<Shape, kHalf>(machine, warp, next, sees, next < end);
  }
}

// Copies of the first tile.
template <class Shape, AttentionVariant variant, class Machine>
OCTAVO_DEVICE void load_first_tile(Machine& machine, const AttentionKernelParams& p, const AttentionTask& task,
                                   std::int32_t first) {
  const std::uint32_t slot = task.first_slot + static_cast<std::uint32_t>(first);
  const float* const addends = addends_of(p, task.q16) + task.addend_at + first;
  if constexpr (Shape::kSharesPlace) {
    load_key_tile<Shape, 0, Shape::kKeys / 2>(machine, p, slot, addends, 0);
    machine.commit_copies();
    load_key_tile<Shape, Shape::kKeys / 2>(machine, p, slot, addends, 0);
  } else {
    const std::uint32_t stage = stage_of_tile<Shape>(first);
    load_key_tile<Shape>(machine, p, slot, addends, stage);
    if constexpr (Shape::kStages == 1) machine.commit_copies();
    load_value_tile<Shape, variant>(machine, p, slot, stage);
  }
  machine.commit_copies();
}

template <class Machine, class Shape, AttentionVariant variant>
OCTAVO_DEVICE void attend(Machine& machine, const AttentionKernelParams& p) {
  begin_kernel(machine);
  const AttentionTask task = find_task(machine, p, Shape::kRows);
  if (!task.present || task.q16 != p.short_queries) return;
  const Keys32 seen = keys_of_rows(p, task, task.first_row, Shape::kRows);
  const std::int32_t first = seen.begin / Shape::kKeys * Shape::kKeys;
  const AttentionTask own = task_of_warp(p, task, machine.warp());
  if (first < seen.end) {
    load_queries<Shape>(machine, p, own, takes_q16<Shape, variant> && p.short_queries);
    load_first_tile<Shape, variant>(machine, p, task, first);
  }
  AttentionWarp<Machine, Shape, variant> warp(machine, p, own);
  if constexpr (Shape::kSharesPlace) {
    walk_halves<Shape>(machine, warp, first, seen.end);
  } else if constexpr (Shape::kStages == 1) {
    walk_one_stage<Shape>(machine, warp, first, seen.end);
  } else {
    walk_two_stages<Shape>(machine, warp, first, seen.end);
  }
  machine.template wait_copies<0>();
  warp.epilogue(machine);
}

}  // namespace octavo::cuda
