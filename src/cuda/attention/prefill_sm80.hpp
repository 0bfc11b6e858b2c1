// Attention by mma.sync (compute capability 8.0 and later), FlashAttention's online softmax over packed operands:
//   for each tile of keys:   T = score_mod(Q K^T),   m = max(m, row maxima of T),   l, O rescaled,   O += 2^(T - m) V
// A block takes 64 or 128 query rows of a head, a warp 16 of them with all keys of a tile. Tiles are
// copied by cp.async during the work on the one before. Between the products no data moves: a lane's scores become the
// weights it needs (packed_block.hpp).
#pragma once

#include <cstdint>

#include "cuda/attention/epilogue.hpp"
#include "cuda/attention/load_tiles.hpp"
#include "cuda/attention/mask.hpp"
#include "cuda/attention/params.hpp"
#include "cuda/attention/pv.hpp"
#include "cuda/attention/qk.hpp"
#include "cuda/attention/score_mod.hpp"
#include "cuda/attention/softmax.hpp"
#include "cuda/attention/task.hpp"
#include "cuda/attention/tile_shape.hpp"
#include "cuda/tile/machine.hpp"

namespace octavo::cuda {

// What the loop needs of the task now and then: keys that some and that all of a warp's rows see, the lengths that a
// row's own range needs, and where the operands are.
struct alignas(16) WarpTask {
  Keys32 some, all;
  std::int32_t q_rows, k_rows, first_row;
  std::uint32_t first_slot, addend_at;
  std::uint32_t block_means;  // K's means are those of blocks of keys: scores have offsets
  std::uint32_t chunk_row;    // first_row among the rows of the chunk
  std::uint32_t unused[5];
};

// The state of a warp's rows during the loop over the keys.
template <class Machine, class Shape, AttentionVariant variant>
struct AttentionWarp {
  static constexpr bool score_mod = modifies_scores(variant), q16 = is_q16_variant(variant);
  static constexpr bool kept = keeps_keys(variant), folded = is_folded(variant);
  // A sum of integer codes cannot be NaN: the rows' maxima bring it (integer_weights_sum_codes()).
  static constexpr bool nan_maxima = Shape::kIntegerValues && variant == AttentionVariant::plain;
  using Scores = Registers<Machine, float, Shape::kKeys / 2>;
  static constexpr int planes = Shape::kPlanes > 1 ? Shape::kPlanes : weight_planes(variant);
  using Weights = Registers<Machine, std::uint32_t, planes * kWeightRegisters<Shape>>;

  const AttentionKernelParams& p;
  const AttentionTask& task;
  std::int32_t first_row;  // of the warp, in the sequence
  WarpTask held_task;      // unless it is in shared memory
  Registers<Machine, std::uint32_t, kQueryRegisters<Shape>> q;
  Registers<Machine, float, 2> query_factor;
  RowTerms<Machine> terms;
  RowState<Machine> state;
  Registers<Machine, float, kOutputRegisters<Shape>> out;
  TileStep<Machine> step;
  Weights weights;

  OCTAVO_DEVICE AttentionWarp(Machine& machine, const AttentionKernelParams& params, const AttentionTask& its)
      : p(params), task(its), first_row(its.first_row + 16 * machine.warp()) {
    held_task = {keys_of_rows(p, task, first_row, 16),
                 keys_of_all_rows(p, task, first_row, 16),
                 task.q_rows,
                 task.k_rows,
                 first_row,
                 task.first_slot,
                 task.addend_at,
                 has_block_offsets(p, task) ? 1u : 0u,
                 static_cast<std::uint32_t>(task.chunk_row + 16 * machine.warp()),
                 {}};
    if constexpr (Shape::kTaskInShared) {
      machine.store_shared(task_at(machine), held_task);
      machine.sync_warp();
    }
    const float* factors = p.q.factor + task.packed_row + 16 * machine.warp();
    machine.lanes(
        [&](int lane, float(&factor)[2]) {
          for (int half = 0; half < 2; ++half) {
            const std::int32_t row = row_of_lane(0, lane, half);
            factor[half] = first_row + row < task.q_rows ? factors[row] : 0.0f;
          }
        },
        query_factor);
    if constexpr (score_mod) find_row_terms(machine, p, task, first_row, terms);
    start_rows(machine, state);
    clear<Machine, float, kOutputRegisters<Shape>>(machine, out);
  }

  OCTAVO_DEVICE static std::uint32_t task_at(Machine& machine) {
    return Shape::kTaskAt + static_cast<std::uint32_t>(machine.warp()) * Shape::kTaskBytes;
  }
  OCTAVO_DEVICE WarpTask warp_task(Machine& machine) const {
    if constexpr (Shape::kTaskInShared) return machine.template shared<WarpTask>(task_at(machine));
    return held_task;
  }
  // The tile that begins at `key`, to stage `stage`.
  OCTAVO_DEVICE void load_keys(Machine& machine, std::int32_t key, std::uint32_t stage) const {
    const WarpTask at = warp_task(machine);
    load_key_tile<Shape>(machine, p, at.first_slot + static_cast<std::uint32_t>(key),
                         addends_of(p, q16) + at.addend_at + key, stage);
  }
  OCTAVO_DEVICE void load_values(Machine& machine, std::int32_t key, std::uint32_t stage) const {
    load_value_tile<Shape, variant>(machine, p, warp_task(machine).first_slot + static_cast<std::uint32_t>(key), stage);
  }

  OCTAVO_DEVICE bool sees_tile(Machine& machine, std::int32_t key) const {
    const Keys32 seen = warp_task(machine).some;
    return seen.begin < key + Shape::kKeys && seen.end > key;
  }
  OCTAVO_DEVICE void mask(Machine& machine, std::int32_t key, Scores& scores) {
    const WarpTask seen = warp_task(machine);
    if (seen.all.begin <= key && (seen.all.end >= key + Shape::kKeys || seen.all.end >= seen.k_rows)) return;
    AttentionTask lengths;
    lengths.q_rows = seen.q_rows, lengths.k_rows = seen.k_rows;
    mask_keys<Shape>(machine, p, lengths, seen.first_row, key, scores);
  }

  OCTAVO_DEVICE void qk(Machine& machine, std::uint32_t stage, Scores& scores) {
    if constexpr (q16) {
      qk_tile_q16<Shape>(machine, kLowQueryAt<Shape>, stage, query_factor, scores);
    } else {
      qk_tile<Shape>(machine, q, stage, query_factor, scores);
    }
  }

  // From the tile's scores to weights; updates the running state.
  OCTAVO_DEVICE void softmax(Machine& machine, std::int32_t key, std::uint32_t stage, Scores& scores) {
    Registers<Machine, float, 2> maxima, offset, sums;
    clear<Machine, float, 2>(machine, offset);
    const bool block_means = warp_task(machine).block_means != 0;
    if constexpr (score_mod) {
      Registers<Machine, float, 2> of_cap;
      clear<Machine, float, 2>(machine, of_cap);
      if (block_means && p.softcap > 0) {
        add_block_offsets(machine, p, warp_task(machine).chunk_row, key, spec::kLn2, of_cap);
      }
      apply_score_mod<Shape>(machine, p, task, first_row, key, terms, of_cap, scores);
    } else {
      mask(machine, key, scores);
    }
    if constexpr (kept) {
      const WarpTask seen = warp_task(machine);
      mask_kept_keys<Shape>(machine, p, seen.q_rows, seen.k_rows, hides_first_keys(p, q16), seen.first_row, key,
                            scores);
    }
    row_maxima<nan_maxima>(machine, scores, maxima);
    if constexpr (Shape::kIntegerValues && score_mod) {
      if (p.k.fold != nullptr) fold_scores<Shape>(machine, stage, scores, maxima, offset);
    }
    if (block_means && !(score_mod && p.softcap > 0)) {
      add_block_offsets(machine, p, warp_task(machine).chunk_row, key, 1.0f, offset);
    }
    if constexpr (Shape::kIntegerValues) {
      online_softmax_update<nan_maxima>(machine, state, maxima, offset, !folded && p.running_maximum, p.log2_p_range,
                                        step);
      if (nan_maxima && p.sum_codes && p.k.inverse == nullptr) {
        if constexpr (nan_maxima) {
          integer_weights_sum_codes<Shape>(machine, scores, step, p.p_range, weights, sums);
        }
      } else {
        integer_weights<Shape, planes>(machine, scores, step, p.p_range, !folded && p.sum_codes,
                                       folded || p.k.inverse != nullptr, stage, weights, sums);
      }
    } else if constexpr (Shape::kFloat8Values) {
      online_softmax_update<nan_maxima>(machine, state, maxima, offset, true, p.log2_p_range, step);
      if constexpr (Shape::kByteValues) {
        e4m3_weights<Shape>(machine, scores, step, p.p_range, p.p_rounding, p.sum_codes, weights, sums);
      } else {
        float8_weights<Shape>(machine, scores, step, p.p_range, p.p_rounding, p.sum_codes, weights, sums);
      }
    } else if constexpr (Shape::kPlanes > 1) {
      online_softmax_update<nan_maxima>(machine, state, maxima, offset, true, 0.0f, step);
      f32_weights<Shape>(machine, scores, step, weights, sums);
    } else {
      online_softmax_update<nan_maxima>(machine, state, maxima, offset, true, 0.0f, step);
      half_weights<Shape>(machine, scores, step, p.sum_codes, weights, sums);
    }
    add_row_sums(machine, state, sums, step);
    rescale_output<Shape>(machine, step, out);
  }

  OCTAVO_DEVICE void pv(Machine& machine, std::uint32_t stage) {
    const bool column_scales = Shape::kBlockScales && !folded && p.v.column_scale != nullptr;
    if constexpr (kF16Sums<Shape>) {
      if (p.f16_sums)
        return pv_two_level<Shape, kF16SumProduct<Shape>, planes>(machine, weights, step, false, stage, out);
    }
    if constexpr (kTwoLevels<Shape>) {
      pv_two_level<Shape, kPvProduct<Shape>, planes>(machine, weights, step, column_scales, stage, out);
    } else {
      pv_one_level<Shape>(machine, weights, stage, out);
    }
  }

  // The task and the warp are found again: kept in registers through the loop, they would displace scores and O.
  OCTAVO_DEVICE void epilogue(Machine& machine) {
    if constexpr (!score_mod) clear<Machine, float, 2>(machine, terms.lse_offset);
    if constexpr (kept && !score_mod) clear<Machine, float, 2>(machine, terms.row_max);
    machine.renew_warp();
    const AttentionTask again = find_task(machine, p, Shape::kRows);
    store_epilogue<Shape, kept>(machine, p, again, again.first_row + 16 * machine.warp(), state, terms, out);
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
  if constexpr (!Warp::q16) load_query<Shape>(machine, warp.q);
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

template <class Machine, class Shape, AttentionVariant variant>
OCTAVO_DEVICE void attend(Machine& machine, const AttentionKernelParams& p) {
  const AttentionTask task = find_task(machine, p, Shape::kRows);
  if (!task.present || task.q16 != is_q16_variant(variant)) return;
  const Keys32 seen = keys_of_rows(p, task, task.first_row, Shape::kRows);
  const std::int32_t first = seen.begin / Shape::kKeys * Shape::kKeys;
  if (first < seen.end) {
    load_queries<Shape, is_q16_variant(variant)>(machine, p, task);
    const std::uint32_t slot = task.first_slot + static_cast<std::uint32_t>(first);
    const std::uint32_t stage = stage_of_tile<Shape>(first);
    load_key_tile<Shape>(machine, p, slot, addends_of(p, task.q16) + task.addend_at + first, stage);
    if constexpr (Shape::kStages == 1) machine.commit_copies();
    load_value_tile<Shape, variant>(machine, p, slot, stage);
    machine.commit_copies();
  }
  AttentionWarp<Machine, Shape, variant> warp(machine, p, task);
  if constexpr (Shape::kStages == 1) {
    walk_one_stage<Shape>(machine, warp, first, seen.end);
  } else {
    walk_two_stages<Shape>(machine, warp, first, seen.end);
  }
  machine.template wait_copies<0>();
  warp.epilogue(machine);
}

}  // namespace octavo::cuda
