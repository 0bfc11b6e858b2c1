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
enum class Causal : std::uint8_t { none, bottom_right, top_left };

/// Tensors of a call. B batch, Hq / Hkv heads (Hq % Hkv == 0; query head h reads KV head h / (Hq / Hkv)), M queries,
/// N keys, D head_dim, Dv value head dim. q, k, v share one dtype (f32, f16, bf16); strides are free.
struct AttentionInputs {
  TensorView q;    // [B, M, Hq, D] nhd, [B, Hq, M, D] hnd
  TensorView k;    // [B, N, Hkv, D] ...
  TensorView v;    // [B, N, Hkv, Dv] ...
  TensorView out;  // [B, M, Hq, Dv] ...; f32, f16 or bf16; overlaps no input
  TensorView lse;  // optional: f32 [B, Hq, M], natural logarithm

  /// In place of q, k, v: codes and scales. Non-null means the float tensor beside it is not given.
  const QuantizedView* quantized_q = nullptr;
  const QuantizedView* quantized_k = nullptr;
  const QuantizedView* quantized_v = nullptr;

  TensorView mask;          // bool (true = may attend) or float (added), broadcast from the right to [B, Hq, M, N]
  TensorView alibi_slopes;  // any float dtype, [Hq] or [B, Hq]
  TensorView sinks;         // any float dtype [Hq]: one extra logit per head without a value
  TensorView kv_lens;       // s32 or s64 [B]: keys beyond it do not exist
  TensorView cu_seqlens_q;  // s32 or s64 [B + 1]: packed sequences, then q is [total, Hq, D]
  TensorView cu_seqlens_k;

  Layout layout = Layout::nhd;
};

struct AttentionParams {
  Recipe recipe{};
  /// Factor of q.k; NaN (the default) = 1 / sqrt(D). 0 and negative values are legal, infinity is not.
  double softmax_scale = __builtin_nan("");
  Causal causal = Causal::none;
  /// Keys visible to the left and right of the diagonal; -1 = unlimited.
  std::int64_t window_left = -1;
  std::int64_t window_right = -1;
  /// c > 0: scores become c * tanh(s / c); 0 = off.
  double softcap = 0;
};

/// Computes attention. On any error the output is not written.
/// Errors: invalid_argument (shape, dtype, stride, device, overlap, unknown implementation), unimplemented (a legal
/// call that this build cannot serve), unavailable (the implementation cannot run on this machine),
/// resource_exhausted (scratch memory).
OCTAVO_API Status attention(const AttentionInputs& inputs, const AttentionParams& params = {},
                            const Execution& execution = {}) noexcept;

/// Bytes of scratch memory with which attention() on these arguments allocates nothing.
OCTAVO_API Result<std::size_t> workspace_size(const AttentionInputs& inputs, const AttentionParams& params = {},
                                              const Execution& execution = {}) noexcept;

}  // namespace octavo
