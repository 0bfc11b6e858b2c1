#include "api/kv_cache_checks.hpp"

#include "core/text.hpp"

namespace octavo {

Status named_sequences(const kv_cache::Cache& cache, std::span<const std::int64_t> given, std::int64_t rows,
                       std::string_view tensor, std::vector<std::int64_t>& sequences) {
  const std::int64_t batch = cache.options().batch;
  if (given.empty()) {
    if (rows != batch) {
      return invalid_argument(tensor, " has batch size ", rows, " and the cache ", batch,
                              " sequences; name the sequences, or give all of them");
    }
    for (std::int64_t b = 0; b < batch; ++b) sequences.push_back(b);
    return {};
  }
  if (static_cast<std::int64_t>(given.size()) != rows) {
    return invalid_argument(tensor, " has batch size ", rows, " and ", given.size(),
                            " sequences are named; there must be one for each");
  }
  std::vector<bool> named(static_cast<std::size_t>(batch), false);
  for (const std::int64_t sequence : given) {
    if (sequence < 0 || sequence >= batch) {
      return invalid_argument("sequence ", sequence, " is named; the cache has sequences 0 to ", batch - 1);
    }
    if (named[static_cast<std::size_t>(sequence)]) {
      return invalid_argument("sequence ", sequence, " is named twice; sequences of a call must be distinct");
    }
    named[static_cast<std::size_t>(sequence)] = true;
    sequences.push_back(sequence);
  }
  return {};
}

Status check_cache_layout(Layout layout) {
  if (layout == Layout::nhd || layout == Layout::hnd) return {};
  return invalid_argument("layout is the unknown value ", static_cast<int>(layout), "; allowed are NHD and HND");
}

Status check_cache_rows(std::string_view name, const TensorView& view, Layout layout, bool packed, Axes& axes,
                        ByteRange& range) {
  if (!view.given()) return invalid_argument(name, " is missing");
  if (Status status = check_view({name}, view, Pointers::needed, &range); !status.ok()) return status;
  if (Status status = check_operand_shape({name}, view, layout, packed, axes); !status.ok()) return status;
  return check_float_dtype({name}, view);
}

}  // namespace octavo
