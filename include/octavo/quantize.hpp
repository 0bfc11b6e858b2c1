// Codes and scales of Q, K and V, made here or by the caller; attention() accepts them instead of floats.
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

/// A non-owning view of a quantized tensor: x ~ code * scale (+ mean), rotated back if `rotated`. Groups and arithmetic
/// are defined to the bit in docs/quantization.md.
struct QuantizedView {
  /// Natural order, axes as `layout` says; s8, s4 (two to a byte along D), e4m3 or e5m2. `codes.shape` counts elements.
  TensorView codes;
  /// f32, dense, B x H leading (whatever the layout): [B, H] tensor; [B, H, groups] block, warp, thread; [B, H, rows]
  /// token, token_folded; [B, H, D] channel; [B, H, blocks, D] block_channel; not given for none. A group without
  /// rows has scale 1, one of zeros only 1 (a token of V: 0), one with a NaN or infinity NaN.
  /// Varlen sequences, codes [total, H, D] or [H, total, D]: groups and blocks restart with each sequence. Scales whose
  /// number depends on the rows are concatenated over the sequences: [H, groups], [H, total], [H, blocks, D]. Others
  /// keep their shape; B is the number of sequences. On a device, where the host does not know the sequences' lengths,
  /// axis 1 of the concatenated ones may have up to the most groups that B sequences with this total can have, as
  /// quantize() makes it (docs/quantization.md); what lies behind the last group has no meaning.
  TensorView scales;
  /// f32, dense, in the codes' (rotated) domain: [B, H, D] for K (smooth_k) and V (smooth_v without the fold), [B, H,
  /// blocks, D] for Q (smooth_q; blocks of 128 rows; varlen [H, blocks, D]); not given if nothing was subtracted.
  /// Optional for K in any recipe.
  TensorView mean;
  Role role = Role::q;
  Layout layout = Layout::nhd;
  bool rotated = false;  // whether the recipe's Hadamard rotation was applied
  Recipe recipe;         // the one the codes were made for
  /// s32 or s64 [B + 1], on the codes' device: start of each varlen sequence, then the total. If given, it must equal
  /// the cu_seqlens of attention() (not checked on a device); dequantize() of varlen codes requires it.
  TensorView cu_seqlens;
};

/// A quantized tensor that owns its memory (dense, on the device of the tensor it was made from).
class OCTAVO_API QuantizedTensor {
 public:
  QuantizedTensor() = default;
  const QuantizedView& view() const noexcept { return view_; }

 private:
  friend Result<QuantizedTensor> quantize(const TensorView&, Role, const Recipe&, Layout, const Execution&,
                                          const TensorView&, const TensorView&, const TensorView&) noexcept;
  QuantizedView view_;
  std::shared_ptr<void> memory_;
};

/// Quantizes x [B, N, H, D] or [B, H, N, D] (f32, f16, bf16; any strides; D 1 to 576) as `recipe` specifies for
/// the operand: rotation, smoothing, scales and codes in f32, bit-equal on every implementation. Q has codes of the
/// recipe's format and block means for any number of rows.
///
/// With `cu_seqlens` (s32 or s64 [B + 1]) x has varlen sequences, [total, H, D] or [H, total, D], and each sequence has
/// the codes and scales that it would have alone; the view's cu_seqlens is a copy. On a device their values are not
/// checked.
///
/// `kv_lens` (s32 or s64 [B], 0 to N) and `key_mask` (bool [B, N], false = the key does not exist) are those of
/// attention(); for K and V, not together with cu_seqlens. Keys that they exclude take part in no mean, range or scale,
/// whatever x holds there; their codes are 0, and a group that has no other rows has the scale of a group of zeros. On
/// a device the values of kv_lens are not checked; they count as 0 to N.
///
/// scale = max(amax, R FLT_MIN) / R, code = round to even of x * (R / amax), R = 127 (s8), 7 (s4), 448 (e4m3), 57344
/// (e5m2): INT-FlashAttention (arXiv 2409.16997, section 3); groups and smoothing of SageAttention2 (arXiv 2411.10958,
/// sections 3.1 to 3.3).
///
/// The result's memory is allocated. The size of scratch memory depends on the implementation and the threads; if the
/// workspace is too small, the error names the required number of bytes.
///
/// Errors: invalid_argument (shape, dtype, cu_seqlens, kv_lens, key_mask, workspace), unimplemented (the recipe keeps
/// this operand in floats, or has channel_gains for V), unavailable (device, implementation), failed_precondition (the
/// stream is being captured into a graph), resource_exhausted (memory).
OCTAVO_API Result<QuantizedTensor> quantize(const TensorView& x, Role role, const Recipe& recipe,
                                            Layout layout = Layout::nhd, const Execution& execution = {},
                                            const TensorView& cu_seqlens = {}, const TensorView& kv_lens = {},
                                            const TensorView& key_mask = {}) noexcept;

/// out = code * scale + mean, rotated back: an approximation of the original tensor. `out` has the codes'
/// shape and layout, is f32, f16 or bf16 (computed in f32) and must not overlap x.
/// Errors: invalid_argument (shape, dtype, overlap, codes that do not match their recipe).
OCTAVO_API Status dequantize(const QuantizedView& x, const TensorView& out, const Execution& execution = {}) noexcept;

}  // namespace octavo
