// Mistakes planted into Hopper's attention kernel: each must be found and named, or show in the numbers.
#include <gtest/gtest.h>

#include <cstring>

#include "compare.hpp"
#include "emulated_attention_sm90.hpp"
#include "faults.hpp"
#include "sample.hpp"

namespace octavo::test {
namespace {

using cuda::Swizzle;
using cuda::emulation::EmulatedSm90;
using cuda::emulation::Options;
using Shape = cuda::AttentionShapeSm90<64>;
// Rows of 16 bits in two panels, V transposed by the product, O as its sums.
using ShapeF16 = cuda::AttentionShapeSm90<128, cuda::PackedFormat::f16, cuda::PackedFormat::f16>;
// P V in slices of channels.
using ShapeWide = cuda::AttentionShapeSm90<256>;
// Sums of Q K^T in floats.
using ShapeE4m3 = cuda::AttentionShapeSm90<64, cuda::PackedFormat::e4m3, cuda::PackedFormat::e4m3>;

template <class OfShape>
Sample sample() {
  Sample s;
  s.m = 150, s.n = OfShape::kDim == 256 ? 500 : 900, s.d = s.dv = OfShape::kDim, s.causal = Causal::bottom_right,
  s.window_left = 800;
  if (!OfShape::kIntegerScores) s.dtype = DType::f16, s.m = 70, s.n = 300, s.window_left = 250;
  if (!OfShape::kIntegerScores) s.recipe = OfShape::kFloat8Values ? "fa3_fp8" : "exact";
  return s;
}
template <class Machine, class OfShape = Shape>
std::string fault(const Options& options, std::vector<float>* out = nullptr, const Sample& of = sample<OfShape>()) {
  DrawnProblem drawn(of);
  std::vector<float> own, lse;
  const PackedProblem packed(drawn.problem(out != nullptr ? *out : own, lse), true);
  const std::vector<std::uint8_t> v_codes = values_sm90<OfShape>(packed);
  ParamsSm90 params = params_sm90<OfShape>(packed, v_codes);
  std::uint32_t asked = 0;
  params.asked = &asked;
  using enum cuda::AttentionVariant;
  return fault_of<Machine>(grid_sm90<OfShape>(1), options, [&](Machine& machine) {
    cuda::attend_sm90<Machine, OfShape, OfShape::kIntegerScores ? folded : plain>(machine, params);
  });
}
template <class Machine, class OfShape = Shape>
void expect_each(std::initializer_list<const char*> one_of, const Sample& of = sample<OfShape>()) {
  for (const Options& options : kAllOptions) {
    const std::string sentence = fault<Machine, OfShape>(options, nullptr, of);
    bool said = false;
    for (const char* part : one_of) said = said || sentence.find(part) != std::string::npos;
    EXPECT_TRUE(said) << '"' << sentence << '"';
  }
}

TEST(PlantedAttentionBugsSm90, AsItIsHasNone) {
  for (const Options& options : kAllOptions) {
    EXPECT_EQ(fault<EmulatedSm90>(options), "");
    EXPECT_EQ((fault<EmulatedSm90, ShapeF16>(options)), "");
    EXPECT_EQ((fault<EmulatedSm90, ShapeE4m3>(options)), "");
    EXPECT_EQ((fault<EmulatedSm90, ShapeWide>(options)), "");
  }
}

struct AParityThatNeverChanges : EmulatedSm90 {
  using EmulatedSm90::EmulatedSm90;
  void wait_mbarrier(const char* name, std::uint32_t offset, std::uint32_t parity) {
    EmulatedSm90::wait_mbarrier(name, offset, std::strcmp(name, "K has come") == 0 ? 0 : parity);
  }
};
TEST(PlantedAttentionBugsSm90, Phase) { expect_each<AParityThatNeverChanges>({"wrong phase", "\"K has come\""}); }

struct WithoutTheFenceOfProducts : EmulatedSm90 {
  using EmulatedSm90::EmulatedSm90;
  template <class... R>
  void wgmma_fence(R&...) {}
};
struct WithoutTheFenceOfMbarriers : EmulatedSm90 {
  using EmulatedSm90::EmulatedSm90;
  void fence_async() {}
};
TEST(PlantedAttentionBugsSm90, MissingFences) {
  expect_each<WithoutTheFenceOfProducts>({"missing wgmma.fence"});
  expect_each<WithoutTheFenceOfProducts, ShapeF16>({"missing wgmma.fence"});
  expect_each<WithoutTheFenceOfProducts, ShapeE4m3>({"missing wgmma.fence"});
  expect_each<WithoutTheFenceOfProducts, ShapeWide>({"missing wgmma.fence"});
  expect_each<WithoutTheFenceOfMbarriers>({"not fenced since"});
}

struct WaitsForOneGroupLess : EmulatedSm90 {
  using EmulatedSm90::EmulatedSm90;
  template <int left, class... R>
  void wgmma_wait(R&... registers) {
    EmulatedSm90::wgmma_wait<left + 1>(registers...);
  }
};
template <char kOperand>
struct TakesATileUnseen : EmulatedSm90 {
  using EmulatedSm90::EmulatedSm90;
  void wait_mbarrier(const char* name, std::uint32_t offset, std::uint32_t parity) {
    const bool of_it = name[0] == kOperand && std::strcmp(name + 1, " has come") == 0;
    if (!of_it) EmulatedSm90::wait_mbarrier(name, offset, parity);
  }
};
TEST(PlantedAttentionBugsSm90, MissingWaits) {
  expect_each<WaitsForOneGroupLess>({"missing wgmma wait"});
  expect_each<WaitsForOneGroupLess, ShapeF16>({"missing wgmma wait"});
  expect_each<WaitsForOneGroupLess, ShapeE4m3>({"missing wgmma wait"});
  expect_each<WaitsForOneGroupLess, ShapeWide>({"missing wgmma wait"});
  expect_each<TakesATileUnseen<'K'>>({"a wait is missing", "nobody has written", "wrong phase", "race"});
  expect_each<TakesATileUnseen<'V'>>({"a wait is missing", "nobody has written", "wrong phase", "race"});
  expect_each<TakesATileUnseen<'Q'>>({"a wait is missing", "nobody has written", "wrong phase", "race"});
}

// V is handed back when it has come, not when it has been read.
struct ReleasesVEarly : EmulatedSm90 {
  using EmulatedSm90::EmulatedSm90;
  void wait_mbarrier(const char* name, std::uint32_t offset, std::uint32_t parity) {
    EmulatedSm90::wait_mbarrier(name, offset, parity);
    if (std::strcmp(name, "V has come") == 0) {
      EmulatedSm90::arrive_mbarrier(offset - Shape::kValuesFull + Shape::kValuesEmpty);
    }
  }
  void arrive_mbarrier(std::uint32_t offset, std::uint32_t bytes = 0) {
    const bool of_v = offset >= Shape::kValuesEmpty && offset < Shape::kTaskFull;
    if (!of_v) EmulatedSm90::arrive_mbarrier(offset, bytes);
  }
};
// One warp of a warpgroup never hands K back.
struct KeepsK : EmulatedSm90 {
  using EmulatedSm90::EmulatedSm90;
  void arrive_mbarrier(std::uint32_t offset, std::uint32_t bytes = 0) {
    const bool of_k = offset >= Shape::kKeysEmpty && offset < Shape::kValuesFull;
    if (!of_k || warp() != 2) EmulatedSm90::arrive_mbarrier(offset, bytes);
  }
};
TEST(PlantedAttentionBugsSm90, StagesHandedBackEarlyOrNever) {
  expect_each<ReleasesVEarly>({"race", "without a barrier in between", "a bulk copy", "while a copy"});
  expect_each<KeepsK>({"deadlock"});
}

// A warpgroup does not pass its turn on.
struct KeepsItsTurn : EmulatedSm90 {
  using EmulatedSm90::EmulatedSm90;
  void arrive(const char* name, int id, int warps) {
    if (warp() < 4) EmulatedSm90::arrive(name, id, warps);
  }
};
TEST(PlantedAttentionBugsSm90, TurnsOfTheWarpgroups) { expect_each<KeepsItsTurn>({"deadlock"}); }

struct TakesATaskUntold : EmulatedSm90 {
  using EmulatedSm90::EmulatedSm90;
  void wait_mbarrier(const char* name, std::uint32_t offset, std::uint32_t parity) {
    if (offset != Shape::kTaskFull) EmulatedSm90::wait_mbarrier(name, offset, parity);
  }
};
struct TellsATaskTooEarly : EmulatedSm90 {
  using EmulatedSm90::EmulatedSm90;
  void wait_mbarrier(const char* name, std::uint32_t offset, std::uint32_t parity) {
    if (offset != Shape::kTaskEmpty) EmulatedSm90::wait_mbarrier(name, offset, parity);
  }
};
TEST(PlantedAttentionBugsSm90, TheNextTask) {
  expect_each<TakesATaskUntold>({"nobody has written", "race"});
  // Else a task's tiles are more than there are stages, and the consumers are in it when the producer is done.
  Sample few_keys = sample<Shape>();
  few_keys.kv_heads = 3, few_keys.n = 150;
  expect_each<TellsATaskTooEarly>({"race", "wrong phase"}, few_keys);
}

// A matrix that begins 32 bytes too far: its last step begins in the next row.
template <std::uint32_t kOperand>
struct AMatrixElsewhere : EmulatedSm90 {
  using EmulatedSm90::EmulatedSm90;
  std::uint64_t matrix(std::uint32_t offset, Swizzle swizzle) const {
    return EmulatedSm90::matrix(offset == kOperand ? offset + 32 : offset, swizzle);
  }
};
TEST(PlantedAttentionBugsSm90, WrongDescriptorOffsets) {
  expect_each<AMatrixElsewhere<Shape::kQueryAt>>({"not in the first row of a swizzle's atom"});
  expect_each<AMatrixElsewhere<Shape::kKeysAt>>({"not in the first row of a swizzle's atom"});
  expect_each<AMatrixElsewhere<Shape::kValuesAt>>({"not in the first row of a swizzle's atom"});
}

// No rule is broken by reading a tile in another order; the numbers show it.
template <std::uint32_t kOperand>
struct WithoutASwizzle : EmulatedSm90 {
  using EmulatedSm90::EmulatedSm90;
  std::uint64_t matrix(std::uint32_t offset, Swizzle swizzle) const {
    return offset == kOperand ? EmulatedSm90::matrix(offset, Swizzle::none, atom_bytes(swizzle), 16)
                              : EmulatedSm90::matrix(offset, swizzle);
  }
};
template <class Machine, class OfShape = Shape>
double error() {
  std::vector<float> right, other;
  EXPECT_EQ((fault<EmulatedSm90, OfShape>({}, &right)), "");
  EXPECT_EQ((fault<Machine, OfShape>({}, &other)), "");
  return relative_l2(other, right);
}
TEST(PlantedAttentionBugsSm90, AWrongSwizzleShows) {
  EXPECT_EQ(error<EmulatedSm90>(), 0);
  EXPECT_GT(error<WithoutASwizzle<Shape::kKeysAt>>(), 1e-2);
  EXPECT_GT(error<WithoutASwizzle<Shape::kValuesAt>>(), 1e-2);
  EXPECT_GT((error<WithoutASwizzle<ShapeWide::kValuesAt>, ShapeWide>()), 1e-2);
  EXPECT_GT((error<WithoutASwizzle<ShapeE4m3::kKeysAt>, ShapeE4m3>()), 1e-2);
  EXPECT_GT((error<WithoutASwizzle<ShapeE4m3::kValuesAt>, ShapeE4m3>()), 1e-2);
}

// V's panels or its atoms taken to lie elsewhere, inside the tile.
template <std::uint32_t kStride, std::uint32_t kLeading>
struct TransposedOtherwise : EmulatedSm90 {
  using EmulatedSm90::EmulatedSm90;
  using EmulatedSm90::matrix;
  std::uint64_t matrix(std::uint32_t offset, Swizzle swizzle, std::uint32_t, std::uint32_t) const {
    return EmulatedSm90::matrix(offset, swizzle, kStride, kLeading);
  }
};
// No row's maximum moves O, which the product has as its sums.
struct WithoutRescaling : EmulatedSm90 {
  using EmulatedSm90::EmulatedSm90;
  bool any(const cuda::Registers<EmulatedSm90, std::uint32_t, 1>&) { return false; }
};
TEST(PlantedAttentionBugsSm90, WrongTransposedValuesShow) {
  using Panels = ShapeF16::ValueTile;
  EXPECT_EQ((error<TransposedOtherwise<1024, Panels::kPanelBytes>, ShapeF16>()), 0);
  EXPECT_GT((error<TransposedOtherwise<1024, Panels::kPanelBytes / 2>, ShapeF16>()), 1e-2);
  EXPECT_GT((error<TransposedOtherwise<512, Panels::kPanelBytes>, ShapeF16>()), 1e-2);
  EXPECT_GT((error<WithoutRescaling, ShapeF16>()), 1e-2);
}

}  // namespace
}  // namespace octavo::test
