// Real Q, K and V (data/smollm2_qkv_small.safetensors: three layers of SmolLM2-135M, causal, 2048 tokens) on the
// kernels: the error by head against exact arithmetic, on every fourth query row, of int8 and of its revision with kept
// keys.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>

#include "attention_in_double.hpp"
#include "io/tensor_file.hpp"
#include "scenario.hpp"

namespace octavo::test {
namespace {

std::vector<float> floats_of(const io::Tensor& tensor) {
  std::vector<float> values(static_cast<std::size_t>(tensor.view().elements()));
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = load_element(tensor.data(), tensor.view().dtype, static_cast<std::int64_t>(i));
  return values;
}

// `median` and `worst`: largest error allowed, per cent.
void expect_errors(const char* recipe, double median, double worst) {
  const Result<io::TensorFile> file = io::TensorFile::open(OCTAVO_DATA "/smollm2_qkv_small.safetensors");
  ASSERT_TRUE(file.ok()) << file.status().message();
  std::map<std::string, std::vector<double>> errors;  // by implementation: of each head, per cent
  for (const char* layer : {"L0", "L14", "L21"}) {
    const Result<io::Tensor> q = file->find(std::string(layer) + ".q"), k = file->find(std::string(layer) + ".k"),
                             v = file->find(std::string(layer) + ".v");
    ASSERT_TRUE(q.ok() && k.ok() && v.ok());
    ASSERT_EQ(shape_string(q->view()), "[3, 2048, 64]");
    ASSERT_EQ(shape_string(k->view()), "[1, 2048, 64]");
    constexpr std::int64_t kRows = 2048, kD = 64, kHeads = 3;
    std::vector<std::int64_t> rows;
    for (std::int64_t i = 3; i < kRows; i += 4) rows.push_back(i);
    const std::vector<float> qs = floats_of(*q), ks = floats_of(*k), vs = floats_of(*v);
    std::vector<std::vector<double>> expected;
    for (std::int64_t h = 0; h < kHeads; ++h)
      expected.push_back(attention_in_double({qs.data() + h * kRows * kD, ks.data(), vs.data(), kRows, kRows, kD, kD},
                                             {.causal = Causal::bottom_right}, rows)
                             .out);

    AttentionInputs inputs;
    inputs.layout = Layout::hnd;
    inputs.q = {q->data(), q->view().dtype, {1, kHeads, kRows, kD}};
    inputs.k = {k->data(), k->view().dtype, {1, 1, kRows, kD}};
    inputs.v = {v->data(), v->view().dtype, {1, 1, kRows, kD}};
    std::vector<float> out(static_cast<std::size_t>(kHeads * kRows * kD));
    inputs.out = {out.data(), DType::f32, {1, kHeads, kRows, kD}};
    AttentionParams params;
    params.causal = Causal::bottom_right;
    params.recipe = recipe_of(recipe);
    for (const std::string& implementation : supported_implementations()) {
      Execution execution;
      execution.implementation = implementation;
      const Status status = attention(inputs, params, execution);
      ASSERT_TRUE(status.ok()) << status.message();
      for (std::int64_t h = 0; h < kHeads; ++h)
        errors[implementation].push_back(
            100 * error_of_rows(out.data() + h * kRows * kD, rows, expected[static_cast<std::size_t>(h)]));
    }
  }
  for (auto& [implementation, of_heads] : errors) {
    ASSERT_EQ(of_heads.size(), 9u);
    std::sort(of_heads.begin(), of_heads.end());
    std::printf("%-17s median %.3f %%, worst %.3f %%\n", implementation.c_str(), of_heads[4], of_heads[8]);
    EXPECT_LE(of_heads[4], median) << implementation;
    EXPECT_LE(of_heads[8], worst) << implementation;
  }
}

TEST(Captures, Int8OnRealHeads) { expect_errors("int8", 1.0, 1.4); }

TEST(Captures, KeptKeysOnRealHeads) { expect_errors("int8", 0.32, 0.6); }

}  // namespace
}  // namespace octavo::test
