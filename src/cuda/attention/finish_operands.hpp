// What follows packing, in one launch: for a chunk of query blocks smooth_q's bias and the offsets of K's block means;
// for all keys the fold's vectors and V's factors. A thread block works on one of these, on 128 keys or query rows.
#pragma once

#include "cuda/attention/block_offsets.hpp"
#include "cuda/attention/smooth_q_bias.hpp"
#include "cuda/operands/v_factors.hpp"

namespace octavo::cuda {

template <int per_lane, class Machine>
OCTAVO_DEVICE void finish_operands(Machine& machine, const FinishParams& p) {
  begin_kernel(machine);
  const PartOfGrid own = part_of_grid(machine, p.count);
  // Heads and batch entries of the grid are those of the part that has most.
  const FinishPart part = p.parts[own.part];
  if (part == FinishPart::factors) return value_factors(machine, p.factors, own.block);
  if (part == FinishPart::fold) {
    const BlockOfRows at = own_block(machine, p.fold.sequences, own);
    if (at.live) fold_scales(machine, p.fold, at);
    return;
  }
  const Chunk& chunk = part == FinishPart::bias ? p.bias.chunk : p.offset.chunk;
  if (machine.block(1) >= chunk.heads || machine.block(2) >= chunk.batches) return;
  if (part == FinishPart::bias) return add_smooth_q_bias<per_lane>(machine, p.bias, p.fold, own.block);
  if (own.block < chunk.blocks) find_block_offsets(machine, p.offset, own.block);
}

}  // namespace octavo::cuda
