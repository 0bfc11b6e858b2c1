// Keys and values used by many queries are quantized once; attention then uses their codes.
#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

#include "octavo/octavo.hpp"

namespace {

constexpr int kKeys = 1000, kQueries = 40, kHeads = 8, kKvHeads = 2, kDim = 64;

std::vector<float> normal_values(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

int fail(const octavo::Status& status) {
  std::fprintf(stderr, "%s\n", status.message().c_str());
  return 1;
}

}  // namespace

int main() {
  const std::vector<float> k = normal_values(kKeys * kKvHeads * kDim, 1), v = normal_values(k.size(), 2);
  const octavo::TensorView k_view(k.data(), octavo::DType::f32, {1, kKeys, kKvHeads, kDim});
  const octavo::TensorView v_view(v.data(), octavo::DType::f32, {1, kKeys, kKvHeads, kDim});

  const octavo::Result<octavo::Recipe> int8 = octavo::parse_recipe("int8"), exact = octavo::parse_recipe("exact");
  if (!int8.ok()) return fail(int8.status());
  if (!exact.ok()) return fail(exact.status());
  const octavo::Result<octavo::QuantizedTensor> k_codes = octavo::quantize(k_view, octavo::Role::k, *int8);
  if (!k_codes.ok()) return fail(k_codes.status());
  const octavo::Result<octavo::QuantizedTensor> v_codes = octavo::quantize(v_view, octavo::Role::v, *int8);
  if (!v_codes.ok()) return fail(v_codes.status());

  for (unsigned step = 0; step < 3; ++step) {
    const std::vector<float> q = normal_values(kQueries * kHeads * kDim, 10 + step);
    std::vector<float> out(q.size()), expected(q.size());
    octavo::AttentionInputs inputs;
    inputs.q = octavo::TensorView(q.data(), octavo::DType::f32, {1, kQueries, kHeads, kDim});
    inputs.out = octavo::TensorView(out.data(), octavo::DType::f32, {1, kQueries, kHeads, kDim});
    inputs.quantized_k = &k_codes->view();
    inputs.quantized_v = &v_codes->view();
    if (const auto status = octavo::attention(inputs, {.recipe = *int8}); !status.ok()) return fail(status);

    inputs.quantized_k = inputs.quantized_v = nullptr;
    inputs.k = k_view;
    inputs.v = v_view;
    inputs.out.data = expected.data();
    if (const auto status = octavo::attention(inputs, {.recipe = *exact}); !status.ok()) return fail(status);

    double error = 0, norm = 0;
    for (std::size_t i = 0; i < out.size(); ++i) {
      error += std::pow(out[i] - expected[i], 2);
      norm += std::pow(expected[i], 2);
    }
    std::printf("step %u: relative error %.2f %%\n", step, 100 * std::sqrt(error / norm));
    if (!(error < 0.03 * 0.03 * norm)) return 1;
  }
}
