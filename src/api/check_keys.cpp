#include "api/check_keys.hpp"

#include "api/checks.hpp"
#include "core/text.hpp"

namespace octavo {

Status check_kv_lens(const TensorView& kv_lens, const KeyExtents& keys, Pointers pointers, IntegerArray& to,
                     ByteRanges& ranges) {
  if (!kv_lens.given()) return {};
  if (keys.varlen) {
    return invalid_argument(
        "kv_lens and cu_seqlens are both given; varlen sequences have their lengths in cu_seqlens_k");
  }
  ByteRange touched;
  if (Status status = check_integers("kv_lens", kv_lens, keys.batch, "[batch]", pointers, touched, to); !status.ok()) {
    return status;
  }
  // On a device the host does not read them: kernels clamp the values to 0..N.
  for (std::int64_t b = 0; b < keys.batch && keys.device.type == DeviceType::cpu; ++b) {
    if (to[b] < 0 || to[b] > keys.rows) {
      return invalid_argument("kv_lens[", b, "] is ", to[b], "; allowed are 0 to ", keys.rows, " (rows of ",
                              keys.operand, ")");
    }
  }
  ranges.reads({"kv_lens"}, touched);
  return {};
}

Status check_key_mask(const TensorView& mask, const KeyExtents& keys, Pointers pointers, Broadcast& to,
                      ByteRanges& ranges) {
  if (!mask.given()) return {};
  if (keys.varlen) {
    return invalid_argument("key_mask and cu_seqlens are both given; varlen sequences have no padding");
  }
  ByteRange touched;
  if (Status status = check_view({"key_mask"}, mask, pointers, &touched); !status.ok()) return status;
  if (mask.dtype != DType::boolean) {
    return invalid_argument("key_mask is ", to_string(mask.dtype), "; it must be bool (true = the key exists)");
  }
  if (!has_shape(mask, {keys.batch, keys.rows}, 2)) {
    return invalid_argument("key_mask has shape ", shape_string(mask), "; it must be [", keys.batch, ", ", keys.rows,
                            "] (batch, rows of ", keys.operand, ")");
  }
  to = {data_or_placeholder(mask), mask.dtype, {mask.strides[0], 0, 0, mask.strides[1]}};
  ranges.reads({"key_mask"}, touched);
  return {};
}

}  // namespace octavo
