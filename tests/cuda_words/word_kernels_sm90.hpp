// The same for Hopper's words, as kernels of one warpgroup.
#pragma once

#include "cuda/tile/machine_sm90.hpp"
#include "word_kernels.hpp"

namespace octavo::cuda {

// Shared memory of a product: A's tile of 64 rows, up to 128 bytes wide, B's of 8 rows.
constexpr std::uint32_t kWordB = 8192, kWordWgmmaBytes = kWordB + 1024;
constexpr int kWordWidth = 8;

// in: the tiles' words (A 2048, B 256), then the four registers of A [128, 4] that rows in registers take, then C [128,
// 4]. out: [128, 4]
template <class Machine, Mma kind, Swizzle swizzle, bool in_registers>
OCTAVO_DEVICE void run_wgmma(Machine& m, const WordRuns& runs) {
  const WordRun<Machine> run(m, runs);
  store_words(m, 0, run.in, kWordWgmmaBytes / 4);
  m.fence_async();
  m.sync("operands are stored");
  const int first = 32 * m.warp();
  Registers<Machine, std::uint32_t, 4> a;
  Registers<Machine, MmaSum<kind>, 4> c;
  m.lanes(
      [&](int lane, std::uint32_t(&x)[4], MmaSum<kind>(&z)[4]) {
        OCTAVO_UNROLL
        for (int i = 0; i < 4; ++i) {
          x[i] = run.in[kWordWgmmaBytes / 4 + 4 * static_cast<std::uint32_t>(first + lane) +
                        static_cast<std::uint32_t>(i)];
          z[i] = sum_of<MmaSum<kind>>(run.in[kWordWgmmaBytes / 4 + 512 + 4 * static_cast<std::uint32_t>(first + lane) +
                                             static_cast<std::uint32_t>(i)]);
        }
      },
      a, c);
  m.wgmma_fence(a, c);
  if constexpr (in_registers) {
    m.template wgmma<kind, kWordWidth>(c, a, 0, m.matrix(kWordB, swizzle), true);
  } else {
    m.template wgmma<kind, kWordWidth>(c, m.matrix(0, swizzle), m.matrix(kWordB, swizzle), true);
  }
  m.wgmma_commit();
  m.template wgmma_wait<0>(c);
  m.lanes(
      [&](int lane, MmaSum<kind>(&z)[4]) {
        OCTAVO_UNROLL
        for (int i = 0; i < 4; ++i) run.out[4 * (first + lane) + i] = bits_of(z[i]);
      },
      c);
}

// in: A's rows of 32 bytes [64, 8 words], B's [n, 8]. Both products of them, A from shared memory and from registers,
// added up. out: [128, n / 2]
constexpr std::uint32_t kWordWideB = 64 * kWgmmaDepthBytes;
template <class Machine, int n>
OCTAVO_DEVICE void run_wgmma_wide(Machine& m, const WordRuns& runs) {
  const WordRun<Machine> run(m, runs);
  constexpr Swizzle kSwizzle = Swizzle::bytes32;
  const int warp = m.warp();
  m.lanes([&](int lane) {
    for (int i = 32 * warp + lane; i < (64 + n) * 8; i += 128) {
      m.store_shared(swizzled(kSwizzle, static_cast<std::uint32_t>(4 * i)), run.in[i]);
    }
  });
  m.fence_async();
  m.sync("operands are stored");
  Registers<Machine, std::uint32_t, 4> a;
  Registers<Machine, std::int32_t, n / 2> c;
  m.lanes(
      [&](int lane, std::uint32_t(&x)[4], std::int32_t(&z)[n / 2]) {
        OCTAVO_UNROLL
        for (int i = 0; i < 4; ++i) {
          const Place place = place_in_wgmma_a<4>(32 * warp + lane, i, 0);
          x[i] = run.in[8 * place.row + place.column / 4];
        }
        OCTAVO_UNROLL
        for (int i = 0; i < n / 2; ++i) z[i] = 0;
      },
      a, c);
  m.wgmma_fence(a, c);
  m.template wgmma<Mma::s8s8, n>(c, m.matrix(0, kSwizzle), m.matrix(kWordWideB, kSwizzle), false);
  m.template wgmma<Mma::s8s8, n>(c, a, 0, m.matrix(kWordWideB, kSwizzle), true);
  m.wgmma_commit();
  m.template wgmma_wait<0>(c);
  m.lanes(
      [&](int lane, std::int32_t(&z)[n / 2]) {
        OCTAVO_UNROLL
        for (int i = 0; i < n / 2; ++i) run.out[n / 2 * (32 * warp + lane) + i] = bits_of(z[i]);
      },
      c);
}

// in: the four registers of A [128, 4], 16 numbers of f16 a row; B [16, 128] of f16, 64 words a row. B lies in two
// panels of 64 columns, transposed. out: [128, 64]
constexpr int kWordTransposedWidth = 128;
constexpr std::uint32_t kWordPanel = 16 * 128, kWordTransposedBytes = 2 * kWordPanel;
template <class Machine>
OCTAVO_DEVICE void run_wgmma_transposed(Machine& m, const WordRuns& runs) {
  const WordRun<Machine> run(m, runs);
  constexpr Swizzle kSwizzle = Swizzle::bytes128;
  constexpr int kSums = kWordTransposedWidth / 2;
  const int warp = m.warp();
  m.lanes([&](int lane) {
    for (int i = 32 * warp + lane; i < 16 * 64; i += 128) {
      const auto row = static_cast<std::uint32_t>(i / 64), word = static_cast<std::uint32_t>(i % 64);
      m.store_shared(swizzled(kSwizzle, word / 32 * kWordPanel + row * 128 + word % 32 * 4), run.in[512 + i]);
    }
  });
  m.fence_async();
  m.sync("operands are stored");
  Registers<Machine, std::uint32_t, 4> a;
  Registers<Machine, float, kSums> c;
  m.lanes(
      [&](int lane, std::uint32_t(&x)[4], float(&z)[kSums]) {
        OCTAVO_UNROLL
        for (int i = 0; i < 4; ++i) x[i] = run.in[4 * (32 * warp + lane) + i];
        OCTAVO_UNROLL
        for (int i = 0; i < kSums; ++i) z[i] = 0;
      },
      a, c);
  m.wgmma_fence(a, c);
  m.template wgmma<Mma::f16, kWordTransposedWidth, true>(
      c, a, 0, m.matrix(0, kSwizzle, atom_bytes(kSwizzle), kWordPanel), false);
  m.wgmma_commit();
  m.template wgmma_wait<0>(c);
  m.lanes(
      [&](int lane, float(&z)[kSums]) {
        OCTAVO_UNROLL
        for (int i = 0; i < kSums; ++i) run.out[kSums * (32 * warp + lane) + i] = bits_of(z[i]);
      },
      c);
}

// in: 64 words, of which a bulk copy brings the 32 from the fifth on. out: those 32
constexpr std::uint32_t kWordBulk = 1024, kWordBulkWords = 32;
template <class Machine>
OCTAVO_DEVICE void run_copy_bytes(Machine& m, const WordRuns& runs) {
  const WordRun<Machine> run(m, runs);
  m.init_mbarrier(0, 1);
  m.fence_async();
  m.sync("the mbarrier is made");
  m.arrive_mbarrier(0, 4 * kWordBulkWords);
  m.copy_bytes(run.in + 4, kWordBulk, 0, 4 * kWordBulkWords);
  m.wait_mbarrier("the bytes", 0, 0);
  m.lanes([&](int lane) {
    run.out[lane] = m.template shared<std::uint32_t>(kWordBulk + 4 * static_cast<std::uint32_t>(lane));
  });
}

// A box at element (x, y), (x, y, z) where it has three axes, of `map`, to byte 1024. out: its words
constexpr std::uint32_t kWordBox = 1024;
template <class Machine>
OCTAVO_DEVICE void copy_one_box(Machine& m, const typename Machine::TensorMap& map, std::uint32_t words, BoxPlace at,
                                std::uint32_t* out) {
  if (m.warp() == 0) {
    m.init_mbarrier(0, 1);
    m.fence_async();
  }
  m.sync("the mbarrier is made");
  if (m.warp() == 0) {
    m.arrive_mbarrier(0, 4 * words);
    if (at.rank == 2) {
      m.copy_box(map, kWordBox, 0, at.x, at.y);
    } else {
      m.copy_box(map, kWordBox, 0, at.x, at.y, at.z);
    }
  }
  m.wait_mbarrier("the box", 0, 0);
  if (m.warp() != 0) return;
  m.lanes([&](int lane) {
    for (auto i = static_cast<std::uint32_t>(lane); i < words; i += 32) {
      out[i] = m.template shared<std::uint32_t>(kWordBox + 4 * i);
    }
  });
}

}  // namespace octavo::cuda
