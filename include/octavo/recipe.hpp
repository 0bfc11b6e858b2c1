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

/// Which elements of a head share a scale. Pictures and group numbers: docs/quantization.md. Sources: per token
/// INT-FlashAttention (arXiv 2409.16997, section 3), per thread SageAttention2 (arXiv 2411.10958, section 3.2).
/// none    no scale (codes are the rounded values)
/// tensor  one per batch and head
/// block   128 rows of Q, 64 of K (128 of both with FP8 codes); of V: one key block, all channels
/// warp    one slice: q_group rows of Q (32), k_group of K (64)
/// thread  SageAttention2's per-thread groups of such a slice: 8 of Q, 4 of K
/// token   one row
/// token_folded   one row of V, absorbed into P (the fold)
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
/// input: unrounded (in the inputs' dtype where an instruction wants 16 bits); f16, e4m3, e5m2: p_range * p rounded to
/// that format; s8, u8: an integer code round(p_range * p); u16: likewise, handled as two bytes.
enum class WeightFormat : std::uint8_t { input, f16, s8, u8, u16, e4m3, e5m2 };

/// Which maximum the codes of P are relative to: the running one of the row, or the key block's own (its error does
/// not grow with the number of keys).
enum class MaximumReference : std::uint8_t { running, block };

/// What the row sum l adds up: the f32 weights before they are rounded, or the codes.
enum class RowSum : std::uint8_t { weights, codes };

/// How products of floats are added up. f32: without error that counts (integer codes: exactly). f16, of the second
/// product only: exact sums of 32 keys (16 with f16 values), each added in f16, within a key block (SageAttention
/// section 4.4, SageAttention2++, arXiv 2505.21136, section 3). sm80, sm89, sm90, sm100: both products to the bit as
/// that generation's tensor cores add them (MMA-Sim, arXiv 2511.10909; docs/the_algorithm.md); in the reference only.
enum class Accumulator : std::uint8_t { f32, f16, sm89, sm90, sm100, sm80 };

/// Field by field; the defaults are the preset "int8". Any value can be written down, and check_recipe() says which
/// compositions have a meaning: parse_recipe() and every call that takes a recipe ask it.
struct Recipe {
  Format scores = Format::s8;  // representation of Q and K
  Granularity q_scale = Granularity::token;
  Granularity k_scale = Granularity::token;
  bool hadamard = true;   // rotate Q and K over their channels (FlashAttention-3, arXiv 2407.08608, section 3.3)
  bool smooth_q = true;   // subtract the mean of 128 rows; the score gets it back in f32 (SageAttention2 section 3.1)
  bool smooth_k = true;   // subtract K's mean over the tokens; softmax does not change (SageAttention section 4.2)
  bool smooth_v = false;  // subtract V's mean over the tokens, added back to O (SageAttention2 section 3.4)
  WeightFormat p = WeightFormat::u8;
  std::int32_t p_range = 255;  // R of an integer P, the static factor of a float one (a number of its format); from 1
  MaximumReference p_reference = MaximumReference::block;
  RowSum row_sum = RowSum::weights;
  Format values = Format::s8;
  Granularity v_scale = Granularity::token_folded;
  double v_range = 0;            // largest V code; 0 = that of the format (sage2pp: 2.25)
  bool hadamard_v = true;        // rotate V over its channels, O is rotated back
  bool channel_gains = false;    // divide V's channels by amax / (geometric mean of all amax) before the fold
  std::int32_t key_block = 128;  // keys of one step of the online softmax: a multiple of 16 in 16..4096
  Accumulator accumulator = Accumulator::f32;
  bool two_level = true;      // accumulators but f32: a fresh sum per key block joins an f32 O; off: O is the sum
  std::int32_t q_group = 32;  // rows of Q in a slice of per-warp and per-thread groups: 16, 32 or 64
  std::int32_t k_group = 64;  // keys in such a slice: 64 or 128 (SageAttention on Hopper: slices of 16 and 128)

  friend bool operator==(const Recipe&, const Recipe&) = default;
};

/// A preset's name, its recipe and one line on what it is and where it comes from.
struct RecipeInfo {
  std::string_view name;
  Recipe recipe;
  std::string_view summary;
};

/// All presets, the default ("int8") first. Lives as long as the process; throws std::bad_alloc if there is no memory
/// for it at its first call.
OCTAVO_API const std::vector<RecipeInfo>& recipes();

/// A recipe from its text: a preset's name, followed by ",field=value" of any fields, each once.
/// "int8,smooth_q=off,key_block=64" is one.
/// Errors: invalid_argument names the unknown preset, field or value and lists what is allowed.
OCTAVO_API Result<Recipe> parse_recipe(std::string_view text) noexcept;

/// The preset's name if the recipe is one, else the nearest preset's name followed by the fields that differ; the
/// text parses back to the same recipe. Throws std::bad_alloc without memory for it.
OCTAVO_API std::string to_string(const Recipe& recipe);

/// The fields' names, for bindings and messages. Lives and throws as recipes() does.
OCTAVO_API const std::vector<std::string_view>& recipe_fields();

/// One field of a recipe as text: "key_block" -> "128", "smooth_q" -> "on".
/// Errors: invalid_argument (unknown field; lists the names).
OCTAVO_API Result<std::string> recipe_field(const Recipe& recipe, std::string_view field) noexcept;

/// Sets one field from such text; what it makes of the whole is not looked at (check_recipe()).
/// Errors: invalid_argument (unknown field, or a value it cannot have; lists the names or values). The recipe then is
/// as it was.
OCTAVO_API Status set_recipe_field(Recipe& recipe, std::string_view field, std::string_view value) noexcept;

/// Whether the composition has a meaning: invalid_argument says which fields contradict each other and why.
OCTAVO_API Status check_recipe(const Recipe& recipe) noexcept;

}  // namespace octavo
