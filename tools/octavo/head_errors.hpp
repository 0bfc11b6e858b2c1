// A set of layers with its exact outputs, and the errors of a recipe on it, head by head.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/capture.hpp"
#include "octavo/attention.hpp"

namespace octavo::tool {

struct HeadErrors {
  double median = 0, worst = 0;  // relative L2 of a head's output
  std::string worst_head;        // "L14.h2"
  double cosine = 1;             // median of the heads' cosines
};

class LayerSet {
 public:
  // Computes the exact outputs in double; causal, scale 1 / sqrt(D).
  explicit LayerSet(std::vector<Layer> layers);

  const std::vector<Layer>& layers() const { return layers_; }
  // One attention call for each layer; outputs are f32, so that nothing but the recipe rounds them.
  Status call(const Recipe& recipe, std::string_view implementation);
  // The same by bf16_attention().
  void call_bf16();
  // Of the last call.
  HeadErrors errors() const;

 private:
  std::vector<Layer> layers_;
  std::vector<std::vector<double>> exact_;  // [Hq, M, Dv] of each layer
  std::vector<io::Tensor> outputs_;         // f32 [1, Hq, M, Dv]
};

}  // namespace octavo::tool
