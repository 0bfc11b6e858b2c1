// A Recipe says how Q, K, P and V are represented and how their products are accumulated. Presets are named after
// the schemes they implement; other recipes are composed of the same fields. docs/the_algorithm.md defines the
// arithmetic.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/export.hpp"
#include "octavo/status.hpp"

namespace octavo {

/// Representation of an operand. `input` = as passed in (f32, f16 or bf16).
enum class Format : std::uint8_t { input, f16, s8, s4, e4m3, e5m2 };

/// Which elements of a head share a scale. Pictures and group numbers: docs/quantization.md. Sources: per token
/// INT-FlashAttention (arXiv 2409.16997, section 3), per thread SageAttention2 (arXiv 2411.10958, section 3.2).
/// none    no scale (codes are the rounded values)
/// tensor  one per batch and head
/// block   128 rows of Q, 64 of K (128 of both with FP8 codes); of V: one key block, all channels
/// warp    one slice: q_group rows of Q (32), k_group of K (64)
/// thread  SageAttention2's per-thread groups of such a slice: 8 of Q, 4 of K
/// token   one row
/// token_folded   one row of V, moved into P (the fold)
/// channel        V: one column over all tokens
/// block_channel  V: one column over one key block
enum class Granularity : std::uint8_t {
  none,
  tensor,
  block,
  warp,
  thread,
  token,
  token_folded,
  channel,
  block_channel
};

/// How a weight p = 2^(T - maximum) is represented for the second product.
/// input: unrounded (in the inputs' dtype for 16-bit instructions); f16, e4m3, e5m2: p_range * p rounded to
/// that format; s8, u8: an integer code round(p_range * p); u16: the same, as two bytes.
enum class WeightFormat : std::uint8_t { input, f16, s8, u8, u16, e4m3, e5m2 };

/// The maximum that the codes of P are relative to: the running maximum of the row, or the key block's own (the error
/// then does not grow with the number of keys).
enum class MaximumReference : std::uint8_t { running, block };

/// Terms of the row sum l: the f32 weights before rounding, or the codes.
enum class RowSum : std::uint8_t { weights, codes };

/// How products of floats are summed. f32: with negligible error (integer codes: exactly). f16, of the second
/// product only: exact sums of 32 keys (16 with f16 values), each added in f16, within a key block (SageAttention
/// section 4.4, SageAttention2++, arXiv 2505.21136, section 3). sm80, sm89, sm90, sm100: both products to the bit as
/// that generation's tensor cores add them (MMA-Sim, arXiv 2511.10909; docs/the_algorithm.md); in the reference only.
enum class Accumulator : std::uint8_t { f32, f16, sm89, sm90, sm100, sm80 };

/// The defaults are the preset "int8". Fields can be set to any value; check_recipe() reports invalid combinations.
/// parse_recipe() and every call with a recipe use it.
struct Recipe {
  Format scores = Format::s8;  // representation of Q and K
  Granularity q_scale = Granularity::token;
  Granularity k_scale = Granularity::token;
  bool hadamard = true;  // rotate Q and K over their channels (FlashAttention-3, arXiv 2407.08608, section 3.3)
  bool smooth_q = true;  // subtract the mean of 128 rows, added back to the score in f32 (SageAttention2 section 3.1)
  bool smooth_k = true;  // subtract K's mean over the tokens; softmax does not change (SageAttention section 4.2)
  bool smooth_v = true;  // subtract V's mean over the tokens, added back to O (SageAttention2 section 3.4); with the
                         // fold the mean is weighted by 1 / |v|^2
  WeightFormat p = WeightFormat::u8;
  std::int32_t p_range = 255;  // R of an integer P, static factor of a float P (a number of its format); from 1
  MaximumReference p_reference = MaximumReference::block;
  RowSum row_sum = RowSum::weights;
  Format values = Format::s8;
  Granularity v_scale = Granularity::token_folded;
  double v_range = 0;            // largest V code; 0 = that of the format (sage2pp: 2.25)
  bool hadamard_v = true;        // rotate V over its channels, O is rotated back
  bool channel_gains = false;    // divide V's channels by amax / (geometric mean of all amax) before the fold
  std::int32_t key_block = 128;  // keys of one step of the online softmax: a multiple of 16 in 16..4096
  Accumulator accumulator = Accumulator::f32;
  bool two_level = true;         // accumulators except f32: one sum per key block, added to an f32 O; off: O is the sum
  std::int32_t q_group = 32;     // rows of Q in a slice of per-warp and per-thread groups: 16, 32 or 64
  std::int32_t k_group = 64;     // keys in such a slice: 64 or 128 (SageAttention on Hopper: slices of 16 and 128)
  bool qk_gains = true;          // balance the channels of Q and K before the rotation: K times a gain, Q divided by it
  bool robust = true;            // leave keys that no row sees, and rows 8 to 16 times larger than most, out of means
  std::int32_t keep_first = 1;   // keys computed exactly, beside the quantized product: the first ones, 0..16
  std::int32_t keep_near = 2;    // strips of 16 keys around a row's own position, 0..4: 1 is its own strip
  std::int32_t keep_heavy = 16;  // keys with the largest expected weight in a query block, 0..32 (needs smooth_q)

  friend bool operator==(const Recipe&, const Recipe&) = default;
};

/// A preset's name, its recipe, and a one-line description with its source.
struct RecipeInfo {
  std::string_view name;
  Recipe recipe;
  std::string_view summary;
};

/// All presets, the default ("int8") first. Valid for the life of the process; throws std::bad_alloc if the first call
/// has no memory.
OCTAVO_API const std::vector<RecipeInfo>& recipes();

/// Parses a recipe: a preset's name, followed by ",field=value" for any fields, each at most once, for example
/// "int8,smooth_q=off,key_block=64".
/// Errors: invalid_argument names the unknown preset, field or value and lists what is allowed.
OCTAVO_API Result<Recipe> parse_recipe(std::string_view text) noexcept;

/// The preset's name if the recipe is one, else the nearest preset's name followed by the fields that differ; the
/// text parses back to the same recipe. Throws std::bad_alloc.
OCTAVO_API std::string to_string(const Recipe& recipe);

/// Names of the fields, for bindings and messages. Lifetime and exceptions as recipes().
OCTAVO_API const std::vector<std::string_view>& recipe_fields();

/// One field of a recipe as text: "key_block" -> "128", "smooth_q" -> "on".
/// Errors: invalid_argument (unknown field; lists the names).
OCTAVO_API Result<std::string> recipe_field(const Recipe& recipe, std::string_view field) noexcept;

/// Sets one field from such text, without checking the combination (check_recipe()).
/// Errors: invalid_argument (unknown field or invalid value; lists the names or values). The recipe is then
/// unchanged.
OCTAVO_API Status set_recipe_field(Recipe& recipe, std::string_view field, std::string_view value) noexcept;

/// Checks the combination of fields: invalid_argument names the fields that contradict each other, and why.
OCTAVO_API Status check_recipe(const Recipe& recipe) noexcept;

}  // namespace octavo
