// Checks of everything beside Q, K and V: the numbers of AttentionParams, and what check_keys and check_masks check.
#include <algorithm>
#include <array>
#include <cfloat>
#include <cmath>

#include "api/check_keys.hpp"
#include "api/check_masks.hpp"
#include "api/checks.hpp"
#include "api/device_check.hpp"
#include "core/text.hpp"
#include "spec/operand.hpp"

namespace octavo {
namespace {

Status check_numbers(const AttentionParams& params, Problem& problem) {
  problem.softmax_scale =
      std::isnan(params.softmax_scale) ? 1.0 / std::sqrt(static_cast<double>(problem.head_dim)) : params.softmax_scale;
  if (std::abs(problem.softmax_scale) > FLT_MAX) {
    return invalid_argument("softmax_scale is ", params.softmax_scale, "; it must be finite (in f32)");
  }
  problem.softcap = params.softcap;
  if (!(params.softcap == 0 || (params.softcap >= FLT_MIN && params.softcap <= FLT_MAX))) {
    return invalid_argument("softcap is ", params.softcap, "; allowed are 0 (off) and positive finite f32 values");
  }
  switch (params.causal) {
    case Causal::none:
    case Causal::bottom_right:
    case Causal::top_left:
      problem.causal = params.causal;
      break;
    default:
      return invalid_argument("causal is the unknown value ", static_cast<int>(params.causal),
                              "; allowed are none, bottom_right and top_left");
  }
  if (Status status = check_alibi(params.alibi); !status.ok()) return status;
  problem.alibi = params.alibi;
  if (params.window_left < -1 || params.window_right < -1) {
    return invalid_argument("window is (", params.window_left, ", ", params.window_right,
                            "); allowed are -1 (unlimited) and values from 0 on");
  }
  // A window as wide as all rows together limits nothing; -1 avoids sums that overflow.
  const std::int64_t unlimited = problem.q_rows + problem.k_rows;
  problem.window_left = params.window_left >= unlimited ? -1 : params.window_left;
  problem.window_right = params.window_right >= unlimited ? -1 : params.window_right;
  return {};
}

// The axes that a mask is broadcast to. Varlen sequences share one mask that is as large as the longest of them.
std::array<std::int64_t, 4> mask_target(const Problem& problem) {
  std::int64_t rows = problem.q_rows, keys = problem.k_rows;
  if (problem.varlen() && problem.device.type == DeviceType::cpu) {
    rows = keys = 0;
    for (std::int64_t b = 0; b < problem.batch; ++b) {
      const Sequence sequence = problem.sequence(b);
      rows = std::max(rows, sequence.q_rows);
      keys = std::max(keys, sequence.k_rows);
    }
  }
  return {problem.batch, problem.q_heads, rows, keys};
}

std::array<NamedTensor, 24> tensors_of(const AttentionInputs& inputs) {
  const auto part = [](const QuantizedView* quantized, const TensorView QuantizedView::* which) {
    return quantized != nullptr ? &(quantized->*which) : nullptr;
  };
  const QuantizedView *q = inputs.quantized_q, *k = inputs.quantized_k, *v = inputs.quantized_v;
  return {{{{"q"}, &inputs.q},
           {{"k"}, &inputs.k},
           {{"v"}, &inputs.v},
           {{"quantized_q", ".codes"}, part(q, &QuantizedView::codes)},
           {{"quantized_q", ".scales"}, part(q, &QuantizedView::scales)},
           {{"quantized_q", ".mean"}, part(q, &QuantizedView::mean)},
           {{"quantized_q", ".cu_seqlens"}, part(q, &QuantizedView::cu_seqlens)},
           {{"quantized_k", ".codes"}, part(k, &QuantizedView::codes)},
           {{"quantized_k", ".scales"}, part(k, &QuantizedView::scales)},
           {{"quantized_k", ".mean"}, part(k, &QuantizedView::mean)},
           {{"quantized_k", ".cu_seqlens"}, part(k, &QuantizedView::cu_seqlens)},
           {{"quantized_v", ".codes"}, part(v, &QuantizedView::codes)},
           {{"quantized_v", ".scales"}, part(v, &QuantizedView::scales)},
           {{"quantized_v", ".mean"}, part(v, &QuantizedView::mean)},
           {{"quantized_v", ".cu_seqlens"}, part(v, &QuantizedView::cu_seqlens)},
           {{"out"}, &inputs.out},
           {{"lse"}, &inputs.lse},
           {{"mask"}, &inputs.mask},
           {{"key_mask"}, &inputs.key_mask},
           {{"alibi_slopes"}, &inputs.alibi_slopes},
           {{"sinks"}, &inputs.sinks},
           {{"kv_lens"}, &inputs.kv_lens},
           {{"cu_seqlens_q"}, &inputs.cu_seqlens_q},
           {{"cu_seqlens_k"}, &inputs.cu_seqlens_k}}};
}

}  // namespace

Status check_options(const AttentionInputs& inputs, const AttentionParams& params, Pointers pointers, Problem& problem,
                     ByteRanges& ranges) {
  if (Status status = check_numbers(params, problem); !status.ok()) return status;
  const KeyExtents keys{problem.device, problem.varlen(), problem.batch, problem.k_rows, "k"};
  if (Status status = check_kv_lens(inputs.kv_lens, keys, pointers, problem.kv_lens, ranges); !status.ok()) {
    return status;
  }
  const bool packed = problem.varlen(), device = problem.device.type == DeviceType::cuda;
  const MaskExtents mask{mask_target(problem), packed ? ", [batch, heads, longest of q, longest of k]"
                                                      : ", [batch, heads, seqlen_q, seqlen_k]"};
  std::int64_t* const own[] = {&problem.mask_rows, &problem.mask_keys};
  if (Status status = check_mask(inputs.mask, mask, pointers, packed && device ? own : nullptr, problem.mask, ranges);
      !status.ok()) {
    return status;
  }
  if (Status status = check_key_mask(inputs.key_mask, keys, pointers, problem.key_mask, ranges); !status.ok()) {
    return status;
  }
  if (Status status = check_alibi_slopes(inputs.alibi_slopes, problem.alibi, problem.batch, problem.q_heads, pointers,
                                         problem.alibi_slopes, ranges);
      !status.ok()) {
    return status;
  }
  return check_sinks(inputs.sinks, problem.q_heads, pointers, problem.sinks, ranges);
}

Status check_recipe_once(const Recipe& recipe) {
  // Comparing takes nanoseconds; checking builds text for every field, and calls repeat the recipe.
  thread_local Recipe last_valid;
  if (recipe == last_valid) return {};
  Status status = check_recipe(recipe);
  if (status.ok()) last_valid = recipe;
  return status;
}

Status check_attention(const AttentionInputs& inputs, const AttentionParams& params, Pointers pointers,
                       Problem& problem, ByteRanges& ranges) {
  if (Status status = check_recipe_once(params.recipe); !status.ok()) return status;
  problem.recipe = params.recipe;
  const std::array<NamedTensor, 24> tensors = tensors_of(inputs);
  if (Status status = check_devices(tensors, problem.device); !status.ok()) return status;
  if (Status status = check_operands(inputs, pointers, problem, ranges); !status.ok()) return status;
  // Codes have lost the originals that kept keys and gains need.
  if (problem.q.quantized || problem.k.quantized || problem.v.quantized) {
    problem.recipe = spec::recipe_of_codes(problem.recipe);
  }
  if (Status status = check_options(inputs, params, pointers, problem, ranges); !status.ok()) return status;
  if (Status status = check_pointers(tensors, problem.device); !status.ok()) return status;
  return ranges.check();
}

}  // namespace octavo
