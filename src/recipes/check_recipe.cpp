// Which combinations of fields are valid; the message of an invalid one gives the reason.
#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <tuple>

#include "core/float_types.hpp"
#include "core/guard.hpp"
#include "core/text.hpp"
#include "octavo/recipe.hpp"
#include "recipes/recipe_fields.hpp"
#include "spec/format.hpp"
#include "spec/kept_keys.hpp"

namespace octavo {
namespace {

template <class... Parts>
Status refuse(const Parts&... parts) {
  return invalid_argument("recipe: ", parts...);
}

// "k_scale=channel", for messages.
std::string said(const Recipe& recipe, std::string_view field) {
  return text(field, "=", grammar::find_field(field)->get(recipe));
}

using spec::is_float8;
using spec::is_integer;
bool unscaled(Format format) { return format == Format::input || format == Format::f16; }

int largest_weight(WeightFormat format) {
  switch (format) {
    case WeightFormat::s8:
      return 127;
    case WeightFormat::u8:
      return 255;
    case WeightFormat::u16:
      return 65535;
    case WeightFormat::e4m3:
      return 448;
    case WeightFormat::e5m2:
      return 57344;
    case WeightFormat::f16:
      return 32768;
    case WeightFormat::input:
      return 1;
  }
  return 0;
}

// What a float P makes of a number.
float rounded_weight(WeightFormat format, float x) {
  switch (format) {
    case WeightFormat::f16:
      return f16_to_f32(f32_to_f16(x));
    case WeightFormat::e4m3:
      return e4m3_to_f32(f32_to_e4m3(x));
    case WeightFormat::e5m2:
      return e5m2_to_f32(f32_to_e5m2(x));
    default:
      return x;
  }
}

Status check_words(const Recipe& recipe) {
  Recipe copy;
  for (const grammar::Field& field : grammar::fields()) {
    const std::string value = field.get(recipe);
    if (!field.set(copy, value)) {
      return refuse(said(recipe, field.name), " is no value of this field; allowed: ", field.allowed());
    }
  }
  return {};
}

Status check_scores(const Recipe& recipe) {
  for (const auto& [field, granularity] : {std::pair{"q_scale", recipe.q_scale}, {"k_scale", recipe.k_scale}}) {
    if (granularity == Granularity::token_folded || granularity == Granularity::channel ||
        granularity == Granularity::block_channel) {
      return refuse(said(recipe, field),
                    " is for V only: a score sums over channels, so a scale must be constant along a row; allowed: "
                    "none, tensor, block, warp, thread, token");
    }
    if (unscaled(recipe.scores) && granularity != Granularity::none) {
      return refuse(said(recipe, field), " contradicts ", said(recipe, "scores"), ", which has no scale; use none");
    }
    if (is_integer(recipe.scores) && granularity == Granularity::none) {
      return refuse(said(recipe, field), " contradicts ", said(recipe, "scores"),
                    ": integer codes need a scale; allowed: tensor, block, warp, thread, token");
    }
  }
  return {};
}

// Slices of rows that groups per warp and per thread are cut from.
Status check_groups(const Recipe& recipe) {
  const auto check = [&](std::string_view scale_field, Granularity scale, std::string_view field, std::int32_t rows,
                         std::int32_t usual, std::initializer_list<std::int32_t> allowed) -> Status {
    if (std::find(allowed.begin(), allowed.end(), rows) == allowed.end()) {
      return refuse(said(recipe, field),
                    " is no slice of per-warp and per-thread groups; allowed: ", grammar::find_field(field)->allowed());
    }
    if (rows != usual && scale != Granularity::warp && scale != Granularity::thread) {
      return refuse(said(recipe, field), " has no meaning with ", said(recipe, scale_field),
                    ", which has no slices; use ", field, "=", usual, ", or ", scale_field, "=warp or thread");
    }
    return {};
  };
  const Recipe usual;
  Status status = check("q_scale", recipe.q_scale, "q_group", recipe.q_group, usual.q_group, {16, 32, 64});
  return status.ok() ? check("k_scale", recipe.k_scale, "k_group", recipe.k_group, usual.k_group, {64, 128}) : status;
}

Status check_weights(const Recipe& recipe) {
  const int largest = largest_weight(recipe.p);
  if (recipe.p_range < 1 || recipe.p_range > largest) {
    return refuse(said(recipe, "p_range"), " is outside 1..", largest, ", which ", said(recipe, "p"), " can hold");
  }
  // The largest weight is R: it must be one of the format's numbers, or no code stands for a weight of 1.
  if (rounded_weight(recipe.p, static_cast<float>(recipe.p_range)) != static_cast<float>(recipe.p_range)) {
    return refuse(said(recipe, "p_range"), " is no number of ", said(recipe, "p"),
                  ": a weight of 1 would be rounded; next to it lie ",
                  rounded_weight(recipe.p, static_cast<float>(recipe.p_range)), " and powers of two");
  }
  if (recipe.row_sum == RowSum::codes && recipe.v_scale == Granularity::token_folded) {
    return refuse("row_sum=codes contradicts v_scale=token_folded: folded codes hold p times the scale of V");
  }
  if (recipe.key_block < 16 || recipe.key_block > 4096 || recipe.key_block % 16 != 0) {
    return refuse(said(recipe, "key_block"), " cannot be; allowed: ", grammar::find_field("key_block")->allowed());
  }
  return {};
}

Status check_values(const Recipe& recipe) {
  if (recipe.v_scale == Granularity::warp || recipe.v_scale == Granularity::thread) {
    return refuse(said(recipe, "v_scale"),
                  " is for Q and K; allowed: none, tensor, block, token, token_folded, channel, block_channel");
  }
  if (unscaled(recipe.values) && recipe.v_scale != Granularity::none) {
    return refuse(said(recipe, "v_scale"), " contradicts ", said(recipe, "values"), ", which has no scale; use none");
  }
  if (is_integer(recipe.values) && recipe.v_scale == Granularity::none) {
    return refuse("v_scale=none contradicts ", said(recipe, "values"), ": integer codes need a scale");
  }
  if (recipe.v_range != 0) {
    const double largest = spec::range_of(recipe.values);
    if (recipe.v_scale == Granularity::none) {
      return refuse(said(recipe, "v_range"), " needs a scale of V; with v_scale=none it must be 0");
    }
    if (!(recipe.v_range >= 1 && recipe.v_range <= largest) ||
        (is_integer(recipe.values) && recipe.v_range != std::floor(recipe.v_range))) {
      return refuse(said(recipe, "v_range"), " must be 0 or ",
                    (is_integer(recipe.values) ? "a whole number in 1.." : "in 1.."), largest, " with ",
                    said(recipe, "values"));
    }
  }
  if (recipe.channel_gains && recipe.v_scale != Granularity::token_folded) {
    return refuse("channel_gains=on needs v_scale=token_folded; ", said(recipe, "v_scale"),
                  " has other means against uneven channels");
  }
  return {};
}

// Kept keys and the statistics around them.
Status check_kept_keys(const Recipe& recipe) {
  for (const auto& [field, value, most] : {std::tuple{"keep_first", recipe.keep_first, spec::kMostKeptFirst},
                                           {"keep_near", recipe.keep_near, spec::kMostKeptNear},
                                           {"keep_heavy", recipe.keep_heavy, spec::kMostKeptHeavy}}) {
    if (value < 0 || value > most) {
      return refuse(said(recipe, field), " is not possible; allowed: ", grammar::find_field(field)->allowed());
    }
  }
  return {};
}

Status check_f16_accumulator(const Recipe& recipe) {
  if (is_integer(recipe.values)) {
    return refuse("accumulator=f16 contradicts ", said(recipe, "values"),
                  ": integer products are summed exactly; use f32");
  }
  if (!recipe.two_level) return {};
  const double range = recipe.v_range != 0            ? recipe.v_range
                       : recipe.values == Format::f16 ? 512
                                                      : static_cast<double>(spec::range_of(recipe.values));
  if (recipe.values == Format::input || recipe.key_block * recipe.p_range * range > 65504) {
    return refuse("accumulator=f16 can overflow: key_block * p_range * (largest V code) must not exceed 65504; have ",
                  said(recipe, "key_block"), ", ", said(recipe, "p_range"), ", ", said(recipe, "values"), ", ",
                  said(recipe, "v_range"));
  }
  return {};
}

// What an instruction multiplies has 8 or 16 bits on both sides: nothing may be multiplied into an operand after it was
// rounded, and nothing that is not of its format may stand in for it.
Status check_tensor_core(const Recipe& recipe) {
  const std::string accumulator = said(recipe, "accumulator");
  const bool integer_values = is_integer(recipe.values) && is_integer(recipe.p);
  if (is_integer(recipe.scores) && integer_values) {
    return refuse(accumulator, " is a model of sums of floats; with ", said(recipe, "scores"), ", ", said(recipe, "p"),
                  " and ", said(recipe, "values"), " every product is an integer's, exact: use f32");
  }
  if (recipe.accumulator == Accumulator::sm80 &&
      (is_float8(recipe.scores) || is_float8(recipe.values) || is_float8(recipe.p))) {
    return refuse("accumulator=sm80 has no products of 8-bit floats; have ", said(recipe, "scores"), ", ",
                  said(recipe, "p"), ", ", said(recipe, "values"), "; use sm89, sm90 or sm100");
  }
  const bool changed_scores = recipe.hadamard || recipe.smooth_q || recipe.smooth_k;
  if (recipe.scores == Format::input && changed_scores) {
    return refuse(accumulator, " multiplies the inputs as they are: with scores=input neither hadamard nor smooth_q ",
                  "nor smooth_k may be on; use scores=f16");
  }
  if (integer_values) return {};
  const bool same_kind = (is_float8(recipe.p) && is_float8(recipe.values)) ||
                         (recipe.p == WeightFormat::f16 && recipe.values == Format::f16) ||
                         (recipe.p == WeightFormat::input && recipe.values == Format::input);
  if (!same_kind) {
    return refuse(accumulator, ": no instruction multiplies ", said(recipe, "p"), " by ", said(recipe, "values"),
                  "; allowed: both of e4m3 or e5m2, both f16, both input, both integers");
  }
  if (recipe.v_scale == Granularity::token) {
    return refuse(accumulator, " contradicts v_scale=token: a token's scale cannot be multiplied into operands that ",
                  "are rounded already; use token_folded");
  }
  if (recipe.values == Format::input && (recipe.hadamard_v || recipe.smooth_v)) {
    return refuse(accumulator, " multiplies the inputs as they are: with values=input neither hadamard_v nor ",
                  "smooth_v may be on; use values=f16");
  }
  if (!recipe.two_level && recipe.p_reference == MaximumReference::block) {
    return refuse("two_level=off contradicts p_reference=block: one accumulator for all key blocks needs weights ",
                  "relative to one maximum, the running one");
  }
  return {};
}

Status check_accumulator(const Recipe& recipe) {
  if (recipe.accumulator == Accumulator::f32) return {};
  return recipe.accumulator == Accumulator::f16 ? check_f16_accumulator(recipe) : check_tensor_core(recipe);
}

}  // namespace

Status check_recipe(const Recipe& recipe) noexcept {
  return guarded([&]() -> Status {
    for (auto* check :
         {check_words, check_scores, check_groups, check_weights, check_values, check_kept_keys, check_accumulator}) {
      Status status = check(recipe);
      if (!status.ok()) return status;
    }
    return {};
  });
}

}  // namespace octavo
