// Parameters of Hopper's attention kernels: those of all attention kernels, and the tensor maps of the packed operands.
#pragma once

#include <cstdint>

#include "cuda/attention/params.hpp"
#include "cuda/attention/task.hpp"
#include "cuda/attention/tile_shape_sm90.hpp"
#include "cuda/tile/tensor_box.hpp"

namespace octavo::cuda {

// `TensorMap`: the Machine's; on the host side TensorMapBytes.
template <class TensorMap>
struct AttentionParamsSm90 {
  AttentionKernelParams attention;
  std::uint32_t heads_at_once = 1;  // see task_of_index()
  // How many tasks beyond every block's first have been asked for: 0 before a launch and after it. Null: block b takes
  // tasks b, b + blocks and so on.
  std::uint32_t* asked = nullptr;
  bool ping_pong = true;  // one warpgroup's products run beside the other's softmax
  // Shape::kHeadAddendBytes where heads that share a tile have addends of their own, else 0.
  std::uint32_t head_addend_bytes = 0;
  alignas(kTensorMapAlignment) TensorMap q;
  alignas(kTensorMapAlignment) TensorMap k;
  alignas(kTensorMapAlignment) TensorMap v;
};

// The boxes that a block copies, of packed operands with so many rows: Q, of one head's rows of a tile; K, and V, whose
// rows are keys, or of bytes the channels of each tile of keys.
template <class Shape>
TensorBox query_box(const void* codes, std::int64_t rows, const SharedTiles& shared) {
  TensorBox box = Shape::QueryTile::box(codes, rows);
  box.box[1] = 16u << shared.warps_log2;
  return box;
}
template <class Shape>
TensorBox key_box(const void* codes, std::int64_t rows) {
  return Shape::KeyTile::box(codes, rows);
}
template <class Shape>
OCTAVO_INLINE constexpr std::int64_t value_row(std::int64_t slot) {
  return Shape::kByteValues ? slot / Shape::kKeys * Shape::kDim : slot;
}
template <class Shape>
TensorBox value_box(const void* codes, std::int64_t rows) {
  return Shape::ValueTile::box(codes, value_row<Shape>(rows));
}

// Tasks of a chunk: for each block of 128 query rows, of a head or of several, one, or several that share its keys.
OCTAVO_INLINE std::uint32_t tasks_of_chunk(const AttentionKernelParams& p) {
  const auto blocks = static_cast<std::uint32_t>(p.chunk.blocks * head_tiles(p) * p.chunk.batches);
  return blocks * static_cast<std::uint32_t>(p.unfinished.parts);
}

// Task `index` of the chunk. Heads (head_tiles()) come in groups of heads_at_once, whose K and V stay in the GPU's
// cache together; within a group the last rows come first, since with a causal mask those see most keys.
OCTAVO_DEVICE AttentionTask task_of_index(const AttentionKernelParams& p, std::uint32_t heads_at_once,
                                          std::uint32_t index) {
  std::uint32_t part = 0;
  if (p.unfinished.parts > 1) {
    const auto parts = static_cast<std::uint32_t>(p.unfinished.parts);
    part = index % parts, index /= parts;
  }
  const auto blocks = static_cast<std::uint32_t>(p.chunk.blocks), heads = static_cast<std::uint32_t>(head_tiles(p));
  const std::uint32_t all = heads * static_cast<std::uint32_t>(p.chunk.batches);
  const std::uint32_t first = index / (blocks * heads_at_once) * heads_at_once;
  const std::uint32_t left = all - first, group = left < heads_at_once ? left : heads_at_once;
  const std::uint32_t within = index - first * blocks, head = first + within % group;
  constexpr auto kRows = static_cast<int>(kPackedRows);
  AttentionTask task = task_of_tile(p, kRows, blocks - 1 - within / group, head % heads, head / heads);
  if (p.unfinished.parts > 1 && task.present) take_part(p, task, kRows, static_cast<std::int32_t>(part));
  return task;
}

}  // namespace octavo::cuda
