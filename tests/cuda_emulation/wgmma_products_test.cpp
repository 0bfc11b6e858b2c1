// What Hopper's products are, against what the PTX ISA says of them, written out here once more: descriptors, layouts
// in shared memory, fragments, sums.
#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "core/float_types.hpp"
#include "cuda_emulation/machine_sm90.hpp"
#include "faults.hpp"

namespace octavo::cuda {
namespace {

using emulation::EmulatedSm90;
using emulation::Options;
using test::kAllOptions;

constexpr emulation::Grid kGroup{{1, 1, 1}, 4, 40960};

template <class Kernel>
std::string fault_of(Kernel&& kernel, const Options& options = {}) {
  return test::fault_of<EmulatedSm90>(kGroup, options, kernel);
}

TEST(MatrixDescriptor, Bits) {
  EXPECT_EQ(encode({0x2400, 16, 1024, Swizzle::bytes128}), 0x4000'0040'0001'0240u);
  EXPECT_EQ(encode({0x0200, 16, 512, Swizzle::bytes64}), 0x8000'0020'0001'0020u);
  EXPECT_EQ(encode({0x0100, 16, 256, Swizzle::bytes32}), 0xc000'0010'0001'0010u);
  EXPECT_EQ(encode({0x3fff0, 128, 256, Swizzle::none}), 0x0000'0010'0008'3fffu);
  for (Swizzle swizzle : {Swizzle::none, Swizzle::bytes32, Swizzle::bytes64, Swizzle::bytes128}) {
    const MatrixDescriptor back = decode(encode({0x1230, 0x450, 0x670, swizzle}));
    EXPECT_EQ(back.address, 0x1230u);
    EXPECT_EQ(back.leading, 0x450u);
    EXPECT_EQ(back.stride, 0x670u);
    EXPECT_EQ(back.swizzle, swizzle);
  }
}

// Element i of a thread's fragments, over its registers. A: thread t of the warpgroup, w = t / 32, groupID = t % 32 /
// 4: rows 16 w + groupID and 8 further.
TEST(WgmmaFragments, OfTheLeftOperandAndTheSums) {
  for (int t = 0; t < 128; ++t) {
    const int row = 16 * (t / 32) + t % 32 / 4, thread = t % 4;
    for (int i = 0; i < 16; ++i) {  // 8-bit elements
      const bool upper = i < 4 || (i >= 8 && i < 12);
      const Place expected{upper ? row : row + 8, 4 * thread + i % 4 + (i < 8 ? 0 : 16)};
      EXPECT_EQ(place_in_wgmma_a<4>(t, i / 4, i % 4), expected);
    }
    for (int i = 0; i < 8; ++i) {  // 16-bit elements
      const bool upper = i < 2 || (i >= 4 && i < 6);
      const Place expected{upper ? row : row + 8, 2 * thread + i % 2 + (i < 4 ? 0 : 8)};
      EXPECT_EQ(place_in_wgmma_a<2>(t, i / 2, i % 2), expected);
    }
    for (int i = 0; i < 128; ++i) {
      const Place expected{i / 2 % 2 == 0 ? row : row + 8, 8 * (i / 4) + 2 * thread + i % 2};
      EXPECT_EQ(place_in_wgmma_c(t, i), expected);
    }
  }
}

// An operand of `rows` rows of 32 bytes, and what they stand for.
struct Operand {
  std::vector<std::uint8_t> bytes;
  std::vector<double> values;
  int depth;
  double at(int row, int k) const { return values[static_cast<std::size_t>(row * depth + k)]; }
};
Operand draw(Mma kind, bool left, int rows, std::mt19937& random) {
  Operand operand;
  operand.depth = kind == Mma::f16 || kind == Mma::bf16 ? 16 : 32;
  for (int i = 0; i < rows * operand.depth; ++i) {
    const auto bits = static_cast<std::uint32_t>(random());
    const double sign = (bits & 0x8000u) != 0 ? -1 : 1;
    const auto put16 = [&](std::uint32_t x) {
      x |= bits & 0x8000u;
      operand.bytes.push_back(static_cast<std::uint8_t>(x)), operand.bytes.push_back(static_cast<std::uint8_t>(x >> 8));
    };
    const auto put8 = [&](std::uint32_t x) {
      operand.bytes.push_back(static_cast<std::uint8_t>(x | (sign < 0 ? 0x80 : 0)));
    };
    switch (kind) {
      case Mma::f16:
        put16(0x3c00u | (bits & 0x3ff));
        operand.values.push_back(sign * (1 + (bits & 0x3ff) / 1024.0));
        break;
      case Mma::bf16:
        put16(0x3f80u | (bits & 0x7f));
        operand.values.push_back(sign * (1 + (bits & 0x7f) / 128.0));
        break;
      case Mma::e4m3:
        put8(0x38u | (bits & 7));
        operand.values.push_back(sign * (1 + (bits & 7) / 8.0));
        break;
      case Mma::e5m2:
        put8(0x3cu | (bits & 3));
        operand.values.push_back(sign * (1 + (bits & 3) / 4.0));
        break;
      default:
        operand.bytes.push_back(static_cast<std::uint8_t>(bits));
        operand.values.push_back(kind == Mma::u8u8 || (kind == Mma::u8s8 && left)
                                     ? static_cast<double>(bits & 0xff)
                                     : static_cast<double>(static_cast<std::int8_t>(bits)));
    }
  }
  return operand;
}

// Layouts, from the pictures of the PTX ISA: byte `byte` (below 32) of row `row`, from the tile's start. With a swizzle
// eight rows of its width are an atom, whose chunks of 16 bytes change places; without one 8 x 16 bytes are, the two of
// the same rows here 128 bytes apart.
std::uint32_t lies_at(Swizzle swizzle, std::uint32_t row, std::uint32_t byte) {
  const std::uint32_t r = row % 8, chunk = byte / 16, rest = byte % 16;
  switch (swizzle) {
    case Swizzle::bytes128:
      return row / 8 * 1024 + r * 128 + (chunk ^ r) * 16 + rest;
    case Swizzle::bytes64:
      return row / 8 * 512 + r * 64 + (chunk ^ r / 2) * 16 + rest;
    case Swizzle::bytes32:
      return row / 8 * 256 + r * 32 + (chunk ^ r / 4) * 16 + rest;
    default:
      return row / 8 * 256 + chunk * 128 + r * 16 + rest;
  }
}
std::uint64_t describe(const EmulatedSm90& m, std::uint32_t at, Swizzle swizzle) {
  switch (swizzle) {
    case Swizzle::bytes128:
      return m.matrix(at, swizzle, 1024);
    case Swizzle::bytes64:
      return m.matrix(at, swizzle, 512);
    case Swizzle::bytes32:
      return m.matrix(at, swizzle, 256);
    default:
      return m.matrix(at, swizzle, 256, 128);
  }
}

// Operands lie `skip` bytes of depth into their rows.
void store(EmulatedSm90& m, const Operand& operand, std::uint32_t at, Swizzle swizzle, std::uint32_t skip) {
  for (std::uint32_t i = 0; i < operand.bytes.size(); ++i) {
    m.store_shared(at + lies_at(swizzle, i / 32, skip + i % 32), operand.bytes[i]);
  }
}

template <Mma kind, int n, bool a_in_registers>
void expect_product(Swizzle swizzle, std::uint32_t skip, const Options& options) {
  constexpr int kElements = elements_of_register(kind);
  using Sum = MmaSum<kind>;
  std::mt19937 random(7);
  const Operand a = draw(kind, true, 64, random), b = draw(kind, false, n, random);
  const auto start = [](int row, int column) { return (3 * row + column) % 15 - 7; };
  const auto product = [&](int row, int column) {
    double sum = 0;
    for (int k = 0; k < a.depth; ++k) sum += a.at(row, k) * b.at(column, k);
    return sum;
  };
  const auto sentence = fault_of(
      [&](EmulatedSm90& m) {
        if (m.warp() == 0) {
          store(m, a, 0, swizzle, skip);
          store(m, b, 8192, swizzle, skip);
          m.fence_async();
        }
        m.sync("stored");
        Registers<EmulatedSm90, std::uint32_t, 6> left;
        Registers<EmulatedSm90, Sum, n / 2> sums, fresh;
        m.lanes(
            [&](int lane, std::uint32_t(&x)[6], Sum(&c)[n / 2], Sum(&f)[n / 2]) {
              const int row = 16 * m.warp() + lane / 4, thread = lane % 4;
              for (int i = 0; i < 4 * kElements; ++i) {
                const int of = i / kElements;
                const int r = of % 2 == 0 ? row : row + 8,
                          k = thread * kElements + i % kElements + of / 2 * 4 * kElements;
                std::memcpy(reinterpret_cast<char*>(&x[2 + of]) + i % kElements * (4 / kElements),
                            &a.bytes[static_cast<std::size_t>((r * a.depth + k) * (4 / kElements))], 4 / kElements);
              }
              for (int i = 0; i < n / 2; ++i) {
                c[i] = static_cast<Sum>(start(i / 2 % 2 == 0 ? row : row + 8, 8 * (i / 4) + 2 * thread + i % 2));
                f[i] = 12345;
              }
            },
            left, sums, fresh);
        m.wgmma_fence(left, sums, fresh);
        const auto b_at = describe(m, 8192 + skip, swizzle);
        if constexpr (a_in_registers) {
          m.wgmma<kind, n>(sums, left, 2, b_at, true);
          m.wgmma<kind, n>(fresh, left, 2, b_at, false);
        } else {
          m.wgmma<kind, n>(sums, describe(m, skip, swizzle), b_at, true);
          m.wgmma<kind, n>(fresh, describe(m, skip, swizzle), b_at, false);
        }
        m.wgmma_commit();
        m.wgmma_wait<0>(sums, fresh);
        m.lanes(
            [&](int lane, Sum(&c)[n / 2], Sum(&f)[n / 2]) {
              for (int i = 0; i < n / 2; ++i) {
                const int row = 16 * m.warp() + lane / 4 + (i / 2 % 2 == 0 ? 0 : 8),
                          column = 8 * (i / 4) + 2 * (lane % 4) + i % 2;
                ASSERT_NEAR(c[i], product(row, column) + start(row, column), 1e-3) << row << " " << column;
                ASSERT_NEAR(f[i], product(row, column), 1e-3) << row << " " << column;
              }
            },
            sums, fresh);
      },
      options);
  EXPECT_EQ(sentence, "");
}

template <Mma kind, int n>
void expect_products() {
  for (const Options& options : kAllOptions) {
    expect_product<kind, n, false>(Swizzle::bytes128, 0, options);
    expect_product<kind, n, false>(Swizzle::bytes128, 96, options);
    expect_product<kind, n, false>(Swizzle::bytes64, 32, options);
    expect_product<kind, n, false>(Swizzle::bytes32, 0, options);
    expect_product<kind, n, false>(Swizzle::none, 0, options);
    expect_product<kind, n, true>(Swizzle::bytes128, 64, options);
  }
}

TEST(Wgmma, ProductsOfS8) { expect_products<Mma::s8s8, 64>(); }
TEST(Wgmma, ProductsOfU8AndS8) { expect_products<Mma::u8s8, 32>(); }
TEST(Wgmma, ProductsOfU8) { expect_products<Mma::u8u8, 16>(); }
TEST(Wgmma, ProductsOfF16) { expect_products<Mma::f16, 16>(); }
TEST(Wgmma, ProductsOfBf16) { expect_products<Mma::bf16, 8>(); }
TEST(Wgmma, ProductsOfE4m3) { expect_products<Mma::e4m3, 8>(); }
TEST(Wgmma, ProductsOfE5m2) { expect_products<Mma::e5m2, 8>(); }
TEST(Wgmma, TheWidestProduct) { expect_product<Mma::s8s8, 256, false>(Swizzle::bytes128, 32, kAllOptions[1]); }

// B transposed, [16, n], in panels of as many columns as the swizzle is wide, from row `skip` of more rows: PTX ISA's
// picture of "N-major" with a swizzle, chunk by chunk.
template <Mma kind, int n>
void expect_transposed_product(Swizzle swizzle, std::uint32_t skip, const Options& options) {
  constexpr std::uint32_t kRows = 32;
  const std::uint32_t width = row_bytes(swizzle), panel = kRows * width;
  std::mt19937 random(19);
  const Operand a = draw(kind, true, 64, random), b = draw(kind, false, n, random);
  const auto sentence = fault_of(
      [&](EmulatedSm90& m) {
        if (m.warp() == 0) {
          for (std::uint32_t column = 0; column < n; ++column) {
            for (std::uint32_t k = 0; k < 16; ++k) {
              const std::uint32_t byte = 2 * column % width, row = skip + k, chunk = byte / 16;
              const std::uint32_t moved = swizzle == Swizzle::bytes128  ? chunk ^ row % 8
                                          : swizzle == Swizzle::bytes64 ? chunk ^ row % 8 / 2
                                                                        : chunk ^ row % 8 / 4;
              const std::uint32_t at = 2 * column / width * panel + row * width + moved * 16 + byte % 16;
              for (std::uint32_t i = 0; i < 2; ++i) m.store_shared(at + i, b.bytes[2 * (16 * column + k) + i]);
            }
          }
          m.fence_async();
        }
        m.sync("stored");
        Registers<EmulatedSm90, std::uint32_t, 4> left;
        Registers<EmulatedSm90, float, n / 2> sums;
        m.lanes(
            [&](int lane, std::uint32_t(&x)[4], float(&)[n / 2]) {
              for (int i = 0; i < 8; ++i) {
                const Place at = place_in_wgmma_a<2>(32 * m.warp() + lane, i / 2, i % 2);
                std::memcpy(reinterpret_cast<char*>(x) + 2 * i,
                            &a.bytes[static_cast<std::size_t>(2 * (16 * at.row + at.column))], 2);
              }
            },
            left, sums);
        m.wgmma_fence(left, sums);
        m.wgmma<kind, n, true>(sums, left, 0, m.matrix(skip * width, swizzle, 8 * width, panel), false);
        m.wgmma_commit();
        m.wgmma_wait<0>(sums);
        m.lanes(
            [&](int lane, float(&c)[n / 2]) {
              for (int i = 0; i < n / 2; ++i) {
                const Place at = place_in_wgmma_c(32 * m.warp() + lane, i);
                double sum = 0;
                for (int k = 0; k < 16; ++k) sum += a.at(at.row, k) * b.at(at.column, k);
                ASSERT_NEAR(c[i], sum, 1e-3) << at.row << " " << at.column;
              }
            },
            sums);
      },
      options);
  EXPECT_EQ(sentence, "");
}
TEST(Wgmma, ProductsWithATransposedOperand) {
  for (const Options& options : kAllOptions) {
    expect_transposed_product<Mma::f16, 64>(Swizzle::bytes128, 0, options);
    expect_transposed_product<Mma::bf16, 128>(Swizzle::bytes128, 16, options);
    expect_transposed_product<Mma::bf16, 64>(Swizzle::bytes64, 8, options);
    expect_transposed_product<Mma::f16, 32>(Swizzle::bytes32, 16, options);
  }
}

// `a` and `b` in all places of one product from `start`.
template <Mma kind>
float sum_of(std::uint32_t a, std::uint32_t b, float start) {
  constexpr std::uint32_t kBytes = elements_of_register(kind) == 2 ? 2 : 1;
  float sum = 0;
  emulation::launch<EmulatedSm90>(kGroup, {}, [&](EmulatedSm90& m) {
    for (std::uint32_t i = 0; m.warp() == 0 && i < 64 * 32; i += kBytes) {
      for (std::uint32_t byte = 0; byte < kBytes; ++byte) {
        m.store_shared(i + byte, static_cast<std::uint8_t>(a >> 8 * byte));
        if (i < 8 * 32) m.store_shared(4096 + i + byte, static_cast<std::uint8_t>(b >> 8 * byte));
      }
    }
    m.fence_async();
    m.sync("stored");
    Registers<EmulatedSm90, float, 4> c;
    m.lanes(
        [&](int, float(&x)[4]) {
          for (float& y : x) y = start;
        },
        c);
    m.wgmma_fence(c);
    m.wgmma<kind, 8>(c, m.matrix(0, Swizzle::bytes32), m.matrix(4096, Swizzle::bytes32), true);
    m.wgmma_commit();
    m.wgmma_wait<0>(c);
    m.lanes([&](int, float(&x)[4]) { sum = x[3]; }, c);
  });
  return sum;
}

// The same of E4M3 with sums in f16, ones everywhere.
float f16_sum_of_ones(float start, bool add) {
  float sum = 0;
  emulation::launch<EmulatedSm90>(kGroup, {}, [&](EmulatedSm90& m) {
    for (std::uint32_t i = 0; m.warp() == 0 && i < 64 * 32; i += 4) m.store_shared(i, 0x38383838u);
    m.fence_async();
    m.sync("stored");
    Registers<EmulatedSm90, std::uint32_t, 4> a;
    Registers<EmulatedSm90, std::uint32_t, 16> c;
    m.lanes(
        [&](int, std::uint32_t(&x)[4], std::uint32_t(&y)[16]) {
          for (auto& word : x) word = 0x38383838u;
          for (auto& word : y) word = 0x00010001u * f32_to_f16(start);
        },
        a, c);
    m.wgmma_fence(a, c);
    m.wgmma<Mma::e4m3_to_f16, 64>(c, a, 0, m.matrix(0, Swizzle::bytes32), add);
    m.wgmma_commit();
    m.wgmma_wait<0>(c);
    m.lanes(
        [&](int, std::uint32_t(&y)[16]) {
          for (auto word : y) EXPECT_EQ(word, y[0]);
          EXPECT_EQ(y[0] >> 16, y[0] & 0xffff);
          sum = f16_to_f32(static_cast<std::uint16_t>(y[0]));
        },
        c);
  });
  return sum;
}
TEST(Wgmma, SumsInF16AreRoundedOnceAProduct) {
  EXPECT_EQ(f16_sum_of_ones(100.0625f, false), 32.0f);
  EXPECT_EQ(f16_sum_of_ones(3.0f, true), 35.0f);
  EXPECT_EQ(f16_sum_of_ones(100.0625f, true), 132.0f);  // from 128 on f16 has eighths; half to even
  EXPECT_EQ(f16_sum_of_ones(100.1875f, true), 132.25f);
}

// Hopper keeps 25 bits beside the largest of 16-bit products, one more than Ampere, and adds sixteen at once; of FP8's
// it keeps 13, and 13 of the result.
TEST(Wgmma, FloatSumsKeepTheirBits) {
  EXPECT_EQ(sum_of<Mma::f16>(0x3c00, 0x3400, 0x1p23f), 0x1p23f + 4);  // 16 times 1 x 0.25
  EXPECT_EQ(sum_of<Mma::f16>(0x3c00, 0x3400, 0x1p24f), 0x1p24f);
  EXPECT_EQ(sum_of<Mma::bf16>(0x3f80, 0x3e80, 0x1p23f), 0x1p23f + 4);
  EXPECT_EQ(sum_of<Mma::e4m3>(0x38, 0x28, 1024), 1032);  // 32 times 1 x 0.25
  EXPECT_EQ(sum_of<Mma::e4m3>(0x38, 0x28, 4096), 4096);
  EXPECT_EQ(sum_of<Mma::e5m2>(0x3c, 0x34, 1024), 1032);
  EXPECT_EQ(sum_of<Mma::e5m2>(0x3c, 0x34, 4096), 4096);
}

}  // namespace
}  // namespace octavo::cuda
