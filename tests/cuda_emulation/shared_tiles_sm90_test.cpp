// Hopper's kernels with query heads that share tiles: every format, option and number of heads of a tile.
#include "emulated_attention_sm90.hpp"
#include "shared_tiles.hpp"

namespace octavo::test {
namespace {

using cuda::emulation::Completion;
using cuda::emulation::EmulatedSm90;

constexpr std::int64_t kRows[] = {16, 33, 17, 64, 32, 50}, kRatios[] = {4, 2, 3, 2, 5, 8};

class SharedTilesSm90 : public testing::TestWithParam<Entry> {};
TEST_P(SharedTilesSm90, HaveTheBitsOfSeparateTiles) {
  Dealer dealer(20261201);
  for (int i = 0; i < 6; ++i) {
    const Sample sample = sample_of_group(dealer, GetParam(), i, kRows[i], kRatios[i]);
    expect_bits_of_separate_tiles(sample, true, cuda::kPackedRows, 16, [&](const PackedProblem& packed) {
      const auto seed = static_cast<std::uint32_t>(i);
      EXPECT_TRUE(run_emulated_sm90(packed, {i % 2 == 0 ? Completion::at_wait : Completion::at_issue, seed}, 1 + i % 3))
          << describe(sample);
    });
  }
}
INSTANTIATE_TEST_SUITE_P(Recipes, SharedTilesSm90,
                         testing::Values(Entry{"int8_fast", DType::f16}, Entry{"int8_fast,smooth_q=off", DType::f32},
                                         Entry{"int8_block", DType::f32}, Entry{"int_flash", DType::bf16},
                                         Entry{"int_flash_half", DType::f16}, Entry{"sage2_8b", DType::f16},
                                         Entry{"fa3_fp8", DType::f32}, Entry{"exact", DType::f16},
                                         Entry{"exact", DType::bf16}));

// Fewer rows than a warp has, more heads than a tile takes, a KV head's last tile with one head, 256 channels.
TEST(SharedTilesSm90, FewRowsAndManyHeads) {
  const auto check = [](const Sample& sample) {
    expect_bits_of_separate_tiles(sample, true, cuda::kPackedRows, 16, [&](const PackedProblem& packed) {
      EXPECT_TRUE(run_emulated_sm90(packed, {Completion::at_wait, 5}, 2)) << describe(sample);
    });
  };
  for (const char* recipe : {"int_flash", "exact"}) {
    Sample s{.recipe = recipe, .batch = 2, .kv_heads = 2, .ratio = 9, .m = 3, .n = 140, .dtype = DType::f16};
    s.causal = Causal::bottom_right, s.alibi = s.sinks = true;
    check(s);
  }
  Sample wide{.recipe = "int8_fast", .kv_heads = 2, .ratio = 6, .m = 20, .n = 200, .d = 256, .dv = 256};
  wide.causal = Causal::bottom_right;
  check(wide);
  wide.softcap = 9, wide.kv_lens = {130};
  check(wide);
}

// 16-bit Q is the other kernels'.
TEST(SharedTilesSm90, SixteenBitQ) {
  Sample s{.recipe = "int8_fast", .kv_heads = 2, .ratio = 5, .m = 9, .n = 200, .causal = Causal::bottom_right};
  expect_bits_of_separate_tiles(s, true, cuda::kPackedRows, 32, [&](const PackedProblem& packed) {
    EXPECT_TRUE(run_emulated_sm90(packed, {Completion::at_wait, 1}, 2));
  });
}

// smooth_q's bias is each head's own: with that of the first the numbers are others.
TEST(SharedTilesSm90, TheAddendsOfAnotherHeadShow) {
  using Shape = cuda::AttentionShapeSm90<64>;
  const Sample sample{.recipe = "int8_fast", .kv_heads = 2, .ratio = 4, .m = 20, .n = 200};
  DrawnProblem drawn(sample);
  std::vector<float> right, wrong, lse;
  const auto run = [&](std::vector<float>& out, std::uint32_t head_addend_bytes) {
    PackedProblem packed(drawn.problem(out, lse));
    packed.share_tiles(cuda::tiles_of_heads(sample.m, sample.ratio, cuda::kPackedRows, 16));
    const std::vector<std::uint8_t> v_codes = values_sm90<Shape>(packed);
    ParamsSm90 params = params_sm90<Shape>(packed, v_codes);
    EXPECT_EQ(params.head_addend_bytes, Shape::kHeadAddendBytes);
    params.head_addend_bytes = head_addend_bytes;
    cuda::emulation::launch<EmulatedSm90>(grid_sm90<Shape>(1), {}, [&](EmulatedSm90& machine) {
      cuda::attend_sm90<EmulatedSm90, Shape, cuda::AttentionVariant::folded>(machine, params);
    });
  };
  run(right, Shape::kHeadAddendBytes);
  run(wrong, 0);
  EXPECT_GT(relative_l2(wrong, right), 1e-3);
}

}  // namespace
}  // namespace octavo::test
