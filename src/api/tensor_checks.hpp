// Checks of one TensorView alone: rank, extents, strides, dtype and pointer; the bytes that it covers, and how its axes
// map to (batch, head, row, channel).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/problem.hpp"
#include "octavo/status.hpp"
#include "octavo/tensor_view.hpp"

namespace octavo {

// A tensor's name in messages, in two parts so that calls without errors build no strings: {"quantized_k",
// ".scales"}.
struct Name {
  std::string_view tensor, part{};
};
inline void append_text(std::string& to, const Name& name) {
  to += name.tensor;
  to += name.part;
}

// Whether a tensor's memory must exist. Scratch sizes are asked for before anything is allocated.
enum class Pointers : std::uint8_t { needed, optional };

// Bytes begin..end-1 of the address space; empty when begin == end.
struct ByteRange {
  std::uintptr_t begin = 0, end = 0;
  bool overlaps(const ByteRange& other) const noexcept {
    return begin < end && other.begin < other.end && begin < other.end && other.begin < end;
  }
};

// Rank 0..4, extents >= 0, a known dtype, sizes and addresses that 64 bits can hold, and a pointer where there are
// elements (its device: api/device_check.hpp). Fills `range`, where given, with the bytes the view
// can touch.
Status check_view(const Name& name, const TensorView& view, Pointers pointers, ByteRange* range);

// The view's memory. Where only sizes are asked for and the pointer is null, a placeholder that is never read, so that
// a Problem distinguishes given from not given.
void* data_or_placeholder(const TensorView& view) noexcept;

// The strides nest: no two elements share an address.
bool elements_are_distinct(const TensorView& view) noexcept;

// Row-major without gaps, whatever the strides of axes with a single element say.
bool is_dense(const TensorView& view) noexcept;

bool has_shape(const TensorView& view, const std::array<std::int64_t, 4>& shape, int rank) noexcept;

// "[1, 2, 3]"
std::string shape_text(const std::array<std::int64_t, 4>& shape, int rank);

// Extents in the problem's order of axes.
struct Axes {
  std::int64_t batch = 0, heads = 0, rows = 0, dim = 0;
};

// Rank 4 with a batch axis, rank 3 without one (batch = 1, batch stride 0).
Axes axes_of(const TensorView& view, Layout layout) noexcept;
Operand operand_of(const TensorView& view, Layout layout) noexcept;

// Of q, k or v, as floats or as codes: 4 axes (varlen: 3), at least one head and channel, kMostHeadDim channels at
// most. Fills `axes`.
Status check_operand_shape(const Name& name, const TensorView& view, Layout layout, bool varlen, Axes& axes);
// Of an input or an output: f32, f16 or bf16.
Status check_float_dtype(const Name& name, const TensorView& view);

// The shape a tensor of these extents has in a layout; rank 3 leaves the batch out.
std::array<std::int64_t, 4> shape_of(const Axes& axes, Layout layout, int rank) noexcept;
// "[batch, seqlen, heads, head_dim]" and the like, for messages.
std::string_view axes_text(Layout layout, int rank) noexcept;

}  // namespace octavo
