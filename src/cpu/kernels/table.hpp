// All kernels of one policy, gathered: the only names a target hands out.
#pragma once

#include "cpu/kernel_table.hpp"
#include "cpu/kernels/prefill.hpp"
#include "cpu/kernels/quantize_operand.hpp"
#include "cpu/kernels/score.hpp"
#include "cpu/kernels/value.hpp"
#include "cpu/kernels/weight.hpp"

namespace octavo::cpu {
namespace {

template <class S>
Stages choose_stages(const Plan& plan, bool wide_queries) {
  Stages stages{};
  switch (plan.score) {
    case ScoreForm::s8:
      stages.score = wide_queries ? score_stage<S, TwoPlanes<S>> : score_stage<S, OnePlane<S, KeyCodes<S>>>;
      break;
    case ScoreForm::f32:
      stages.score = score_stage<S, OnePlane<S, Floats<S>>>;
      break;
    case ScoreForm::bf16:
      if constexpr (S::kHasBf16) stages.score = score_stage<S, OnePlane<S, Bf16Pairs<S>>>;
      break;
  }
  switch (plan.value) {
    case ValueForm::s8:
      stages.weight = plan.sum_codes ? weight_stage<S, IntegerWeights<S, SumOf::codes>>
                                     : weight_stage<S, IntegerWeights<S, SumOf::weights>>;
      stages.value = value_stage<S, ValueCodes<S>>;
      if constexpr (S::kOverlapsWeights) {
        if (plan.score == ScoreForm::s8 && !wide_queries) {
          using Scores = OnePlane<S, KeyCodes<S>>;
          stages.score_and_weigh = plan.sum_codes ? score_and_weigh_stage<S, Scores, IntegerWeights<S, SumOf::codes>>
                                                  : score_and_weigh_stage<S, Scores, IntegerWeights<S, SumOf::weights>>;
        }
      }
      break;
    case ValueForm::f32:
      stages.weight = weight_stage<S, FloatWeights<S>>;
      stages.value = value_stage<S, Floats<S>>;
      break;
    case ValueForm::f16_as_f32:
      stages.weight = weight_stage<S, HalfWeights<S>>;
      stages.value = value_stage<S, Floats<S>>;
      break;
    case ValueForm::bf16:
      if constexpr (S::kHasBf16) {
        stages.weight = weight_stage<S, Bf16Weights<S>>;
        stages.value = value_stage<S, Bf16Pairs<S>>;
      }
      break;
  }
  return stages;
}

template <class S>
constexpr KernelTable make_table() {
  return {.traits = {S::kLanes, S::kKeyBias, S::kWeightBias, S::kHasBf16},
          .statistics = statistics<S>,
          .finish_statistics = finish_statistics<S>,
          .pack_block = pack_block<S>,
          .finish_blocks = finish_blocks<S>,
          .stages = choose_stages<S>,
          .attend = attend<S>,
          .sum_unit = sum_unit<S>,
          .range_unit = range_unit<S>,
          .code_unit = code_unit<S>};
}

}  // namespace
}  // namespace octavo::cpu
