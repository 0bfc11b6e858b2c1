// A tile in shared memory as the copy engine writes it and wgmma reads it: its rows are as wide as a swizzle. A row
// wider than 128 bytes lies in several panels, each of all rows and brought by a box of its own.
#pragma once

#include <cstdint>

#include "cuda/tile/swizzle.hpp"
#include "cuda/tile/tensor_box.hpp"

namespace octavo::cuda {

template <std::uint32_t rows, std::uint32_t row_bytes_of_tile>
struct PanelTile {
  static constexpr std::uint32_t kRows = rows, kRowBytes = row_bytes_of_tile, kBytes = kRows * kRowBytes;
  static constexpr std::uint32_t kPanelRowBytes = kRowBytes < 128 ? kRowBytes : 128;
  static constexpr std::uint32_t kPanels = kRowBytes / kPanelRowBytes, kPanelBytes = kRows * kPanelRowBytes;
  static constexpr Swizzle kSwizzle = kPanelRowBytes == 64 ? Swizzle::bytes64 : Swizzle::bytes128;
  static_assert(row_bytes(kSwizzle) == kPanelRowBytes && kPanels * kPanelRowBytes == kRowBytes);
  static_assert(kPanelBytes % atom_bytes(kSwizzle) == 0);

  // How far byte `byte` of a row lies from the row's first, before the swizzle.
  OCTAVO_INLINE constexpr std::uint32_t at(std::uint32_t byte) {
    return byte / kPanelRowBytes * kPanelBytes + byte % kPanelRowBytes;
  }

  // The box of one panel, of a tensor of `all_rows` rows.
  static TensorBox box(const void* codes, std::int64_t all_rows) {
    TensorBox box;
    box.base = codes;
    box.sizes[0] = box.strides[1] = kRowBytes;
    box.sizes[1] = static_cast<std::uint64_t>(all_rows);
    box.box[0] = kPanelRowBytes, box.box[1] = kRows;
    box.swizzle = kSwizzle;
    return box;
  }

  // The tile that begins in row `row` of the tensor, to byte `to` of shared memory.
  template <class Machine>
  OCTAVO_DEVICE static void copy(Machine& machine, const typename Machine::TensorMap& map, std::uint32_t to,
                                 std::uint32_t mbarrier, std::uint32_t row) {
    OCTAVO_UNROLL
    for (std::uint32_t panel = 0; panel < kPanels; ++panel) {
      machine.copy_box(map, to + panel * kPanelBytes, mbarrier, static_cast<std::int32_t>(panel * kPanelRowBytes),
                       static_cast<std::int32_t>(row));
    }
  }
};

}  // namespace octavo::cuda
