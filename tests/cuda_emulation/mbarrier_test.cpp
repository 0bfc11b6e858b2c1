// mbarriers, boxes by the copy engine and the asynchronous proxy, as the PTX ISA describes them; and each mistake with
// them, which must be named.
#include "cuda_emulation/mbarrier.hpp"

#include <gtest/gtest.h>

#include <numeric>

#include "cuda_emulation/machine_sm90.hpp"
#include "faults.hpp"

namespace octavo::cuda {
namespace {

using emulation::Completion;
using emulation::EmulatedSm90;
using emulation::Options;
using test::expect_in;
using test::kAllOptions;

template <class Kernel>
std::string fault_of(int warps, Kernel&& kernel, const Options& options = {}) {
  return test::fault_of<EmulatedSm90>({{1, 1, 1}, warps, 16384}, options, kernel);
}

// Warp 0 makes the mbarrier at byte 0.
void make(EmulatedSm90& m, std::uint32_t count) {
  if (m.warp() == 0) {
    m.init_mbarrier(0, count);
    m.fence_async();
  }
  m.sync("made");
}

// 16 rows of 128 bytes; byte i of row r is r + 3 i, cut to a byte.
struct Rows {
  alignas(16) std::uint8_t bytes[16][128];
  Rows() {
    for (int r = 0; r < 16; ++r) {
      for (int i = 0; i < 128; ++i) bytes[r][i] = static_cast<std::uint8_t>(r + 3 * i);
    }
  }
  // Boxes of `rows` rows of `columns` bytes.
  EmulatedSm90::TensorMap map(std::uint32_t columns, std::uint32_t rows, Swizzle swizzle) const {
    TensorBox box;
    box.base = bytes;
    box.sizes[0] = 128, box.sizes[1] = 16;
    box.strides[1] = 128;
    box.box[0] = columns, box.box[1] = rows;
    box.swizzle = swizzle;
    return {box};
  }
};

TEST(Mbarrier, PhasesCompleteWhenAllHaveArrived) {
  for (const Options& options : kAllOptions) {
    EXPECT_EQ(fault_of(
                  3,
                  [](EmulatedSm90& m) {
                    make(m, 2);
                    m.wait_mbarrier("before the first phase", 0, 1);
                    m.sync("all are there");
                    for (std::uint32_t round = 0; round < 5; ++round) {
                      if (m.warp() < 2) {
                        m.store_shared(static_cast<std::uint32_t>(64 + 4 * m.warp()), round);
                        m.arrive_mbarrier(0);
                      }
                      m.wait_mbarrier("both have stored", 0, round % 2);
                      EXPECT_EQ(m.shared<std::uint32_t>(64), round);
                      EXPECT_EQ(m.shared<std::uint32_t>(68), round);
                      m.sync("read");
                    }
                  },
                  options),
              "");
  }
}

TEST(Mbarrier, AnArrivalOrdersWhatWasBeforeItAndNotWhatFollows) {
  for (const Options& options : kAllOptions) {
    expect_in(fault_of(
                  2,
                  [](EmulatedSm90& m) {
                    make(m, 1);
                    if (m.warp() == 0) {
                      m.arrive_mbarrier(0);
                      m.store_shared(64, 1u);
                    } else {
                      m.wait_mbarrier("too early", 0, 0);
                      m.store_shared(64, 2u);
                    }
                  },
                  options),
              "race");
  }
}

TEST(Mbarrier, WrongPhaseIsNamed) {
  for (const Options& options : kAllOptions) {
    const auto again = fault_of(
        1,
        [](EmulatedSm90& m) {
          make(m, 1);
          m.arrive_mbarrier(0);
          m.wait_mbarrier("full", 0, 0);
          m.wait_mbarrier("full", 0, 0);
        },
        options);
    expect_in(again, "wrong phase");
    expect_in(again, "\"full\"");
    expect_in(fault_of(1,
                       [](EmulatedSm90& m) {
                         make(m, 1);
                         m.wait_mbarrier("empty", 0, 2);
                       }),
              "parity 2");
  }
}

TEST(Mbarrier, APhaseThatCannotCompleteIsADeadlock) {
  for (const Options& options : kAllOptions) {
    const auto sentence = fault_of(
        2,
        [](EmulatedSm90& m) {
          make(m, 3);
          m.arrive_mbarrier(0);
          m.wait_mbarrier("full", 0, 0);
        },
        options);
    expect_in(sentence, "deadlock");
    expect_in(sentence, "\"full\" for parity 0");
    expect_in(sentence, "lacks 1 of 3 arrivals");
  }
}

TEST(Mbarrier, CountsAreChecked) {
  expect_in(fault_of(1, [](EmulatedSm90& m) { make(m, 0); }), "0 arrivals");
  expect_in(fault_of(1, [](EmulatedSm90& m) { m.init_mbarrier(4, 1); }), "not a multiple");
  expect_in(fault_of(1,
                     [](EmulatedSm90& m) {
                       make(m, 1);
                       make(m, 1);
                     }),
            "a second time");
  expect_in(fault_of(1, [](EmulatedSm90& m) { m.arrive_mbarrier(8); }), "none was made there");
  // Bytes keep the phase open; one arrival too many in it.
  expect_in(fault_of(1,
                     [](EmulatedSm90& m) {
                       make(m, 1);
                       m.arrive_mbarrier(0, 128);
                       m.arrive_mbarrier(0);
                     }),
            "overflow");
  expect_in(fault_of(1,
                     [](EmulatedSm90& m) {
                       make(m, 2);
                       m.arrive_mbarrier(0, 1u << 20);
                     }),
            "overflow");
  expect_in(fault_of(1,
                     [](EmulatedSm90& m) {
                       make(m, 1);
                       m.store_shared(4, 1u);
                     }),
            "over the mbarrier");
  expect_in(fault_of(2,
                     [](EmulatedSm90& m) {
                       m.sync("somewhere");
                       if (m.warp() == 0) m.init_mbarrier(0, 1);
                       if (m.warp() == 1) m.arrive_mbarrier(0);
                     }),
            "race");
}

// Byte by byte: within eight rows of 128, 64 or 32 bytes, 16-byte chunk c of row r changes places with chunk
//   128: c ^ r    64: c ^ (r / 2)    32: c ^ (r / 4)
std::uint32_t place_of(Swizzle swizzle, std::uint32_t row, std::uint32_t byte, std::uint32_t row_bytes) {
  const std::uint32_t chunk = byte / 16;
  std::uint32_t lies = chunk;
  if (swizzle == Swizzle::bytes128) lies = chunk ^ row % 8;
  if (swizzle == Swizzle::bytes64) lies = chunk ^ row / 2 % 4;
  if (swizzle == Swizzle::bytes32) lies = chunk ^ row / 4 % 2;
  return row * row_bytes + lies * 16 + byte % 16;
}

TEST(Boxes, OfEverySwizzle) {
  const Rows rows;
  struct Case {
    Swizzle swizzle;
    std::uint32_t columns;
  };
  for (const Case& c : {Case{Swizzle::none, 16}, Case{Swizzle::none, 48}, Case{Swizzle::bytes32, 32},
                        Case{Swizzle::bytes64, 64}, Case{Swizzle::bytes128, 128}}) {
    for (const Options& options : kAllOptions) {
      // From (-16, 11) on, beyond the end too: 5 rows and part of the columns are there.
      for (std::int32_t first : {0, 16, -16, 112}) {
        EXPECT_EQ(
            fault_of(
                1,
                [&](EmulatedSm90& m) {
                  make(m, 1);
                  m.arrive_mbarrier(0, 8 * c.columns);
                  m.copy_box(rows.map(c.columns, 8, c.swizzle), 1024, 0, first, 11);
                  m.wait_mbarrier("full", 0, 0);
                  for (std::uint32_t row = 0; row < 8; ++row) {
                    for (std::uint32_t byte = 0; byte < c.columns; ++byte) {
                      const int from_row = 11 + static_cast<int>(row), from = first + static_cast<int>(byte);
                      const int expected = from_row < 16 && from >= 0 && from < 128 ? rows.bytes[from_row][from] : 0;
                      ASSERT_EQ(m.shared<std::uint8_t>(1024 + place_of(c.swizzle, row, byte, c.columns)), expected)
                          << row << " " << byte;
                    }
                  }
                },
                options),
            "");
      }
    }
  }
}

// Two planes of 3 rows of 8 two-byte elements, from a tensor whose rows are 48 bytes apart.
TEST(Boxes, OfThreeAxes) {
  alignas(16) std::uint16_t elements[4 * 5 * 24];
  std::iota(std::begin(elements), std::end(elements), std::uint16_t{0});
  TensorBox box;
  box.base = elements;
  box.element_bytes = 2;
  box.rank = 3;
  box.sizes[0] = 20, box.sizes[1] = 5, box.sizes[2] = 4;
  box.strides[1] = 48, box.strides[2] = 5 * 48;
  box.box[0] = 8, box.box[1] = 3, box.box[2] = 2;
  for (const Options& options : kAllOptions) {
    EXPECT_EQ(fault_of(
                  1,
                  [&](EmulatedSm90& m) {
                    make(m, 1);
                    m.arrive_mbarrier(0, 96);
                    m.copy_box({box}, 128, 0, 16, 1, 3);
                    m.wait_mbarrier("full", 0, 0);
                    for (int plane = 0; plane < 2; ++plane) {
                      for (int row = 0; row < 3; ++row) {
                        for (int x = 0; x < 8; ++x) {
                          const int from = (3 + plane) * 5 * 24 + (1 + row) * 24 + 16 + x;
                          const int expected = plane == 0 && x < 4 ? from : 0;
                          EXPECT_EQ(
                              m.shared<std::uint16_t>(static_cast<std::uint32_t>(128 + 2 * (24 * plane + 8 * row + x))),
                              expected);
                        }
                      }
                    }
                  },
                  options),
              "");
  }
}

TEST(Boxes, RulesOfTensorMaps) {
  const Rows rows;
  const auto fault = [&](auto&& change, std::uint32_t to = 1024) {
    auto map = rows.map(64, 8, Swizzle::bytes64);
    change(map.box);
    return fault_of(1, [&](EmulatedSm90& m) {
      make(m, 1);
      m.arrive_mbarrier(0, bytes_of_box(map.box));
      m.copy_box(map, to, 0, 0, 0);
      m.wait_mbarrier("full", 0, 0);
    });
  };
  EXPECT_EQ(fault([](TensorBox&) {}), "");
  expect_in(fault([](TensorBox& box) { box.base = static_cast<const std::byte*>(box.base) + 8; }), "multiple of 16");
  expect_in(fault([](TensorBox& box) { box.strides[1] = 120; }), "strides are multiples");
  expect_in(fault([](TensorBox& box) { box.box[0] = 128; }), "as wide as the swizzle");
  expect_in(fault([](TensorBox& box) { box.box[0] = 40, box.swizzle = Swizzle::none; }), "multiple of 16 bytes");
  expect_in(fault([](TensorBox& box) { box.box[1] = 257; }), "1 to 256");
  expect_in(fault([](TensorBox& box) { box.element_bytes = 3; }), "1, 2 or 4");
  expect_in(fault([](TensorBox& box) { box.rank = 3; }), "2 coordinates");
  expect_in(fault([](TensorBox&) {}, 1024 + 128), "multiple of 512");
  expect_in(fault([](TensorBox& box) { box.swizzle = Swizzle::none; }, 1024 + 64), "multiple of 128");
  expect_in(fault([](TensorBox&) {}, 16384 - 128), "not a multiple");
  expect_in(fault([](TensorBox&) {}, 16384), "16384");
}

// The bytes are nobody's until the phase is waited for, also where they are there at once and a barrier of warps stands
// in between.
TEST(Boxes, ReadTooEarly) {
  const Rows rows;
  for (const Options& options : kAllOptions) {
    expect_in(fault_of(
                  2,
                  [&](EmulatedSm90& m) {
                    make(m, 1);
                    if (m.warp() == 0) {
                      m.arrive_mbarrier(0, 1024);
                      m.copy_box(rows.map(128, 8, Swizzle::bytes128), 1024, 0, 0, 0);
                    }
                    m.sync("issued");
                    if (m.warp() == 1) (void)m.shared<std::uint32_t>(1024);
                    m.wait_mbarrier("full", 0, 0);
                  },
                  options),
              "a wait is missing");
    expect_in(fault_of(
                  1,
                  [&](EmulatedSm90& m) {
                    make(m, 1);
                    m.arrive_mbarrier(0, 1024);
                    m.copy_box(rows.map(128, 8, Swizzle::bytes128), 1024, 0, 0, 0);
                  },
                  options),
              "nobody has waited for");
    // One has waited, and a barrier tells the other.
    EXPECT_EQ(fault_of(
                  2,
                  [&](EmulatedSm90& m) {
                    make(m, 1);
                    if (m.warp() == 0) {
                      m.arrive_mbarrier(0, 1024);
                      m.copy_box(rows.map(128, 8, Swizzle::bytes128), 1024, 0, 0, 0);
                      m.wait_mbarrier("full", 0, 0);
                    }
                    m.sync("come");
                    EXPECT_EQ(m.shared<std::uint8_t>(1024), 0);
                  },
                  options),
              "");
  }
}

TEST(Boxes, WrongExpectedBytes) {
  const Rows rows;
  for (const Options& options : kAllOptions) {
    const auto copy = [&](std::uint32_t announced) {
      return fault_of(
          1,
          [&](EmulatedSm90& m) {
            make(m, 1);
            m.arrive_mbarrier(0, announced);
            m.copy_box(rows.map(128, 8, Swizzle::bytes128), 1024, 0, 0, 0);
            m.wait_mbarrier("full", 0, 0);
          },
          options);
    };
    EXPECT_EQ(copy(1024), "");
    expect_in(copy(1008), "wrong expected bytes");
    expect_in(copy(1040), "deadlock");
    expect_in(copy(1040), "\"full\" for parity 0");
    expect_in(copy(1040), "1040 bytes announced and 1024 copied");
  }
}

TEST(Boxes, OverWhatWarpsHaveStoredOrStillRead) {
  const Rows rows;
  for (const Options& options : kAllOptions) {
    const auto copy_over = [&](bool fence, bool barrier, bool late = false) {
      return fault_of(
          2,
          [&](EmulatedSm90& m) {
            make(m, 1);
            if (m.warp() == 1) {
              m.store_shared(1024, 7u);
              if (fence) m.fence_async();
            }
            if (barrier) m.sync("stored");
            if (late && m.warp() == 1) m.fence_async();
            // However long the other one waits: no barrier tells it of the fence.
            for (int turn = 0; late && m.warp() == 0 && turn < 3; ++turn) m.sync("only me", 1, 1);
            if (m.warp() == 0) {
              m.arrive_mbarrier(0, 1024);
              m.copy_box(rows.map(128, 8, Swizzle::bytes128), 1024, 0, 0, 0);
            }
            m.wait_mbarrier("full", 0, 0);
          },
          options);
    };
    EXPECT_EQ(copy_over(true, true), "");
    expect_in(copy_over(false, true), "missing fence.proxy.async");
    expect_in(copy_over(false, true, true), "missing fence.proxy.async");
    if (options.shuffle == 0) expect_in(copy_over(false, true, true), "fenced only behind the barrier");
    // Whose turn comes first: the copy goes where the other one then stores, or the other way round.
    const std::string unordered = copy_over(true, false);
    EXPECT_TRUE(unordered.find("a wait is missing") != std::string::npos || unordered.find("race") != std::string::npos)
        << unordered;
    // The mbarrier itself is stored, too.
    expect_in(fault_of(
                  1,
                  [&](EmulatedSm90& m) {
                    m.init_mbarrier(0, 1);
                    m.arrive_mbarrier(0, 1024);
                    m.copy_box(rows.map(128, 8, Swizzle::bytes128), 1024, 0, 0, 0);
                    m.wait_mbarrier("full", 0, 0);
                  },
                  options),
              "missing fence.proxy.async");
  }
}

}  // namespace
}  // namespace octavo::cuda
