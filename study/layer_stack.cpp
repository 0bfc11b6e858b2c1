// Weights are N(0, 1 / inputs), so that q, k and v of normed tokens are N(0, 1) and scores have a spread of about 1.
#include "study/layer_stack.hpp"

#include <algorithm>
#include <cmath>

#include "common/failure.hpp"
#include "common/parallel_for.hpp"
#include "common/random_tensor.hpp"
#include "octavo/attention.hpp"

namespace octavo::study {
namespace {

using std::int64_t;

std::vector<float> random(int64_t rows, int64_t columns, double deviation, std::uint64_t seed) {
  const io::Tensor normal = tool::random_tensor("weights", DType::f32, {rows, columns}, seed);
  const float* data = static_cast<const float*>(normal.data());
  std::vector<float> result(data, data + rows * columns);
  for (float& x : result) x *= static_cast<float>(deviation);
  return result;
}

// x [N, inputs] times w [inputs, outputs]
std::vector<float> product(const std::vector<float>& x, const std::vector<float>& w, int64_t inputs) {
  const int64_t rows = static_cast<int64_t>(x.size()) / inputs, outputs = static_cast<int64_t>(w.size()) / inputs;
  std::vector<float> result(static_cast<std::size_t>(rows * outputs), 0);
  constexpr int64_t kRows = 4;  // share each row of w
  tool::parallel_for((rows + kRows - 1) / kRows, [&](int64_t task) {
    for (int64_t i = 0; i < inputs; ++i) {
      const float* weights = &w[static_cast<std::size_t>(i * outputs)];
      for (int64_t n = task * kRows; n < std::min(rows, (task + 1) * kRows); ++n) {
        const float factor = x[static_cast<std::size_t>(n * inputs + i)];
        float* out = &result[static_cast<std::size_t>(n * outputs)];
        for (int64_t o = 0; o < outputs; ++o) out[o] += factor * weights[o];
      }
    }
  });
  return result;
}

std::vector<float> normed(const std::vector<float>& x, int64_t hidden) {
  std::vector<float> result(x.size());
  for (std::size_t at = 0; at < x.size(); at += static_cast<std::size_t>(hidden)) {
    double sum = 0;
    const std::size_t end = at + static_cast<std::size_t>(hidden);
    for (std::size_t i = at; i < end; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
    const float factor = static_cast<float>(1 / std::sqrt(sum / static_cast<double>(hidden) + 1e-6));
    for (std::size_t i = at; i < end; ++i) result[i] = factor * x[i];
  }
  return result;
}

// x [N, heads, D]: channel pairs (d, d + D / 2) turned by n / 10000^(2 d / D).
void rope(std::vector<float>& x, int64_t heads, int64_t dim) {
  const int64_t rows = static_cast<int64_t>(x.size()) / (heads * dim);
  for (int64_t n = 0; n < rows; ++n) {
    for (int64_t d = 0; d < dim / 2; ++d) {
      const double exponent = -2.0 * static_cast<double>(d) / static_cast<double>(dim);
      const double angle = static_cast<double>(n) * std::pow(10000.0, exponent);
      const float c = static_cast<float>(std::cos(angle)), s = static_cast<float>(std::sin(angle));
      for (int64_t h = 0; h < heads; ++h) {
        float& a = x[static_cast<std::size_t>((n * heads + h) * dim + d)];
        float& b = x[static_cast<std::size_t>((n * heads + h) * dim + d + dim / 2)];
        const float turned = c * a - s * b;
        b = s * a + c * b, a = turned;
      }
    }
  }
}

// As in the distributions: q += 4 u, k_0 = nats sqrt(D) / 4 u, v_0 / 20.
void plant_sink(std::vector<float>& q, std::vector<float>& k, std::vector<float>& v, double nats,
                const StackShape& shape) {
  const int64_t dim = shape.head_dim;
  const auto direction = [dim](int64_t d) {
    return static_cast<float>((d % 3 == 0 ? -1 : 1) / std::sqrt(static_cast<double>(dim)));
  };
  for (std::size_t i = 0; i < q.size(); ++i) q[i] += 4 * direction(static_cast<int64_t>(i) % dim);
  const float length = static_cast<float>(nats * std::sqrt(static_cast<double>(dim)) / 4);
  for (int64_t i = 0; i < shape.kv_heads * dim; ++i) {
    k[static_cast<std::size_t>(i)] = length * direction(i % dim);
    v[static_cast<std::size_t>(i)] /= 20;
  }
}

float gelu(float x) { return 0.5f * x * (1 + std::erf(x / std::sqrt(2.0f))); }

}  // namespace

LayerStack::LayerStack(const StackShape& shape, const StackKind& kind, std::uint64_t seed)
    : shape_(shape), kind_(kind) {
  const int64_t hidden = shape.hidden(), kv = shape.kv_heads * shape.head_dim;
  const double in = 1 / std::sqrt(static_cast<double>(hidden));
  std::uint64_t stream = seed * 100003;
  const auto next = [&](int64_t rows, int64_t columns, double deviation) {
    return random(rows, columns, deviation, stream++);
  };
  input_ = next(shape.tokens, hidden, 1);
  unembedding_ = next(hidden, shape.vocabulary, 2 * in);  // logits of spread 2
  for (int64_t layer = 0; layer < (kind.shared_layers > 0 ? kind.shared_layers : shape.layers); ++layer) {
    weights_.push_back({next(hidden, hidden, in), next(hidden, kv, in), next(hidden, kv, in), next(hidden, hidden, in),
                        next(hidden, shape.mlp, in),
                        next(shape.mlp, hidden, 1 / std::sqrt(static_cast<double>(shape.mlp))),
                        next(1, kv, kind.v_bias)});
  }
}

const LayerStack::Weights& LayerStack::of_layer(std::int64_t layer) const {
  return weights_[static_cast<std::size_t>(layer % static_cast<int64_t>(weights_.size()))];
}

void LayerStack::attend(const Weights& weights, std::vector<float>& x, const Recipe& recipe) const {
  const int64_t hidden = shape_.hidden(), tokens = shape_.tokens, dim = shape_.head_dim;
  const std::vector<float> input = normed(x, hidden);
  std::vector<float> q = product(input, weights.q, hidden), k = product(input, weights.k, hidden);
  std::vector<float> v = product(input, weights.v, hidden), out(q.size());
  rope(q, shape_.heads, dim);
  rope(k, shape_.kv_heads, dim);
  for (std::size_t i = 0; i < v.size(); ++i) v[i] += weights.v_bias[i % weights.v_bias.size()];
  if (kind_.sink_nats > 0) plant_sink(q, k, v, kind_.sink_nats, shape_);
  AttentionInputs inputs;
  inputs.q = {q.data(), DType::f32, {1, tokens, shape_.heads, dim}};
  inputs.k = {k.data(), DType::f32, {1, tokens, shape_.kv_heads, dim}};
  inputs.v = {v.data(), DType::f32, {1, tokens, shape_.kv_heads, dim}};
  inputs.out = {out.data(), DType::f32, {1, tokens, shape_.heads, dim}};
  AttentionParams params;
  params.recipe = recipe;
  params.causal = kind_.causal ? Causal::bottom_right : Causal::none;
  tool::require(attention(inputs, params));
  const std::vector<float> added = product(out, weights.o, hidden);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] += added[i];
}

StackRun LayerStack::run(const std::function<const Recipe&(std::int64_t layer)>& recipe_of) const {
  const int64_t hidden = shape_.hidden();
  StackRun result;
  std::vector<float> x = input_;
  for (int64_t layer = 0; layer < shape_.layers; ++layer) {
    const Weights& weights = of_layer(layer);
    attend(weights, x, recipe_of(layer));
    std::vector<float> inner = product(normed(x, hidden), weights.up, hidden);
    for (float& each : inner) each = gelu(each);
    const std::vector<float> added = product(inner, weights.down, shape_.mlp);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] += added[i];
    result.residual.push_back(x);
  }
  result.logits = product(normed(x, hidden), unembedding_, hidden);
  return result;
}

}  // namespace octavo::study
