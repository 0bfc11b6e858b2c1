// The unit of V near f32's end, binade by binade, and who takes it.
#include "spec/v_prescale.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace octavo::spec {
namespace {

TEST(ValueUnit, BringsLargeValuesBelowTwoToThe80) {
  for (int exponent = -149; exponent < 128; ++exponent) {
    for (const float mantissa : {1.0f, 1.5f, std::nextafter(2.0f, 0.0f)}) {
      const float amax = std::ldexp(mantissa, exponent), unit = v_prescale(amax);
      if (exponent < 80) {
        EXPECT_EQ(unit, 1.0f) << amax;
        continue;
      }
      EXPECT_EQ(unit, std::ldexp(1.0f, 79 - exponent)) << amax;
      EXPECT_EQ(amax * unit / unit, amax);
    }
  }
  EXPECT_EQ(v_prescale(0.0f), 1.0f);
}

// 2^26 keys, each 2^8 times its weight, of values that 512 channels' butterflies have summed.
TEST(ValueUnit, LeavesRoomForTheLongestSums) {
  const float largest = std::numeric_limits<float>::max();
  EXPECT_TRUE(std::isfinite(largest * v_prescale(largest) * 0x1p26f * 0x1p8f * 512.0f));
}

TEST(ValueUnit, FormatsWithoutAScaleKeepSaturating) {
  for (const RecipeInfo& info : recipes()) {
    EXPECT_EQ(takes_v_prescale(info.recipe), info.name != "fp8_e5m2") << info.name;
  }
}

}  // namespace
}  // namespace octavo::spec
