// Merging two partial results over disjoint key sets, as in split-KV, ring and tree attention.
#pragma once

#include "octavo/execution.hpp"
#include "octavo/export.hpp"
#include "octavo/status.hpp"
#include "octavo/tensor_view.hpp"

namespace octavo {

/// LSE = max + log1p(exp(min - max)); O = O_a exp(LSE_a - LSE) + O_b exp(LSE_b - LSE), LSE in natural logarithms.
/// Commutative and, except for rounding, associative; if both LSE are -infinity, the result is O = 0, LSE = -infinity.
/// When the result equals that of one call: docs/the_algorithm.md, section 9.
/// o_a, o_b, out: f32 [B, M, H, Dv] (nhd) or [B, H, M, Dv] (hnd); lse_a, lse_b, lse: f32 [B, H, M]; any strides. `out`
/// and `lse` may be the tensors of a or b. Of `execution` a CPU uses the implementation and the runner, a device the
/// implementation and the stream; no scratch memory is needed. Errors: invalid_argument (shape, dtype, device, another
/// overlap, unknown implementation), unavailable (device, implementation).
OCTAVO_API Status merge_state(const TensorView& o_a, const TensorView& lse_a, const TensorView& o_b,
                              const TensorView& lse_b, const TensorView& out, const TensorView& lse,
                              Layout layout = Layout::nhd, const Execution& execution = {}) noexcept;

}  // namespace octavo
