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
  alignas(kTensorMapAlignment) TensorMap q;
  alignas(kTensorMapAlignment) TensorMap k;
  alignas(kTensorMapAlignment) TensorMap v;
};

// The boxes that a block copies: 128 rows of Q, 128 slots of K, all channels of 128 keys of V. `rows` are those of the
// packed operand; V has as many rows of 128 keys as blocks times channels.
template <class Shape>
TensorBox rows_box(const void* codes, std::int64_t rows) {
  TensorBox box;
  box.base = codes;
  box.sizes[0] = box.strides[1] = box.box[0] = Shape::kRowBytes;
  box.sizes[1] = static_cast<std::uint64_t>(rows);
  box.box[1] = static_cast<std::uint32_t>(kPackedRows);
  box.swizzle = Shape::kQuerySwizzle;
  return box;
}
template <class Shape>
TensorBox values_box(const void* codes, std::int64_t rows) {
  TensorBox box;
  box.base = codes;
  box.sizes[0] = box.strides[1] = box.box[0] = Shape::kValueRowBytes;
  box.sizes[1] = static_cast<std::uint64_t>(rows / kPackedRows * Shape::kDim);
  box.box[1] = Shape::kDim;
  box.swizzle = Shape::kValueSwizzle;
  return box;
}

// Tasks of a chunk: one for each block of 128 query rows of a head.
OCTAVO_INLINE std::uint32_t tasks_of_chunk(const Chunk& chunk) {
  return static_cast<std::uint32_t>(chunk.blocks * chunk.heads * chunk.batches);
}

// Task `index` of the chunk. Heads come in groups of heads_at_once, whose K and V stay in the GPU's cache together;
// within a group the last rows come first, since with a causal mask those see most keys.
OCTAVO_DEVICE AttentionTask task_of_index(const AttentionKernelParams& p, std::uint32_t heads_at_once,
                                          std::uint32_t index) {
  const auto blocks = static_cast<std::uint32_t>(p.chunk.blocks), heads = static_cast<std::uint32_t>(p.chunk.heads);
  const std::uint32_t all = heads * static_cast<std::uint32_t>(p.chunk.batches);
  const std::uint32_t first = index / (blocks * heads_at_once) * heads_at_once;
  const std::uint32_t left = all - first, group = left < heads_at_once ? left : heads_at_once;
  const std::uint32_t within = index - first * blocks, head = first + within % group;
  return task_of_tile(p, static_cast<int>(kPackedRows), blocks - 1 - within / group, head % heads, head / heads);
}

}  // namespace octavo::cuda
