// A stack of pre-norm transformer layers with random weights, whose attention runs by a recipe: RMS norm, attention
// with RoPE and grouped heads, RMS norm, MLP. Everything but attention is f32 and the same for all recipes.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "octavo/recipe.hpp"

namespace octavo::study {

struct StackShape {
  std::int64_t layers = 48, tokens = 256, heads = 3, kv_heads = 1, head_dim = 64, mlp = 384, vocabulary = 256;
  std::int64_t hidden() const { return heads * head_dim; }
};

// What the data of a layer look like beyond independent numbers.
struct StackKind {
  std::string name;
  bool causal = true;
  double sink_nats = 0;            // > 0: token 0 of every layer has such scores and a value of a twentieth
  double v_bias = 0;               // V has an offset per channel of N(0, v_bias^2)
  std::int64_t shared_layers = 0;  // > 0: these many layers' weights in a loop, as a diffusion model over its steps
};

// Residual streams after each layer [tokens, hidden], and the logits [tokens, vocabulary] of the last.
struct StackRun {
  std::vector<std::vector<float>> residual;
  std::vector<float> logits;
};

class LayerStack {
 public:
  LayerStack(const StackShape& shape, const StackKind& kind, std::uint64_t seed);
  // The recipe of each layer.
  StackRun run(const std::function<const Recipe&(std::int64_t layer)>& recipe_of) const;

 private:
  struct Weights {
    std::vector<float> q, k, v, o, up, down, v_bias;
  };
  void attend(const Weights& weights, std::vector<float>& x, const Recipe& recipe) const;
  const Weights& of_layer(std::int64_t layer) const;

  StackShape shape_;
  StackKind kind_;
  std::vector<Weights> weights_;
  std::vector<float> input_, unembedding_;
};

}  // namespace octavo::study
