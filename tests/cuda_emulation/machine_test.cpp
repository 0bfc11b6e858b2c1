// Each word of the emulated machine against what the PTX ISA says it does, written out here once more.
#include "cuda_emulation/machine.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "cuda/tile/shared_tile.hpp"

namespace octavo::cuda {
namespace {

using emulation::Completion;
using emulation::Emulated;
using emulation::Grid;
using emulation::Options;

template <class F>
void in_one_warp(std::size_t shared_bytes, F&& f, Options options = {}) {
  emulation::launch({{1, 1, 1}, 1, shared_bytes}, options, f);
}

// Numbers of a product's operand: the bits and what they stand for.
struct Coded {
  std::uint32_t bits;
  double value;
};
Coded draw(Mma kind, bool left, std::mt19937& random) {
  const std::uint32_t bits = static_cast<std::uint32_t>(random());
  switch (kind) {
    case Mma::s8s8:
      return {bits & 0xff, static_cast<double>(static_cast<std::int8_t>(bits))};
    case Mma::u8s8:
      return {bits & 0xff,
              left ? static_cast<double>(bits & 0xff) : static_cast<double>(static_cast<std::int8_t>(bits))};
    case Mma::u8u8:
      return {bits & 0xff, static_cast<double>(bits & 0xff)};
    case Mma::s4s4:
      return {bits & 0xf,
              static_cast<double>(bits & 8 ? static_cast<int>(bits & 0xf) - 16 : static_cast<int>(bits & 0xf))};
    case Mma::f16:
    case Mma::f16_to_f16:
      return {0x3c00u | (bits & 0x83ff), (bits & 0x8000 ? -1 : 1) * (1 + (bits & 0x3ff) / 1024.0)};
    case Mma::bf16:
      return {0x3f80u | (bits & 0x807f), (bits & 0x8000 ? -1 : 1) * (1 + (bits & 0x7f) / 128.0)};
    case Mma::e4m3:
    case Mma::e4m3_to_f16:
      return {0x38u | (bits & 0x87), (bits & 0x80 ? -1 : 1) * (1 + (bits & 7) / 8.0)};
    case Mma::e5m2:
      return {0x3cu | (bits & 0x83), (bits & 0x80 ? -1 : 1) * (1 + (bits & 3) / 4.0)};
  }
  return {};
}

template <Mma kind, int elements>
void expect_product() {
  constexpr int kDepth = 8 * elements, kBits = 32 / elements;
  std::mt19937 random(5);
  Coded a[16][kDepth], b[kDepth][8];
  double c[16][8];
  // Sums that FP8's 13 bits hold exactly.
  constexpr int kMost = kind == Mma::e4m3 || kind == Mma::e5m2 ? 7 : 500;
  for (auto& row : a)
    for (Coded& x : row) x = draw(kind, true, random);
  for (auto& row : b)
    for (Coded& x : row) x = draw(kind, false, random);
  for (auto& row : c)
    for (double& x : row) x = static_cast<int>(random() % (2 * kMost)) - kMost;
  in_one_warp(0, [&](Emulated& machine) {
    Registers<Emulated, std::uint32_t, 6> ra, rb;
    Registers<Emulated, MmaSum<kind>, 9> rc, fresh;
    machine.lanes(
        [&](int lane, std::uint32_t(&x)[6], std::uint32_t(&y)[6], MmaSum<kind>(&z)[9]) {
          const int group = lane / 4, thread = lane % 4;
          for (int r = 0; r < 4; ++r) {
            x[2 + r] = 0;
            for (int i = 0; i < elements; ++i) {
              const int row = r % 2 == 0 ? group : group + 8,
                        column = thread * elements + i + (r < 2 ? 0 : 4 * elements);
              x[2 + r] |= a[row][column].bits << (kBits * i);
            }
            z[5 + r] = static_cast<MmaSum<kind>>(c[r < 2 ? group : group + 8][thread * 2 + r % 2]);
          }
          for (int r = 0; r < 2; ++r) {
            y[1 + r] = 0;
            for (int i = 0; i < elements; ++i) {
              y[1 + r] |= b[thread * elements + i + r * 4 * elements][group].bits << (kBits * i);
            }
          }
        },
        ra, rb, rc);
    machine.mma<kind>(rc, 5, ra, 2, rb, 1);
    machine.first_mma<kind>(fresh, 0, ra, 2, rb, 1, 7);
    machine.lanes(
        [&](int lane, MmaSum<kind>(&z)[9], MmaSum<kind>(&f)[9]) {
          for (int r = 0; r < 4; ++r) {
            const int row = r < 2 ? lane / 4 : lane / 4 + 8, column = lane % 4 * 2 + r % 2;
            double product = 0;
            for (int k = 0; k < kDepth; ++k) product += a[row][k].value * b[k][column].value;
            EXPECT_NEAR(z[5 + r], product + c[row][column], 1e-3);
            EXPECT_NEAR(f[r], product + 7, 1e-3);
          }
        },
        rc, fresh);
  });
}

TEST(Machine, ProductsOfS8) { expect_product<Mma::s8s8, 4>(); }
TEST(Machine, ProductsOfU8AndS8) { expect_product<Mma::u8s8, 4>(); }
TEST(Machine, ProductsOfU8) { expect_product<Mma::u8u8, 4>(); }
TEST(Machine, ProductsOfS4) { expect_product<Mma::s4s4, 8>(); }
TEST(Machine, ProductsOfF16) { expect_product<Mma::f16, 2>(); }
TEST(Machine, ProductsOfBf16) { expect_product<Mma::bf16, 2>(); }
TEST(Machine, ProductsOfE4m3) { expect_product<Mma::e4m3, 4>(); }
TEST(Machine, ProductsOfE5m2) { expect_product<Mma::e5m2, 4>(); }

TEST(Machine, IntegerSumsAreExact) {
  in_one_warp(0, [](Emulated& machine) {
    Registers<Emulated, std::uint32_t, 4> a;
    Registers<Emulated, std::uint32_t, 2> b;
    Registers<Emulated, std::int32_t, 4> c;
    machine.lanes(
        [](int, std::uint32_t(&x)[4]) {
          for (auto& r : x) r = 0xffffffffu;
        },
        a);
    machine.lanes(
        [](int, std::uint32_t(&x)[2]) {
          for (auto& r : x) r = 0x80808080u;
        },
        b);
    machine.first_mma<Mma::u8s8>(c, 0, a, 0, b, 0, 1 << 30);
    machine.lanes(
        [](int, std::int32_t(&x)[4]) {
          for (auto r : x) EXPECT_EQ(r, (1 << 30) - 32 * 255 * 128);
        },
        c);
  });
}

// Every eight products of f16 are one sum, rounded to f16, half to even: 2048 + 1 is a tie, 2050 + 1 another.
TEST(Machine, SumsInF16AreRoundedInside) {
  in_one_warp(0, [](Emulated& machine) {
    Registers<Emulated, std::uint32_t, 4> a;
    Registers<Emulated, std::uint32_t, 2> b;
    Registers<Emulated, std::uint32_t, 2> c;
    constexpr std::uint32_t kOnes = 0x3c003c00u, k2048And2050 = 0x6801'6800u;
    // Ones at the first k of each half.
    machine.lanes(
        [](int lane, std::uint32_t(&x)[4], std::uint32_t(&y)[2], std::uint32_t(&sum)[2]) {
          x[0] = x[1] = x[2] = x[3] = lane % 4 == 0 ? 0x3c00u : 0u;
          y[0] = y[1] = kOnes;
          sum[0] = sum[1] = k2048And2050;
        },
        a, b, c);
    machine.mma<Mma::f16_to_f16>(c, 0, a, 0, b, 0);
    machine.lanes(
        [](int, std::uint32_t(&sum)[2]) {
          // 2048: twice back to 2048. 2050: up to 2052, then back to it. One sum of both would be 2050 and 2052.
          for (std::uint32_t x : sum) EXPECT_EQ(x, 0x6802'6800u);
        },
        c);
    machine.first_mma<Mma::f16_to_f16>(c, 0, a, 0, b, 0, 0x7bff7bffu);
    machine.lanes(
        [](int, std::uint32_t(&sum)[2]) {
          for (std::uint32_t x : sum) EXPECT_EQ(x, 0x7bff7bffu);
        },
        c);
  });
}

// Beside a large sum the digits of small products are lost, as tensor cores lose them: FP8 keeps 13 bits, 16-bit
// operands 24, both cut towards zero.
TEST(Machine, FloatSumsKeepTheirBits) {
  in_one_warp(0, [](Emulated& machine) {
    Registers<Emulated, std::uint32_t, 4> a;
    Registers<Emulated, std::uint32_t, 2> b;
    Registers<Emulated, float, 4> c;
    machine.lanes(
        [](int, std::uint32_t(&x)[4]) {
          for (auto& r : x) r = 0x38383838u;
        },
        a);  // 1.0 in E4M3
    machine.lanes(
        [](int, std::uint32_t(&x)[2]) {
          for (auto& r : x) r = 0x28282828u;
        },
        b);  // 0.25
    machine.first_mma<Mma::e4m3>(c, 0, a, 0, b, 0, 4096.0f);
    machine.lanes(
        [](int, float(&x)[4]) {
          for (float r : x) EXPECT_EQ(r, 4096.0f);
        },
        c);
    machine.first_mma<Mma::e4m3>(c, 0, a, 0, b, 0, 0.0f);
    machine.lanes(
        [](int, float(&x)[4]) {
          for (float r : x) EXPECT_EQ(r, 8.0f);
        },
        c);
    machine.lanes(
        [](int, std::uint32_t(&x)[4]) {
          for (auto& r : x) r = 0x3c003c00u;
        },
        a);  // 1.0 in f16
    machine.lanes(
        [](int, std::uint32_t(&x)[2]) {
          for (auto& r : x) r = 0x34003400u;
        },
        b);  // 0.25
    machine.first_mma<Mma::f16>(c, 0, a, 0, b, 0, 4096.0f);
    machine.lanes(
        [](int, float(&x)[4]) {
          for (float r : x) EXPECT_EQ(r, 4100.0f);
        },
        c);
    machine.first_mma<Mma::f16>(c, 0, a, 0, b, 0, 0x1p26f);
    machine.lanes(
        [](int, float(&x)[4]) {
          for (float r : x) EXPECT_EQ(r, 0x1p26f);
        },
        c);
  });
}

TEST(Machine, LdmatrixAndItsTranspose) {
  in_one_warp(4096, [](Emulated& machine) {
    // Matrix j, row r, element i holds 100 j + 10 r + i; rows are 32 bytes apart.
    machine.lanes([&](int lane) {
      for (std::uint16_t i = 0; i < 8; ++i) {
        machine.store_shared(static_cast<std::uint32_t>(32 * lane + 2 * i),
                             static_cast<std::uint16_t>(100 * (lane / 8) + 10 * (lane % 8) + i));
      }
    });
    Registers<Emulated, std::uint32_t, 5> plain, transposed;
    const auto address = [](int lane) { return static_cast<std::uint32_t>(32 * lane); };
    machine.ldmatrix<false>(plain, 1, address);
    machine.ldmatrix<true>(transposed, 1, address);
    machine.lanes(
        [](int lane, std::uint32_t(&p)[5], std::uint32_t(&t)[5]) {
          const auto row = static_cast<std::uint32_t>(lane / 4), column = static_cast<std::uint32_t>(lane % 4 * 2);
          for (std::uint32_t j = 0; j < 4; ++j) {
            const std::uint32_t first = 100 * j + 10 * row + column;
            EXPECT_EQ(p[1 + j], first | (first + 1) << 16);
            EXPECT_EQ(t[1 + j], (100 * j + 10 * column + row) | (100 * j + 10 * (column + 1) + row) << 16);
          }
        },
        plain, transposed);
  });
}

TEST(Machine, CopiesArriveByTheirWait) {
  alignas(16) std::uint32_t source[128];
  for (std::uint32_t i = 0; i < 128; ++i) source[i] = 3 * i + 1;
  for (Completion completion : {Completion::at_issue, Completion::at_wait}) {
    in_one_warp(1024,
                [&](Emulated& machine) {
                  machine.copy16([&](int lane) {
                    return CopyItem{static_cast<std::uint32_t>(16 * lane), source + 4 * lane,
                                    lane < 3     ? CopyWhat::zeros
                                    : lane == 31 ? CopyWhat::nothing
                                                 : CopyWhat::bytes};
                  });
                  machine.commit_copies();
                  machine.copy16(
                      [&](int lane) { return CopyItem{512, source, lane == 5 ? CopyWhat::bytes : CopyWhat::nothing}; });
                  machine.commit_copies();
                  machine.wait_copies<1>();
                  machine.lanes([&](int lane) {
                    if (lane == 31) return;
                    for (std::uint32_t i = 0; i < 4; ++i) {
                      const std::uint32_t index = 4 * static_cast<std::uint32_t>(lane) + i;
                      EXPECT_EQ(machine.shared<std::uint32_t>(4 * index), lane < 3 ? 0 : source[index]);
                    }
                  });
                  machine.wait_copies<0>();
                  EXPECT_EQ(machine.shared<std::uint32_t>(512), source[0]);
                },
                {completion, 0});
  }
}

TEST(Machine, ShufflesVotesAndBytes) {
  in_one_warp(0, [](Emulated& machine) {
    Registers<Emulated, float, 2> from, to;
    machine.lanes([](int lane, float(&x)[2]) { x[0] = static_cast<float>(lane), x[1] = static_cast<float>(-lane); },
                  from);
    for (int mask : {1, 2, 16, 31}) {
      machine.shuffle_xor(to, from, mask);
      machine.lanes(
          [&](int lane, float(&x)[2]) {
            EXPECT_EQ(x[0], lane ^ mask);
            EXPECT_EQ(x[1], -(lane ^ mask));
          },
          to);
    }
    max_over<4>(machine, from);
    machine.lanes(
        [](int lane, float(&x)[2]) {
          EXPECT_EQ(x[0], lane / 4 * 4 + 3);
          EXPECT_EQ(x[1], -(lane / 4 * 4));
        },
        from);
    Registers<Emulated, std::uint32_t, 1> flags;
    machine.lanes([](int, std::uint32_t(&x)[1]) { x[0] = 0; }, flags);
    EXPECT_FALSE(machine.any(flags));
    machine.lanes([](int lane, std::uint32_t(&x)[1]) { x[0] = lane == 19; }, flags);
    EXPECT_TRUE(machine.any(flags));
    EXPECT_EQ(Emulated::low_bytes(0x1111u, 0xff22u, 0x33u, 0xab44u), 0x44332211u);
    EXPECT_EQ(Emulated::pack_f16(1.0f, -2.0f), 0xc0003c00u);
    EXPECT_EQ(Emulated::pack_bf16(1.0f, -2.0f), 0xc0003f80u);
    EXPECT_EQ(Emulated::exp2(-INFINITY), 0.0f);
    EXPECT_TRUE(std::isnan(Emulated::exp2(NAN)));
  });
}

TEST(Machine, NamedBarriersJoinTheWarpsTheyCount) {
  for (std::uint32_t shuffle : {0u, 1u, 2u, 3u}) {
    emulation::launch({{1, 1, 1}, 4, 64}, {Completion::at_wait, shuffle}, [](Emulated& machine) {
      if (machine.warp() == 0) machine.store_shared(0, 42u);
      if (machine.warp() < 2) {
        machine.sync("a pair", 3, 2);
        EXPECT_EQ(machine.shared<std::uint32_t>(0), 42u);
      }
      if (machine.warp() == 1) {
        machine.store_shared(8, 43u);
        machine.arrive("handed over", 4, 2);
      }
      if (machine.warp() == 2) {
        machine.sync("handed over", 4, 2);
        EXPECT_EQ(machine.shared<std::uint32_t>(8), 43u);
      }
      machine.sync("all");
    });
  }
}

TEST(SharedTile, EightRowsOfAColumnLieInEightBanks) {
  const auto expect = [](auto tile, std::uint32_t row_bytes) {
    for (std::uint32_t first = 0; first < 64; first += 8) {
      for (std::uint32_t chunk = 0; chunk < row_bytes / 16; ++chunk) {
        unsigned banks = 0;
        for (std::uint32_t row = first; row < first + 8; ++row) {
          const std::uint32_t at = tile.at(row, chunk);
          EXPECT_EQ(at / row_bytes, row);
          banks |= 1u << (at / 16 % 8);
        }
        EXPECT_EQ(banks, 0xffu) << row_bytes << " " << chunk;
      }
    }
  };
  expect(SharedTile<32>{}, 32);
  expect(SharedTile<64>{}, 64);
  expect(SharedTile<128>{}, 128);
  expect(SharedTile<256>{}, 256);
  expect(SharedTile<512>{}, 512);
}

}  // namespace
}  // namespace octavo::cuda
