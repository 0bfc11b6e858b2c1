// Checks of cu_seqlens. Values are checked on the CPU only (check_cu_seqlens); on a device no call waits for the
// stream, so only shape and dtype are checked.
#include "api/cu_seqlens.hpp"

#include "api/checks.hpp"
#include "core/text.hpp"

namespace octavo {

Status read_cu_seqlens(std::string_view name, const TensorView& view, std::int64_t batch,
                       std::string_view expected_shape, Pointers pointers, ByteRange& range, CuSeqlens& sequences) {
  IntegerArray entries;
  if (Status status = check_integers(name, view, batch < 0 ? -1 : batch + 1, expected_shape, pointers, range, entries);
      !status.ok()) {
    return status;
  }
  if (view.shape[0] < 1) return invalid_argument(name, " has no entries; it must be [batch + 1]");
  sequences = {name, entries, view.shape[0] - 1, view.device.type == DeviceType::cpu};
  return {};
}

Status read_host_cu_seqlens(std::string_view name, const TensorView& view, std::int64_t batch,
                            std::string_view expected_shape, ByteRange& range, CuSeqlens& sequences) {
  if (view.device.type != DeviceType::cpu) {
    return invalid_argument(name, " is on a device; it must be on the CPU");
  }
  return read_cu_seqlens(name, view, batch, expected_shape, Pointers::needed, range, sequences);
}

Status check_cu_seqlens(const CuSeqlens& sequences, std::int64_t total, std::string_view tensor) {
  if (!sequences.readable) {
    if (sequences.batch > 0 || total == 0) return {};
    return invalid_argument(sequences.name, " has no sequences; ", tensor, " has ", total, " rows");
  }
  const IntegerArray& at = sequences.at;
  if (at[0] != 0) return invalid_argument(sequences.name, " begins with ", at[0], "; it must begin with 0");
  for (std::int64_t b = 0; b < sequences.batch; ++b) {
    if (at[b + 1] < at[b]) {
      return invalid_argument(sequences.name, " decreases from ", at[b], " to ", at[b + 1], " at entry ", b + 1,
                              "; it must never decrease");
    }
  }
  if (at[sequences.batch] != total) {
    return invalid_argument(sequences.name, " ends with ", at[sequences.batch], "; ", tensor, " has ", total, " rows");
  }
  return {};
}

}  // namespace octavo
