// Checks of everything beside Q, K and V: the numbers of AttentionParams, lengths, masks, slopes and sinks.
#include <algorithm>
#include <array>
#include <cfloat>
#include <cmath>

#include "api/check_keys.hpp"
#include "api/checks.hpp"
#include "api/device_check.hpp"
#include "core/text.hpp"
#include "spec/operand.hpp"

namespace octavo {
namespace {

bool is_float(DType dtype) {
  return dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16 || dtype == DType::f64;
}

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
  if (params.alibi != Alibi::causal && params.alibi != Alibi::symmetric) {
    return invalid_argument("alibi is the unknown value ", static_cast<int>(params.alibi),
                            "; allowed are causal and symmetric");
  }
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

Status check_mask(const TensorView& mask, Pointers pointers, Problem& problem, ByteRanges& ranges) {
  if (!mask.given()) {
    if (mask.data == nullptr) return {};
    return invalid_argument("mask has rank ", mask.rank, "; allowed are 1 to 4");
  }
  ByteRange touched;
  if (Status status = check_view({"mask"}, mask, pointers, &touched); !status.ok()) return status;
  if (mask.dtype != DType::boolean && !is_float(mask.dtype)) {
    return invalid_argument(
        "mask is ", to_string(mask.dtype),
        "; allowed are bool (true = may attend) and the float dtypes f32, f16, bf16 and f64 (added)");
  }
  const std::array<std::int64_t, 4> target = mask_target(problem);
  Broadcast broadcast{data_or_placeholder(mask), mask.dtype, {}};
  for (int axis = 0; axis < mask.rank; ++axis) {
    const auto from = static_cast<std::size_t>(axis), to = static_cast<std::size_t>(axis + 4 - mask.rank);
    if (mask.shape[from] == 1) continue;  // broadcast: stride 0
    if (to >= 2 && problem.varlen() && problem.device.type == DeviceType::cuda) {
      (to == 2 ? problem.mask_rows : problem.mask_keys) = mask.shape[from];
    } else if (mask.shape[from] != target[to]) {
      return invalid_argument(
          "mask has shape ", shape_string(mask), "; it must broadcast from the right to ", shape_text(target, 4),
          problem.varlen() ? ", [batch, heads, longest of q, longest of k]" : ", [batch, heads, seqlen_q, seqlen_k]");
    }
    broadcast.strides[to] = mask.strides[from];
  }
  problem.mask = broadcast;
  ranges.reads({"mask"}, touched);
  return {};
}

Status check_alibi_slopes(const TensorView& slopes, Pointers pointers, Problem& problem, ByteRanges& ranges) {
  if (!slopes.given()) {
    if (problem.alibi == Alibi::causal) return {};
    return invalid_argument("alibi is symmetric and alibi_slopes are missing");
  }
  ByteRange touched;
  if (Status status = check_view({"alibi_slopes"}, slopes, pointers, &touched); !status.ok()) return status;
  if (!is_float(slopes.dtype)) {
    return invalid_argument("alibi_slopes is ", to_string(slopes.dtype), "; allowed are f32, f16, bf16 and f64");
  }
  if (has_shape(slopes, {problem.q_heads}, 1)) {
    problem.alibi_slopes = {data_or_placeholder(slopes), slopes.dtype, {0, slopes.strides[0], 0, 0}};
  } else if (has_shape(slopes, {problem.batch, problem.q_heads}, 2)) {
    problem.alibi_slopes = {data_or_placeholder(slopes), slopes.dtype, {slopes.strides[0], slopes.strides[1], 0, 0}};
  } else {
    return invalid_argument("alibi_slopes has shape ", shape_string(slopes), "; allowed are [", problem.q_heads,
                            "] and [", problem.batch, ", ", problem.q_heads, "] (heads of q)");
  }
  ranges.reads({"alibi_slopes"}, touched);
  return {};
}

Status check_sinks(const TensorView& sinks, Pointers pointers, Problem& problem, ByteRanges& ranges) {
  if (!sinks.given()) return {};
  ByteRange touched;
  if (Status status = check_view({"sinks"}, sinks, pointers, &touched); !status.ok()) return status;
  if (!is_float(sinks.dtype)) {
    return invalid_argument("sinks is ", to_string(sinks.dtype), "; allowed are f32, f16, bf16 and f64");
  }
  if (!has_shape(sinks, {problem.q_heads}, 1)) {
    return invalid_argument("sinks has shape ", shape_string(sinks), "; it must be [", problem.q_heads,
                            "] (heads of q)");
  }
  problem.sinks = {data_or_placeholder(sinks), sinks.dtype, {0, sinks.strides[0], 0, 0}};
  ranges.reads({"sinks"}, touched);
  return {};
}

std::array<NamedTensor, 21> tensors_of(const AttentionInputs& inputs) {
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
           {{"quantized_k", ".codes"}, part(k, &QuantizedView::codes)},
           {{"quantized_k", ".scales"}, part(k, &QuantizedView::scales)},
           {{"quantized_k", ".mean"}, part(k, &QuantizedView::mean)},
           {{"quantized_v", ".codes"}, part(v, &QuantizedView::codes)},
           {{"quantized_v", ".scales"}, part(v, &QuantizedView::scales)},
           {{"quantized_v", ".mean"}, part(v, &QuantizedView::mean)},
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
  if (Status status = check_mask(inputs.mask, pointers, problem, ranges); !status.ok()) return status;
  if (Status status = check_key_mask(inputs.key_mask, keys, pointers, problem.key_mask, ranges); !status.ok()) {
    return status;
  }
  if (Status status = check_alibi_slopes(inputs.alibi_slopes, pointers, problem, ranges); !status.ok()) return status;
  return check_sinks(inputs.sinks, pointers, problem, ranges);
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
  const std::array<NamedTensor, 21> tensors = tensors_of(inputs);
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
