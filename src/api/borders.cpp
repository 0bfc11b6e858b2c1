// The sentences about cu_seqlens. Entries are looked at on the host only (check_borders); on a device, whose stream no
// call waits for, shape and type are all that is checked.
#include "api/borders.hpp"

#include "api/checks.hpp"
#include "core/text.hpp"

namespace octavo {

Status read_borders(std::string_view name, const TensorView& view, std::int64_t batch, std::string_view batch_words,
                    Pointers pointers, ByteRange& range, Borders& borders) {
  IntegerArray entries;
  if (Status status = check_integers(name, view, batch < 0 ? -1 : batch + 1, batch_words, pointers, range, entries);
      !status.ok()) {
    return status;
  }
  if (view.shape[0] < 1) return invalid_argument(name, " has no entries; it must be [batch + 1]");
  borders = {name, entries, view.shape[0] - 1};
  return {};
}

Status read_host_borders(std::string_view name, const TensorView& view, std::int64_t batch,
                         std::string_view batch_words, ByteRange& range, Borders& borders) {
  if (view.device.type != DeviceType::cpu) {
    return invalid_argument(name, " lies on a device; it must be on the CPU");
  }
  return read_borders(name, view, batch, batch_words, Pointers::needed, range, borders);
}

Status check_borders(const Borders& borders, std::int64_t total, std::string_view tensor) {
  const IntegerArray& at = borders.at;
  if (at[0] != 0) return invalid_argument(borders.name, " begins with ", at[0], "; it must begin with 0");
  for (std::int64_t b = 0; b < borders.batch; ++b) {
    if (at[b + 1] < at[b]) {
      return invalid_argument(borders.name, " falls from ", at[b], " to ", at[b + 1], " at entry ", b + 1,
                              "; it must never fall");
    }
  }
  if (at[borders.batch] != total) {
    return invalid_argument(borders.name, " ends with ", at[borders.batch], "; ", tensor, " has ", total, " rows");
  }
  return {};
}

}  // namespace octavo
