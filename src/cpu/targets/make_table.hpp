// All kernels of one policy, gathered: the only names a target hands out.
#pragma once

#include "cpu/attention/merge.hpp"
#include "cpu/attention/prefill.hpp"
#include "cpu/attention/pv.hpp"
#include "cpu/attention/qk.hpp"
#include "cpu/attention/softmax.hpp"
#include "cpu/attention/tile_products.hpp"
#include "cpu/kernel_table.hpp"
#include "cpu/operands/dequantize.hpp"
#include "cpu/operands/pack_block.hpp"
#include "cpu/operands/quantize_operand.hpp"
#include "cpu/operands/v_prescale.hpp"

namespace octavo::cpu {
namespace {

// The integer products: in tiles where the policy has them.
template <class S>
using CodeScores = std::conditional_t<S::kHasTiles, OneTileSum<S>, OnePlane<S, KeyCodes<S>>>;
template <class S>
using WideCodeScores = std::conditional_t<S::kHasTiles, TwoTileSums<S>, TwoPlanes<S, KeyCodes<S>>>;
template <class S>
using CodeValues = std::conditional_t<S::kHasTiles, OneTileSum<S>, OneSum<S, ValueCodes<S>>>;
template <class S>
using WideCodeValues = std::conditional_t<S::kHasTiles, TwoTileSums<S>, TwoByteSums<S, ValueCodes<S>>>;

// Weights and their product with V, and where it pays the weights between the tiles of integer scores.
template <class S, class Weights, class Product>
void use_values(Stages& stages, bool overlap) {
  stages.weight = weight_stage<S, Weights>;
  stages.value = value_stage<S, Product>;
  if constexpr (S::kOverlapsWeights) {
    if (overlap) stages.score_and_weigh = score_and_weigh_stage<S, CodeScores<S>, Weights>;
  }
}

template <class S>
Stages choose_stages(const Plan& plan, bool wide_queries) {
  Stages stages{};
  switch (plan.score) {
    case ScoreForm::s8:
      stages.score = wide_queries ? score_stage<S, WideCodeScores<S>> : score_stage<S, CodeScores<S>>;
      break;
    case ScoreForm::f32:
      stages.score = score_stage<S, OnePlane<S, Floats<S>>>;
      break;
    case ScoreForm::bf16:
      if constexpr (S::kHasBf16) stages.score = score_stage<S, OnePlane<S, Bf16Pairs<S>>>;
      break;
  }
  const bool overlap = plan.score == ScoreForm::s8 && !wide_queries;
  switch (plan.value) {
    case ValueForm::s8:
      if (plan.weight_planes == 2)
        use_values<S, WideIntegerWeights<S>, WideCodeValues<S>>(stages, overlap);
      else if (plan.sum_codes)
        use_values<S, IntegerWeights<S, SumOf::codes>, CodeValues<S>>(stages, overlap);
      else
        use_values<S, IntegerWeights<S, SumOf::weights>, CodeValues<S>>(stages, overlap);
      break;
    case ValueForm::f32:
      use_values<S, FloatWeights<S>, OneSum<S, Floats<S>>>(stages, false);
      if (plan.sum_keys > 0) stages.value = value_stage<S, HalfSum<S, Floats<S>>>;
      break;
    case ValueForm::bf16:
      if constexpr (S::kHasBf16) {
        use_values<S, Bf16Weights<S>, OneSum<S, Bf16Pairs<S>>>(stages, overlap);
        if (plan.sum_keys > 0) stages.value = value_stage<S, HalfSum<S, Bf16Pairs<S>>>;
      }
      break;
  }
  return stages;
}

template <class S>
constexpr auto open_or_null() -> void (*)() {
  if constexpr (S::kHasTiles) return [] { S::open_tiles(); };
  return nullptr;
}
template <class S>
constexpr auto close_or_null() -> void (*)() {
  if constexpr (S::kHasTiles) return [] { S::close_tiles(); };
  return nullptr;
}

template <class S>
constexpr KernelTable make_table() {
  return {.traits = {S::kLanes, S::kKeyBias, S::kWeightBias, S::kHasBf16},
          .statistics = statistics<S>,
          .finish_statistics = finish_statistics<S>,
          .pack_block = pack_block<S>,
          .take_unit = take_unit<S>,
          .finish_blocks = finish_blocks<S>,
          .range_queries = range_queries<S>,
          .stages = choose_stages<S>,
          .open_tiles = open_or_null<S>(),
          .close_tiles = close_or_null<S>(),
          .attend = attend<S>,
          .sum_unit = sum_unit<S>,
          .range_unit = range_unit<S>,
          .code_unit = code_unit<S>,
          .dequantize_head = dequantize_head<S>,
          .merge_rows = merge_rows<S>};
}

}  // namespace
}  // namespace octavo::cpu
