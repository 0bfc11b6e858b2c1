// Checks of kv_lens and key_mask, which say what keys exist, for attention() and quantize().
#pragma once

#include <string_view>

#include "api/byte_ranges.hpp"
#include "api/tensor_checks.hpp"
#include "core/tensors.hpp"

namespace octavo {

// What the two must agree with.
struct KeyExtents {
  Device device;
  bool varlen = false;
  std::int64_t batch = 0, rows = 0;
  std::string_view operand;  // whose rows they are, for messages
};

// s32 or s64 [batch], 0..rows; not for varlen sequences. Not given: `to` stays as it is.
Status check_kv_lens(const TensorView& kv_lens, const KeyExtents& keys, Pointers pointers, IntegerArray& to,
                     ByteRanges& ranges);

// bool [batch, rows]; likewise.
Status check_key_mask(const TensorView& mask, const KeyExtents& keys, Pointers pointers, Broadcast& to,
                      ByteRanges& ranges);

}  // namespace octavo
