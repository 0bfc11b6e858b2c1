#include "api/check_masks.hpp"

#include "core/text.hpp"

namespace octavo {
namespace {

bool is_float(DType dtype) {
  return dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16 || dtype == DType::f64;
}

}  // namespace

Status check_mask(const TensorView& mask, const MaskExtents& extents, Pointers pointers, std::int64_t* const* own,
                  Broadcast& to, ByteRanges& ranges) {
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
  Broadcast broadcast{data_or_placeholder(mask), mask.dtype, {}};
  for (int axis = 0; axis < mask.rank; ++axis) {
    const auto from = static_cast<std::size_t>(axis), at = static_cast<std::size_t>(axis + 4 - mask.rank);
    if (mask.shape[from] == 1) continue;  // broadcast: stride 0
    if (at >= 2 && own != nullptr) {
      *own[at - 2] = mask.shape[from];
    } else if (mask.shape[from] != extents.shape[at]) {
      return invalid_argument("mask has shape ", shape_string(mask), "; it must broadcast from the right to ",
                              shape_text(extents.shape, 4), extents.axes);
    }
    broadcast.strides[static_cast<std::int64_t>(at)] = mask.strides[from];
  }
  to = broadcast;
  ranges.reads({"mask"}, touched);
  return {};
}

Status check_alibi(Alibi alibi) {
  if (alibi == Alibi::causal || alibi == Alibi::symmetric) return {};
  return invalid_argument("alibi is the unknown value ", static_cast<int>(alibi), "; allowed are causal and symmetric");
}

Status check_alibi_slopes(const TensorView& slopes, Alibi alibi, std::int64_t batch, std::int64_t heads,
                          Pointers pointers, Broadcast& to, ByteRanges& ranges) {
  if (!slopes.given()) {
    if (alibi == Alibi::causal) return {};
    return invalid_argument("alibi is symmetric and alibi_slopes are missing");
  }
  ByteRange touched;
  if (Status status = check_view({"alibi_slopes"}, slopes, pointers, &touched); !status.ok()) return status;
  if (!is_float(slopes.dtype)) {
    return invalid_argument("alibi_slopes is ", to_string(slopes.dtype), "; allowed are f32, f16, bf16 and f64");
  }
  if (has_shape(slopes, {heads}, 1)) {
    to = {data_or_placeholder(slopes), slopes.dtype, {0, slopes.strides[0], 0, 0}};
  } else if (has_shape(slopes, {batch, heads}, 2)) {
    to = {data_or_placeholder(slopes), slopes.dtype, {slopes.strides[0], slopes.strides[1], 0, 0}};
  } else {
    return invalid_argument("alibi_slopes has shape ", shape_string(slopes), "; allowed are [", heads, "] and [", batch,
                            ", ", heads, "] (heads of q)");
  }
  ranges.reads({"alibi_slopes"}, touched);
  return {};
}

Status check_sinks(const TensorView& sinks, std::int64_t heads, Pointers pointers, Broadcast& to, ByteRanges& ranges) {
  if (!sinks.given()) return {};
  ByteRange touched;
  if (Status status = check_view({"sinks"}, sinks, pointers, &touched); !status.ok()) return status;
  if (!is_float(sinks.dtype)) {
    return invalid_argument("sinks is ", to_string(sinks.dtype), "; allowed are f32, f16, bf16 and f64");
  }
  if (!has_shape(sinks, {heads}, 1)) {
    return invalid_argument("sinks has shape ", shape_string(sinks), "; it must be [", heads, "] (heads of q)");
  }
  to = {data_or_placeholder(sinks), sinks.dtype, {0, sinks.strides[0], 0, 0}};
  ranges.reads({"sinks"}, touched);
  return {};
}

}  // namespace octavo
