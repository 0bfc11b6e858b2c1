// Layers [H, N, D] become batches of one in the HND layout; heads are compared one at a time.
#include "head_errors.hpp"

#include <algorithm>
#include <cmath>
#include <span>

#include "common/bf16_attention.hpp"
#include "common/elements.hpp"
#include "common/error_metrics.hpp"
#include "common/exact_attention.hpp"
#include "common/random_tensor.hpp"
#include "common/timing.hpp"

namespace octavo::tool {
namespace {

TensorView batch_of_one(const TensorView& x) {
  return TensorView(x.data, x.dtype, {1, x.shape[0], x.shape[1], x.shape[2]});
}

}  // namespace

LayerSet::LayerSet(std::vector<Layer> layers) : layers_(std::move(layers)) {
  for (const Layer& layer : layers_) {
    const TensorView &q = layer.q.view(), &v = layer.v.view();
    exact_.push_back(exact_attention(q, layer.k.view(), v, 1 / std::sqrt(static_cast<double>(q.shape[2])), true));
    outputs_.push_back(touched_tensor("o", DType::f32, {1, q.shape[0], q.shape[1], v.shape[2]}));
  }
}

Status LayerSet::call(const Recipe& recipe, std::string_view implementation) {
  AttentionParams params;
  params.recipe = recipe;
  params.causal = Causal::bottom_right;
  Execution execution;
  execution.implementation = implementation;
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    AttentionInputs inputs;
    inputs.layout = Layout::hnd;
    inputs.q = batch_of_one(layers_[i].q.view());
    inputs.k = batch_of_one(layers_[i].k.view());
    inputs.v = batch_of_one(layers_[i].v.view());
    inputs.out = outputs_[i].view();
    if (Status status = attention(inputs, params, execution); !status.ok()) return status;
  }
  return {};
}

void LayerSet::call_bf16() {
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const TensorView& q = layers_[i].q.view();
    const float scale = static_cast<float>(1 / std::sqrt(static_cast<double>(q.shape[2])));
    const std::vector<float> out = bf16_attention(q, layers_[i].k.view(), layers_[i].v.view(), scale, true);
    std::copy(out.begin(), out.end(), static_cast<float*>(outputs_[i].data()));
  }
}

HeadErrors LayerSet::errors() const {
  HeadErrors result;
  std::vector<double> errors, cosines;
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const std::vector<double> out = to_f64(outputs_[i].view());
    const auto heads = static_cast<std::size_t>(layers_[i].q.view().shape[0]);
    const std::size_t size = out.size() / heads;
    for (std::size_t h = 0; h < heads; ++h) {
      const ErrorMetrics metrics =
          compare(std::span(out).subspan(h * size, size), std::span(exact_[i]).subspan(h * size, size));
      errors.push_back(metrics.relative_l2);
      cosines.push_back(metrics.cosine);
      if (result.worst_head.empty() || metrics.relative_l2 > result.worst) {
        result.worst = metrics.relative_l2;
        result.worst_head = layers_[i].name + ".h" + std::to_string(h);
      }
    }
  }
  result.median = median(errors);
  result.cosine = median(cosines);
  return result;
}

}  // namespace octavo::tool
