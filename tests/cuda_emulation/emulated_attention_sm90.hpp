// Hopper's attention kernel on the emulated machine, or on one with a planted bug.
#pragma once

#include "cuda/attention/prefill_sm90.hpp"
#include "cuda_emulation/machine_sm90.hpp"
#include "packed_problem.hpp"

namespace octavo::test {

using ParamsSm90 = cuda::AttentionParamsSm90<cuda::emulation::TensorMap>;

// V as the kernel has it: integer codes as u8.
template <class Shape>
std::vector<std::uint8_t> values_sm90(const PackedProblem& packed) {
  std::vector<std::uint8_t> codes = packed.v_codes;
  if (!Shape::kIntegerValues) return codes;
  for (std::uint8_t& code : codes) code ^= static_cast<std::uint8_t>(cuda::kOffsetCodes);
  return codes;
}

// `v_codes`: values_sm90() of the problem.
template <class Shape>
ParamsSm90 params_sm90(const PackedProblem& packed, const std::vector<std::uint8_t>& v_codes) {
  const auto rows_of = [](std::size_t bytes, cuda::PackedFormat format) {
    return static_cast<std::int64_t>(bytes) / cuda::packed_bytes(format, Shape::kDim);
  };
  ParamsSm90 params;
  params.attention = packed.params();
  params.attention.v.codes = const_cast<std::uint8_t*>(v_codes.data());
  if (Shape::kIntegerValues) params.attention.v.flip = cuda::kOffsetCodes;
  params.heads_at_once = 2;
  const cuda::SharedTiles& shared = packed.params().shared;
  params.q = {cuda::query_box<Shape>(packed.q_codes.data(), rows_of(packed.q_codes.size(), Shape::kScores), shared)};
  if (shared.heads > 1 && packed.params().smooth_q_bias.addend != nullptr) {
    params.head_addend_bytes = Shape::kHeadAddendBytes;
  }
  params.k = {cuda::key_box<Shape>(packed.k_codes.data(), rows_of(packed.k_codes.size(), Shape::kScores))};
  params.v = {cuda::value_box<Shape>(v_codes.data(), rows_of(v_codes.size(), Shape::kValues))};
  return params;
}

// `blocks` thread blocks share the tasks.
template <class Shape>
cuda::emulation::Grid grid_sm90(std::int64_t blocks) {
  return {{blocks, 1, 1}, Shape::kAllWarps, Shape::kBytes, Shape::kRegisters};
}

// Every kernel there is; throws a Fault. False: no kernel for these operands, or for some sequence of theirs.
bool run_emulated_sm90(const PackedProblem& packed, const cuda::emulation::Options& options = {},
                       std::int64_t blocks = 3);

}  // namespace octavo::test
