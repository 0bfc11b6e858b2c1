// The arithmetic of extents and strides, which must not overflow whatever the view holds.
#include "api/tensor_checks.hpp"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "core/text.hpp"

namespace octavo {
namespace {

// Elements of one tensor, axes with no element counted as 1. Far beyond any memory, and small enough that scratch sizes
// computed from the extents cannot overflow (broadcast inputs have large extents without memory behind them).
constexpr std::int64_t kMostElements = std::int64_t{1} << 52;

constexpr std::size_t axis_index(int axis) { return static_cast<std::size_t>(axis); }

// Lowest and highest element offset; false on overflow. `view` has elements.
bool element_range(const TensorView& view, std::int64_t& lowest, std::int64_t& highest) noexcept {
  lowest = highest = 0;
  for (int axis = 0; axis < view.rank; ++axis) {
    std::int64_t reach = 0;
    if (__builtin_mul_overflow(view.shape[axis_index(axis)] - 1, view.strides[axis_index(axis)], &reach)) return false;
    std::int64_t& end = reach < 0 ? lowest : highest;
    if (__builtin_add_overflow(end, reach, &end)) return false;
  }
  return true;
}

}  // namespace

Status check_view(const Name& name, const TensorView& view, Pointers pointers, ByteRange* range) {
  if (view.rank < 0 || view.rank > 4) return invalid_argument(name, " has rank ", view.rank, "; allowed are 0 to 4");
  const int bits = bits_of(view.dtype);
  if (bits == 0) {
    return invalid_argument(name, " has the unknown dtype ", static_cast<int>(view.dtype));
  }
  std::int64_t elements = 1;
  bool empty = false;
  for (int axis = 0; axis < view.rank; ++axis) {
    const std::int64_t extent = view.shape[axis_index(axis)];
    if (extent < 0) {
      return invalid_argument(name, " has shape ", shape_string(view), "; extents must not be negative");
    }
    empty = empty || extent == 0;
    if (__builtin_mul_overflow(elements, std::max<std::int64_t>(extent, 1), &elements) || elements > kMostElements) {
      return invalid_argument(name, " has shape ", shape_string(view), "; at most 2^52 elements are allowed");
    }
  }
  if (range != nullptr) *range = {};
  if (empty) return {};

  std::int64_t lowest = 0, highest = 0;
  bool fits = element_range(view, lowest, highest);
  __int128 first = static_cast<__int128>(lowest) * bits, last = static_cast<__int128>(highest) * bits + bits;
  first = (first - (first < 0 ? 7 : 0)) / 8;  // floor
  last = (last + 7) / 8;                      // ceiling; last > 0
  const auto address = static_cast<__int128>(reinterpret_cast<std::uintptr_t>(view.data));
  constexpr __int128 kEnd = std::numeric_limits<std::int64_t>::max();
  fits = fits && last - first <= kEnd;
  if (fits && view.data != nullptr) fits = address + first >= 0 && address + last <= kEnd;
  if (!fits) {
    std::string strides;
    for (int axis = 0; axis < view.rank; ++axis) {
      strides += text(axis == 0 ? "" : ", ", view.strides[axis_index(axis)]);
    }
    return invalid_argument(name, " with shape ", shape_string(view), " and strides [", strides,
                            "] reaches outside the address space");
  }
  if (view.data == nullptr) {
    if (pointers == Pointers::optional) return {};
    return invalid_argument(name, " has shape ", shape_string(view),
                            " and a null pointer; only tensors without elements may have one");
  }
  if (range != nullptr) {
    *range = {static_cast<std::uintptr_t>(address + first), static_cast<std::uintptr_t>(address + last)};
  }
  return {};
}

void* data_or_placeholder(const TensorView& view) noexcept {
  alignas(64) static char there[64];
  return view.data != nullptr || !view.given() ? view.data : there;
}

bool elements_are_distinct(const TensorView& view) noexcept {
  // Sorted by stride, each axis must step over everything that the smaller ones span.
  std::array<std::pair<std::int64_t, std::int64_t>, 4> axes;  // |stride|, extent
  std::size_t count = 0;
  for (int axis = 0; axis < view.rank; ++axis) {
    const std::int64_t extent = view.shape[axis_index(axis)], stride = view.strides[axis_index(axis)];
    if (extent == 0) return true;
    if (extent == 1) continue;
    std::pair<std::int64_t, std::int64_t> next{stride < 0 ? -stride : stride, extent};
    for (std::size_t i = 0; i < count; ++i) {
      if (next < axes[i]) std::swap(next, axes[i]);
    }
    axes[count++] = next;
  }
  std::int64_t span = 0;  // highest offset of the axes so far; check_view() has seen that it fits
  for (std::size_t i = 0; i < count; ++i) {
    if (axes[i].first <= span) return false;
    span += axes[i].first * (axes[i].second - 1);
  }
  return true;
}

bool is_dense(const TensorView& view) noexcept {
  std::int64_t expected = 1;
  for (int axis = 0; axis < view.rank; ++axis) {
    if (view.shape[axis_index(axis)] == 0) return true;
  }
  for (int axis = view.rank; axis-- > 0;) {
    const std::int64_t extent = view.shape[axis_index(axis)];
    if (extent > 1 && view.strides[axis_index(axis)] != expected) return false;
    expected *= extent;
  }
  return true;
}

bool has_shape(const TensorView& view, const std::array<std::int64_t, 4>& shape, int rank) noexcept {
  return view.rank == rank && std::equal(shape.begin(), shape.begin() + rank, view.shape.begin());
}

std::string shape_text(const std::array<std::int64_t, 4>& shape, int rank) {
  TensorView view;
  view.rank = rank;
  view.shape = shape;
  return shape_string(view);
}

Axes axes_of(const TensorView& view, Layout layout) noexcept {
  const std::size_t first = view.rank == 4 ? 1 : 0;
  const std::int64_t a = view.shape[first], b = view.shape[first + 1], dim = view.shape[first + 2];
  const std::int64_t batch = view.rank == 4 ? view.shape[0] : 1;
  return layout == Layout::nhd ? Axes{batch, b, a, dim} : Axes{batch, a, b, dim};
}

Operand operand_of(const TensorView& view, Layout layout) noexcept {
  const std::size_t first = view.rank == 4 ? 1 : 0;
  const std::int64_t a = view.strides[first], b = view.strides[first + 1], channel = view.strides[first + 2];
  Operand operand;
  operand.data = view.data;
  operand.dtype = view.dtype;
  operand.strides = {view.rank == 4 ? view.strides[0] : 0, layout == Layout::nhd ? b : a, layout == Layout::nhd ? a : b,
                     channel};
  return operand;
}

Status check_operand_shape(const Name& name, const TensorView& view, Layout layout, bool varlen, Axes& axes) {
  const int rank = varlen ? 3 : 4;
  if (view.rank != rank) {
    return invalid_argument(name, " has shape ", shape_string(view), "; ", rank, " axes are needed, ",
                            axes_text(layout, rank), varlen ? " (cu_seqlens are given)" : "");
  }
  axes = axes_of(view, layout);
  if (axes.heads < 1 || axes.dim < 1) {
    return invalid_argument(name, " has shape ", shape_string(view), "; heads and head_dim must be at least 1");
  }
  if (axes.dim > kMostHeadDim) {
    return unimplemented(name, " has head_dim ", axes.dim, "; 1 to ", kMostHeadDim, " are supported");
  }
  return {};
}

Status check_float_dtype(const Name& name, const TensorView& view) {
  if (view.dtype == DType::f32 || view.dtype == DType::f16 || view.dtype == DType::bf16) return {};
  return invalid_argument(name, " is ", to_string(view.dtype), "; allowed are f32, f16 and bf16");
}

std::array<std::int64_t, 4> shape_of(const Axes& axes, Layout layout, int rank) noexcept {
  const std::int64_t a = layout == Layout::nhd ? axes.rows : axes.heads;
  const std::int64_t b = layout == Layout::nhd ? axes.heads : axes.rows;
  if (rank == 3) return {a, b, axes.dim, 0};
  return {axes.batch, a, b, axes.dim};
}

std::string_view axes_text(Layout layout, int rank) noexcept {
  if (rank == 3) return layout == Layout::nhd ? "[total, heads, head_dim]" : "[heads, total, head_dim]";
  return layout == Layout::nhd ? "[batch, seqlen, heads, head_dim]" : "[batch, heads, seqlen, head_dim]";
}

}  // namespace octavo
