// A small attention problem drawn from a seed, for the oracle and an emulated kernel: dense tensors, every option, and
// NaN wherever a sequence does not reach.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/problem.hpp"

namespace octavo::test {

enum class SampleMask { none, bool_full, bool_keys, f32_full, f16_heads, bf16_queries, f64_strided, f32_minus_huge };

struct Sample {
  std::string recipe = "int8_fast";
  std::int64_t batch = 1, kv_heads = 1, ratio = 1, m = 1, n = 1, d = 64, dv = 64;
  DType dtype = DType::f32, out_dtype = DType::f32;
  Causal causal = Causal::none;
  std::int64_t window_left = -1, window_right = -1;
  double softmax_scale = 0;  // 0: 1 / sqrt(d)
  double softcap = 0;
  SampleMask mask = SampleMask::none;
  bool alibi = false, symmetric_alibi = false, sinks = false, wide_integers = false;
  std::vector<std::int64_t> kv_lens = {};
  std::vector<std::int64_t> q_lens = {}, k_lens = {};  // packed sequences; then batch, m and n do not count
  bool huge_sink_key = false, key_bias = false;
  std::uint32_t seed = 1;
};
std::string describe(const Sample& sample);

// The problem of a sample with its memory; a NaN planted in row `row` of an operand of head 0 where asked.
class DrawnProblem {
 public:
  explicit DrawnProblem(const Sample& sample);
  DrawnProblem(const DrawnProblem&) = delete;
  DrawnProblem& operator=(const DrawnProblem&) = delete;

  void plant(Operand Problem::* operand, std::int64_t row, float value);
  // The same problem, writing here.
  Problem problem(std::vector<float>& out, std::vector<float>& lse);
  // For outputs of 16 bits, what was written as f32.
  static std::vector<float> as_floats(const std::vector<float>& out, DType dtype);

 private:
  std::vector<unsigned char> draw(std::int64_t batch, std::int64_t rows, std::int64_t heads, std::int64_t dim,
                                  bool of_k);
  void draw_lengths();
  void draw_mask();

  Sample sample_;
  Problem problem_;
  std::uint32_t state_;
  std::vector<unsigned char> q_, k_, v_, mask_;
  std::vector<float> slopes_, sinks_;
  std::vector<std::int64_t> cu_q_, cu_k_, lens_;
  std::vector<std::int32_t> cu_q32_, cu_k32_, lens32_;
};

}  // namespace octavo::test
