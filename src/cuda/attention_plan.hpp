// What attention on a device means for the kernels: forms of the operands, and where everything lies in scratch memory.
// The host reads no length, so extents come from the tensors'.
#pragma once

#include "cuda/cuda.hpp"
#include "cuda/launch.hpp"
#include "cuda/packed.hpp"
#include "cuda/quantize_params.hpp"

namespace octavo::cuda {

// What a call means for the kernels, and its scratch memory; made twice, first without memory, to count.
struct AttentionPlan {
  AttentionPlan(const Problem& its, const DeviceProperties& device, std::byte* workspace);

  const Problem& problem;
  const Recipe& recipe;
  std::int32_t dim = 0;
  PackedFormat scores{}, values{};
  bool fold = false, smooth_k = false, smooth_v = false, corrects = false, wide = false, owes_constant = false;
  bool takes_unit = false;      // V may be near f32's end (spec/value_unit.hpp)
  bool plain_v_ranges = false;  // V's ranges are those of its rows as they are, and serve its unit, too
  bool divides_v = false, k_ranges = false, q_ranges = false, v_ranges = false;
  Granularity v_granularity = Granularity::none;  // none: the values as they are
  DeviceSequences queries, keys;
  Chunk chunk;  // the largest; `blocks` and `heads` are its steps

  // Parts of the workspace. What starts at zero comes first.
  std::uint32_t* zeroed = nullptr;
  std::int64_t zeroed_count = 0;
  RangeArrays q_range, k_range, v_range, v_plain;  // the last: of V as it is, for its unit
  std::uint32_t* largest = nullptr;
  float *k_sums = nullptr, *v_sums = nullptr, *k_mean = nullptr, *v_mean = nullptr, *q_mean = nullptr;
  std::uint8_t *q_codes = nullptr, *q_low = nullptr, *k_codes = nullptr, *v_codes = nullptr;
  float *q_factor = nullptr, *q_constant = nullptr, *k_factor = nullptr, *k_addend = nullptr, *k_inverse = nullptr;
  float *k_fold = nullptr, *token_scale = nullptr, *column_scale = nullptr, *output_factor = nullptr;
  float* output_unit = nullptr;
  float *output_addend = nullptr, *means_back = nullptr, *mean_constant = nullptr, *correction = nullptr;
  std::size_t bytes = 0;

  bool slots() const { return values == PackedFormat::s8; }
  std::int64_t query_blocks() const { return grid_of(queries)[0]; }
  std::int64_t key_blocks() const { return grid_of(keys)[0]; }
  std::int64_t batches() const { return problem.packed() ? 1 : problem.batch; }

 private:
  void choose_steps();
  void choose_chunk(std::size_t correction_bytes);
  void lay_out(std::byte* workspace);
};

}  // namespace octavo::cuda
