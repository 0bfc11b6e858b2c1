// What the emulation is for: each of these mistakes, small or planted into the attention kernel, must be found and
// named.
#include <gtest/gtest.h>

#include <cmath>
#include <string_view>
#include <utility>

#include "compare.hpp"
#include "emulated_attention.hpp"
#include "faults.hpp"
#include "sample.hpp"

namespace octavo::test {
namespace {

using cuda::CopyItem;
using cuda::CopyWhat;
using cuda::emulation::Completion;
using cuda::emulation::Emulated;
using cuda::emulation::Fault;
using cuda::emulation::Grid;
using cuda::emulation::Options;

alignas(16) constexpr std::uint32_t kSource[4]{1, 2, 3, 4};

template <class Kernel>
std::string fault_of(int warps, Kernel&& kernel, const Options& options = {}) {
  return test::fault_of<Emulated>(Grid{{1, 1, 1}, warps, 1024}, options, kernel);
}

void copy_one(Emulated& machine, std::uint32_t to) {
  machine.copy16([&](int lane) { return CopyItem{to, kSource, lane == 0 ? CopyWhat::bytes : CopyWhat::nothing}; });
}

TEST(PlantedBugs, ReadingWhatNobodyHasWritten) {
  expect_in(fault_of(1, [](Emulated& m) { (void)m.shared<float>(16); }), "nobody has written");
}

// Reads, copies or ends before the kernel ahead of it has ended.
TEST(PlantedBugs, AnOverlappingKernelThatDoesNotWait) {
  const Options options{.overlaps = true};
  expect_in(fault_of(1, [](Emulated& m) { m.lanes([](int) {}); }, options), "does not wait");
  expect_in(fault_of(1, [](Emulated& m) { copy_one(m, 0); }, options), "does not wait");
  expect_in(fault_of(1, [](Emulated&) {}, options), "does not wait");
  const auto waits = [](Emulated& m) {
    cuda::begin_kernel(m);
    m.lanes([](int) {});
  };
  EXPECT_EQ(fault_of(1, waits, options), "");
}

TEST(PlantedBugs, BeyondTheEndAndMisaligned) {
  expect_in(fault_of(1, [](Emulated& m) { m.store_shared(1022, 1.0f); }), "1024");
  expect_in(fault_of(1, [](Emulated& m) { m.store_shared(2, 1.0f); }), "not a multiple");
  expect_in(fault_of(1, [](Emulated& m) { copy_one(m, 8); }), "not a multiple");
}

TEST(PlantedBugs, ATileReadBeforeItsWait) {
  for (const Options& options : kAllOptions) {
    const auto sentence = fault_of(
        1,
        [](Emulated& m) {
          copy_one(m, 0);
          m.commit_copies();
          (void)m.shared<float>(0);
        },
        options);
    expect_in(sentence, "a wait is missing");
  }
}

TEST(PlantedBugs, AWaitForTheWrongGroup) {
  expect_in(fault_of(1,
                     [](Emulated& m) {
                       copy_one(m, 0);
                       m.commit_copies();
                       copy_one(m, 16);
                       m.commit_copies();
                       m.wait_copies<1>();
                       (void)m.shared<float>(16);
                     }),
            "a wait is missing");
}

TEST(PlantedBugs, CopiesThatNobodyWaitsFor) {
  expect_in(fault_of(1,
                     [](Emulated& m) {
                       copy_one(m, 0);
                       m.commit_copies();
                     }),
            "has not waited for");
}

TEST(PlantedBugs, AMissingBarrierWhicheverWarpIsFirst) {
  for (const Options& options : kAllOptions) {
    // Who reads first finds what nobody has written, who reads late a race.
    EXPECT_NE(fault_of(
                  2,
                  [](Emulated& m) {
                    m.sync("somewhere else");
                    if (m.warp() == 0) m.store_shared(4, 1.0f);
                    if (m.warp() == 1) (void)m.shared<float>(4);
                  },
                  options),
              "");
    // Read, then overwritten: nothing is wrong with what was read, today.
    expect_in(fault_of(
                  2,
                  [](Emulated& m) {
                    if (m.warp() == 0) m.store_shared(0, 1.0f);
                    m.sync("written");
                    if (m.warp() == 0) (void)m.shared<float>(0);
                    if (m.warp() == 1) m.store_shared(0, 2.0f);
                  },
                  options),
              "without a barrier in between");
  }
}

TEST(PlantedBugs, ACopyIntoWhatOthersStillRead) {
  expect_in(fault_of(2,
                     [](Emulated& m) {
                       if (m.warp() == 0) m.store_shared(0, 1.0f);
                       m.sync("written");
                       (void)m.shared<float>(0);
                       if (m.warp() == 1) {
                         copy_one(m, 0);
                         m.commit_copies();
                         m.wait_copies<0>();
                       }
                     }),
            "without a barrier in between");
}

TEST(PlantedBugs, AWaitWithoutABarrierIsOnlyTheWaitersOwn) {
  expect_in(fault_of(2,
                     [](Emulated& m) {
                       if (m.warp() == 0) {
                         copy_one(m, 0);
                         m.commit_copies();
                       }
                       m.sync("before the wait");
                       m.wait_copies<0>();
                       if (m.warp() == 1) (void)m.shared<float>(0);
                     }),
            "without a barrier in between");
}

TEST(PlantedBugs, DeadlocksByName) {
  const auto sentence = fault_of(3, [](Emulated& m) {
    if (m.warp() == 2) return;
    m.sync(m.warp() == 0 ? "keys have come" : "values have come");
  });
  expect_in(sentence, "deadlock");
  expect_in(sentence, "keys have come");
  expect_in(sentence, "values have come");
  expect_in(sentence, "2 of 3");
  expect_in(fault_of(2, [](Emulated& m) { m.sync("uneven", 1, m.warp() + 1 == 1 ? 2 : 3); }), "uneven");
}

// The attention kernel on a machine that is wrong in one word.
Sample sample() {
  Sample s;
  s.m = 150, s.n = 300, s.d = s.dv = 128, s.causal = Causal::bottom_right, s.window_left = 200;
  return s;
}
using cuda::AttentionVariant;
using cuda::PackedFormat;
template <int dim>
using IntegerShape = cuda::AttentionShape<dim, PackedFormat::s8, PackedFormat::s8>;
template <class Machine, class Shape = IntegerShape<128>, AttentionVariant variant = AttentionVariant::plain>
std::string attention_fault(const Options& options, const char* recipe = "int8_fast") {
  Sample s = sample();
  s.recipe = recipe, s.d = s.dv = Shape::kDim;
  DrawnProblem drawn(s);
  std::vector<float> out, lse;
  const PackedProblem packed(drawn.problem(out, lse));
  return test::fault_of<Machine>(attention_grid<Shape>(packed.params()), options, [&](Machine& machine) {
    cuda::attend<Machine, Shape, variant>(machine, packed.params());
  });
}
// K and V in one place (walk_halves()).
template <class Machine>
std::string halves_fault(const Options& options) {
  using Shape = cuda::AttentionShape<256, PackedFormat::float8, PackedFormat::float8>;
  return attention_fault<Machine, Shape, AttentionVariant::score_mod>(options, "fa3_fp8");
}

struct WithoutWaits : Emulated {
  using Emulated::Emulated;
  template <int n>
  void wait_copies() {}
};
struct WaitsForOneGroupLess : Emulated {
  using Emulated::Emulated;
  template <int n>
  void wait_copies() {
    Emulated::wait_copies<n + 1>();
  }
};
template <char kPhrase>
struct WithoutABarrier : Emulated {
  using Emulated::Emulated;
  void sync(const char* name) {
    // "the tile has come", "the tile is done with": told apart by their tenth letter.
    if (name[9] != kPhrase) Emulated::sync(name);
  }
};
// A tile of walk_halves() has eight barriers: each half of the keys, then of the values, has come and is done with.
template <int left_out>
struct WithoutABarrierOfHalves : Emulated {
  using Emulated::Emulated;
  int count = 0;
  void sync(const char* name) {
    if (!std::string_view(name).starts_with("half of") || count++ % 8 != left_out) Emulated::sync(name);
  }
};
struct OneWarpForgetsABarrier : Emulated {
  using Emulated::Emulated;
  int count = 0;
  void sync(const char* name) {
    if (warp() != 5 || ++count != 2) Emulated::sync(name);
  }
};

TEST(PlantedBugs, AttentionAsItIsHasNone) {
  for (const Options& options : kAllOptions) {
    EXPECT_EQ(attention_fault<Emulated>(options), "");
    EXPECT_EQ((attention_fault<Emulated, IntegerShape<256>>(options)), "");
    EXPECT_EQ(halves_fault<Emulated>(options), "");
  }
}

TEST(PlantedBugs, AttentionThatDoesNotWait) {
  for (const Options& options : kAllOptions) {
    expect_in(attention_fault<WithoutWaits>(options), "a wait is missing");
    expect_in(attention_fault<WaitsForOneGroupLess>(options), "a wait is missing");
    expect_in(attention_fault<WaitsForOneGroupLess, IntegerShape<256>>(options), "a wait is missing");
    expect_in(halves_fault<WaitsForOneGroupLess>(options), "a wait is missing");
  }
}

TEST(PlantedBugs, AttentionWithoutABarrier) {
  for (const Options& options : kAllOptions) {
    expect_in(attention_fault<WithoutABarrier<'h'>>(options), "of shared memory, which nobody has written");
    expect_in(attention_fault<WithoutABarrier<'i'>>(options), "while a copy of warp");
    expect_in(attention_fault<OneWarpForgetsABarrier>(options), "warp");
  }
}

TEST(PlantedBugs, HalvesOfTilesWithoutABarrier) {
  for (const Options& options : kAllOptions) {
    [&]<int... left_out>(std::integer_sequence<int, left_out...>) {
      (expect_in(halves_fault<WithoutABarrierOfHalves<left_out>>(options), "of shared memory"), ...);
    }(std::make_integer_sequence<int, 8>());
  }
}

// What no rule of the machine forbids must show in the numbers.
struct Unswizzled : Emulated {
  using Emulated::Emulated;
  template <bool trans, int n, class F>
  void ldmatrix(Registers<std::uint32_t, n>& to, int first, F&& offset_of_lane) {
    Emulated::ldmatrix<trans>(to, first, [&](int lane) { return offset_of_lane(lane) ^ (lane % 8 == 3 ? 16u : 0u); });
  }
};
template <class Machine>
double error_with(Sample wrong) {
  using Shape = cuda::AttentionShape<128, cuda::PackedFormat::s8, cuda::PackedFormat::s8>;
  DrawnProblem right_problem(sample()), wrong_problem(wrong);
  std::vector<float> right, other, lse;
  const PackedProblem packed(right_problem.problem(right, lse)), spoilt(wrong_problem.problem(other, lse));
  EXPECT_TRUE(run_emulated(packed));
  cuda::emulation::launch<Machine>(attention_grid<Shape>(spoilt.params()), {}, [&](Machine& machine) {
    cuda::attend<Machine, Shape, cuda::AttentionVariant::plain>(machine, spoilt.params());
  });
  return relative_l2(other, right);
}

TEST(PlantedBugs, AWrongSwizzleShows) { EXPECT_GT(error_with<Unswizzled>(sample()), 1e-2); }

TEST(PlantedBugs, AMaskThatIsOneOffShows) {
  EXPECT_EQ(error_with<Emulated>(sample()), 0);
  Sample wrong = sample();
  wrong.window_left -= 1;
  EXPECT_GT(error_with<Emulated>(wrong), 1e-2);
  wrong = sample();
  wrong.causal = Causal::none, wrong.window_right = 1;
  EXPECT_GT(error_with<Emulated>(wrong), 1e-2);
}

}  // namespace
}  // namespace octavo::test
