// The staged product (copy engine, mbarriers, asynchronous products) is right in both completion modes, and each
// mistake planted into it is found and named.
#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "cuda_emulation/machine_sm90.hpp"
#include "faults.hpp"
#include "staged_product.hpp"

namespace octavo::cuda {
namespace {

using emulation::EmulatedSm90;
using emulation::Options;
using test::expect_in;
using test::kAllOptions;

// A [64, K] and B [n, K] of 8-bit elements, K = 128 steps.
template <Mma kind, int n, int stages>
struct Problem {
  using Shape = StagedProduct<kind, n, stages>;
  int steps;
  std::vector<std::uint8_t> a, b;
  std::vector<std::int32_t> c = std::vector<std::int32_t>(64 * n);

  explicit Problem(int steps_) : steps(steps_), a(size(64)), b(size(n)) {
    std::mt19937 random(11);
    for (auto& x : a) x = static_cast<std::uint8_t>(random());
    for (auto& x : b) x = static_cast<std::uint8_t>(random());
  }
  std::size_t size(int rows) const { return static_cast<std::size_t>(rows) * 128 * static_cast<std::size_t>(steps); }

  TensorBox box(const std::vector<std::uint8_t>& from, std::uint32_t rows) const {
    TensorBox box;
    box.base = from.data();
    box.sizes[0] = box.strides[1] = 128 * static_cast<std::uint64_t>(steps);
    box.sizes[1] = box.box[1] = rows;
    box.box[0] = 128;
    box.swizzle = Swizzle::bytes128;
    return box;
  }

  template <StagedBug bug>
  std::string run(const Options& options) {
    const StagedProductParams<EmulatedSm90, kind> params{{box(a, 64)}, {box(b, n)}, steps, c.data()};
    // Two blocks that do the same: the second finds nothing of the first.
    return test::fault_of<EmulatedSm90>(
        {{2, 1, 1}, Shape::kWarps, Shape::kBytes, Shape::kRegisters}, options,
        [&](EmulatedSm90& m) { staged_product<EmulatedSm90, kind, n, stages, bug>(m, params); });
  }

  // How many sums are wrong.
  int wrong() const {
    int count = 0;
    const std::size_t depth = 128 * static_cast<std::size_t>(steps);
    for (std::size_t row = 0; row < 64; ++row) {
      for (std::size_t column = 0; column < n; ++column) {
        std::int32_t sum = 0;
        for (std::size_t k = 0; k < depth; ++k) {
          const std::int32_t left =
              kind == Mma::u8s8 ? a[row * depth + k] : static_cast<std::int8_t>(a[row * depth + k]);
          sum += left * static_cast<std::int8_t>(b[column * depth + k]);
        }
        count += sum != c[row * n + column];
      }
    }
    return count;
  }
};

template <Mma kind, int n, int stages>
void expect_right(int steps) {
  for (const Options& options : kAllOptions) {
    Problem<kind, n, stages> problem(steps);
    EXPECT_EQ(problem.template run<StagedBug::none>(options), "");
    EXPECT_EQ(problem.wrong(), 0);
  }
}

TEST(StagedProduct, EqualsThePlainOne) {
  expect_right<Mma::s8s8, 64, 2>(5);
  expect_right<Mma::u8s8, 32, 3>(4);
  expect_right<Mma::s8s8, 96, 1>(2);
  expect_right<Mma::s8s8, 8, 4>(3);  // fewer steps than stages
}

// The sentences of the three ways to run it.
template <StagedBug bug>
std::vector<std::string> sentences() {
  std::vector<std::string> sentences;
  for (const Options& options : kAllOptions) {
    Problem<Mma::s8s8, 32, 2> problem(6);
    sentences.push_back(problem.run<bug>(options));
  }
  return sentences;
}
template <StagedBug bug>
void expect_each(const std::string& part) {
  for (const std::string& sentence : sentences<bug>()) expect_in(sentence, part);
}

TEST(StagedProduct, TilesReadTooEarly) {
  // Who comes before the copy finds what nobody has written.
  for (const std::string& sentence : sentences<StagedBug::full_wait>()) {
    EXPECT_TRUE(sentence.find("a wait is missing") != std::string::npos ||
                sentence.find("nobody has written") != std::string::npos)
        << sentence;
  }
}

TEST(StagedProduct, StagesOverwrittenOrHandedBackTooEarly) {
  // A box over what nobody has seen come; where boxes come late, a second announcement in the phase of the first.
  const std::vector<std::string> overwritten = sentences<StagedBug::empty_wait>();
  expect_in(overwritten[0], "warp 4 writes byte 0 of shared memory, into which a bulk copy went");
  expect_in(overwritten[1], "overflow: warp 4 arrives at the mbarrier");
  expect_in(overwritten[2], "overflow: warp 4 arrives at the mbarrier");
  expect_each<StagedBug::early_release>("race");
}

TEST(StagedProduct, AStageThatIsNotHandedBack) {
  expect_each<StagedBug::release>("deadlock");
  expect_each<StagedBug::release>("\"empty\" for parity 0");
  expect_each<StagedBug::release>("lacks 1 of 4 arrivals");
}

TEST(StagedProduct, AMissingWaitOrFence) {
  expect_each<StagedBug::wgmma_wait>("missing wgmma wait");
  expect_each<StagedBug::wgmma_fence>("missing wgmma.fence");
  expect_each<StagedBug::init_fence>("not fenced since");
  expect_each<StagedBug::late_init_fence>("missing fence.proxy.async");
}

TEST(StagedProduct, AParityThatNeverChanges) {
  for (const std::string& sentence : sentences<StagedBug::phase>()) {
    EXPECT_TRUE(sentence.find("wrong phase") != std::string::npos ||
                sentence.find("\"full\" for parity 0") != std::string::npos)
        << sentence;
  }
}

TEST(StagedProduct, WrongExpectedBytes) {
  expect_each<StagedBug::few_bytes>("wrong expected bytes");
  expect_each<StagedBug::many_bytes>("deadlock");
  expect_each<StagedBug::many_bytes>("12304 bytes announced and 12288 copied");
}

// No rule is broken by reading a tile in another order; the numbers show it.
TEST(StagedProduct, AWrongSwizzleShows) {
  for (const Options& options : kAllOptions) {
    Problem<Mma::s8s8, 32, 2> problem(6);
    EXPECT_EQ(problem.run<StagedBug::swizzle>(options), "");
    EXPECT_GT(problem.wrong(), 1000);
  }
}

}  // namespace
}  // namespace octavo::cuda
