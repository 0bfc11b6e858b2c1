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

// A warp's rows while they walk over the keys.
template <class Machine, class Shape>
struct AttentionWarp {
  const AttentionKernelParams& p;
  const AttentionTask& task;
  std::int64_t first_row;            // of the warp, in the sequence
  laws::KeyRange seen, seen_by_all;  // by some of its rows, by all of them
  Registers<Machine, std::uint32_t, kQueryRegisters<Shape>> q;
  Registers<Machine, float, 2> query_factor;
  RowTerms<Machine> terms;
  RowState<Machine> state;
  Registers<Machine, float, kOutputRegisters<Shape>> out;
  bool modifies;
  float log2_range;

  OCTAVO_DEVICE AttentionWarp(Machine& machine, const AttentionKernelParams& params, const AttentionTask& its)
      : p(params), task(its), first_row(its.first_row + 16 * machine.warp()) {
    const std::int64_t last = first_row + 16 < task.q_rows ? first_row + 16 : task.q_rows;
    seen =
        laws::visible_keys_of_rows(p.causal, p.window_left, p.window_right, task.q_rows, task.k_rows, first_row, last);
    // Both ends of a row's range grow with the row.
    if (first_row < last) {
      const laws::KeyRange top = keys_of_row(p, task, first_row), bottom = keys_of_row(p, task, last - 1);
      seen_by_all = {bottom.begin, bottom.end == 0 ? 0 : top.end};
    }
    modifies = p.softcap > 0 || p.mask.data != nullptr || p.alibi_slopes.data != nullptr;
    log2_range = Shape::kIntegerValues ? Machine::log2(p.p_range) : 0.0f;
    const std::int64_t packed_row = task.packed_row + 16 * machine.warp();
    machine.lanes(
        [&](int lane, float(&factor)[2]) {
          for (int half = 0; half < 2; ++half) {
            factor[half] = row_of_lane(first_row, lane, half) < task.q_rows
                               ? p.q.factor[row_of_lane(packed_row, lane, half)]
                               : 0.0f;
          }
        },
        query_factor);
    find_row_terms(machine, p, task, first_row, packed_row, terms);
    start_rows(machine, state);
    clear<Machine, float, kOutputRegisters<Shape>>(machine, out);
  }

  OCTAVO_DEVICE bool sees_tile(std::int64_t key) const { return seen.begin < key + Shape::kKeys && seen.end > key; }

  // From the tile's scores to weights, and the state's step.
  OCTAVO_DEVICE void settle(Machine& machine, std::int64_t key, std::uint32_t stage,
                            Registers<Machine, float, Shape::kKeys / 2>& scores, TileStep<Machine>& step,
                            Registers<Machine, std::uint32_t, kWeightRegisters<Shape>>& weights) {
    Registers<Machine, float, 2> maxima, offset, sums;
    clear<Machine, float, 2>(machine, offset);
    if (modifies) {
      modify_scores<Shape>(machine, p, task, first_row, key, terms, scores);
    } else if (seen_by_all.begin > key || (seen_by_all.end < key + Shape::kKeys && seen_by_all.end < task.k_rows)) {
      hide_keys<Shape>(machine, p, task, first_row, key, scores);
    }
    row_maxima(machine, scores, maxima);
    if constexpr (Shape::kIntegerValues) {
      if (modifies && p.k.fold != nullptr) fold_scores<Shape>(machine, stage, scores, maxima, offset);
      advance(machine, state, maxima, offset, p.running_maximum, log2_range, step);
      weigh_integers<Shape>(machine, scores, step, p.sum_codes, p.k.inverse != nullptr, stage, weights, sums);
    } else {
      advance(machine, state, maxima, offset, true, 0.0f, step);
      weigh_halves<Shape>(machine, scores, step, p.sum_codes, weights, sums);
    }
    add_row_sums(machine, state, sums, step);
    rescale_output<Shape>(machine, step, out);
  }

  OCTAVO_DEVICE void add_values(Machine& machine, std::uint32_t stage, TileStep<Machine>& step,
                                Registers<Machine, std::uint32_t, kWeightRegisters<Shape>>& weights) {
    if constexpr (Shape::kIntegerValues) {
      add_integer_values<Shape>(machine, weights, step, p.v.column_scale != nullptr, stage, out);
    } else {
      add_half_values<Shape>(machine, weights, stage, out);
    }
  }
};

// Two stages: both operands of the next tile are on their way while this one is worked on.
template <class Shape, class Machine>
OCTAVO_DEVICE void walk_two_stages(Machine& machine, AttentionWarp<Machine, Shape>& warp, std::int64_t first,
                                   std::int64_t end) {
  std::uint32_t stage = 0;
  OCTAVO_ROLLED
  for (std::int64_t key = first; key < end; key += Shape::kKeys, stage ^= 1) {
    if (key + Shape::kKeys < end) {
      load_keys<Shape>(machine, warp.p, warp.task, key + Shape::kKeys, stage ^ 1);
      load_values<Shape>(machine, warp.p, warp.task, key + Shape::kKeys, stage ^ 1);
    }
    machine.commit_copies();
    machine.template wait_copies<1>();
    machine.sync("tile has come");
    if (key == first) load_query<Shape>(machine, warp.q);
    if (warp.sees_tile(key)) {
      Registers<Machine, float, Shape::kKeys / 2> scores;
      Registers<Machine, std::uint32_t, kWeightRegisters<Shape>> weights;
      TileStep<Machine> step;
      score_tile<Shape>(machine, warp.p, warp.q, stage, warp.query_factor, scores);
      warp.settle(machine, key, stage, scores, step, weights);
      warp.add_values(machine, stage, step, weights);
    }
    machine.sync("tile is done with");
  }
  machine.template wait_copies<0>();
}

template <class Machine, class Shape>
OCTAVO_DEVICE void attend(Machine& machine, const AttentionKernelParams& p) {
  const AttentionTask task = find_task(machine, p, Shape::kRows);
  if (!task.present) return;
  const std::int64_t first = task.seen.begin / Shape::kKeys * Shape::kKeys, end = task.seen.end;
  if (first < end) {
    const std::int64_t rows = task.q_rows - task.first_row;
    load_tile<Shape::kRowBytes, Shape::kRows, Shape::kWarps>(
        machine, Shape::kQueryAt, static_cast<const std::uint8_t*>(p.q.codes) + task.packed_row * Shape::kRowBytes,
        static_cast<std::uint32_t>(rows < Shape::kRows ? rows : Shape::kRows));
    load_keys<Shape>(machine, p, task, first, 0);
    load_values<Shape>(machine, p, task, first, 0);
    machine.commit_copies();
  }
  AttentionWarp<Machine, Shape> warp(machine, p, task);
  walk_two_stages<Shape>(machine, warp, first, end);
  finish_rows<Shape>(machine, p, task, warp.first_row, warp.state, warp.terms, warp.out);
}

}  // namespace octavo::cuda
