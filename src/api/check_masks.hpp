// Checks of what is added to scores or hides them, for attention() and KVCache::attend(): masks, ALiBi's slopes, sinks.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "api/byte_ranges.hpp"
#include "api/tensor_checks.hpp"
#include "core/tensors.hpp"
#include "octavo/attention.hpp"

namespace octavo {

// The axes that a mask is broadcast to from the right, and what messages say of them behind the shape.
struct MaskExtents {
  std::array<std::int64_t, 4> shape;
  std::string_view axes;
};

// bool or floats. `own`: the mask's rows and keys may be any, and go there. Not given: `to` stays as it is.
Status check_mask(const TensorView& mask, const MaskExtents& extents, Pointers pointers, std::int64_t* const* own,
                  Broadcast& to, ByteRanges& ranges);

Status check_alibi(Alibi alibi);
// Floats [heads] or [batch, heads]; needed by symmetric ALiBi.
Status check_alibi_slopes(const TensorView& slopes, Alibi alibi, std::int64_t batch, std::int64_t heads,
                          Pointers pointers, Broadcast& to, ByteRanges& ranges);

// Floats [heads].
Status check_sinks(const TensorView& sinks, std::int64_t heads, Pointers pointers, Broadcast& to, ByteRanges& ranges);

}  // namespace octavo
