// Exact answers are those of tools/common/exact_attention.
#include "study/problem.hpp"

#include <cmath>
#include <utility>

#include "common/capture.hpp"
#include "common/exact_attention.hpp"
#include "common/output.hpp"

namespace octavo::study {

std::string to_string(const Shape& shape) {
  const auto number = [](std::int64_t value) { return static_cast<long long>(value); };
  std::string heads = tool::format("%lld head%s", number(shape.heads), shape.heads == 1 ? "" : "s");
  if (shape.kv_heads != 0 && shape.kv_heads != shape.heads) heads += tool::format(" on %lld", number(shape.kv_heads));
  return heads + tool::format(", %lld x %lld, D %lld", number(shape.q_rows), number(shape.k_rows), number(shape.dim));
}

Problem::Problem(std::string name, io::Tensor q, io::Tensor k, io::Tensor v, bool causal)
    : name_(std::move(name)), q_(std::move(q)), k_(std::move(k)), v_(std::move(v)), causal_(causal) {
  out_ = tool::exact_attention(q_.view(), k_.view(), v_.view(), scale(), causal_, &lse_);
}

double Problem::scale() const { return 1 / std::sqrt(static_cast<double>(q().shape[2])); }

std::vector<Problem> captured_problems(const std::string& path) {
  const bool causal = tool::is_causal_capture(path);
  std::vector<Problem> problems;
  for (tool::Layer& layer : tool::read_capture(path)) {
    problems.emplace_back(layer.name, std::move(layer.q), std::move(layer.k), std::move(layer.v), causal);
  }
  return problems;
}

}  // namespace octavo::study
