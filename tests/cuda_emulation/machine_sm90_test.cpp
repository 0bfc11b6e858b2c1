// What Hopper's products ask of those who use them: fences, waits and registers that may not be touched meanwhile, and
// the warpgroup that says its words together.
#include "cuda_emulation/machine_sm90.hpp"

#include <gtest/gtest.h>

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
