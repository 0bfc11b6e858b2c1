// One attention call after every check, with the axes in one fixed order: what the reference and the kernels read.
// Layouts, variable length, optional tensors and quantized operands are resolved here and nowhere else.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/inline.hpp"
#include "core/tensors.hpp"
#include "octavo/attention.hpp"

namespace octavo {

// The largest D and Dv. Kernels keep padded rows of that many channels on the stack.
inline constexpr std::int64_t kMostHeadDim = 576;

// Rows of one sequence of the batch.
struct Sequence {
  std::int64_t q_begin = 0, q_rows = 0;
  std::int64_t k_begin = 0, k_rows = 0;
};

struct Problem {
  Device device;  // where every pointer below leads
  std::int64_t batch = 0, q_heads = 0, kv_heads = 0;
  std::int64_t q_rows = 0, k_rows = 0;  // of the tensors; variable length: the totals
  std::int64_t head_dim = 0, value_dim = 0;

  Operand q, k, v, out;
  float* lse = nullptr;    // null: not wanted
  Strides<3> lse_strides;  // b, hq, row

  Recipe recipe;
  double softmax_scale = 1;  // resolved; never NaN
  double softcap = 0;
  Causal causal = Causal::none;
  std::int64_t window_left = -1, window_right = -1;

  Broadcast mask, alibi_slopes, sinks;
  Alibi alibi = Alibi::causal;
  Broadcast key_mask;  // bool, strides b, 0, 0, n: false = the key does not exist
  // Varlen on a device: the mask's own extents, for the host cannot know the longest sequences; 0: a broadcast axis.
  std::int64_t mask_rows = 0, mask_keys = 0;
  IntegerArray kv_lens, cu_seqlens_q, cu_seqlens_k;

  OCTAVO_MEMBER constexpr bool varlen() const noexcept { return cu_seqlens_q.data != nullptr; }
  OCTAVO_MEMBER constexpr std::int64_t kv_head(std::int64_t q_head) const noexcept {
    return q_head / (q_heads / kv_heads);
  }

  OCTAVO_MEMBER Sequence sequence(std::int64_t b) const noexcept {
    if (varlen()) {
      return {cu_seqlens_q[b], cu_seqlens_q[b + 1] - cu_seqlens_q[b], cu_seqlens_k[b],
              cu_seqlens_k[b + 1] - cu_seqlens_k[b]};
    }
    return {0, q_rows, 0, kv_lens.data != nullptr ? kv_lens[b] : k_rows};
  }
  // Whether a score is changed between the product and the softmax by more than a constant of its key.
  OCTAVO_MEMBER constexpr bool modifies_scores() const noexcept {
    return mask.data != nullptr || alibi_slopes.data != nullptr || softcap > 0;
  }
};

// One merge_state() call after every check; lse strides are (b, h, row).
struct MergeProblem {
  struct Part {
    Operand o;
    float* lse = nullptr;
    Strides<3> lse_strides;
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
  IntegerArray cu_seqlens;     // null: `batch` equal sequences; on a device only kernels may read them
  std::int64_t sequences = 0;  // of cu_seqlens
  Role role = Role::q;
  Recipe recipe;
};

// One quantize() call after every check; of varlen sequences one of them, on a device all.
struct QuantizeProblem {
  Device device;
  std::int64_t batch = 0, heads = 0, rows = 0, dim = 0;
  Operand x;                         // floats
  Operand codes;                     // where they go
  float* scales = nullptr;           // null where the recipe has none
  std::int64_t scales_per_head = 0;  // floats from one (batch, head) to the next
  float* mean = nullptr;             // null where nothing is subtracted
  std::int64_t means_per_head = 0;   // likewise
  // Of all varlen sequences; null: `batch` equal ones. Scales and means lie as spec/scale_layout.hpp says.
  IntegerArray cu_seqlens;
  std::int64_t sequences = 0;
  std::int64_t* cu_seqlens_copy = nullptr;  // [sequences + 1], to be written
  Role role = Role::q;
  Recipe recipe;
  // Which keys exist, for K and V. The others take part in no statistic and have codes of zeros.
  IntegerArray kv_lens;  // null: all rows
  Broadcast key_mask;    // as in Problem

  OCTAVO_MEMBER constexpr bool hides_keys() const noexcept {
    return kv_lens.data != nullptr || key_mask.data != nullptr;
  }
  OCTAVO_MEMBER bool key_exists(std::int64_t b, std::int64_t key) const noexcept {
    if (kv_lens.data != nullptr && key >= kv_lens[b]) return false;
    return key_mask.data == nullptr ||
           static_cast<const std::uint8_t*>(key_mask.data)[b * key_mask.strides[0] + key * key_mask.strides[3]] != 0;
  }
};

}  // namespace octavo
