// Which calls the attention kernels support. All others are refused here; the message names what is supported.
#include <algorithm>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

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

// "v_scale=token with values=e4m3 and scores=s8"
std::string given(const Recipe& recipe, std::initializer_list<std::string_view> fields) {
  std::string to;
  const char* link = "";
  for (const std::string_view field : fields) {
    to += text(link, field, "=", *recipe_field(recipe, field));
    link = *link == 0 ? " with " : " and ";
  }
  return to;
}

// The same; what the first field may be beside the others.
std::string refused(const Recipe& recipe, std::initializer_list<std::string_view> fields, std::string_view allowed) {
  return text(given(recipe, fields), "; it supports ", *fields.begin(), "=", allowed,
              fields.size() > 1 ? " there" : "");
}

// Recipes of integer scores and values; the kernels by wgmma have no weights of two bytes.
std::string missing_beside_integers(const Recipe& r, bool wgmma) {
  if (!spec::is_integer(r.p) || (wgmma && r.p == WeightFormat::u16)) {
    return refused(r, {"p", "values"}, wgmma ? "s8 and u8" : "s8, u8 and u16");
  }
  if (r.v_scale != Granularity::token) return {};
  return refused(r, {"v_scale", "values"}, "tensor, block, channel, block_channel and token_folded");
}

// Recipes of FP8 values: their key block is a tile of the kernel.
std::string missing_beside_float8(const Recipe& r) {
  if (!spec::is_float8(r.p)) return refused(r, {"p", "values"}, "e4m3 and e5m2");
  if (r.p_reference != MaximumReference::running) return refused(r, {"p_reference", "p"}, "running");
  const bool float8_scores = spec::is_float8(r.scores);
  const bool whole =
      r.v_scale == Granularity::channel || r.v_scale == Granularity::tensor || r.v_scale == Granularity::none;
  const bool blocks = r.v_scale == Granularity::block || r.v_scale == Granularity::block_channel;
  if (whole || (blocks && float8_scores)) return {};
  return refused(r, {"v_scale", "values", "scores"},
                 float8_scores ? "channel, tensor, block, block_channel and none" : "channel, tensor and none");
}

// Recipes without codes of V.
std::string missing_beside_floats(const Recipe& r, bool as_they_are) {
  if (r.p_reference != MaximumReference::running) return refused(r, {"p_reference", "p"}, "running");
  if (r.p_range != 1) return refused(r, {"p_range", "p"}, "1");
  if (!as_they_are) return {};
  for (const auto& [field, on] : {std::pair{"hadamard", r.hadamard},
                                  {"smooth_q", r.smooth_q},
                                  {"smooth_k", r.smooth_k},
                                  {"hadamard_v", r.hadamard_v},
                                  {"smooth_v", r.smooth_v}}) {
    if (on) return refused(r, {field, "scores"}, "off");
  }
  return {};
}

// What the recipe needs and the kernels lack; empty: nothing.
std::string missing_in_recipe(const Recipe& r, bool wgmma) {
  const bool integer_scores = spec::is_integer(r.scores), integer_values = spec::is_integer(r.values);
  const bool float8_scores = spec::is_float8(r.scores), float8_values = spec::is_float8(r.values);
  const bool f16_sums = r.accumulator == Accumulator::f16;
  if (r.accumulator != Accumulator::f32 && !f16_sums) {
    return given(r, {"accumulator"}) + " (a model of tensor cores); it supports accumulator=f32 and f16";
  }
  if (f16_sums && !r.two_level) return refused(r, {"two_level", "accumulator"}, "on");
  if (f16_sums && !integer_scores) return refused(r, {"accumulator", "scores"}, "f32");
  if (r.channel_gains) return refused(r, {"channel_gains"}, "off");

  const bool integers = integer_scores && integer_values, float8 = float8_values && (integer_scores || float8_scores);
  const bool as_they_are = r.scores == Format::input && r.values == Format::input && r.p == WeightFormat::input;
  const bool f16_beside_codes = integer_scores && r.values == Format::f16 && r.p == WeightFormat::f16;
  if (!integers && !float8 && !as_they_are && !f16_beside_codes) {
    return given(r, {"scores", "p", "values"}) +
           "; it supports s8 and s4 throughout, s8 or s4 scores with f16 or FP8 weights and values, FP8 throughout, "
           "and inputs as they are";
  }
  const std::int64_t key_block = f16_sums || (float8 && integer_scores) ? kFloat8Keys : kPackedRows;
  // Of operands as they are blocks of keys change nothing.
  if (r.key_block != key_block && !as_they_are) {
    const std::string allowed = std::to_string(key_block);
    return f16_sums ? refused(r, {"key_block", "accumulator"}, allowed)
           : float8 ? refused(r, {"key_block", "values", "scores"}, allowed)
                    : refused(r, {"key_block", "values"}, allowed);
  }
  if (integers) return missing_beside_integers(r, wgmma);
  return float8 ? missing_beside_float8(r) : missing_beside_floats(r, as_they_are);
}

// What the kernels by wgmma lack of what those of mma.sync have, weights of two bytes apart; empty: nothing. Asked
// first: what missing_in_recipe() offers has formats that these have, too.
std::string missing_in_wgmma(const Problem& problem) {
  const Recipe& r = problem.recipe;
  const std::int32_t dim = packed_dim(problem.head_dim, problem.value_dim);
  const OperandFormats formats = formats_of(problem, true, true);
  if (!has_wgmma_attention(formats.qk, formats.v, r.accumulator == Accumulator::f16, dim)) {
    return text(given(r, {"scores", "p", "values", "accumulator"}), ", inputs of ", to_string(problem.q.dtype), " and ",
                dim,
                " channels; it supports s8 and s4 throughout, and inputs of f16 or bf16 as they are, up to 256 "
                "channels; s8 or s4 scores with f16 or e4m3 weights and values (of e4m3 also accumulator=f16), and "
                "e4m3 throughout, up to 128");
  }
  if (spec::steps_of(problem).keeps && !(formats.qk == PackedFormat::s8 && formats.v == PackedFormat::s8)) {
    return given(r, {"keep_first", "keep_near", "keep_heavy", "values"}) +
           "; it supports kept keys beside scores and values of s8 or s4 alone";
  }
  if (problem.varlen()) {
    // Such sequences of a batch take kernels by mma.sync, which has no E4M3 there.
    const bool some_q16 = formats.v == PackedFormat::e4m3 && spec::takes_q16(problem, 1);
    return some_q16 ? given(r, {"smooth_q", "q_scale", "values"}) +
                          " of varlen sequences; it supports these with values=s8, s4 and f16"
                    : "";
  }
  if (!spec::takes_q16(problem, problem.q_rows)) return {};
  return text(problem.q_rows, " query rows of ", given(r, {"smooth_q", "q_scale"}), "; it supports ", spec::kQ16Rows,
              " or more");
}

}  // namespace

Status supports(const Implementation& implementation, const Problem& problem) {
  const auto refuse = [&](const std::string& what) {
    return unimplemented("implementation \"", implementation.name, "\" does not support ", what, " (recipe ",
                         to_string(problem.recipe), ")");
  };
  for (const auto& [name, dim] : {std::pair{"q and k", problem.head_dim}, {"v", problem.value_dim}}) {
    if (dim <= kMostChannels) continue;
    return refuse(text("head_dim ", dim, " of ", name, "; on CUDA 1 to ", kMostChannels, " are supported"));
  }
  constexpr std::int64_t kMostRows = std::int64_t{1} << 30;
  for (const auto& [name, rows] : {std::pair{"q", problem.q_rows}, {"k and v", problem.k_rows}}) {
    if (rows > kMostRows) return refuse(text(rows, " rows of ", name, "; it supports up to ", kMostRows));
  }
  if (problem.varlen() && (problem.mask_rows > 0 || problem.mask_keys > 0)) {
    return refuse(
        "a mask over the rows or keys of varlen sequences, whose lengths are on the device; pass the sequences as a "
        "batch with kv_lens");
  }
  std::string missing = implementation.wgmma ? missing_in_wgmma(problem) : "";
  if (missing.empty()) missing = missing_in_recipe(problem.recipe, implementation.wgmma);
  if (!missing.empty()) return refuse(missing);
  return check_grid(implementation.name, problem.batch, std::max(problem.q_heads, problem.kv_heads));
}

}  // namespace octavo::cuda
