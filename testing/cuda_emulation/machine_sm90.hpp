// The primitives of tile/machine_sm90.hpp on the host. What an asynchronous primitive accesses is checked at issue and
// again at the wait.
#pragma once

#include <string>

#include "core/text.hpp"
#include "cuda/tile/machine_sm90.hpp"
#include "cuda_emulation/async_products.hpp"
#include "cuda_emulation/machine.hpp"
#include "cuda_emulation/tensor_map.hpp"

namespace octavo::cuda::emulation {

class EmulatedSm90 : public Emulated {
 public:
  using TensorMap = emulation::TensorMap;

  EmulatedSm90(Block& block, int warp) : Emulated(block, warp), products_(warp) {}
  void finish() {
    Emulated::finish();
    products_.check_end();
  }

  // The primitives of tile/machine.hpp that access registers.
  template <class F, class... R>
  void lanes(F&& f, R&... registers) {
    (touch(registers), ...);
    Emulated::lanes(f, registers...);
  }
  template <bool trans, int n, class F>
  void ldmatrix(Registers<std::uint32_t, n>& to, int first, F&& offset_of_lane) {
    touch(to);
    Emulated::ldmatrix<trans>(to, first, offset_of_lane);
  }
  template <Mma kind, int nc, int na, int nb>
  void mma(Registers<MmaSum<kind>, nc>& c, int c0, const Registers<std::uint32_t, na>& a, int a0,
           const Registers<std::uint32_t, nb>& b, int b0) {
    touch(c), touch(a), touch(b);
    Emulated::mma<kind>(c, c0, a, a0, b, b0);
  }
  template <Mma kind, int nc, int na, int nb>
  void first_mma(Registers<MmaSum<kind>, nc>& c, int c0, const Registers<std::uint32_t, na>& a, int a0,
                 const Registers<std::uint32_t, nb>& b, int b0, MmaSum<kind> start) {
    touch(c), touch(a), touch(b);
    Emulated::first_mma<kind>(c, c0, a, a0, b, b0, start);
  }
  template <class T, int n>
  void shuffle_xor(Registers<T, n>& to, const Registers<T, n>& from, int mask) {
    touch(to), touch(from);
    Emulated::shuffle_xor(to, from, mask);
  }
  bool any(const Registers<std::uint32_t, 1>& flags) {
    touch(flags);
    return Emulated::any(flags);
  }

  void init_mbarrier(std::uint32_t offset, std::uint32_t count) { block_.init_mbarrier(warp_, offset, count); }
  void arrive_mbarrier(std::uint32_t offset, std::uint32_t bytes = 0) { block_.arrive_mbarrier(warp_, offset, bytes); }
  void wait_mbarrier(const char* name, std::uint32_t offset, std::uint32_t parity) {
    block_.wait_mbarrier(warp_, name, offset, parity);
  }

  void copy_box(const TensorMap& map, std::uint32_t to, std::uint32_t mbarrier, std::int32_t x, std::int32_t y) {
    check_waited();
    check_rank(map, 2);
    block_.copy_bulk(warp_, mbarrier, read_box(warp_, map, to, {x, y, 0}));
  }
  void copy_box(const TensorMap& map, std::uint32_t to, std::uint32_t mbarrier, std::int32_t x, std::int32_t y,
                std::int32_t z) {
    check_waited();
    check_rank(map, 3);
    block_.copy_bulk(warp_, mbarrier, read_box(warp_, map, to, {x, y, z}));
  }

  void copy_bytes(const void* from, std::uint32_t to, std::uint32_t mbarrier, std::uint32_t bytes) {
    check_waited();
    block_.copy_bulk(warp_, mbarrier, read_bytes(warp_, from, to, bytes));
  }

  void fence_async() { block_.fence_proxy(warp_); }

  std::uint64_t matrix(std::uint32_t offset, Swizzle swizzle, std::uint32_t stride, std::uint32_t leading) const {
    return encode({offset, leading, stride, swizzle});
  }
  std::uint64_t matrix(std::uint32_t offset, Swizzle swizzle, std::uint32_t stride) const {
    if (swizzle == Swizzle::none) {
      throw Fault(text("warp ", warp_, " describes the matrix at byte ", offset,
                       " of shared memory without a swizzle and does not name its stride and leading"));
    }
    return matrix(offset, swizzle, stride, kUnreadLeading);
  }
  std::uint64_t matrix(std::uint32_t offset, Swizzle swizzle) const {
    return matrix(offset, swizzle, atom_bytes(swizzle));
  }

  template <class... R>
  void wgmma_fence(R&... registers) {
    block_.in_step(warp_, "wgmma_fence");
    products_.fence({range(registers)...});
  }
  template <Mma kind, int n>
  void wgmma(Registers<MmaSum<kind>, n / 2>& c, std::uint64_t a, std::uint64_t b, bool add) {
    in_step<kind, n>(text("A ", a), text(b), add);
    products_.issue(
        range(c), {},
        [this, a, b, add](std::byte* sums, const std::byte*) {
          Bits a_rows[kRows][kDepthBytes];
          read(a, kRows * static_cast<std::uint32_t>(warp_ % kWarpgroup), a_rows);
          multiply<kind, n, false>(sums, a_rows, b, add);
        },
        block_.completes_at_issue());
  }
  template <Mma kind, int n, bool transposed = false, int na>
  void wgmma(Registers<MmaSum<kind>, kWgmmaSums<kind, n>>& c, const Registers<std::uint32_t, na>& a, int a0,
             std::uint64_t b, bool add) {
    static_assert(!transposed || elements_of_register(kind) == 2);
    in_step<kind, n>(text("A in registers from ", a0), transposed ? text(b, " transposed") : text(b), add);
    products_.issue(
        range(c), range(a),
        [this, a0, b, add](std::byte* sums, const std::byte* registers) {
          constexpr int kElements = elements_of_register(kind), kBytes = 4 / kElements;
          Bits a_rows[kRows][kDepthBytes];
          for (int lane = 0; lane < kLanes; ++lane) {
            for (int reg = 0; reg < 4; ++reg) {
              const std::byte* word =
                  registers + sizeof(std::uint32_t) * static_cast<std::size_t>(lane * na + a0 + reg);
              for (int i = 0; i < kElements; ++i) {
                const Place at = place_in_wgmma_a<kElements>(lane, reg, i);
                std::memcpy(&a_rows[at.row][at.column * kBytes], word + i * kBytes, kBytes);
              }
            }
          }
          multiply<kind, n, transposed>(sums, a_rows, b, add);
        },
        block_.completes_at_issue());
  }
  void wgmma_commit() {
    block_.in_step(warp_, "wgmma_commit");
    products_.commit();
  }
  template <int left, class... R>
  void wgmma_wait(R&... registers) {
    block_.in_step(warp_, text("wgmma_wait ", left));
    products_.wait(left, {range(registers)...});
  }

  std::uint32_t count_up(std::uint32_t* number) { return (*number)++; }
  template <class T, int n>
  void drop(Registers<T, n>& registers) {
    touch(registers);
    registers = {};
  }

  template <int n>
  void more_registers() {
    set_registers<n>(true);
  }
  template <int n>
  void fewer_registers() {
    set_registers<n>(false);
  }

 private:
  using Bits = std::uint8_t;
  static constexpr int kRows = 16, kDepthBytes = kWgmmaDepthBytes;

  template <class T, int n>
  static RegisterRange range(const Registers<T, n>& registers) {
    return {const_cast<T*>(&registers.r[0][0]), sizeof registers.r};
  }
  template <class T, int n>
  void touch(const Registers<T, n>& registers) {
    products_.touch(range(registers));
  }

  void check_rank(const TensorMap& map, int rank) const {
    if (map.box.rank == rank) return;
    throw Fault(
        text("warp ", warp_, " copies a box at ", rank, " coordinates from a tensor of ", map.box.rank, " axes"));
  }
  template <Mma kind, int n>
  void in_step(const std::string& a, const std::string& b, bool add) {
    static_assert((is_wgmma_kind(kind) && is_wgmma_width(n)) || is_wgmma_to_f16(kind, n));
    block_.in_step(warp_, text("wgmma ", static_cast<int>(kind), " of width ", n, ", ", a, ", B ", b, add ? " +" : ""));
  }
  template <int n>
  void set_registers(bool more) {
    block_.in_step(warp_, text("setmaxnreg ", n));
    block_.set_registers(warp_, n, more);
  }

  MatrixDescriptor matrix_of(std::uint64_t descriptor) const {
    const MatrixDescriptor matrix = decode(descriptor);
    if (matrix.address % atom_bytes(matrix.swizzle) >= row_bytes(matrix.swizzle) && matrix.swizzle != Swizzle::none) {
      throw Fault(text("warp ", warp_, " multiplies a matrix from byte ", matrix.address,
                       " of shared memory, which is not in the first row of a swizzle's atom of ",
                       atom_bytes(matrix.swizzle), " bytes"));
    }
    return matrix;
  }
  // Rows `first`.. of an operand.
  template <int rows>
  void read(std::uint64_t descriptor, std::uint32_t first, Bits (&to)[rows][kDepthBytes]) {
    const MatrixDescriptor matrix = matrix_of(descriptor);
    for (std::uint32_t row = 0; row < rows; ++row) {
      for (std::uint32_t byte = 0; byte < kDepthBytes; byte += kChunk) {
        block_.read_by_tensor_core(warp_, place_in_matrix(matrix, first + row, byte), &to[row][byte], kChunk);
      }
    }
  }

  // The same of a transposed operand of 16-bit elements.
  template <int rows>
  void read_transposed(std::uint64_t descriptor, Bits (&to)[rows][kDepthBytes]) {
    const MatrixDescriptor matrix = matrix_of(descriptor);
    if (matrix.swizzle == Swizzle::none) {
      throw Fault(text("warp ", warp_, " multiplies a transposed matrix without a swizzle, which is not modelled"));
    }
    for (std::uint32_t k = 0; k < kDepthBytes / 2; ++k) {
      for (std::uint32_t byte = 0; byte < 2 * rows; byte += kChunk) {
        Bits chunk[kChunk];
        block_.read_by_tensor_core(warp_, place_in_transposed(matrix, k, byte), chunk, kChunk);
        for (std::uint32_t i = 0; i < kChunk; ++i) to[(byte + i) / 2][2 * k + i % 2] = chunk[i];
      }
    }
  }

  template <Mma kind, bool left, int depth>
  static void factors(const Bits (&bytes)[kDepthBytes], Factor<kind> (&to)[depth]) {
    constexpr int kBytes = kDepthBytes / depth;
    for (int k = 0; k < depth; ++k) {
      std::uint32_t bits = 0;
      std::memcpy(&bits, &bytes[k * kBytes], kBytes);
      to[k] = factor<kind>(element<kind, left>(bits));
    }
  }

  // This warp's 16 rows of the sums, as all its lanes' registers.
  template <Mma kind, int n, bool transposed>
  void multiply(std::byte* sums, const Bits (&a)[kRows][kDepthBytes], std::uint64_t b, bool add) {
    constexpr int kDepth = 8 * elements_of_register(kind), kSums = kWgmmaSums<kind, n>;
    Bits columns[n][kDepthBytes];
    if constexpr (transposed) {
      read_transposed(b, columns);
    } else {
      read(b, 0, columns);
    }
    Factor<kind> a_rows[kRows][kDepth], b_columns[n][kDepth];
    for (int row = 0; row < kRows; ++row) factors<kind, true>(a[row], a_rows[row]);
    for (int column = 0; column < n; ++column) factors<kind, false>(columns[column], b_columns[column]);
    for (int lane = 0; lane < kLanes; ++lane) {
      MmaSum<kind> c[kSums];
      std::byte* place = sums + sizeof c * static_cast<std::size_t>(lane);
      std::memcpy(c, place, sizeof c);
      for (int i = 0; i < n / 2; ++i) {
        const Place at = place_in_wgmma_c(lane, i);
        const Number<kind> start = add ? get_sum<kind>(c, i) : Number<kind>{};
        set_sum<kind>(c, i, dot<kind>(a_rows[at.row], b_columns[at.column], start, Accumulator::sm90));
      }
      std::memcpy(place, c, sizeof c);
    }
  }

  AsyncProducts products_;
};

}  // namespace octavo::cuda::emulation
