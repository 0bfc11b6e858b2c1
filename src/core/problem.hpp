// One attention call after every check, with the axes in one fixed order: what the reference and the kernels read.
// Layouts, variable length, optional tensors and quantized operands are resolved here and nowhere else.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "octavo/attention.hpp"

namespace octavo {

// The largest D and Dv. Kernels keep padded rows of that many channels on the stack.
inline constexpr std::int64_t kMostHeadDim = 576;

// Q, K, V or O in the order (batch, head, row, channel); element strides, any sign. Packed sequences have no batch
// stride: sequence b starts at row Sequence::{q,k}_begin.
struct Operand {
  void* data = nullptr;
  DType dtype = DType::f32;
  std::array<std::int64_t, 4> strides{};  // b, h, row, channel, in elements (s4: in nibbles)

  // Codes instead of floats: dense f32 scales and means as QuantizedView lays them out.
  bool quantized = false;
  bool rotated = false;
  // Floats from one head to the next, and from one sequence to the next; packed, what is in row order has no stride of
  // sequences: spec/side_arrays.hpp.
  const float* scales = nullptr;  // null where the recipe has none
  std::int64_t scales_per_head = 0, scales_per_sequence = 0;
  const float* mean = nullptr;  // null: nothing was subtracted
  std::int64_t means_per_head = 0, means_per_sequence = 0;

  // Element offset of (b, h, row, 0).
  std::int64_t offset(std::int64_t b, std::int64_t h, std::int64_t row) const noexcept {
    return b * strides[0] + h * strides[1] + row * strides[2];
  }
};

// An optional tensor broadcast to up to four axes; stride 0 on broadcast axes. data == nullptr: not given.
struct Broadcast {
  const void* data = nullptr;
  DType dtype = DType::f32;
  std::array<std::int64_t, 4> strides{};  // mask: b, hq, m, n; alibi_slopes and sinks: b, hq, 0, 0
};

// Rows of one sequence of the batch.
struct Sequence {
  std::int64_t q_begin = 0, q_rows = 0;
  std::int64_t k_begin = 0, k_rows = 0;
};

// s32 or s64 integers handed in by the caller. On a device only kernels may read them.
struct IntegerArray {
  const void* data = nullptr;
  DType dtype = DType::s32;
  std::int64_t stride = 1;
  std::int64_t operator[](std::int64_t i) const noexcept {
    return dtype == DType::s32 ? static_cast<const std::int32_t*>(data)[i * stride]
                               : static_cast<const std::int64_t*>(data)[i * stride];
  }
};

struct Problem {
  Device device;  // where every pointer below leads
  std::int64_t batch = 0, q_heads = 0, kv_heads = 0;
  std::int64_t q_rows = 0, k_rows = 0;  // of the tensors; variable length: the totals
  std::int64_t head_dim = 0, value_dim = 0;

  Operand q, k, v, out;
  float* lse = nullptr;                       // null: not wanted
  std::array<std::int64_t, 3> lse_strides{};  // b, hq, row

  Recipe recipe;
  double softmax_scale = 1;  // resolved; never NaN
  double softcap = 0;
  Causal causal = Causal::none;
  std::int64_t window_left = -1, window_right = -1;

  Broadcast mask, alibi_slopes, sinks;
  // Packed on a device: the mask's own extents, for the host cannot know the longest sequences; 0: a broadcast axis.
  std::int64_t mask_rows = 0, mask_keys = 0;
  IntegerArray kv_lens, cu_seqlens_q, cu_seqlens_k;

  bool packed() const noexcept { return cu_seqlens_q.data != nullptr; }
  std::int64_t kv_head(std::int64_t q_head) const noexcept { return q_head / (q_heads / kv_heads); }

  Sequence sequence(std::int64_t b) const noexcept {
    if (packed()) {
      return {cu_seqlens_q[b], cu_seqlens_q[b + 1] - cu_seqlens_q[b], cu_seqlens_k[b],
              cu_seqlens_k[b + 1] - cu_seqlens_k[b]};
    }
    return {0, q_rows, 0, kv_lens.data != nullptr ? kv_lens[b] : k_rows};
  }
  // Whether a score is changed between the product and the softmax by more than a constant of its key.
  bool modifies_scores() const noexcept { return mask.data != nullptr || alibi_slopes.data != nullptr || softcap > 0; }
};

// One merge_state() call after every check; lse strides are (b, h, row).
struct MergeProblem {
  struct Part {
    Operand o;
    float* lse = nullptr;
    std::array<std::int64_t, 3> lse_strides{};
  };
  Device device;
  std::int64_t batch = 0, heads = 0, rows = 0, dim = 0;
  Part a, b, out;
};

// One dequantize() call after every check: codes with their scales and mean -> floats.
struct DequantizeProblem {
  Device device;
  std::int64_t batch = 0, heads = 0, rows = 0, dim = 0;
  Operand codes, out;
  Role role = Role::q;
  Recipe recipe;
};

// One quantize() call after every check; of packed sequences, one of them.
struct QuantizeProblem {
  Device device;
  std::int64_t batch = 0, heads = 0, rows = 0, dim = 0;
  Operand x;                         // floats
  Operand codes;                     // where they go
  float* scales = nullptr;           // null where the recipe has none
  std::int64_t scales_per_head = 0;  // floats from one (batch, head) to the next
  float* mean = nullptr;             // null where nothing is subtracted
  std::int64_t means_per_head = 0;   // likewise
  Role role = Role::q;
  Recipe recipe;
};

}  // namespace octavo
