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

/// Which operand a tensor is: each has its own scales, rotation and smoothing in a recipe.
enum class Role : std::uint8_t { q, k, v };

OCTAVO_API std::string_view to_string(Role role) noexcept;

/// A quantized tensor that somebody else owns: x ~ code * scale (+ mean), rotated back where `rotated`. Which row
/// belongs to which group, and the quantizer's arithmetic to the bit: docs/quantization.md.
struct QuantizedView {
  /// Natural order, axes as `layout` says; s8, s4 (two to a byte along D), e4m3 or e5m2. `codes.shape` counts elements.
  TensorView codes;
  /// f32, dense, B x H leading (whatever the layout): [B, H] tensor; [B, H, groups] block, warp, thread; [B, H, rows]
  /// token, token_folded; [B, H, D] channel; [B, H, blocks, D] block_channel; not given for none. A group that no row
  /// falls into has scale 1, one of zeros only 1 (a token of V: 0), one with a NaN or infinity NaN.
  /// Packed sequences, codes [total, H, D] or [H, total, D]: groups and blocks begin anew with each sequence, and what
  /// grows with the rows follows sequence by sequence: [H, groups], [H, total], [H, blocks, D]. The rest keeps its
  /// shape, B being the number of sequences.
  TensorView scales;
  /// f32, dense, in the codes' (rotated) domain: [B, H, D] for K (smooth_k) and V (smooth_v), [B, H, blocks, D] for Q
  /// (smooth_q; blocks of 128 rows; packed [H, blocks, D]); not given when nothing was subtracted. For K it may be
  /// missing in any recipe.
  TensorView mean;
  Role role = Role::q;
  Layout layout = Layout::nhd;
  bool rotated = false;  // the recipe's Hadamard rotation is applied to the codes
  Recipe recipe;         // the one the codes were made for
  /// s32 or s64 [B + 1]: where packed sequences begin, last the total. attention() has its own cu_seqlens, and these,
  /// if given, must be the same; dequantize() of packed codes needs them.
  TensorView cu_seqlens;
};

/// A quantized tensor that owns its memory (dense, on the device of the tensor it was made from).
class OCTAVO_API QuantizedTensor {
 public:
  QuantizedTensor() = default;
  const QuantizedView& view() const noexcept { return view_; }

 private:
  friend Result<QuantizedTensor> quantize(const TensorView&, Role, const Recipe&, Layout, const Execution&,
                                          const TensorView&) noexcept;
  QuantizedView view_;
  std::shared_ptr<void> memory_;
};

/// Quantizes x [B, N, H, D] or [B, H, N, D] (f32, f16, bf16; any strides; D 1 to 576) as `recipe` does it for the
/// role's operand: rotation, smoothing, scales and codes in f32, bit-equal on every implementation. Q gets codes of the
/// recipe's format and block means however few its rows are. With `cu_seqlens` (s32 or s64 [B + 1]) x is packed,
/// [total, H, D] or [H, total, D], and each sequence gets the codes and scales that it would get alone; the view's
/// cu_seqlens is a copy.
/// scale = max(amax, R FLT_MIN) / R, code = round to even of x * (R / amax), R = 127 (s8), 7 (s4), 448 (e4m3), 57344
/// (e5m2): INT-FlashAttention (arXiv 2409.16997, section 3); groups and smoothing of SageAttention2 (arXiv 2411.10958,
/// sections 3.1 to 3.3).
/// The result's memory is allocated. How much scratch memory it takes depends on the implementation and the threads,
/// and no function tells; a workspace that is too small is refused with the number of bytes.
/// Errors: invalid_argument (shape, dtype, cu_seqlens, workspace), unimplemented (the recipe keeps this operand in
/// floats, or has channel_gains for V; packed sequences on a CUDA device), unavailable (device, implementation),
/// failed_precondition (the stream is being captured into a graph), resource_exhausted (memory).
OCTAVO_API Result<QuantizedTensor> quantize(const TensorView& x, Role role, const Recipe& recipe,
                                            Layout layout = Layout::nhd, const Execution& execution = {},
                                            const TensorView& cu_seqlens = {}) noexcept;

/// out = code * scale + mean, rotated back: an approximation of the tensor that was quantized. `out` has the codes'
/// shape and layout, is f32, f16 or bf16 (computed in f32) and overlaps nothing of x.
/// Errors: invalid_argument (shape, dtype, overlap, codes that do not fit their recipe).
OCTAVO_API Status dequantize(const QuantizedView& x, const TensorView& out, const Execution& execution = {}) noexcept;

}  // namespace octavo
