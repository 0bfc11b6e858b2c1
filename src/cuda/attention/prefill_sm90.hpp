// Attention on Hopper (compute capability 9.0a): FlashAttention's online softmax over packed operands, as in
// prefill_sm80.hpp, by wgmma and the copy engine.
//   for each tile of keys:   T = Q K^T scaled,   m = max(m, row maxima of T),   l, O rescaled,   O += 2^(T - m) V
// A block takes 128 query rows at a time, of a head or of several with few rows each, and tasks until none is left. Its
// last warpgroup is the producer: one warp of it asks for the tiles of K and V ahead of their use, and for the next
// task. Each of the two consumer warpgroups owns 64 rows. A tile's Q K^T runs with the P V of the tile before it, where
// registers hold the sums of both; P stays in registers, where the scores were (packed_block.hpp). The warpgroups start
// their products in turn, so that the tensor cores work for one while the other makes weights (FlashAttention-3's
// ping-pong).
#pragma once

#include <cstdint>

#include "cuda/attention/params_sm90.hpp"
#include "cuda/attention/products_sm90.hpp"
#include "cuda/attention/schedule_sm90.hpp"
#include "cuda/attention/tile_shape_sm90.hpp"
#include "cuda/attention/warp_rows.hpp"
#include "cuda/tile/machine_sm90.hpp"

namespace octavo::cuda {

// The keys that the tiles of a task cover: producer and consumers go through the same ones.
template <class Shape>
OCTAVO_DEVICE Keys32 keys_of_tiles(const AttentionKernelParams& p, const AttentionTask& task, std::int32_t first_row,
                                   std::int32_t rows) {
  const Keys32 seen = keys_of_rows(p, task, first_row, rows);
  return seen.begin < seen.end ? Keys32{seen.begin / Shape::kKeys * Shape::kKeys, seen.end} : Keys32{};
}

// The warp that fills the stages.
template <class Machine, class Shape, AttentionVariant variant>
struct ProducerWarp {
  using Params = AttentionParamsSm90<typename Machine::TensorMap>;
  static constexpr bool folded = is_folded(variant), score_mod = modifies_scores(variant);

  const Params& params;
  const AttentionKernelParams& p;
  StageRing<1> query;
  StageRing<Shape::kStages> tiles;  // of K and of V

  OCTAVO_DEVICE explicit ProducerWarp(const Params& its) : params(its), p(its.attention) {}

  // Of each head its rows; where one is missing those of the last, which nobody uses. Likewise addends.
  OCTAVO_DEVICE void load_query(Machine& machine, const AttentionTask& task) {
    machine.wait_mbarrier("Q is done with", Shape::kQueryEmpty, query.parity ^ 1);
    machine.arrive_mbarrier(Shape::kQueryFull, Shape::QueryTile::kBytes);
    const std::uint32_t rows = 16u << p.shared.warps_log2;
    auto row = static_cast<std::uint32_t>(task.packed_row), to = Shape::kQueryAt;
    OCTAVO_ROLLED
    for (std::int32_t head = 1;; ++head) {
      Shape::QueryTile::copy(machine, params.q, to, Shape::kQueryFull, row);
      if (head == p.shared.heads) break;
      if (head < task.heads) row += static_cast<std::uint32_t>(kPackedRows);
      to += rows * Shape::QueryTile::kPanelRowBytes;
    }
    query.next();
  }

  OCTAVO_DEVICE void load_keys(Machine& machine, const AttentionTask& task, std::int32_t key) {
    const std::uint32_t slot = task.first_slot + static_cast<std::uint32_t>(key);
    const std::uint32_t full = tiles.barrier(Shape::kKeysFull), vector = tiles.stage * Shape::kVectorBytes;
    const bool inverses = Shape::kIntegerValues && (folded || p.k.inverse != nullptr);
    const bool folds = Shape::kIntegerValues && score_mod && p.k.fold != nullptr;
    machine.wait_mbarrier("K is done with", tiles.barrier(Shape::kKeysEmpty), tiles.parity ^ 1);
    const std::int32_t addends = Shape::kAddendVectors > 1 && params.head_addend_bytes != 0 ? p.shared.heads : 1;
    const std::uint32_t vectors =
        static_cast<std::uint32_t>(addends) + (Shape::kScaledScores ? 1 : 0) + (inverses ? 1 : 0) + (folds ? 1 : 0);
    machine.arrive_mbarrier(full, Shape::KeyTile::kBytes + vectors * Shape::kVectorBytes);
    Shape::KeyTile::copy(machine, params.k, Shape::kKeysAt + tiles.stage * Shape::KeyTile::kBytes, full, slot);
    if (Shape::kScaledScores) {
      machine.copy_bytes(p.k.factor + slot, Shape::kFactorAt + vector, full, Shape::kVectorBytes);
    }
    const float* from = addends_of(p, false) + task.addend_at + key;
    machine.copy_bytes(from, Shape::kAddendAt + vector, full, Shape::kVectorBytes);
    OCTAVO_ROLLED
    for (std::int32_t head = 1; head < addends; ++head) {
      if (head < task.heads) from += p.smooth_q_bias.keys;
      machine.copy_bytes(from, Shape::kAddendAt + static_cast<std::uint32_t>(head) * Shape::kHeadAddendBytes + vector,
                         full, Shape::kVectorBytes);
    }
    if (inverses) machine.copy_bytes(p.k.inverse + slot, Shape::kInverseAt + vector, full, Shape::kVectorBytes);
    if (folds) machine.copy_bytes(p.k.fold + slot, Shape::kFoldAt + vector, full, Shape::kVectorBytes);
  }

  OCTAVO_DEVICE void load_values(Machine& machine, const AttentionTask& task, std::int32_t key) {
    const std::uint32_t slot = task.first_slot + static_cast<std::uint32_t>(key);
    const std::uint32_t full = tiles.barrier(Shape::kValuesFull);
    const bool column_scales = Shape::kBlockScales && !folded && p.v.column_scale != nullptr;
    machine.wait_mbarrier("V is done with", tiles.barrier(Shape::kValuesEmpty), tiles.parity ^ 1);
    machine.arrive_mbarrier(full, Shape::ValueTile::kBytes + (column_scales ? Shape::kColumnBytes : 0));
    Shape::ValueTile::copy(machine, params.v, Shape::kValuesAt + tiles.stage * Shape::ValueTile::kBytes, full,
                           static_cast<std::uint32_t>(value_row<Shape>(slot)));
    if (column_scales) {
      machine.copy_bytes(p.v.column_scale + std::int64_t{slot / kPackedRows} * Shape::kDim,
                         Shape::kColumnScaleAt + tiles.stage * Shape::kColumnBytes, full, Shape::kColumnBytes);
    }
    tiles.next();
  }

  OCTAVO_DEVICE void load_task(Machine& machine, const AttentionTask& task) {
    const Keys32 seen = keys_of_tiles<Shape>(p, task, task.first_row, Shape::kRows);
    if (seen.begin < seen.end) load_query(machine, task);
    OCTAVO_ROLLED
    for (std::int32_t key = seen.begin; key < seen.end; key += Shape::kKeys) {
      load_keys(machine, task, key);
      load_values(machine, task, key);
    }
  }
};

// What a consumer warp knows of the stages from one task to the next.
template <class Shape>
struct ConsumerStages {
  StageRing<1> query;
  StageRing<Shape::kStages> keys, values;
};

// A consumer warp with its rows of one task; the four warps of a warpgroup go through it in step.
template <class Machine, class Shape, AttentionVariant variant>
struct ConsumerWarp : WarpRows<Machine, Shape, variant> {
  using Rows = WarpRows<Machine, Shape, variant>;
  using Rows::folded, Rows::out, Rows::p, Rows::query_factor, Rows::step, Rows::task, Rows::weights;
  using typename Rows::Scores;

  ConsumerStages<Shape>& at;
  const Turns<Machine, Shape>& turns;
  Keys32 all;  // keys that all its rows see
  QkSums<Machine, Shape> s;
  PvSums<Machine, Shape> tile_sums;  // of P V, unless they are O's or those of slices
  ExcessOfRows<Machine> excess;

  // `its`: the warp's task.
  OCTAVO_DEVICE ConsumerWarp(Machine& machine, const AttentionParamsSm90<typename Machine::TensorMap>& of_call,
                             const AttentionTask& its, std::int32_t warpgroup_row, std::int32_t end_of_tiles,
                             ConsumerStages<Shape>& stages, const Turns<Machine, Shape>& all_turns)
      : Rows(machine, of_call.attention, its, warpgroup_row, end_of_tiles,
             static_cast<std::uint32_t>(head_of_warp(of_call.attention, machine.warp())) * of_call.head_addend_bytes),
        at(stages),
        turns(all_turns),
        all(keys_of_all_rows(p, its, warpgroup_row, kWarpgroupRows)) {
    clear<Machine, float, 2>(machine, excess);
  }

  OCTAVO_DEVICE void wait_for_keys(Machine& machine) {
    machine.wait_mbarrier("K has come", at.keys.barrier(Shape::kKeysFull), at.keys.parity);
  }
  OCTAVO_DEVICE void wait_for_values(Machine& machine) {
    machine.wait_mbarrier("V has come", at.values.barrier(Shape::kValuesFull), at.values.parity);
  }
  OCTAVO_DEVICE void release_keys(Machine& machine) {
    machine.arrive_mbarrier(at.keys.barrier(Shape::kKeysEmpty));
    at.keys.next();
  }
  OCTAVO_DEVICE void release_values(Machine& machine) {
    machine.arrive_mbarrier(at.values.barrier(Shape::kValuesEmpty));
    at.values.next();
  }

  // Tiles that another warpgroup's rows see and these do not: a stage is handed on only when it has come.
  OCTAVO_DEVICE void pass_tiles(Machine& machine, std::int32_t key, std::int32_t end) {
    OCTAVO_ROLLED
    for (; key < end; key += Shape::kKeys) {
      turns.take(machine), turns.pass(machine);
      wait_for_keys(machine), release_keys(machine);
      wait_for_values(machine), release_values(machine);
    }
  }

  OCTAVO_DEVICE bool column_scales() const { return Shape::kBlockScales && !folded && p.v.column_scale != nullptr; }

  // Whether O is held in its unit, with an excess (add_integer_values()).
  OCTAVO_DEVICE bool holds_output() const { return Shape::kIntegerValues && !column_scales(); }

  // Where the product P V goes: sums of its own for each tile, or O itself.
  OCTAVO_DEVICE PvSums<Machine, Shape>& pv_sums() {
    if constexpr (kTwoLevels<Shape>) {
      return tile_sums;
    } else {
      return out;
    }
  }

  // O = alpha O + beta P V of the tile that step and weights are of, where P V has sums of its own.
  OCTAVO_DEVICE void add_pv(Machine& machine) {
    if constexpr (kTwoLevels<Shape>) {
      // Here, beside the sum: at the end of the turn before, the branch would cost a move for each register of O.
      rescale_output<Shape>(machine, step, out);
      if constexpr (Shape::kIntegerValues) {
        Registers<Machine, float, 2> totals;
        sum_weights<Shape>(machine, weights, column_scales(), step, excess, totals);
        add_integer_values<Shape>(machine, tile_sums, 0, totals, column_scales(), at.values.stage, step, out);
      } else {
        add_values_tile<Shape>(machine, tile_sums, column_scales(), at.values.stage, step, out);
      }
    }
    release_values(machine);
  }

  OCTAVO_DEVICE void start_qk(Machine& machine) {
    machine.wgmma_fence(s);
    multiply_qk<Shape>(machine, at.keys.stage, s);
    machine.wgmma_commit();
  }
  OCTAVO_DEVICE void start_pv(Machine& machine) {
    if constexpr (!kTwoLevels<Shape>) rescale_output<Shape>(machine, step, out);
    machine.wgmma_fence(weights, pv_sums());
    multiply_pv<Shape>(machine, weights, at.values.stage, 0, pv_sums());
    machine.wgmma_commit();
  }

  // O += beta P V, a slice of channels at a time, where O has had its alpha (rescale()). O takes a slice's sums before
  // the next is multiplied: sums of two would leave too few registers. The other warpgroup's products run meanwhile.
  OCTAVO_DEVICE void add_slices(Machine& machine) {
    static_assert(kSlices<Shape> == 1 || Shape::kIntegerValues);
    Registers<Machine, float, 2> totals;
    sum_weights<Shape>(machine, weights, column_scales(), step, excess, totals);
    PvSums<Machine, Shape> sums;
    OCTAVO_UNROLL
    for (int channel = 0; channel < Shape::kDim; channel += Shape::kSliceChannels) {
      machine.wgmma_fence(weights, sums);
      multiply_pv<Shape>(machine, weights, at.values.stage, channel, sums);
      machine.wgmma_commit();
      machine.template wgmma_wait<0>(sums, weights);
      add_integer_values<Shape>(machine, sums, channel, totals, column_scales(), at.values.stage, step, out);
    }
    release_values(machine);
  }

  // In slices no product has O as its sums or beside them: it is rescaled at once, and alpha need not be held.
  OCTAVO_DEVICE void rescale(Machine& machine) {
    rescale_output<Shape>(machine, step, out);
    machine.lanes(
        [](int, float(&alpha)[2], float(&more)[2]) {
          for (int i = 0; i < 2; ++i) more[i] *= alpha[i];
        },
        step.alpha, excess);
  }
  OCTAVO_DEVICE void forget_alpha(Machine& machine) {
    machine.lanes([](int, float(&alpha)[2]) { alpha[0] = alpha[1] = 1; }, step.alpha);
  }

  // Where the addends of the warp's head lie, from those of the first.
  OCTAVO_DEVICE std::uint32_t own_addends(Machine& machine) const {
    if constexpr (Shape::kAddendVectors == 1) return 0;
    constexpr bool kHasRegister = Shape::kDim == 64 || (Shape::kDim == 128 && !Rows::may_keep);
    return kHasRegister ? this->held_task.own_addends : this->warp_task(machine).own_addends;
  }
  OCTAVO_DEVICE void take_scores(Machine& machine, Scores& scores) {
    scale_scores<Shape>(machine, s, at.keys.stage, own_addends(machine), query_factor, scores);
  }

  // Whether some row of the warpgroup does not see all keys of the tile as they are.
  OCTAVO_DEVICE bool modifies(Machine& machine, std::int32_t key) const {
    if constexpr (Rows::score_mod) return true;
    // The number of keys is looked up at the last tiles alone.
    if (key < all.begin) return true;
    if (all.end < key + Shape::kKeys && all.end < this->warp_task(machine).k_rows) return true;
    if constexpr (!Rows::may_keep) return false;
    const WarpTask own = this->warp_task(machine);
    return may_keep_keys<Shape>(p, own.q_rows, own.k_rows, hides_first_keys(p, false), own.warpgroup_row,
                                kWarpgroupRows, key);
  }

  // From the sums of Q K^T to weights.
  template <bool modified>
  OCTAVO_DEVICE void softmax_of_tile(Machine& machine, std::int32_t key) {
    Scores scores;
    take_scores(machine, scores);
    const bool block_means = this->has_block_means(machine);
    if constexpr (modified) this->modify_scores(machine, key, block_means, scores);
    this->update_maxima(machine, key, at.keys.stage, block_means, scores, step);
    if constexpr (kSlices<Shape> > 1) rescale(machine);
    this->find_weights(machine, at.keys.stage, scores);
    if constexpr (kSlices<Shape> > 1) forget_alpha(machine);
    release_keys(machine);
  }

  // P V of the tile before and this tile's Q K^T: O takes the first while the second runs. Then this tile's weights.
  // In slices the first is complete before the second begins.
  template <bool modified>
  OCTAVO_DEVICE void turn(Machine& machine, std::int32_t key) {
    wait_for_values(machine);
    turns.take(machine);
    if constexpr (kSlices<Shape> == 1) {
      start_pv(machine);
    } else {
      add_slices(machine);
      machine.drop(s);
    }
    wait_for_keys(machine);
    start_qk(machine);
    turns.pass(machine);
    if constexpr (kSlices<Shape> == 1) {
      machine.template wgmma_wait<1>(pv_sums(), weights);
      add_pv(machine);
    }
    machine.template wgmma_wait<0>(s);
    softmax_of_tile<modified>(machine, key);
  }

  OCTAVO_DEVICE void walk(Machine& machine, const Keys32& tiles) {
    wait_for_keys(machine);
    turns.take(machine);
    start_qk(machine);
    turns.pass(machine);
    machine.template wgmma_wait<0>(s);
    softmax_of_tile<true>(machine, tiles.begin);
    // Tiles whose scores stay as they are have a loop of their own: where both kinds meet, registers are moved.
    std::int32_t key = tiles.begin + Shape::kKeys, take_at = key + kExcessKeys;
    OCTAVO_ROLLED
    while (key < tiles.end) {
      if (key >= take_at) {
        if (holds_output()) take_excess<Shape>(machine, excess, out);
        take_at = key + kExcessKeys;
      }
      const std::int32_t end = take_at < tiles.end ? take_at : tiles.end;
      OCTAVO_ROLLED
      for (; key < end && !modifies(machine, key); key += Shape::kKeys) turn<false>(machine, key);
      if (key >= end) continue;
      turn<true>(machine, key);
      key += Shape::kKeys;
    }
    wait_for_values(machine);
    if constexpr (kSlices<Shape> == 1) {
      start_pv(machine);
      machine.template wgmma_wait<0>(pv_sums(), weights);
      add_pv(machine);
    } else {
      add_slices(machine);
    }
    if (holds_output()) {
      take_excess<Shape>(machine, excess, out);
      release_output<Shape>(machine, out);
    }
  }
};

template <class Machine, class Shape, AttentionVariant variant>
OCTAVO_DEVICE void consume(Machine& machine, const AttentionParamsSm90<typename Machine::TensorMap>& params) {
  const AttentionKernelParams& p = params.attention;
  const Turns<Machine, Shape> turns{params.ping_pong};
  ConsumerStages<Shape> at;
  turns.start(machine);
  OCTAVO_ROLLED
  for (TaskNumbers<Machine, Shape> tasks(machine, params); tasks.has_task(machine); tasks.go_on(machine)) {
    const AttentionTask task = task_of_index(p, params.heads_at_once, tasks.number(machine));
    if (!task.present || task.q16) continue;
    const Keys32 tiles = keys_of_tiles<Shape>(p, task, task.first_row, Shape::kRows);
    const AttentionTask own_task = task_of_warp(p, task, machine.warp());
    const std::int32_t warpgroup_row = first_row_of_warp(p, task, machine.warp() / 4 * 4);
    ConsumerWarp<Machine, Shape, variant> warp(machine, params, own_task, warpgroup_row, tiles.end, at, turns);
    if (tiles.begin < tiles.end) {
      const Keys32 own = keys_of_tiles<Shape>(p, task, warpgroup_row, kWarpgroupRows);
      machine.wait_mbarrier("Q has come", Shape::kQueryFull, at.query.parity);
      if (own.begin < own.end) {
        warp.pass_tiles(machine, tiles.begin, own.begin);
        warp.walk(machine, own);
        warp.pass_tiles(machine, (own.end + Shape::kKeys - 1) / Shape::kKeys * Shape::kKeys,
                        warp.warp_task(machine).end_of_tiles);
      } else {
        warp.pass_tiles(machine, tiles.begin, tiles.end);
      }
      machine.arrive_mbarrier(Shape::kQueryEmpty);
      at.query.next();
    }
    machine.renew_warp();
    const AttentionTask again = task_of_index(p, params.heads_at_once, tasks.number(machine));
    warp.epilogue(machine, task_of_warp(p, again, machine.warp()));
  }
  turns.end(machine);
}

template <class Machine, class Shape, AttentionVariant variant>
OCTAVO_DEVICE void produce(Machine& machine, const AttentionParamsSm90<typename Machine::TensorMap>& params) {
  const AttentionKernelParams& p = params.attention;
  ProducerWarp<Machine, Shape, variant> warp(params);
  TaskQueue<Machine, Shape> queue(machine, params);
  OCTAVO_ROLLED
  while (queue.has_task()) {
    const AttentionTask task = task_of_index(p, params.heads_at_once, queue.number);
    const std::uint32_t next = queue.ask(machine);
    if (task.present && !task.q16) warp.load_task(machine, task);
    queue.tell(machine, next);
  }
}

template <class Machine, class Shape, AttentionVariant variant>
OCTAVO_DEVICE void attend_sm90(Machine& machine, const AttentionParamsSm90<typename Machine::TensorMap>& params) {
  begin_kernel(machine);
  if (machine.warp() == 0) {
    machine.init_mbarrier(Shape::kQueryFull, 1);
    machine.init_mbarrier(Shape::kQueryEmpty, Shape::kWarps);
    machine.init_mbarrier(Shape::kTaskFull, 1);
    machine.init_mbarrier(Shape::kTaskEmpty, Shape::kWarps);
    OCTAVO_UNROLL
    for (std::uint32_t stage = 0; stage < Shape::kStages; ++stage) {
      machine.init_mbarrier(Shape::kKeysFull + stage * kMbarrierBytes, 1);
      machine.init_mbarrier(Shape::kKeysEmpty + stage * kMbarrierBytes, Shape::kWarps);
      machine.init_mbarrier(Shape::kValuesFull + stage * kMbarrierBytes, 1);
      machine.init_mbarrier(Shape::kValuesEmpty + stage * kMbarrierBytes, Shape::kWarps);
    }
    machine.fence_async();
  }
  machine.sync("mbarriers are made");
  if (machine.warp() >= Shape::kWarps) {
    machine.template fewer_registers<Shape::kProducerRegisters>();
    if (machine.warp() == Shape::kWarps) produce<Machine, Shape, variant>(machine, params);
  } else {
    machine.template more_registers<Shape::kConsumerRegisters>();
    consume<Machine, Shape, variant>(machine, params);
  }
}

}  // namespace octavo::cuda
