// A problem's operands in the packed format of the CUDA kernels, made on the host by the oracle's own quantizer: what
// the quantize kernels shall write, and what an emulated attention kernel can be run on.
#pragma once

#include <cstdint>
#include <vector>

#include "core/problem.hpp"
#include "cuda/attention/params.hpp"

namespace octavo::test {

class PackedProblem {
 public:
  // The problem's pointers stay in use; its output and LSE are where a kernel writes. `e4m3_codes`: numbers of E4M3 are
  // packed as codes of a byte, as the kernels by wgmma take them.
  explicit PackedProblem(const Problem& problem, bool e4m3_codes = false);

  const cuda::AttentionKernelParams& params() const { return params_; }
  void share_tiles(const cuda::SharedTiles& tiles) {
    params_.shared = tiles;
    params_.shared.of_chunk = static_cast<std::int32_t>(params_.keys.heads) * tiles.of_kv_head;
  }
  int dim() const { return static_cast<int>(dim_); }
  cuda::PackedFormat scores() const { return scores_; }
  cuda::PackedFormat values() const { return values_; }
  bool modifies() const { return modifies_; }
  bool p16() const { return p16_; }

  // Whether the mma.sync kernels know this recipe on these inputs.
  static bool serves(const Problem& problem);

  std::vector<std::int8_t> q_low;
  std::vector<std::uint8_t> q_codes, k_codes, v_codes;
  std::vector<float> q_factor, q_constant, k_factor, k_addend, k_inverse, k_fold, column_scale, output_factor,
      output_addend, correction;

 private:
  void pack_queries(std::int64_t b, std::int64_t head);
  void pack_keys_and_values(std::int64_t b, std::int64_t kv_head);
  std::int64_t first_q_block(std::int64_t b, std::int64_t head) const;
  std::int64_t first_k_block(std::int64_t b, std::int64_t head) const;
  void store_code(std::vector<std::uint8_t>& codes, cuda::PackedFormat format, std::int64_t at, float value);

  const Problem& problem_;
  std::int64_t dim_ = 0;
  cuda::PackedFormat scores_{}, values_{};
  bool p16_ = false, fold_ = false, modifies_ = false, smooth_q_ = false;
  cuda::AttentionKernelParams params_;
};

}  // namespace octavo::test
