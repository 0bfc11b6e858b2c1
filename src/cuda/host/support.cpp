// Which calls the attention kernels support. All others are refused here; the message names what is supported.
#include <algorithm>
#include <string>

#include "core/text.hpp"
#include "cuda/host/implementation.hpp"
#include "cuda/host/launch.hpp"
#include "cuda/host/plan.hpp"
#include "cuda/host/wgmma_attention.hpp"
#include "cuda/operands/packed_block.hpp"
#include "cuda/operands/tile_config.hpp"
#include "spec/call_steps.hpp"
#include "spec/format.hpp"
#include "spec/q16.hpp"

namespace octavo::cuda {
namespace {

// Recipes of FP8 values: their key block is a tile of the kernel.
std::string missing_beside_float8(const Recipe& r) {
  if (!spec::is_float8(r.p)) return "values of FP8 beside other weights; it supports p=e4m3 and e5m2 there";
  if (r.p_reference != MaximumReference::running) {
    return "FP8 weights relative to the block's maximum; it supports p_reference=running there";
  }
  const bool whole =
      r.v_scale == Granularity::channel || r.v_scale == Granularity::tensor || r.v_scale == Granularity::none;
  const bool blocks = r.v_scale == Granularity::block || r.v_scale == Granularity::block_channel;
  if (whole || (blocks && spec::is_float8(r.scores))) return {};
  return "this granularity of FP8 values; it supports v_scale=channel, tensor and none, beside FP8 scores also block "
         "and block_channel";
}

constexpr const char* kOtherFormats =
    "this combination of formats; it supports s8 and s4 throughout, s8 or s4 scores with f16 or FP8 weights and "
    "values, "
    "FP8 throughout, and unquantized inputs";

// What the recipe needs and the mma.sync kernels lack; empty: nothing.
std::string missing_in_recipe(const Problem& problem) {
  const Recipe& r = problem.recipe;
  const bool integer_scores = spec::is_integer(r.scores), integer_values = spec::is_integer(r.values);
  const bool float8_scores = spec::is_float8(r.scores), float8_values = spec::is_float8(r.values);
  const bool f16_sums = r.accumulator == Accumulator::f16;
  if (r.accumulator != Accumulator::f32 && !f16_sums) {
    return "models of tensor cores; it supports accumulator=f32 and f16";
  }
  if (f16_sums && !r.two_level) return "accumulator=f16 with two_level=off; it supports two_level=on there";
  if (f16_sums && !integer_scores) {
    return "accumulator=f16 beside scores that are not s8 or s4; it supports accumulator=f32 there";
  }
  // Of operands as they are blocks of keys change nothing.
  const bool as_they_are = r.scores == Format::input && r.values == Format::input && r.p == WeightFormat::input;
  const std::int64_t key_block = f16_sums || (float8_values && !float8_scores) ? kFloat8Keys : kPackedRows;
  if (r.key_block != key_block && !as_they_are) {
    return text("key_block=", r.key_block, "; it supports ", key_block,
                f16_sums        ? " with accumulator=f16"
                : float8_values ? " with these scores and values of FP8"
                                : "");
  }
  if (r.channel_gains) return "channel_gains=on; it supports channel_gains=off";
  if (integer_scores && integer_values) {
    if (!spec::is_integer(r.p)) return "integer values beside float weights; it supports p=u8, s8 and u16 there";
    if (r.v_scale == Granularity::token) return "v_scale=token; it supports token_folded";
    return {};
  }
  if (float8_values && (integer_scores || float8_scores)) return missing_beside_float8(r);
  if (r.p_reference != MaximumReference::running || r.p_range != 1 || r.v_scale != Granularity::none) {
    return kOtherFormats;
  }
  if (integer_scores && r.values == Format::f16 && r.p == WeightFormat::f16) return {};
  if (as_they_are) {
    if (r.hadamard || r.smooth_q || r.smooth_k || r.hadamard_v || r.smooth_v) {
      return "rotation and smoothing of operands that are not quantized; it supports hadamard, smooth_q, smooth_k, "
             "hadamard_v and smooth_v beside quantized ones";
    }
    return {};
  }
  return kOtherFormats;
}

// What the kernels by wgmma lack of what those of mma.sync have; empty: nothing.
std::string missing_in_wgmma(const Problem& problem) {
  const std::int32_t dim = packed_dim(problem.head_dim, problem.value_dim);
  const OperandFormats formats = formats_of(problem, true, true);
  const bool f16_sums = problem.recipe.accumulator == Accumulator::f16;
  if (!has_wgmma_attention(formats.qk, formats.v, f16_sums, dim)) {
    return text("these formats of Q, K and V with ", dim, " channels", f16_sums ? " and accumulator=f16" : "");
  }
  if (problem.recipe.p == WeightFormat::u16) return "p=u16";
  if (spec::steps_of(problem).keeps && !(formats.qk == PackedFormat::s8 && formats.v == PackedFormat::s8)) {
    return "kept keys beside these formats of Q, K and V";
  }
  if (problem.varlen()) {
    // Such sequences of a batch take kernels by mma.sync, which has no E4M3 there.
    const bool some_q16 = formats.v == PackedFormat::e4m3 && spec::takes_q16(problem, 1);
    return some_q16 ? "values of E4M3 with this recipe's Q of varlen sequences" : "";
  }
  if (!spec::takes_q16(problem, problem.q_rows)) return {};
  return text(problem.q_rows, " query rows with this recipe; it supports ", spec::kQ16Rows, " or more");
}

}  // namespace

Status supports(const Implementation& implementation, const Problem& problem) {
  const auto refuse = [&](const std::string& what) {
    return unimplemented("implementation \"", implementation.name, "\" does not support ", what, " (recipe ",
                         to_string(problem.recipe), ")");
  };
  for (std::int64_t dim : {problem.head_dim, problem.value_dim}) {
    if (dim > kMostChannels) return refuse(text("head_dim ", dim, "; on CUDA 1 to ", kMostChannels, " are supported"));
  }
  constexpr std::int64_t kMostRows = std::int64_t{1} << 30;
  for (std::int64_t rows : {problem.q_rows, problem.k_rows}) {
    if (rows > kMostRows) return refuse(text(rows, " rows; it supports up to ", kMostRows));
  }
  if (problem.varlen() && (problem.mask_rows > 0 || problem.mask_keys > 0)) {
    return refuse(
        "a mask over the rows or keys of varlen sequences, whose lengths are on the device; pass the sequences as a "
        "batch with kv_lens");
  }
  if (const std::string missing = missing_in_recipe(problem); !missing.empty()) return refuse(missing);
  if (implementation.wgmma) {
    if (const std::string missing = missing_in_wgmma(problem); !missing.empty()) return refuse(missing);
  }
  return check_grid(implementation.name, problem.batch, std::max(problem.q_heads, problem.kv_heads));
}

}  // namespace octavo::cuda
