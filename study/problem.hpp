// An attention problem with its exact answer: Q [Hq, M, D], K [Hkv, N, D], V [Hkv, N, Dv] of one sequence, scale
// 1 / sqrt(D), and O and LSE in double.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "io/tensor.hpp"

namespace octavo::study {

struct Shape {
  std::int64_t heads = 2, q_rows = 64, k_rows = 1024, dim = 64;
  std::int64_t kv_heads = 0;  // 0: as many as heads
};
std::string to_string(const Shape& shape);  // "2 heads, 64 x 1024, D 64"

class Problem {
 public:
  // Computes the exact answer.
  Problem(std::string name, io::Tensor q, io::Tensor k, io::Tensor v, bool causal);

  const std::string& name() const { return name_; }
  const TensorView& q() const { return q_.view(); }
  const TensorView& k() const { return k_.view(); }
  const TensorView& v() const { return v_.view(); }
  bool causal() const { return causal_; }
  std::int64_t heads() const { return q().shape[0]; }
  double scale() const;
  const std::vector<double>& out() const { return out_; }  // [Hq, M, Dv]
  const std::vector<double>& lse() const { return lse_; }  // [Hq, M]

 private:
  std::string name_;
  io::Tensor q_, k_, v_;
  bool causal_;
  std::vector<double> out_, lse_;
};

// The layers of a capture (data/README.md), one problem each.
std::vector<Problem> captured_problems(const std::string& path);

}  // namespace octavo::study
