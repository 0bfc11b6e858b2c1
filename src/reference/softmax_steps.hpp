// One row's online softmax over key blocks, in double: weights of a block, their codes, the second product, the running
// state, the end. R is Recipe::p_range, the largest code or a float format's static factor; s~ is 1 without the fold.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "octavo/recipe.hpp"
#include "reference/matrix.hpp"
#include "reference/quantize_steps.hpp"
#include "reference/tensor_core.hpp"

namespace octavo::reference {

// V of one head with what the fold makes of its scales.
struct PreparedV {
  QuantizedRows rows;
  std::vector<double> relative_scales;   // s~_j [N]; empty without the fold
  double largest_scale = 1;              // s_max; stray tokens may have larger ones
  std::optional<ModelledProduct> model;  // of P V
  std::vector<spec::Factor> factors;     // [Dv, N], with a model
};
// `seen` and `robust`: tokens whose scale counts for s_max are those that some row may see and that are not stray.
PreparedV prepare_v(QuantizedRows v, std::optional<ModelledProduct> model = std::nullopt, const RowFlags& seen = {},
                    bool robust = false);

// A row's state after some key blocks: running maximum (base 2), row sum and output relative to it.
struct RowState {
  double maximum = -std::numeric_limits<double>::infinity();
  double sum = 0;
  std::vector<double> output;  // [Dv]
};

// The weights of one block of keys for one row: codes c_j of R * 2^(T_j - reference), with T = S + log2 s~.
struct BlockWeights {
  std::vector<double> codes;  // [keys of the block]
  std::vector<bool> attends;  // whether the row may attend to the key: what it may not see is not even multiplied by 0
  double reference = 0;       // what the codes are relative to: the block's own maximum of T, or the running one
  double maximum = 0;         // the running maximum after this block
  double sum = 0;             // the block's part of the row sum, relative to `reference`
  bool visible = false;       // the row sees a key of the block
};
// `scores` [keys of the block], base 2, -infinity where the row may not attend; `relative_scales` empty or as long.
// `inputs`: what P in the inputs' dtype is rounded to; f32 keeps all digits.
BlockWeights weights_of_block(std::span<const double> scores, std::span<const double> relative_scales,
                              double running_maximum, const Recipe& recipe, DType inputs = DType::f32);

// sum_j c_j V_jd over keys first..first + codes - 1, with V's scales but without the fold's s_max.
std::vector<double> value_product(const BlockWeights& weights, const PreparedV& v, std::int64_t first,
                                  const Recipe& recipe);

// O itself as the accumulator of a tensor core: c <- f32(alpha O / unit), O = unit (c + sum_j c_j V_jd), where the
// unit, V's scale / R, is what the codes' products are in. l as in add_block(). The running maximum only.
void accumulate_block(RowState& state, const BlockWeights& weights, const PreparedV& v, std::int64_t first,
                      const Recipe& recipe);

// O = alpha O + (2^(reference - M) / R) product; l = alpha l + 2^(reference - M) sum.
void add_block(RowState& state, const BlockWeights& weights, const std::vector<double>& product, const Recipe& recipe);

// The share of the sink in the final row sum; `sink` in base 2, relative to the row's shift.
double add_sink(RowState& state, double sink);

// O / l with everything that was taken out of V put back; `sink_share` of the weight has no value. O = 0 where l = 0.
void finish_output(RowState& state, const PreparedV& v, const Recipe& recipe, double sink_share);

}  // namespace octavo::reference
