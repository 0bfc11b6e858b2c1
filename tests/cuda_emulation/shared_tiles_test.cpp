// The mma.sync kernels with query heads that share tiles: every format of Q, options, and 16-bit Q with its low plane.
#include "shared_tiles.hpp"

#include "emulated_attention.hpp"

namespace octavo::test {
namespace {

using cuda::emulation::Completion;

void check(const Sample& sample, int turn, std::int64_t least_rows) {
  DrawnProblem drawn(sample);
  std::vector<float> out, lse;
  const PackedProblem packed(drawn.problem(out, lse));
  const std::int64_t tile_rows = 16 * cuda::attention_warps(packed.scores(), packed.dim());
  expect_bits_of_separate_tiles(sample, false, tile_rows, least_rows, [&](const PackedProblem& its) {
    EXPECT_TRUE(run_emulated(
        its, {turn % 2 == 0 ? Completion::at_wait : Completion::at_issue, static_cast<std::uint32_t>(turn)}))
        << describe(sample);
  });
}

constexpr std::int64_t kRows[] = {16, 33, 7, 50, 32, 1}, kRatios[] = {4, 2, 3, 2, 5, 8};

class SharedTiles : public testing::TestWithParam<Entry> {};
TEST_P(SharedTiles, HaveTheBitsOfSeparateTiles) {
  Dealer dealer(20261202);
  for (int i = 0; i < 6; ++i) check(sample_of_group(dealer, GetParam(), i, kRows[i], kRatios[i]), i, 16);
}
INSTANTIATE_TEST_SUITE_P(Recipes, SharedTiles,
                         testing::Values(Entry{"int8_fast,smooth_q=off", DType::f32}, Entry{"int_flash", DType::bf16},
                                         Entry{"int_flash_half", DType::f16}, Entry{"fa3_fp8", DType::f16},
                                         Entry{"exact", DType::f16}, Entry{"exact", DType::bf16}));

// Its low plane takes 16 more rows of the tile.
TEST(SharedTiles, SixteenBitQ) {
  Dealer dealer(20261203);
  for (int i = 0; i < 6; ++i) {
    check(sample_of_group(dealer, {i % 2 == 0 ? "int8_fast" : "int8_p16", DType::f32}, i, 1 + 3 * i % 15, 2 + i), i,
          32);
  }
}

// In three planes, tiles of 128 and of 64 rows.
TEST(SharedTiles, OfFloats) {
  Sample s{.recipe = "exact", .kv_heads = 2, .ratio = 3, .m = 12, .n = 140};
  check(s, 0, 16);
  s.d = s.dv = 128, s.causal = Causal::bottom_right;
  check(s, 1, 16);
}

}  // namespace
}  // namespace octavo::test
