// A Recipe says how Q, K, P and V are represented and how their products are accumulated. Presets carry the names of
// the schemes they implement; any other composition is written with the same fields. The arithmetic of every field is
// laid down in docs/the_algorithm.md.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/export.hpp"
#include "octavo/status.hpp"

namespace octavo {

/// Representation of an operand. `input` = as handed in (f32, f16 or bf16).
enum class Format : std::uint8_t { input, f16, s8, s4, e4m3, e5m2 };

/// Which elements share a scale (INT-FlashAttention section 3; SageAttention2 section 3.3):
/// none    no scale (codes are the rounded values)
/// tensor  one per batch and head
/// block   128 rows of Q, 64 of K (128 of both with FP8 codes); of V: one key block, all channels
/// warp    32 rows of Q, 64 of K
/// thread  SageAttention2's per-thread groups
/// token   one row
/// token_folded   one row of V, absorbed into P (the fold)
/// channel        V: one column over all tokens
/// block_channel  V: one column over one key block
enum class Granularity : std::uint8_t { none, tensor, block, warp, thread, token, token_folded, channel, block_channel };

/// How a weight p = 2^(T - maximum) is represented for the second product.
/// f32: unrounded; f16/bf16/e4m3/e5m2: rounded to that format; s8, u8: an integer code round(p_range * p);
/// u16: a code round(65535 * p) handled as two bytes; input: the inputs' own dtype.
enum class WeightFormat : std::uint8_t { input, f16, s8, u8, u16, e4m3, e5m2 };

/// Which maximum the codes of P are relative to: the running one of the row, or the key block's own.
enum class MaximumReference : std::uint8_t { running, block };

/// What the row sum l adds up: the f32 weights before they are rounded, or the codes.
enum class RowSum : std::uint8_t { weights, codes };

/// Accumulator of the second product. f32 is exact for integer codes. The tensor-core models exist in the reference
/// only and show what hardware accumulators do to FP8 values.
enum class Accumulator : std::uint8_t { f32, f16, sm89, sm90, sm100 };

struct Recipe {
  Format scores = Format::s8;  // representation of Q and K
  Granularity q_scale = Granularity::token;
  Granularity k_scale = Granularity::token;
  bool hadamard = true;   // rotate Q and K over their channels
  bool smooth_q = true;   // subtract each Q block's mean; the correction is added back to the score in f32
  bool smooth_k = true;   // subtract K's mean over the tokens; softmax does not change
  bool smooth_v = false;  // subtract V's mean over the tokens, added back to O
  WeightFormat p = WeightFormat::u8;
  std::int32_t p_range = 255;  // R of an integer P; the static factor of a float one (448, 256, 1)
  MaximumReference p_reference = MaximumReference::block;
  RowSum row_sum = RowSum::weights;
  Format values = Format::s8;
  Granularity v_scale = Granularity::token_folded;
  double v_range = 0;  // largest V code; 0 = that of the format (sage2pp: 2.25)
  bool hadamard_v = true;      // rotate V over its channels, O is rotated back
  bool channel_gains = false;  // even out V's channels before the fold
  std::int32_t key_block = 128;
  Accumulator accumulator = Accumulator::f32;
  bool two_level = true;  // tensor-core accumulator models: a fresh sum per key block, added to an f32 O

  friend bool operator==(const Recipe&, const Recipe&) = default;
};

/// A preset's name, its recipe and one line on what it is and where it comes from.
struct RecipeInfo {
  std::string_view name;
  Recipe recipe;
  std::string_view summary;
};

/// All presets, the default ("int8") first.
OCTAVO_API const std::vector<RecipeInfo>& recipes();

/// A recipe from its text: a preset's name, followed by any number of ",field=value" ("int8,smooth_q=off,key_block=64").
/// Errors: invalid_argument names the unknown preset, field or value and lists what is allowed.
OCTAVO_API Result<Recipe> parse_recipe(std::string_view text);

/// The preset's name if the recipe is one, else the nearest preset's name followed by the fields that differ; the
/// text parses back to the same recipe.
OCTAVO_API std::string to_string(const Recipe& recipe);

/// One field of a recipe as text ("key_block" -> "128", "smooth_q" -> "on"); for bindings and messages.
OCTAVO_API const std::vector<std::string_view>& recipe_fields();
OCTAVO_API Result<std::string> recipe_field(const Recipe& recipe, std::string_view field);
OCTAVO_API Status set_recipe_field(Recipe& recipe, std::string_view field, std::string_view value);

/// Whether the composition has a meaning: invalid_argument says which fields contradict each other and why.
OCTAVO_API Status check_recipe(const Recipe& recipe);

}  // namespace octavo
