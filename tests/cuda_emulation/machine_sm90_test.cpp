// Hopper's products against what the PTX ISA says of them, written out here once more: descriptors, layouts in shared
// memory, fragments, sums; and what may not be touched meanwhile.
#include "cuda/emulation/machine_sm90.hpp"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "faults.hpp"

namespace octavo::cuda {
namespace {

using emulation::EmulatedSm90;
using emulation::Options;
using test::expect_in;
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
        operand.values.push_back(kind == Mma::u8s8 && left ? static_cast<double>(bits & 0xff)
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
TEST(Wgmma, ProductsOfF16) { expect_products<Mma::f16, 16>(); }
TEST(Wgmma, ProductsOfBf16) { expect_products<Mma::bf16, 8>(); }
TEST(Wgmma, ProductsOfE4m3) { expect_products<Mma::e4m3, 8>(); }
TEST(Wgmma, ProductsOfE5m2) { expect_products<Mma::e5m2, 8>(); }
TEST(Wgmma, TheWidestProduct) { expect_product<Mma::s8s8, 256, false>(Swizzle::bytes128, 32, kAllOptions[1]); }

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

using Sums = Registers<EmulatedSm90, std::int32_t, 4>;

// Operands of ones at 0 and 4096, stored by all; sums of zero, named at a fence.
void prepare(EmulatedSm90& m, Sums& c, bool proxy_fence = true) {
  if (m.warp() == 0) {
    for (std::uint32_t i = 0; i < 64 * 32; i += 4) m.store_shared(i, 0x01010101u);
    for (std::uint32_t i = 0; i < 8 * 32; i += 4) m.store_shared(4096 + i, 0x01010101u);
    if (proxy_fence) m.fence_async();
  }
  m.sync("stored");
  m.lanes(
      [](int, std::int32_t(&x)[4]) {
        for (auto& y : x) y = 0;
      },
      c);
  m.wgmma_fence(c);
}
void multiply(EmulatedSm90& m, Sums& c) {
  m.wgmma<Mma::s8s8, 8>(c, m.matrix(0, Swizzle::bytes32), m.matrix(4096, Swizzle::bytes32), true);
}
void expect_sums(EmulatedSm90& m, Sums& c, int expected) {
  m.lanes(
      [&](int, std::int32_t(&x)[4]) {
        for (auto y : x) EXPECT_EQ(y, expected);
      },
      c);
}

TEST(Wgmma, GroupsCompleteInTheirOrder) {
  for (const Options& options : kAllOptions) {
    const auto sentence = fault_of(
        [](EmulatedSm90& m) {
          Sums first, second;
          prepare(m, first);
          m.lanes(
              [](int, std::int32_t(&x)[4]) {
                for (auto& y : x) y = 5;
              },
              second);
          m.wgmma_fence(second);
          multiply(m, first);
          multiply(m, first);  // the same registers in the same shape need no fence
          m.wgmma_commit();
          multiply(m, second);
          m.wgmma_commit();
          m.wgmma_wait<1>(first);
          expect_sums(m, first, 64);
          m.wgmma_wait<0>(second);
          expect_sums(m, second, 37);
        },
        options);
    EXPECT_EQ(sentence, "");
  }
}

TEST(Wgmma, SumsTouchedBeforeTheWait) {
  for (const Options& options : kAllOptions) {
    const auto touched = [&](auto&& touch) {
      return fault_of(
          [&](EmulatedSm90& m) {
            Sums c;
            prepare(m, c);
            multiply(m, c);
            m.wgmma_commit();
            touch(m, c);
            m.wgmma_wait<0>(c);
          },
          options);
    };
    EXPECT_EQ(touched([](EmulatedSm90&, Sums&) {}), "");
    expect_in(touched([](EmulatedSm90& m, Sums& c) { m.lanes([](int, std::int32_t(&)[4]) {}, c); }),
              "missing wgmma wait");
    expect_in(touched([](EmulatedSm90& m, Sums& c) {
                Sums to;
                m.shuffle_xor(to, c, 1);
              }),
              "missing wgmma wait");
    expect_in(touched([](EmulatedSm90&, Sums& c) { c.r[3][1] = 8; }), "missing wgmma wait");  // by no word
    expect_in(touched([](EmulatedSm90& m, Sums& c) { m.wgmma_wait<1>(c); }), "missing wgmma wait");
    expect_in(touched([](EmulatedSm90& m, Sums& c) {
                m.wgmma_wait<0>();  // complete, and the compiler does not know
                expect_sums(m, c, 32);
              }),
              "no wait has named them");
  }
}

TEST(Wgmma, LeftRegistersTouchedBeforeTheWait) {
  for (const Options& options : kAllOptions) {
    const auto touched = [&](bool wait) {
      return fault_of(
          [&](EmulatedSm90& m) {
            Sums c;
            Registers<EmulatedSm90, std::uint32_t, 4> a;
            prepare(m, c);
            const auto fill = [](int, std::uint32_t(&x)[4]) {
              for (auto& y : x) y = 0x02020202u;
            };
            m.lanes(fill, a);
            m.wgmma_fence(a);
            m.wgmma<Mma::s8s8, 8>(c, a, 0, m.matrix(4096, Swizzle::bytes32), true);
            m.wgmma_commit();
            if (wait) m.wgmma_wait<0>(c);
            m.lanes(fill, a);
            if (!wait) m.wgmma_wait<0>(c);
            expect_sums(m, c, 64);
          },
          options);
    };
    EXPECT_EQ(touched(true), "");
    expect_in(touched(false), "missing wgmma wait");
  }
}

TEST(Wgmma, WhatItsFenceIsFor) {
  expect_in(fault_of([](EmulatedSm90& m) {
              Sums c;
              prepare(m, c);
              expect_sums(m, c, 0);
              multiply(m, c);
              m.wgmma_commit();
              m.wgmma_wait<0>(c);
            }),
            "missing wgmma.fence");
  expect_in(fault_of([](EmulatedSm90& m) {
              Sums c;
              Registers<EmulatedSm90, std::uint32_t, 4> a;
              prepare(m, c);
              m.lanes(
                  [](int, std::uint32_t(&x)[4]) {
                    for (auto& y : x) y = 0;
                  },
                  a);
              m.wgmma<Mma::s8s8, 8>(c, a, 0, m.matrix(4096, Swizzle::bytes32), true);
            }),
            "missing wgmma.fence");
}

TEST(Wgmma, OperandsThatItCannotSee) {
  for (const Options& options : kAllOptions) {
    const auto product = [&](auto&& change) {
      return fault_of(
          [&](EmulatedSm90& m) {
            Sums c;
            prepare(m, c, change(m, 'f'));
            multiply(m, c);
            m.wgmma_commit();
            change(m, 'w');
            m.wgmma_wait<0>(c);
          },
          options);
    };
    EXPECT_EQ(product([](EmulatedSm90&, char) { return true; }), "");
    expect_in(product([](EmulatedSm90&, char) { return false; }), "missing fence.proxy.async");
    // The operand is overwritten before the product has been waited for; by whom it was read, or by another.
    for (int writer : {0, 3}) {
      const auto sentence = product([&](EmulatedSm90& m, char when) {
        if (when == 'w') {
          m.sync("as if read");
          if (m.warp() == writer) {
            m.store_shared(4096, 0u);
            m.fence_async();
          }
        }
        return true;
      });
      expect_in(sentence, "race");
    }
  }
  expect_in(fault_of([](EmulatedSm90& m) {
              Sums c;
              prepare(m, c);
              m.wgmma<Mma::s8s8, 8>(c, m.matrix(0, Swizzle::bytes32), m.matrix(8192, Swizzle::bytes32), true);
            }),
            "nobody has written");
  expect_in(fault_of([](EmulatedSm90& m) {
              Sums c;
              prepare(m, c);
              m.wgmma<Mma::s8s8, 8>(c, m.matrix(0, Swizzle::bytes32), m.matrix(4096 + 128, Swizzle::bytes128), true);
            }),
            "first row of a swizzle's atom");
}

// cp.async writes as plain stores do.
TEST(Wgmma, OperandsByCpAsyncNeedTheFenceToo) {
  alignas(16) static constexpr std::uint8_t kOnes[16]{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
  for (const Options& options : kAllOptions) {
    const auto product = [&](bool fence) {
      return fault_of(
          [&](EmulatedSm90& m) {
            Sums c;
            prepare(m, c);
            if (m.warp() == 2) {
              m.copy16([](int lane) {
                return CopyItem{static_cast<std::uint32_t>(8192 + 16 * (lane % 16)), kOnes,
                                lane < 16 ? CopyWhat::bytes : CopyWhat::nothing};
              });
              m.commit_copies();
              m.wait_copies<0>();
              if (fence) m.fence_async();
            }
            m.sync("copied");
            m.wgmma<Mma::s8s8, 8>(c, m.matrix(0, Swizzle::bytes32), m.matrix(8192, Swizzle::bytes32), true);
            m.wgmma_commit();
            m.wgmma_wait<0>(c);
            expect_sums(m, c, 32);
          },
          options);
    };
    EXPECT_EQ(product(true), "");
    expect_in(product(false), "missing fence.proxy.async");
  }
}

// Without a swizzle `leading` is read, and nothing but the kernel knows it.
TEST(Wgmma, AMatrixWithoutASwizzleNamesItsLeading) {
  const auto describe_by = [](auto&& describe) { return fault_of([&](EmulatedSm90& m) { (void)describe(m); }); };
  expect_in(describe_by([](EmulatedSm90& m) { return m.matrix(64, Swizzle::none); }),
            "does not name its stride and leading");
  expect_in(describe_by([](EmulatedSm90& m) { return m.matrix(64, Swizzle::none, 256); }), "the matrix at byte 64");
  EXPECT_EQ(describe_by([](EmulatedSm90& m) { return m.matrix(64, Swizzle::none, 256, 128); }), "");
  EXPECT_EQ(describe_by([](EmulatedSm90& m) { return m.matrix(64, Swizzle::bytes32); }), "");
}

TEST(Wgmma, NobodyWaits) {
  expect_in(fault_of([](EmulatedSm90& m) {
              Sums c;
              prepare(m, c);
              multiply(m, c);
              m.wgmma_commit();
            }),
            "ends with wgmma under way");
}

TEST(Warpgroup, SaysTheSameWords) {
  for (const Options& options : kAllOptions) {
    expect_in(fault_of(
                  [](EmulatedSm90& m) {
                    Sums c;
                    prepare(m, c);
                    if (m.warp() != 2) multiply(m, c);
                    m.wgmma_commit();
                    m.wgmma_wait<0>(c);
                  },
                  options),
              "out of step");
    // Warp 1 names another matrix.
    expect_in(fault_of(
                  [](EmulatedSm90& m) {
                    Sums c;
                    prepare(m, c);
                    const std::uint32_t a = m.warp() == 1 ? 512 : 0;
                    m.wgmma<Mma::s8s8, 8>(c, m.matrix(a, Swizzle::bytes32), m.matrix(4096, Swizzle::bytes32), true);
                    m.wgmma_commit();
                    m.wgmma_wait<0>(c);
                  },
                  options),
              "out of step");
  }
  expect_in(fault_of([](EmulatedSm90& m) {
              if (m.warp() == 3) m.wgmma_fence();
            }),
            "ends without having said wgmma_fence");
  expect_in(test::fault_of<EmulatedSm90>({{1, 1, 1}, 5, 64}, {},
                                         [](EmulatedSm90& m) {
                                           if (m.warp() == 4) m.wgmma_fence();
                                         }),
            "in no warpgroup");
}

// 12 warps with 168 registers for each thread: the producer's leave room for the others.
TEST(Warpgroup, MovesRegisters) {
  const auto split = [](auto&& kernel, int registers = 168) {
    return test::fault_of<EmulatedSm90>({{1, 1, 1}, 12, 64, registers}, {}, kernel);
  };
  EXPECT_EQ(split([](EmulatedSm90& m) {
              if (m.warp() < 8) {
                m.more_registers<232>();
              } else {
                m.fewer_registers<40>();
              }
            }),
            "");
  const auto too_many = split([](EmulatedSm90& m) {
    if (m.warp() < 8) {
      m.more_registers<240>();
    } else {
      m.fewer_registers<40>();
    }
  });
  expect_in(too_many, "deadlock");
  expect_in(too_many, "for 240 registers: it has 168");
  expect_in(split([](EmulatedSm90& m) { m.more_registers<160>(); }), "asks for more registers, 160, and has 168");
  expect_in(split([](EmulatedSm90& m) { m.fewer_registers<176>(); }), "asks for fewer registers, 176, and has 168");
  expect_in(split([](EmulatedSm90& m) { m.fewer_registers<20>(); }), "24 to 256");
  expect_in(split([](EmulatedSm90& m) { m.fewer_registers<40>(); }, 0), "does not say how many");
  expect_in(split([](EmulatedSm90& m) {
              if (m.warp() != 9) m.fewer_registers<40>();
            }),
            "out of step");
}

}  // namespace
}  // namespace octavo::cuda
