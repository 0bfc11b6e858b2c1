// Checks of codes, scales and means against docs/quantization.md.
#include "api/quantized_operand.hpp"

#include <algorithm>
#include <string>

#include "core/text.hpp"
#include "spec/scale_layout.hpp"

namespace octavo {
namespace {

// Groups in slices of Recipe::q_group or k_group rows.
bool is_sliced(Granularity granularity) noexcept {
  return granularity == Granularity::warp || granularity == Granularity::thread;
}

// The first field that the codes of `role` depend on and in which two recipes differ; empty when they agree.
std::string_view differing_field(const Recipe& a, const Recipe& b, Role role) noexcept {
  switch (role) {
    case Role::q:
      if (a.scores != b.scores) return "scores";
      if (a.q_scale != b.q_scale) return "q_scale";
      if (is_sliced(a.q_scale) && a.q_group != b.q_group) return "q_group";
      if (a.hadamard != b.hadamard) return "hadamard";
      if (a.smooth_q != b.smooth_q) return "smooth_q";
      return {};
    case Role::k:
      if (a.scores != b.scores) return "scores";
      if (a.k_scale != b.k_scale) return "k_scale";
      if (is_sliced(a.k_scale) && a.k_group != b.k_group) return "k_group";
      if (a.hadamard != b.hadamard) return "hadamard";
      if (a.smooth_k != b.smooth_k) return "smooth_k";
      return {};
    case Role::v:
      if (a.values != b.values) return "values";
      if (a.v_scale != b.v_scale) return "v_scale";
      if (a.v_range != b.v_range) return "v_range";
      if (a.hadamard_v != b.hadamard_v) return "hadamard_v";
      if (a.smooth_v != b.smooth_v) return "smooth_v";
      if (a.channel_gains != b.channel_gains) return "channel_gains";
      // Only where key blocks are the groups of the scales do the codes know about them.
      if ((a.v_scale == Granularity::block || a.v_scale == Granularity::block_channel) && a.key_block != b.key_block) {
        return "key_block";
      }
      return {};
  }
  return {};
}

std::string field_text(const Recipe& recipe, std::string_view field) {
  const Result<std::string> value = recipe_field(recipe, field);
  return text(field, "=", value.ok() ? std::string_view(*value) : std::string_view("?"));
}

// The call's sequences fit varlen codes and equal those that the codes were made with.
Status check_varlen(std::string_view name, const QuantizedView& view, const CuSeqlens& sequences, const Axes& axes,
                    Pointers pointers, QuantizedRanges& ranges) {
  if (!sequences.varlen()) return {};
  if (Status status = check_cu_seqlens(sequences, axes.rows, name); !status.ok()) return status;
  if (!view.cu_seqlens.given()) return {};
  CuSeqlens own;
  const std::string own_name = text(name, ".cu_seqlens");
  if (Status status = read_cu_seqlens(own_name, view.cu_seqlens, sequences.batch,
                                      text("[batch + 1] like ", sequences.name), pointers, ranges.cu_seqlens, own);
      !status.ok()) {
    return status;
  }
  if (!own.readable || !sequences.readable) return {};
  for (std::int64_t b = 0; b <= sequences.batch; ++b) {
    if (own.at[b] != sequences.at[b]) {
      return invalid_argument(own_name, " has ", own.at[b], " at entry ", b, " and ", sequences.name, " has ",
                              sequences.at[b], "; they must be equal");
    }
  }
  return {};
}

// An f32 array beside the codes: shape, dtype, density.
Status check_scales(const Name& name, const TensorView& view, const ScaleShape& expected, Pointers pointers,
                    ByteRange& range) {
  if (Status status = check_view(name, view, pointers, &range); !status.ok()) return status;
  if (view.dtype != DType::f32) return invalid_argument(name, " is ", to_string(view.dtype), "; it must be f32");
  std::array<std::int64_t, 4> needed = expected.shape;
  if (expected.least > 0 && view.rank == expected.rank) {
    needed[1] = std::clamp(view.shape[1], expected.least, expected.shape[1]);
  }
  if (!has_shape(view, needed, expected.rank)) {
    return invalid_argument(name, " has shape ", shape_string(view), "; these codes and this recipe need ",
                            shape_text(expected.shape, expected.rank),
                            expected.least > 0 ? text(", or as few as ", expected.least, " along axis 1") : "");
  }
  if (!is_dense(view)) return invalid_argument(name, " must be dense in row-major order");
  return {};
}

}  // namespace

std::optional<DType> code_dtype(const Recipe& recipe, Role role) noexcept {
  switch (spec::format_of(recipe, role)) {
    case Format::s8:
      return DType::s8;
    case Format::s4:
      return DType::s4;
    case Format::e4m3:
      return DType::e4m3;
    case Format::e5m2:
      return DType::e5m2;
    default:
      return std::nullopt;
  }
}

Status check_quantizable(const Recipe& recipe, Role role) {
  if (!code_dtype(recipe, role)) {
    return unimplemented("recipe \"", to_string(recipe), "\" keeps ", to_string(role),
                         " in floats; there are no codes to make or take");
  }
  if (role == Role::v && recipe.channel_gains) {
    return unimplemented("recipe \"", to_string(recipe),
                         "\" scales v's channels by gains, which codes and scales do not carry; pass v as "
                         "floats, or set channel_gains=off");
  }
  return {};
}

namespace {

ScaleShape scales_shape(const Recipe& recipe, Role role, const Axes& axes, const CuSeqlens& sequences) noexcept {
  const spec::Groups groups = spec::groups_of(role, recipe);
  const std::int64_t batch = sequences.varlen() ? sequences.batch : axes.batch;
  switch (groups.granularity) {
    case Granularity::none:
      return {};
    case Granularity::tensor:
      return {{batch, axes.heads}, 2};
    case Granularity::channel:
      return {{batch, axes.heads, axes.dim}, 3};
    default:
      break;
  }
  const bool by_channel = spec::per_channel(groups.granularity);
  if (sequences.varlen()) {
    const bool known = sequences.readable;
    const std::int64_t most =
        known ? sum_over_sequences(sequences, [&](std::int64_t rows) { return spec::row_groups(groups, rows); })
              : spec::most_row_groups(groups, axes.rows, batch);
    const std::int64_t least = known ? 0 : spec::row_groups(groups, axes.rows);
    return by_channel ? ScaleShape{{axes.heads, most, axes.dim}, 3, least} : ScaleShape{{axes.heads, most}, 2, least};
  }
  const std::int64_t row_groups = spec::row_groups(groups, axes.rows);
  return by_channel ? ScaleShape{{batch, axes.heads, row_groups, axes.dim}, 4}
                    : ScaleShape{{batch, axes.heads, row_groups}, 3};
}

ScaleShape mean_shape(const Recipe& recipe, Role role, const Axes& axes, const CuSeqlens& sequences) noexcept {
  if (!spec::is_smoothed(recipe, role)) return {};
  if (role != Role::q) return {{sequences.varlen() ? sequences.batch : axes.batch, axes.heads, axes.dim}, 3};
  const auto blocks = [](std::int64_t rows) {
    return spec::query_blocks(rows);
  };  // always inline: not through a pointer
  if (sequences.varlen() && !sequences.readable) {
    return {{axes.heads, spec::most_query_blocks(axes.rows, sequences.batch), axes.dim}, 3, blocks(axes.rows)};
  }
  if (sequences.varlen()) return {{axes.heads, sum_over_sequences(sequences, blocks), axes.dim}, 3};
  return {{axes.batch, axes.heads, spec::query_blocks(axes.rows), axes.dim}, 4};
}

ScaleStrides strides_of(const ScaleShape& side, bool heads_lead) noexcept {
  if (side.rank == 0) return {};
  const std::int64_t heads = side.shape[heads_lead ? 0 : 1];
  std::int64_t per_head = 1;
  for (std::size_t axis = heads_lead ? 1 : 2; axis < static_cast<std::size_t>(side.rank); ++axis) {
    per_head *= side.shape[axis];
  }
  return {per_head, heads_lead ? 0 : heads * per_head};
}

// From the shapes.
void set_strides(const Recipe& recipe, Role role, const CuSeqlens& sequences, ScaleLayout& layout) noexcept {
  const bool by_rows = spec::grows_with_rows(spec::granularity_of(recipe, role));
  layout.of_scales = strides_of(layout.scales, sequences.varlen() && by_rows);
  layout.of_mean = strides_of(layout.mean, sequences.varlen() && role == Role::q);
}

}  // namespace

ScaleLayout scale_layout(const Recipe& recipe, Role role, const Axes& axes, const CuSeqlens& sequences) noexcept {
  ScaleLayout layout;
  layout.scales = scales_shape(recipe, role, axes, sequences);
  layout.mean = mean_shape(recipe, role, axes, sequences);
  set_strides(recipe, role, sequences, layout);
  return layout;
}

Status check_quantized(std::string_view name, const QuantizedView& view, Role role, const Recipe& of_call,
                       const CuSeqlens& sequences, Pointers pointers, Operand& operand, QuantizedRanges& ranges) {
  const Recipe recipe = spec::recipe_of_codes(of_call);  // messages name the caller's
  if (view.role != role) {
    return invalid_argument(name, " has codes of ", to_string(view.role), "; it must have codes of ", to_string(role));
  }
  if (Status status = check_quantizable(of_call, role); !status.ok()) return status;
  if (const std::string_view field = differing_field(spec::recipe_of_codes(view.recipe), recipe, role);
      !field.empty()) {
    return invalid_argument(name, " was made with ", field_text(view.recipe, field), "; the call's recipe \"",
                            to_string(of_call), "\" has ", field_text(recipe, field));
  }
  if (view.rotated != spec::is_rotated(recipe, role)) {
    return invalid_argument(name, " is ", view.rotated ? "rotated" : "not rotated", "; the recipe has ",
                            field_text(recipe, role == Role::v ? "hadamard_v" : "hadamard"));
  }

  const Name codes_name{name, ".codes"};
  const TensorView& codes = view.codes;
  if (Status status = check_view(codes_name, codes, pointers, &ranges.codes); !status.ok()) return status;
  if (view.cu_seqlens.given() && !sequences.varlen()) {
    return invalid_argument(name, ".cu_seqlens is given and the call's is not; codes of varlen sequences need both");
  }
  const DType dtype = *code_dtype(recipe, role);
  if (codes.dtype != dtype) {
    return invalid_argument(codes_name, " is ", to_string(codes.dtype), "; recipe \"", to_string(of_call), "\" needs ",
                            to_string(dtype));
  }
  Axes axes;
  if (Status status = check_operand_shape(codes_name, codes, view.layout, sequences.varlen(), axes); !status.ok()) {
    return status;
  }
  operand = operand_of(codes, view.layout);
  if (dtype == DType::s4) {
    // A row must begin on a byte, and the two nibbles of a byte are neighbours.
    const bool odd = (axes.batch > 1 && operand.strides[0] % 2 != 0) ||
                     (axes.heads > 1 && operand.strides[1] % 2 != 0) || (axes.rows > 1 && operand.strides[2] % 2 != 0);
    if (odd || (axes.dim > 1 && operand.strides[3] != 1)) {
      return invalid_argument(codes_name, " is s4: head_dim must have stride 1 and every other axis an even stride");
    }
  }

  if (Status status = check_varlen(name, view, sequences, axes, pointers, ranges); !status.ok()) return status;
  ScaleLayout sides = scale_layout(recipe, role, axes, sequences);
  const ScaleShape &scales = sides.scales, &mean = sides.mean;
  if (scales.rank == 0) {
    if (view.scales.given()) {
      return invalid_argument(name, ".scales has shape ", shape_string(view.scales), "; recipe \"", to_string(of_call),
                              "\" has no scales for ", to_string(role));
    }
  } else if (Status status = check_scales(Name{name, ".scales"}, view.scales, scales, pointers, ranges.scales);
             !status.ok()) {
    return status;
  }
  if (view.mean.given()) {
    if (mean.rank == 0) {
      return invalid_argument(name, ".mean has shape ", shape_string(view.mean), "; recipe \"", to_string(of_call),
                              "\" subtracts nothing from ", to_string(role));
    }
    if (Status status = check_scales(Name{name, ".mean"}, view.mean, mean, pointers, ranges.mean); !status.ok()) {
      return status;
    }
  } else if (mean.rank != 0 && role != Role::k) {  // K: any fixed vector serves, zero too
    return invalid_argument(name, ".mean is missing; recipe \"", to_string(of_call), "\" smooths ", to_string(role),
                            " and needs ", shape_text(mean.shape, mean.rank));
  }

  operand.quantized = true;
  operand.rotated = view.rotated;
  operand.scales = static_cast<const float*>(data_or_placeholder(view.scales));
  if (scales.least > 0) sides.scales.shape[1] = view.scales.shape[1];
  if (mean.least > 0 && view.mean.given()) sides.mean.shape[1] = view.mean.shape[1];
  set_strides(recipe, role, sequences, sides);
  operand.scales_per_head = sides.of_scales.head;
  operand.scales_per_sequence = sides.of_scales.sequence;
  operand.mean = static_cast<const float*>(data_or_placeholder(view.mean));
  operand.means_per_head = sides.of_mean.head;
  operand.means_per_sequence = sides.of_mean.sequence;
  return {};
}

}  // namespace octavo
