// The rows of one warp during the loop over the keys, and what every attention kernel does with their scores, whichever
// instructions made these: score_mod and masks, the online softmax, the weights, the epilogue.
#pragma once

#include <cstdint>

#include "cuda/attention/epilogue.hpp"
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
  std::uint32_t block_means;                 // K's means are those of blocks of keys: scores have offsets
  std::uint32_t chunk_row;                   // first_row among the rows of the chunk
  std::int32_t warpgroup_row, end_of_tiles;  // Hopper's: its first row, and where the block's tiles end
  std::uint32_t own_addends;
  std::uint32_t unused[2];
};

// The state of a warp's rows during the loop over the keys.
template <class Machine, class Shape, AttentionVariant variant>
struct WarpRows {
  static constexpr bool score_mod = modifies_scores(variant);
  static constexpr bool folded = is_folded(variant);
  static constexpr bool may_keep = keeps_keys(variant) || (score_mod && Shape::kKeepingIsAnOption);
  // A sum of integer codes cannot be NaN: the rows' maxima bring it (integer_weights_sum_codes()).
  static constexpr bool nan_maxima = Shape::kIntegerValues && variant == AttentionVariant::plain;
  using Scores = Registers<Machine, float, Shape::kKeys / 2>;
  static constexpr int planes = Shape::kPlanes > 1 ? Shape::kPlanes : weight_planes(variant);
  using Weights = Registers<Machine, std::uint32_t, planes * kWeightRegisters<Shape>>;

  const AttentionKernelParams& p;
  const AttentionTask& task;  // of the warp
  std::int32_t first_row;     // of it, in the sequence
  WarpTask held_task;         // unless it is in shared memory
  Registers<Machine, float, 2> query_factor;
  RowTerms<Machine> terms;
  RowState<Machine> state;
  Registers<Machine, float, kOutputRegisters<Shape>> out;
  TileStep<Machine> step;
  Weights weights;

  OCTAVO_DEVICE WarpRows(Machine& machine, const AttentionKernelParams& params, const AttentionTask& its,
                         std::int32_t warpgroup_row = 0, std::int32_t end_of_tiles = 0, std::uint32_t own_addends = 0)
      : p(params), task(its), first_row(its.first_row) {
    held_task = {keys_of_rows(p, task, first_row, 16),
                 keys_of_all_rows(p, task, first_row, 16),
                 task.q_rows,
                 task.k_rows,
                 first_row,
                 task.first_slot,
                 task.addend_at,
                 has_block_offsets(p, task) ? 1u : 0u,
                 static_cast<std::uint32_t>(task.chunk_row),
                 warpgroup_row,
                 end_of_tiles,
                 own_addends,
                 {}};
    if constexpr (Shape::kTaskInShared) {
      machine.store_shared(task_at(machine), held_task);
      machine.sync_warp();
    }
    if constexpr (may_keep && Shape::kNearInShared) {
      machine.lanes([&](int lane) {
        if (lane < 16) {
          machine.store_shared(near_keys_at(machine, lane),
                               near_keys_of_row(p, task.q_rows, task.k_rows, first_row + lane));
        }
      });
      machine.sync_warp();
    }
    const float* factors = p.q.factor + task.packed_row;
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
    static_assert(sizeof(WarpTask) <= Shape::kTaskBytes);
    return Shape::kTaskAt + static_cast<std::uint32_t>(machine.warp()) * Shape::kTaskBytes;
  }
  // The near keys of each row, where rows of O are staged after the loop.
  OCTAVO_DEVICE static std::uint32_t near_keys_at(const Machine& machine, int row) {
    return Shape::kStagedAt + static_cast<std::uint32_t>(machine.warp()) * kStagedBytes<Shape> +
           8 * static_cast<std::uint32_t>(row);
  }
  OCTAVO_DEVICE WarpTask warp_task(Machine& machine) const {
    if constexpr (Shape::kTaskInShared) return machine.template shared<WarpTask>(task_at(machine));
    return held_task;
  }

  OCTAVO_DEVICE bool q16() const { return score_mod && p.short_queries; }
  OCTAVO_DEVICE bool keeps() const { return keeps_keys(variant) || (may_keep && p.kept.any()); }

  // Whether scores have offsets because K's means are those of blocks.
  OCTAVO_DEVICE bool has_block_means(Machine& machine) const { return warp_task(machine).block_means != 0; }

  OCTAVO_DEVICE void mask(Machine& machine, std::int32_t key, Scores& scores) {
    const WarpTask seen = warp_task(machine);
    // Keys behind the sequence's end have addends of -infinity, which softcap would make finite.
    const bool to_the_end = !score_mod && seen.all.end >= seen.k_rows;
    if (seen.all.begin <= key && (seen.all.end >= key + Shape::kKeys || to_the_end)) return;
    AttentionTask lengths;
    lengths.q_rows = seen.q_rows, lengths.k_rows = seen.k_rows;
    mask_keys<Shape>(machine, p, lengths, seen.first_row, key, scores);
  }

  // From the tile's scores to weights; updates the running state.
  OCTAVO_DEVICE void softmax(Machine& machine, std::int32_t key, std::uint32_t stage, Scores& scores) {
    const bool block_means = has_block_means(machine);  // read once: twice, registers run out on 9.0
    modify_scores(machine, key, block_means, scores);
    update_maxima(machine, key, stage, block_means, scores, step);
    find_weights(machine, stage, scores);
    rescale_output<Shape>(machine, step, out);
  }

  // Applies score_mod, masks by position, and hides kept keys.
  OCTAVO_DEVICE void modify_scores(Machine& machine, std::int32_t key, bool block_means, Scores& scores) {
    if constexpr (score_mod) {
      Registers<Machine, float, 2> of_cap;
      clear<Machine, float, 2>(machine, of_cap);
      if (block_means && p.softcap > 0) {
        add_block_offsets(machine, p, warp_task(machine).chunk_row, key, spec::kLn2, of_cap);
      }
      apply_score_mod<Shape>(machine, p, task, first_row, key, terms, of_cap, scores);
    }
    mask(machine, key, scores);
    if constexpr (may_keep) {
      if (!keeps()) return;
      const WarpTask seen = warp_task(machine);
      const bool first = hides_first_keys(p, q16());
      if constexpr (!Shape::kNearInShared || score_mod) {  // else modifies() has checked the tile
        if (!may_keep_keys<Shape>(p, seen.q_rows, seen.k_rows, first, seen.first_row, 16, key)) return;
      }
      const auto near_keys = [&](std::int32_t row) {
        if constexpr (Shape::kNearInShared) {
          return machine.template shared<Keys32>(near_keys_at(machine, row));
        } else {
          return near_keys_of_row(p, seen.q_rows, seen.k_rows, seen.first_row + row);
        }
      };
      mask_kept_keys<Shape>(machine, first ? static_cast<std::int32_t>(p.kept.first) : 0, key, near_keys, scores);
    }
  }

  // The maxima of the tile's scores move the running ones by `next`.
  OCTAVO_DEVICE void update_maxima(Machine& machine, std::int32_t key, std::uint32_t stage, bool block_means,
                                   Scores& scores, TileStep<Machine>& next) {
    Registers<Machine, float, 2> maxima, offset;
    clear<Machine, float, 2>(machine, offset);
    row_maxima<nan_maxima>(machine, scores, maxima);
    if constexpr (Shape::kIntegerValues && score_mod) {
      if (p.k.fold != nullptr) fold_scores<Shape>(machine, stage, scores, maxima, offset);
    }
    if (block_means && !(score_mod && p.softcap > 0)) {
      add_block_offsets(machine, p, warp_task(machine).chunk_row, key, 1.0f, offset);
    }
    const bool running = !Shape::kIntegerValues || (!folded && p.running_maximum);
    const float log2_range = Shape::kIntegerValues || Shape::kFloat8Values ? p.log2_p_range : 0.0f;
    online_softmax_update<nan_maxima>(machine, state, maxima, offset, running, log2_range, next);
  }

  // From scores to weights by `step`, which rescales l.
  OCTAVO_DEVICE void find_weights(Machine& machine, std::uint32_t stage, Scores& scores) {
    Registers<Machine, float, 2> sums;
    if constexpr (!Shape::kShiftsScores) shift_far_scores(machine, scores, step);
    if constexpr (Shape::kIntegerValues) {
      if (nan_maxima && p.sum_codes && p.k.inverse == nullptr) {
        if constexpr (nan_maxima) {
          integer_weights_sum_codes<Shape>(machine, scores, step, p.p_range, weights, sums);
        }
      } else {
        integer_weights<Shape, planes>(machine, scores, step, p.p_range, !folded && p.sum_codes,
                                       folded || p.k.inverse != nullptr, stage, weights, sums);
      }
    } else if constexpr (Shape::kFloat8Values) {
      if constexpr (Shape::kByteValues) {
        if (p.sum_codes) {
          e4m3_weights<Shape, true>(machine, scores, step, p.p_range, p.p_rounding, weights, sums);
        } else {
          e4m3_weights<Shape, false>(machine, scores, step, p.p_range, p.p_rounding, weights, sums);
        }
      } else {
        float8_weights<Shape>(machine, scores, step, p.p_range, p.p_rounding, p.sum_codes, weights, sums);
      }
    } else if constexpr (Shape::kPlanes > 1) {
      f32_weights<Shape>(machine, scores, step, weights, sums);
    } else if (p.sum_codes) {
      half_weights<Shape, true>(machine, scores, step, weights, sums);
    } else {
      half_weights<Shape, false>(machine, scores, step, weights, sums);
    }
    add_row_sums(machine, state, sums, step);
  }

  // `again`: the warp's task, found anew. Kept in registers through the loop it would displace scores and O.
  OCTAVO_DEVICE void epilogue(Machine& machine, const AttentionTask& again) {
    if constexpr (!score_mod) clear<Machine, float, 2>(machine, terms.lse_offset);
    if constexpr (may_keep && !score_mod) clear<Machine, float, 2>(machine, terms.row_max);
    store_epilogue<Shape, may_keep>(machine, p, again, again.first_row, keeps(), state, terms, out);
  }
};

}  // namespace octavo::cuda
