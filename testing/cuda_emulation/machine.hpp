// The primitives of tile/machine.hpp on the host: one object per warp, 32 lanes at once. What a primitive computes
// follows tile/fragments.hpp; the block checks what it may access and when.
#pragma once

#if defined(__CUDACC__)
#error "cuda_emulation/machine.hpp is for the host's compiler"
#endif

#include <cmath>
#include <cstdint>
#include <cstring>

#include "core/float_types.hpp"
#include "cuda/tile/machine.hpp"
#include "cuda_emulation/block.hpp"
#include "cuda_emulation/fault.hpp"
#include "cuda_emulation/product.hpp"

namespace octavo::cuda::emulation {

class Emulated {
 public:
  static constexpr int kHeldLanes = kLanes;
  template <class T, int n>
  using Registers = RegisterFile<T, n, kLanes>;

  Emulated(Block& block, int warp) : block_(block), warp_(warp) {}

  template <class F, class... R>
  void lanes(F&& f, R&... registers) {
    check_waited();
    for (int lane = 0; lane < kLanes; ++lane) f(lane, registers.r[lane]...);
  }

  void finish() { check_waited(); }  // the kernel has ended

  int warp() const { return warp_; }
  void renew_warp() {}
  int warps() const { return block_.grid().warps; }
  std::int64_t block(int axis) const { return block_.place()[static_cast<std::size_t>(axis)]; }
  std::int64_t blocks(int axis) const { return block_.grid().blocks[static_cast<std::size_t>(axis)]; }

  template <class T>
  T shared(std::uint32_t offset) const {
    T x;
    block_.read(warp_, offset, &x, sizeof x);
    return x;
  }
  template <class T>
  void store_shared(std::uint32_t offset, T x) {
    block_.write(warp_, offset, &x, sizeof x);
  }

  template <bool trans, int n, class F>
  void ldmatrix(Registers<std::uint32_t, n>& to, int first, F&& offset_of_lane) {
    for (int matrix = 0; matrix < 4; ++matrix) {
      std::uint16_t elements[8][8];
      for (int row = 0; row < 8; ++row) {
        block_.read(warp_, offset_of_lane(lane_of_matrix_row(matrix, row)), elements[row], sizeof elements[row]);
      }
      for (int lane = 0; lane < kLanes; ++lane) {
        std::uint32_t& word = to.r[lane][first + matrix];
        word = 0;
        for (int i = 0; i < 2; ++i) {
          const Place place = place_in_ldmatrix(lane, i);
          const std::uint32_t x = trans ? elements[place.column][place.row] : elements[place.row][place.column];
          word |= x << (16 * i);
        }
      }
    }
  }

  template <class F>
  void copy16(F&& item_of_lane) {
    check_waited();
    for (int lane = 0; lane < kLanes; ++lane) {
      const CopyItem item = item_of_lane(lane);
      if (item.what != CopyWhat::nothing) block_.copy(warp_, item.to, item.from, item.what == CopyWhat::zeros);
    }
  }
  void commit_copies() { block_.commit_copies(warp_); }
  template <int n>
  void wait_copies() {
    block_.wait_copies(warp_, n);
  }

  void launch_dependents() {}
  void wait_for_earlier_kernels() { waited_ = true; }

  void sync_warp() {}
  void sync(const char* name) { block_.barrier(warp_, name, 0, warps(), true); }
  void sync(const char* name, int id, int warps) { block_.barrier(warp_, name, id, warps, true); }
  void arrive(const char* name, int id, int warps) { block_.barrier(warp_, name, id, warps, false); }

  template <Mma kind, int nc, int na, int nb>
  void mma(Registers<MmaSum<kind>, nc>& c, int c0, const Registers<std::uint32_t, na>& a, int a0,
           const Registers<std::uint32_t, nb>& b, int b0) {
    constexpr int kElements = elements_of_register(kind), kDepth = 8 * kElements, kBits = 32 / kElements;
    Number<kind> rows[16][kDepth], columns[8][kDepth];
    for (int lane = 0; lane < kLanes; ++lane) {
      for (int reg = 0; reg < 4; ++reg) {
        for (int i = 0; i < kElements; ++i) {
          const Place at = place_in_a<kElements>(lane, reg, i);
          rows[at.row][at.column] = element<kind, true>(a.r[lane][a0 + reg] >> (kBits * i));
        }
      }
      for (int reg = 0; reg < 2; ++reg) {
        for (int i = 0; i < kElements; ++i) {
          const Place at = place_in_b<kElements>(lane, reg, i);
          columns[at.column][at.row] = element<kind, false>(b.r[lane][b0 + reg] >> (kBits * i));
        }
      }
    }
    Factor<kind> a_rows[16][kDepth], b_columns[8][kDepth];
    for (int k = 0; k < kDepth; ++k) {
      for (int row = 0; row < 16; ++row) a_rows[row][k] = factor<kind>(rows[row][k]);
      for (int column = 0; column < 8; ++column) b_columns[column][k] = factor<kind>(columns[column][k]);
    }
    for (int lane = 0; lane < kLanes; ++lane) {
      for (int reg = 0; reg < 4; ++reg) {
        const Place at = place_in_c(lane, reg);
        MmaSum<kind>* const sums = c.r[lane] + c0;
        set_sum<kind>(sums, reg,
                      dot<kind>(a_rows[at.row], b_columns[at.column], get_sum<kind>(sums, reg), kFirstCard<kind>));
      }
    }
  }

  template <Mma kind, int nc, int na, int nb>
  void first_mma(Registers<MmaSum<kind>, nc>& c, int c0, const Registers<std::uint32_t, na>& a, int a0,
                 const Registers<std::uint32_t, nb>& b, int b0, MmaSum<kind> start) {
    for (auto& lane : c.r) {
      for (int reg = 0; reg < kSumRegisters<kind>; ++reg) lane[c0 + reg] = start;
    }
    mma<kind>(c, c0, a, a0, b, b0);
  }

  template <class T, int n>
  void shuffle_xor(Registers<T, n>& to, const Registers<T, n>& from, int mask) {
    for (int lane = 0; lane < kLanes; ++lane) std::memcpy(to.r[lane], from.r[lane ^ mask], sizeof to.r[lane]);
  }
  bool any(const Registers<std::uint32_t, 1>& flags) const {
    for (const auto& flag : flags.r) {
      if (flag[0] != 0) return true;
    }
    return false;
  }

  static float exp2(float x) { return x < -126.0f ? 0.0f : std::exp2(x); }  // subnormal results are flushed
  static float log2(float x) { return std::log2(x); }
  static float reciprocal(float x) { return 1.0f / x; }
  static float from_f16(std::uint16_t bits) { return f16_to_f32(bits); }
  static float max_nan(float a, float b) { return a != a ? a : b != b ? b : std::max(a, b); }
  static std::uint32_t add_bytes(std::uint32_t bytes, std::uint32_t to) {
    return to + (bytes & 255) + (bytes >> 8 & 255) + (bytes >> 16 & 255) + (bytes >> 24);
  }
  static std::uint32_t low_bytes(std::uint32_t a, std::uint32_t b, std::uint32_t c, std::uint32_t d) {
    return (a & 0xffu) | (b & 0xffu) << 8 | (c & 0xffu) << 16 | (d & 0xffu) << 24;
  }
  static std::uint32_t second_bytes(std::uint32_t a, std::uint32_t b, std::uint32_t c, std::uint32_t d) {
    return low_bytes(a >> 8, b >> 8, c >> 8, d >> 8);
  }
  static std::uint32_t pack_f16(float a, float b) {
    return f32_to_f16(a) | static_cast<std::uint32_t>(f32_to_f16(b)) << 16;
  }
  static std::uint32_t pack_e4m3(float a, float b, float c, float d) {
    return low_bytes(f32_to_e4m3(a), f32_to_e4m3(b), f32_to_e4m3(c), f32_to_e4m3(d));
  }
  static std::uint32_t pack_bf16(float a, float b) {
    return f32_to_bf16(a) | static_cast<std::uint32_t>(f32_to_bf16(b)) << 16;
  }

 protected:
  // Global memory is accessed inside lanes() and by copies: both come after the wait.
  void check_waited() const {
    if (block_.overlaps() && !waited_) {
      throw Fault("a kernel that overlaps the one before it does not wait for it (wait_for_earlier_kernels())");
    }
  }

  Block& block_;
  int warp_;
  bool waited_ = false;
};

// Runs `kernel(machine)` in every warp of every block, one block after the other. Throws the first Fault.
template <class Machine = Emulated, class Kernel>
void launch(const Grid& grid, const Options& options, Kernel&& kernel) {
  Block block(grid, options);
  for (std::int64_t z = 0; z < grid.blocks[2]; ++z) {
    for (std::int64_t y = 0; y < grid.blocks[1]; ++y) {
      for (std::int64_t x = 0; x < grid.blocks[0]; ++x) {
        block.run({x, y, z}, [&](int warp) {
          Machine machine(block, warp);
          kernel(machine);
          machine.finish();
        });
      }
    }
  }
}

}  // namespace octavo::cuda::emulation
