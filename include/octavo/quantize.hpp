// Codes and scales of Q, K and V: made here, or the caller's own, and taken by attention() in place of floats.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "octavo/execution.hpp"
#include "octavo/export.hpp"
#include "octavo/recipe.hpp"
#include "octavo/status.hpp"
#include "octavo/tensor_view.hpp"

namespace octavo {

enum class Role : std::uint8_t { q, k, v };

OCTAVO_API std::string_view to_string(Role role) noexcept;

/// A quantized tensor that somebody else owns: x ~ code * scale (+ mean), rotated back where `rotated`.
struct QuantizedView {
  /// Natural order, axes as `layout` says; s8, s4 (packed along D), e4m3 or e5m2. `codes.shape` counts elements.
  TensorView codes;
  /// f32, dense, B x H leading (whatever the layout): [B, H] tensor or none; [B, H, groups] block, warp, thread;
  /// [B, H, rows] token; [B, H, D] channel; [B, H, blocks, D] block_channel.
  TensorView scales;
  /// f32, dense, in the codes' (rotated) domain: [B, H, D] for K (smooth_k), [B, H, ceil(rows / 128), D] for Q
  /// (smooth_q); rank 0 when nothing was subtracted.
  TensorView mean;
  Role role = Role::q;
  Layout layout = Layout::nhd;
  bool rotated = false;  // the recipe's Hadamard rotation is applied to the codes
  Recipe recipe;         // the one the codes were made for
};

/// A quantized tensor that owns its memory (dense, on the CPU).
class OCTAVO_API QuantizedTensor {
 public:
  QuantizedTensor() = default;
  const QuantizedView& view() const noexcept { return view_; }

 private:
  friend Result<QuantizedTensor> quantize(const TensorView&, Role, const Recipe&, Layout, const Execution&) noexcept;
  QuantizedView view_;
  std::shared_ptr<void> memory_;
};

/// Quantizes x [B, N, H, D] or [B, H, N, D] (f32, f16, bf16; any strides) as `recipe` does it for the role's operand:
/// rotation, smoothing, scales and codes in f32, bit-equal on every implementation.
/// Errors: invalid_argument (shape, dtype), unimplemented (the recipe keeps this operand in floats).
OCTAVO_API Result<QuantizedTensor> quantize(const TensorView& x, Role role, const Recipe& recipe,
                                            Layout layout = Layout::nhd, const Execution& execution = {}) noexcept;

/// out = code * scale + mean, rotated back: an approximation of the tensor that was quantized. `out` has the codes'
/// shape and layout and is f32, f16 or bf16.
OCTAVO_API Status dequantize(const QuantizedView& x, const TensorView& out, const Execution& execution = {}) noexcept;

}  // namespace octavo
