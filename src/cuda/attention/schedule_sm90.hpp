// Who works when in Hopper's attention kernels (prefill_sm90.hpp): the warpgroups' turns at the tensor cores, and which
// tasks a thread block takes.
#pragma once

#include <cstdint>

#include "cuda/attention/params_sm90.hpp"
#include "cuda/attention/tile_shape_sm90.hpp"
#include "cuda/tile/machine_sm90.hpp"

namespace octavo::cuda {

// The turns of the two consumer warpgroups: each takes one for every tile of a task, whether its rows see it or not.
template <class Machine, class Shape>
struct Turns {
  bool in_turn;

  OCTAVO_DEVICE void take(Machine& machine) const {
    if (in_turn) machine.sync("the warpgroup's turn", Shape::kTurnBarrier + machine.warp() / 4, Shape::kWarps);
  }
  OCTAVO_DEVICE void pass(Machine& machine) const {
    if (in_turn) machine.arrive("the warpgroup's turn", Shape::kTurnBarrier + 1 - machine.warp() / 4, Shape::kWarps);
  }
  // The first turn is that of warpgroup 0, to which the other one passes it; at the end it takes the last one.
  OCTAVO_DEVICE void start(Machine& machine) const {
    if (machine.warp() >= 4) pass(machine);
  }
  OCTAVO_DEVICE void end(Machine& machine) const {
    if (machine.warp() < 4) take(machine);
  }
};

// Which tasks a block takes: the first has its own number. The producer asks for the next one and tells the consumers,
// so that a block with short tasks takes more of them. The producer's side.
template <class Machine, class Shape>
struct TaskQueue {
  using Params = AttentionParamsSm90<typename Machine::TensorMap>;
  const Params& params;
  std::uint32_t number;
  StageRing<1> ring;

  OCTAVO_DEVICE TaskQueue(const Machine& machine, const Params& its)
      : params(its), number(static_cast<std::uint32_t>(machine.block(0))) {}

  OCTAVO_DEVICE bool has_task() const { return number < tasks_of_chunk(params.attention); }
  OCTAVO_DEVICE static std::uint32_t blocks(const Machine& machine) {
    return static_cast<std::uint32_t>(machine.blocks(0));
  }

  // Asks while the task is still to be loaded.
  OCTAVO_DEVICE std::uint32_t ask(Machine& machine) const {
    if (params.asked == nullptr) return number + blocks(machine);
    const std::uint32_t before = machine.count_up(params.asked);
    // A block asks once for each task that it takes, so a launch asks as often as it has tasks; the last one resets the
    // counter.
    if (before == tasks_of_chunk(params.attention) - 1) *params.asked = 0;
    return blocks(machine) + before;
  }
  OCTAVO_DEVICE void tell(Machine& machine, std::uint32_t next) {
    if (params.asked != nullptr) {
      machine.wait_mbarrier("the task's number has been read", Shape::kTaskEmpty, ring.parity ^ 1);
      machine.store_shared(Shape::kNextTaskAt, next);
      machine.arrive_mbarrier(Shape::kTaskFull);
      ring.next();
    }
    number = next;
  }
};

// The consumers' side of it: a warp keeps the number and the parity in shared memory, since in registers they would
// displace scores and O during the loop.
template <class Machine, class Shape>
struct TaskNumbers {
  using Params = AttentionParamsSm90<typename Machine::TensorMap>;
  struct alignas(8) Own {
    std::uint32_t number, parity;
  };
  const Params& params;

  OCTAVO_DEVICE TaskNumbers(Machine& machine, const Params& its) : params(its) {
    store(machine, {static_cast<std::uint32_t>(machine.block(0)), 0});
  }

  OCTAVO_DEVICE std::uint32_t number(const Machine& machine) const {
    return machine.template shared<Own>(own_at(machine)).number;
  }
  OCTAVO_DEVICE bool has_task(const Machine& machine) const {
    return number(machine) < tasks_of_chunk(params.attention);
  }
  OCTAVO_DEVICE void go_on(Machine& machine) {
    Own own = machine.template shared<Own>(own_at(machine));
    machine.sync_warp();
    if (params.asked == nullptr) {
      own.number += static_cast<std::uint32_t>(machine.blocks(0));
    } else {
      machine.wait_mbarrier("the task's number has come", Shape::kTaskFull, own.parity);
      own = {machine.template shared<std::uint32_t>(Shape::kNextTaskAt), own.parity ^ 1};
      machine.arrive_mbarrier(Shape::kTaskEmpty);
    }
    store(machine, own);
  }

 private:
  OCTAVO_DEVICE static std::uint32_t own_at(const Machine& machine) {
    return Shape::kOwnTasksAt + static_cast<std::uint32_t>(machine.warp()) * sizeof(Own);
  }
  OCTAVO_DEVICE void store(Machine& machine, Own own) {
    machine.store_shared(own_at(machine), own);
    machine.sync_warp();
  }
};

}  // namespace octavo::cuda
