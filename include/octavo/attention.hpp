// O = softmax(scale * Q K^T + ...) V with the arithmetic of a recipe, in one online-softmax pass.
#pragma once

#include <cstddef>
#include <cstdint>

#include "octavo/execution.hpp"
#include "octavo/export.hpp"
#include "octavo/quantize.hpp"
#include "octavo/recipe.hpp"
#include "octavo/status.hpp"
#include "octavo/tensor_view.hpp"

namespace octavo {

/// Where the causal diagonal lies. bottom_right: key j is visible to query i iff j <= i + N - M; top_left: iff j <= i.
/// M and N are those of the sequence: with kv_lens and cu_seqlens the diagonal ends at the end of each sequence.
enum class Causal : std::uint8_t { none, bottom_right, top_left };

/// What alibi_slopes multiply, for query i and key j with d the key on the query's diagonal, i + N - M (top_left: i).
/// causal: j - d. symmetric: -|j - d|, for encoders; the same where no key right of the diagonal is visible.
enum class Alibi : std::uint8_t { causal, symmetric };

/// Tensors of a call. B batch, Hq / Hkv heads (Hq % Hkv == 0; query head h reads KV head h / (Hq / Hkv)), M queries,
/// N keys, D head_dim, Dv value head dim, both 1 to 576. q, k, v share one dtype (f32, f16, bf16); any strides.
/// B, M and N may be 0. Inputs are never written. Values outside a sequence, NaN included, have no effect.
struct AttentionInputs {
  TensorView q;    // [B, M, Hq, D] nhd, [B, Hq, M, D] hnd; varlen: [total_q, Hq, D], [Hq, total_q, D]
  TensorView k;    // [B, N, Hkv, D] ...
  TensorView v;    // [B, N, Hkv, Dv] ...
  TensorView out;  // [B, M, Hq, Dv] ...; f32, f16 or bf16 (finite values saturate); overlaps no input
  TensorView lse;  // optional: f32 [B, Hq, M], varlen [Hq, total_q]; natural logarithm of the softmax's denominator

  /// Codes and scales instead of q, k or v, independently. If non-null, the float tensor must not be given.
  const QuantizedView* quantized_q = nullptr;
  const QuantizedView* quantized_k = nullptr;
  const QuantizedView* quantized_v = nullptr;

  /// bool (true = may attend) or f32, f16, bf16, f64 (added to the scaled score, natural units; -infinity hides), rank
  /// 1 to 4, broadcast from the right to [B, Hq, M, N] (varlen: M and N of the longest sequences).
  TensorView mask;
  TensorView key_mask;      // bool [B, N]: false = the key does not exist (padding); not together with cu_seqlens
  TensorView alibi_slopes;  // any float dtype, [Hq] or [B, Hq]: slope * (j - (i + N - M)) is added; top_left: j - i;
                            // symmetric: AttentionParams::alibi
  TensorView sinks;         // any float dtype [Hq]: one extra logit per head, in the denominator and LSE, no value
  TensorView kv_lens;       // s32 or s64 [B], 0 to N: number of keys of each sequence; not with cu_seqlens
  TensorView cu_seqlens_q;  // s32 or s64 [B + 1]: varlen sequences; entry b: start of sequence b in total_q
  TensorView cu_seqlens_k;  // likewise in total_k; both or neither

  Layout layout = Layout::nhd;
};

/// Scalar parameters of a call. The defaults are softmax attention without mask, with the recipe "int8".
struct AttentionParams {
  Recipe recipe{};
  /// Factor of q.k; NaN (the default) = 1 / sqrt(D). 0 and negative values are allowed, infinity is not.
  double softmax_scale = __builtin_nan("");
  Causal causal = Causal::none;
  /// Keys visible to the left and right of the diagonal key d of a query: d - left <= j <= d + right; -1 = unlimited.
  /// Without causal, d is the bottom-right one, i + N - M; with causal, right = 0. Combined with the mask.
  std::int64_t window_left = -1;
  std::int64_t window_right = -1;
  /// c > 0: scores become c * tanh(s / c), before mask and ALiBi; 0 = off.
  double softcap = 0;
  Alibi alibi = Alibi::causal;  // symmetric requires alibi_slopes
};

/// O = softmax(s) V. Each score is, in this order: s = softmax_scale * q.k, softcap, + float mask, + ALiBi; hidden keys
/// are set to -infinity. A row without visible keys has O = 0, LSE = -infinity (with a sink: the sink). A NaN or
/// infinity makes the rows that use it NaN (in v, or if tokens share scales, possibly all rows of that sequence and KV
/// head), never finite and wrong. Results have the same bits for any number of threads and do not depend on other
/// sequences of the batch. On an error the output is not written.
///
/// Recipes that smooth Q with per-token scales use 16-bit, unsmoothed Q if a sequence has fewer than 16 query rows and
/// q is given as floats.
///
/// Source: FlashAttention (arXiv 2205.14135, section 3.1) with integer operands, INT-FlashAttention (arXiv 2409.16997,
/// algorithm 1); smoothing and groups: SageAttention (arXiv 2410.02367), SageAttention2 (arXiv 2411.10958). Derivation:
/// docs/the_algorithm.md.
///
/// Errors: invalid_argument (shape, dtype, stride, device, overlap, workspace, unknown implementation), unimplemented
/// (valid, but not supported by this build or implementation), unavailable (it cannot run on this machine),
/// resource_exhausted (scratch memory), failed_precondition (the stream is being captured and no workspace was given).
OCTAVO_API Status attention(const AttentionInputs& inputs, const AttentionParams& params = {},
                            const Execution& execution = {}) noexcept;

/// Bytes of scratch memory with which attention() on these arguments allocates no memory. Depends on the shapes, the
/// recipe, the implementation and the runner's threads; data pointers may be null, except those of kv_lens and
/// cu_seqlens. Errors: as attention().
OCTAVO_API Result<std::size_t> workspace_size(const AttentionInputs& inputs, const AttentionParams& params = {},
                                              const Execution& execution = {}) noexcept;

}  // namespace octavo
