// Attention by mma.sync (compute capability 8.0 and later), FlashAttention's online softmax over packed operands:
//   for each tile of keys:   T = f(Q K^T),   t = row maxima,   m, l, O move on to max(m, t),   O += 2^(T - t) V
// A block takes 64 or 128 query rows of a head, a warp 16 of them with all keys of a tile. Tiles come by cp.async while
// the one before is worked on. Between the products nothing moves: a lane's scores are its weights (packed.hpp).
#pragma once

#include <cstdint>

#include "cuda/attention_params.hpp"
#include "cuda/kernels/attention_shape.hpp"
#include "cuda/ops/epilogue.hpp"
#include "cuda/ops/hide.hpp"
#include "cuda/ops/load.hpp"
#include "cuda/ops/modify.hpp"
#include "cuda/ops/score.hpp"
#include "cuda/ops/softmax.hpp"
#include "cuda/ops/task.hpp"
#include "cuda/ops/value.hpp"
#include "cuda/ops/weight.hpp"
#include "cuda/tile/machine.hpp"

namespace octavo::cuda {

// Keys that some and that all of a warp's rows see, and what says so row by row.
struct alignas(16) WarpRanges {
  Keys32 some, all;
  std::int32_t q_rows, k_rows, first_row, unused;
};

// A warp's rows while they walk over the keys.
template <class Machine, class Shape, AttentionVariant variant>
struct AttentionWarp {
  static constexpr bool modifies = variant != AttentionVariant::plain, wide = variant == AttentionVariant::wide;
  using Scores = Registers<Machine, float, Shape::kKeys / 2>;
  using Weights = Registers<Machine, std::uint32_t, kWeightRegisters<Shape>>;

  const AttentionKernelParams& p;
  const AttentionTask& task;
  std::int32_t first_row;  // of the warp, in the sequence
  WarpRanges kept_ranges;  // unless they are in shared memory
  Registers<Machine, std::uint32_t, kQueryRegisters<Shape>> q;
  Registers<Machine, float, 2> query_factor;
  RowTerms<Machine> terms;
  RowState<Machine> state;
  Registers<Machine, float, kOutputRegisters<Shape>> out;
  TileStep<Machine> step;
  Weights weights;

  OCTAVO_DEVICE AttentionWarp(Machine& machine, const AttentionKernelParams& params, const AttentionTask& its)
      : p(params), task(its), first_row(its.first_row + 16 * machine.warp()) {
    kept_ranges = {keys_of_rows(p, task, first_row, 16),
                   keys_of_all_rows(p, task, first_row, 16),
                   task.q_rows,
                   task.k_rows,
                   first_row,
                   0};
    if constexpr (Shape::kRangesInShared) {
      machine.store_shared(ranges_at(machine), kept_ranges);
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
    if constexpr (modifies) find_row_terms(machine, p, task, first_row, terms);
    start_rows(machine, state);
    clear<Machine, float, kOutputRegisters<Shape>>(machine, out);
  }

  OCTAVO_DEVICE static std::uint32_t ranges_at(Machine& machine) {
    return Shape::kRangesAt + static_cast<std::uint32_t>(machine.warp()) * Shape::kRangeBytes;
  }
  OCTAVO_DEVICE WarpRanges ranges(Machine& machine) const {
    if constexpr (Shape::kRangesInShared) return machine.template shared<WarpRanges>(ranges_at(machine));
    return kept_ranges;
  }

  OCTAVO_DEVICE bool sees_tile(Machine& machine, std::int32_t key) const {
    const Keys32 seen = ranges(machine).some;
    return seen.begin < key + Shape::kKeys && seen.end > key;
  }
  OCTAVO_DEVICE void hide(Machine& machine, std::int32_t key, Scores& scores) {
    const WarpRanges seen = ranges(machine);
    if (seen.all.begin <= key && (seen.all.end >= key + Shape::kKeys || seen.all.end >= seen.k_rows)) return;
    AttentionTask lengths;
    lengths.q_rows = seen.q_rows, lengths.k_rows = seen.k_rows;
    hide_keys<Shape>(machine, p, lengths, seen.first_row, key, scores);
  }

  OCTAVO_DEVICE void score(Machine& machine, std::uint32_t stage, Scores& scores) {
    if constexpr (wide) {
      score_wide_tile<Shape>(machine, p, kLowQueryAt<Shape>, stage, query_factor, scores);
    } else {
      score_tile<Shape>(machine, p, q, stage, query_factor, scores);
    }
  }

  // From the tile's scores to weights, and the state's step.
  OCTAVO_DEVICE void weigh(Machine& machine, std::int32_t key, std::uint32_t stage, Scores& scores) {
    Registers<Machine, float, 2> maxima, offset, sums;
    clear<Machine, float, 2>(machine, offset);
    if constexpr (modifies) {
      modify_scores<Shape>(machine, p, task, first_row, key, terms, scores);
    } else {
      hide(machine, key, scores);
    }
    row_maxima(machine, scores, maxima);
    if constexpr (Shape::kIntegerValues) {
      if (modifies && p.k.fold != nullptr) fold_scores<Shape>(machine, stage, scores, maxima, offset);
      advance(machine, state, maxima, offset, p.running_maximum, Machine::log2(p.p_range), step);
      weigh_integers<Shape>(machine, scores, step, p.p_range, p.sum_codes, p.k.inverse != nullptr, stage, weights,
                            sums);
    } else {
      advance(machine, state, maxima, offset, true, 0.0f, step);
      weigh_halves<Shape>(machine, scores, step, p.sum_codes, weights, sums);
    }
    add_row_sums(machine, state, sums, step);
    rescale_output<Shape>(machine, step, out);
  }

  OCTAVO_DEVICE void add_values(Machine& machine, std::uint32_t stage) {
    if constexpr (Shape::kIntegerValues) {
      add_integer_values<Shape>(machine, weights, step, p.v.column_scale != nullptr, stage, out);
    } else {
      add_half_values<Shape>(machine, weights, stage, out);
    }
  }

  // The task is found once more: kept through the walk, it would cost registers that scores and O need.
  OCTAVO_DEVICE void finish(Machine& machine) {
    if constexpr (!modifies) clear<Machine, float, 2>(machine, terms.owed);
    const AttentionTask again = find_task(machine, p, Shape::kRows);
    finish_rows<Shape>(machine, p, again, again.first_row + 16 * machine.warp(), state, terms.owed, out);
  }
};

// Tiles take turns in the stages.
template <class Shape>
OCTAVO_INLINE constexpr std::uint32_t stage_of_tile(std::int32_t key) {
  return static_cast<std::uint32_t>(key / Shape::kKeys) % Shape::kStages;
}

// Two tiles of each operand: the next one's are on their way while this one is worked on.
template <class Shape, class Machine, class Warp>
OCTAVO_DEVICE void load_ahead(Machine& machine, Warp& warp, std::int32_t key, std::int32_t end) {
  const std::uint32_t stage = stage_of_tile<Shape>(key);
  if (key < end) {
    load_keys<Shape>(machine, warp.p, warp.task, key, stage);
    load_values<Shape>(machine, warp.p, warp.task, key, stage);
  }
  machine.commit_copies();
  machine.template wait_copies<1>();
  machine.sync("the tile has come");
}
template <class Shape, class Machine, class Warp>
OCTAVO_DEVICE void walk_two_stages(Machine& machine, Warp& warp, std::int32_t first, std::int32_t end) {
  if (first >= end) return;
  load_ahead<Shape>(machine, warp, first + Shape::kKeys, end);
  if constexpr (!Warp::wide) load_query<Shape>(machine, warp.q);
  OCTAVO_ROLLED
  for (std::int32_t key = first; key < end; key += Shape::kKeys) {
    const std::uint32_t stage = stage_of_tile<Shape>(key);
    if (warp.sees_tile(machine, key)) {
      typename Warp::Scores scores;
      warp.score(machine, stage, scores);
      warp.weigh(machine, key, stage, scores);
      warp.add_values(machine, stage);
    }
    machine.sync("the tile is done with");
    load_ahead<Shape>(machine, warp, key + 2 * Shape::kKeys, end);
  }
}

// One tile of each: the next keys are on their way while values are added, the next values while scores are made. The
// fold's vectors and V's are needed between, so they travel with V.
template <class Shape, class Machine, class Warp>
OCTAVO_DEVICE void walk_one_stage(Machine& machine, Warp& warp, std::int32_t first, std::int32_t end) {
  OCTAVO_ROLLED
  for (std::int32_t key = first; key < end; key += Shape::kKeys) {
    const bool sees = warp.sees_tile(machine, key);
    machine.template wait_copies<1>();
    machine.sync("the keys have come");
    typename Warp::Scores scores;
    if (sees) warp.score(machine, 0, scores);
    machine.template wait_copies<0>();
    machine.sync("the keys are done with, the values have come");
    if (key + Shape::kKeys < end) load_keys<Shape>(machine, warp.p, warp.task, key + Shape::kKeys, 0);
    machine.commit_copies();
    if (sees) {
      warp.weigh(machine, key, 0, scores);
      warp.add_values(machine, 0);
    }
    machine.sync("the values are done with");
    if (key + Shape::kKeys < end) load_values<Shape>(machine, warp.p, warp.task, key + Shape::kKeys, 0);
    machine.commit_copies();
  }
}

template <class Machine, class Shape, AttentionVariant variant>
OCTAVO_DEVICE void attend(Machine& machine, const AttentionKernelParams& p) {
  const AttentionTask task = find_task(machine, p, Shape::kRows);
  if (!task.present || task.wide != (variant == AttentionVariant::wide)) return;
  const Keys32 seen = keys_of_rows(p, task, task.first_row, Shape::kRows);
  const std::int32_t first = seen.begin / Shape::kKeys * Shape::kKeys;
  if (first < seen.end) {
    load_queries<Shape, variant == AttentionVariant::wide>(machine, p, task);
    load_keys<Shape>(machine, p, task, first, stage_of_tile<Shape>(first));
    if constexpr (Shape::kStages == 1) machine.commit_copies();
    load_values<Shape>(machine, p, task, first, stage_of_tile<Shape>(first));
    machine.commit_copies();
  }
  AttentionWarp<Machine, Shape, variant> warp(machine, p, task);
  if constexpr (Shape::kStages == 1) {
    walk_one_stage<Shape>(machine, warp, first, seen.end);
  } else {
    walk_two_stages<Shape>(machine, warp, first, seen.end);
  }
  machine.template wait_copies<0>();
  warp.finish(machine);
}

}  // namespace octavo::cuda
