// All kernels of one policy, gathered: the only names a target hands out.
#pragma once

#include "cpu/attention/decode.hpp"
#include "cpu/attention/merge.hpp"
#include "cpu/attention/prefill.hpp"
#include "cpu/attention/pv.hpp"
#include "cpu/attention/qk.hpp"
#include "cpu/attention/softmax.hpp"
#include "cpu/attention/tile_products.hpp"
#include "cpu/kernel_table.hpp"
#include "cpu/operands/cache_rows.hpp"
#include "cpu/operands/dequantize.hpp"
#include "cpu/operands/finish_stats.hpp"
#include "cpu/operands/pack_block.hpp"
#include "cpu/operands/quantize_operand.hpp"
#include "cpu/operands/v_prescale.hpp"

namespace octavo::cpu {
namespace {

// The integer products: in tiles where the policy has them.
template <class S>
using CodeQk = std::conditional_t<S::kHasTiles, OneTileSum<S>, OnePlane<S, KeyCodes<S>>>;
template <class S>
using CodeQk16 = std::conditional_t<S::kHasTiles, TwoTileSums<S>, TwoPlanes<S, KeyCodes<S>>>;
template <class S>
using CodePv = std::conditional_t<S::kHasTiles, OneTileSum<S>, OneSum<S, ValueCodes<S>>>;
template <class S>
using CodePv16 = std::conditional_t<S::kHasTiles, TwoTileSums<S>, TwoByteSums<S, ValueCodes<S>>>;

// Weights and their product with V, and where it pays the weights between the tiles of integer scores.
template <class S, class Weights, class Product, class Tall = Product>
void use_values(Stages& stages, bool overlap) {
  stages.softmax = softmax_stage<S, Weights>;
  stages.pv = pv_stage<S, Product, Tall>;
  if constexpr (S::kOverlapsWeights) {
    if (overlap) stages.qk_and_softmax = qk_and_softmax_stage<S, CodeQk<S>, Weights>;
  }
}

template <class S>
Stages choose_stages(const Plan& plan, bool q16) {
  Stages stages{};
  switch (plan.qk_form) {
    case QkForm::s8:
      stages.qk = q16 ? qk_stage<S, CodeQk16<S>> : qk_stage<S, CodeQk<S>>;
      break;
    case QkForm::f32:
      stages.qk = qk_stage<S, OnePlane<S, Floats<S>>, OnePlane<S, Floats<S>, S::kFloatTileRows>>;
      break;
    case QkForm::bf16:
      if constexpr (S::kHasBf16) stages.qk = qk_stage<S, OnePlane<S, Bf16Pairs<S>>>;
      break;
  }
  const bool overlap = plan.interleaves_softmax && plan.qk_form == QkForm::s8 && !q16;
  switch (plan.pv_form) {
    case PvForm::s8:
      if (plan.weight_planes == 2)
        use_values<S, IntegerWeights<S, 2>, CodePv16<S>>(stages, overlap);
      else
        use_values<S, IntegerWeights<S, 1>, CodePv<S>>(stages, overlap);
      break;
    case PvForm::f32:
      use_values<S, FloatWeights<S>, OneSum<S, Floats<S>>, OneSum<S, Floats<S>, S::kFloatTileRows>>(stages, false);
      if (plan.sum_keys > 0) stages.pv = pv_stage<S, HalfSum<S, Floats<S>>>;
      break;
    case PvForm::bf16:
      if constexpr (S::kHasBf16) {
        use_values<S, Bf16Weights<S>, OneSum<S, Bf16Pairs<S>>>(stages, overlap);
        if (plan.sum_keys > 0) stages.pv = pv_stage<S, HalfSum<S, Bf16Pairs<S>>>;
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
          .mark_seen = mark_seen<S>,
          .query_spread = query_spread<S>,
          .channel_stats = channel_stats<S>,
          .finish_channel_stats = finish_channel_stats<S>,
          .pack_block = pack_block<S>,
          .choose_v_prescale = choose_v_prescale<S>,
          .finish_blocks = finish_blocks<S>,
          .range_queries = range_queries<S>,
          .stages = choose_stages<S>,
          .open_tiles = open_or_null<S>(),
          .close_tiles = close_or_null<S>(),
          .attend = attend<S>,
          .attend_short = attend_short<S>,
          .sum_unit = sum_unit<S>,
          .range_unit = range_unit<S>,
          .code_unit = code_unit<S>,
          .dequantize_head = dequantize_head<S>,
          .append_cache_rows = append_cache_rows<S>,
          .attend_cache = attend_cache<S>,
          .finish_cache = finish_cache<S>,
          .merge_rows = merge_rows<S>};
}

}  // namespace
}  // namespace octavo::cpu
