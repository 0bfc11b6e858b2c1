// octavo::attention() on device tensors, from the api to the emulated GPU and back: packing, correction and
// attention kernels against the oracle, over every option.
#include "octavo/attention.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>

#include "card.hpp"
#include "compare.hpp"
#include "device_twin.hpp"
#include "draw.hpp"
#include "large_score.hpp"
#include "scenario.hpp"

namespace octavo::test {
namespace {

struct Entry {
  const char* recipe;
  int scenarios;
  DType dtype = DType::f32;          // f32: as drawn
  Flavour only = Flavour::gaussian;  // gaussian: as dealt
  int capability = 90;               // of the emulated GPU
  std::int64_t least_channels = 0;   // of the wider of Q and V
};

// What the mma.sync kernels serve, and what differs from it by one idea each.
constexpr Entry kEntries[] = {
    {"int8_fast", 24},
    {"exact", 12},
    {"exact", 10, DType::f16},
    {"exact", 10, DType::bf16},
    {"exact,key_block=512", 4, DType::f16},
    {"int8_block", 10},
    {"int8_p16", 12},
    {"int8_p16,p_reference=running,v_scale=block,row_sum=codes", 4},
    {"int8_p16,qk_gains=on,robust=on", 4},
    {"int4", 8},
    {"int_flash", 10},
    {"int_flash_half", 10},
    {"int_flash_int4", 4},
    {"int_flash_block_v", 6},
    {"sage1", 6},
    {"sage1_int8", 6},
    {"sage2_8b", 10},
    {"sage2_4b", 8},
    {"sage2pp", 10},
    {"sage2_8b", 10, DType::f32, Flavour::gaussian, 89},
    {"sage2_4b", 6, DType::f32, Flavour::gaussian, 120},
    {"sage2pp", 8, DType::f32, Flavour::gaussian, 89},
    {"int4", 8, DType::f32, Flavour::gaussian, 80},
    {"int4,qk_gains=on,robust=on", 6, DType::f32, Flavour::gaussian, 86},
    {"sage2_4b", 8, DType::f32, Flavour::gaussian, 80},
    {"sage2_4b", 8, DType::f32, Flavour::gaussian, 89},
    {"sage2_8b,v_scale=tensor,row_sum=codes,hadamard_v=on,smooth_v=on,q_scale=token,smooth_q=on", 6, DType::f32,
     Flavour::gaussian, 89},
    {"fa3_fp8", 10},
    {"fp8_e4m3", 8},
    {"fp8_e5m2", 8},
    {"fa3_fp8,v_scale=block_channel,smooth_k=on,smooth_q=on,row_sum=codes", 6},
    {"fp8_e4m3,q_scale=token,k_scale=token,values=e5m2,p=e5m2,p_range=1,hadamard_v=on", 4},
    {"sage2_8b,values=e5m2,p=e5m2,p_range=1", 4},
    {"sage2pp,v_range=4.5,p_range=224,smooth_q=on", 4},
    {"sage1,accumulator=f16,key_block=64", 6},
    {"sage2_8b,v_scale=tensor", 4},
    {"sage2_8b,v_scale=none,smooth_q=on", 4},
    {"sage2_8b,row_sum=codes,hadamard_v=on,smooth_v=on", 4},
    {"int8_fast,smooth_q=off", 4},
    {"int8_fast,smooth_k=off", 4},
    {"int8_fast,hadamard=off,hadamard_v=off", 4},
    {"int8_fast,p_reference=running", 4},
    {"int8_fast,q_scale=tensor,k_scale=tensor", 4},
    {"int8_fast,q_scale=warp,k_scale=warp,q_group=64,k_group=128", 4},
    {"int8_block,q_group=16", 4},
    {"int8_fast,v_scale=channel,smooth_v=on,v_range=100", 4},
    {"int8_fast,v_scale=block", 4},
    {"int_flash,v_scale=token_folded,row_sum=weights", 4},
    {"int_flash_half,hadamard=on,smooth_q=on,smooth_k=on,hadamard_v=on", 4},
    {"int8_fast,robust=off", 8},
    {"int8_fast,smooth_v=on", 8},
    {"int8_fast,qk_gains=on", 10},
    {"int8_fast,smooth_v=on,qk_gains=on", 20},
    {"int8_fast,smooth_k=off,qk_gains=on", 6},
    {"int8_fast,smooth_q=off,hadamard=off,hadamard_v=off,smooth_v=on,qk_gains=on", 6},
    {"int8_fast,q_scale=tensor,k_scale=tensor,qk_gains=on", 4},
    {"int8_block,qk_gains=on", 6},
    {"int4,qk_gains=on", 6},
    {"sage1,qk_gains=on,robust=on", 4},
    {"int_flash_half,smooth_k=on,smooth_v=on,robust=on", 4},
    {"exact,robust=off", 4, DType::f16},
    {"int8", 40},
    {"int8_fast,keep_first=1,keep_near=2,keep_heavy=16", 16},
    {"int8_fast,keep_first=16,keep_near=4,keep_heavy=32", 12},
    {"int8_fast,keep_near=1", 6},
    {"int8_fast,keep_heavy=5", 6},
    {"int8,smooth_q=off", 8},
    {"int8,hadamard=off,hadamard_v=off", 6},
    {"int4,qk_gains=on,robust=on,keep_first=1,keep_near=2,keep_heavy=16", 8},
    {"int8_block,qk_gains=on,robust=on,keep_first=1,keep_near=2,keep_heavy=16", 8},
    {"int_flash,keep_first=1,keep_near=2", 6},
    // Kept keys as an option of the kernels with every option.
    {"int8_p16,keep_first=1,keep_near=2,keep_heavy=16", 10},
    {"int8_p16,p_reference=running,v_scale=block,row_sum=codes,keep_first=1,keep_near=2", 4},
    {"sage2_8b,keep_first=1,keep_near=2", 8},
    {"sage2_8b,smooth_q=on,q_scale=token,qk_gains=on,robust=on,keep_first=1,keep_near=2,keep_heavy=16", 8},
    {"sage2_8b,keep_first=1,keep_near=2", 8, DType::f32, Flavour::gaussian, 89},
    {"sage2pp,smooth_q=on,keep_first=1,keep_near=2,keep_heavy=16", 6},
    {"sage1,keep_first=16,keep_near=4", 6},
    {"int_flash_half,hadamard=on,smooth_q=on,smooth_k=on,hadamard_v=on,keep_near=2,keep_heavy=8", 6},
    {"fa3_fp8,keep_first=1,keep_near=2", 6},
    {"fp8_e5m2,smooth_q=on,keep_first=3,keep_heavy=32", 4},
    {"exact,keep_first=1,keep_near=2", 6},
    {"exact,keep_first=4,keep_near=1", 6, DType::f16},
    {"exact,keep_first=4,keep_near=1", 6, DType::bf16},
    // FP8 scores whose tiles of K and V share one place.
    {"fa3_fp8", 6, DType::f32, Flavour::gaussian, 90, 129},
    {"fp8_e4m3", 4, DType::f16, Flavour::gaussian, 80, 129},
    {"fp8_e5m2", 6, DType::bf16, Flavour::gaussian, 89, 129},
    {"fa3_fp8,v_scale=block_channel,smooth_k=on,smooth_q=on,row_sum=codes", 6, DType::f32, Flavour::gaussian, 120, 129},
    {"fa3_fp8,smooth_q=on,qk_gains=on,robust=on,keep_first=1,keep_near=2,keep_heavy=16", 6, DType::f32,
     Flavour::gaussian, 90, 129},
    // K's mean per block of keys.
    {"int8", 30, DType::f32, Flavour::turning_key_bias},
    {"int8_fast,qk_gains=on", 12, DType::f32, Flavour::turning_key_bias},
    {"int8,smooth_q=off", 8, DType::f32, Flavour::turning_key_bias},
    {"sage1,qk_gains=on,robust=on", 6, DType::f32, Flavour::turning_key_bias},
};

// Products of f32 in three planes of bf16.
constexpr double kExactF32Gate = 1e-5;

class CudaAttentionTest : public ::testing::TestWithParam<Entry> {};

void expect_the_oracles(const Entry& entry, const Card& runtime, const char* implementation) {
  Dealer dealer(17);
  std::string text = entry.recipe;
  int served = 0;
  for (int turn = 0; served < entry.scenarios && turn < (entry.least_channels > 0 ? 200 : 40) * entry.scenarios;
       ++turn) {
    Scenario scenario = dealer.draw(text);
    if (entry.dtype != DType::f32) scenario.dtype = entry.dtype;
    scenario.key_mask = !scenario.packed() && turn % 4 == 3;
    if (entry.only != Flavour::gaussian) scenario.flavour = entry.only;
    if (std::max(scenario.d, scenario.dv) < entry.least_channels) continue;
    // The emulation takes a thousand times a card's time.
    if (scenario.multiplications() > 8e6) continue;
    SCOPED_TRACE(describe(scenario));
    const Call call(scenario);
    RunOptions on_device;
    on_device.attention = &attention_on_device;
    const Outcome got = call.run(implementation, on_device);
    if (got.status.code() == StatusCode::kUnimplemented) continue;
    ++served;
    ASSERT_TRUE(got.status.ok()) << got.status.message();
    EXPECT_EQ(last_implementation(), implementation);
    RunOptions dense;
    dense.dense = true;
    // The sums of FP8 scores keep 13 fractional bits there, which moves weights of few bits to other codes.
    const bool float8_scores = recipe_of(text).scores == Format::e4m3;
    if (float8_scores && implementation == std::string("sm90")) dense.recipe = text + ",accumulator=sm90";
    const Outcome expected = call.run("reference", dense);
    ASSERT_TRUE(expected.status.ok()) << expected.status.message();
    RunOptions without;
    without.dense = true;
    without.recipe = "exact";
    const bool codes = scenario.quantized_q || scenario.quantized_k || scenario.quantized_v;
    const double own_error = codes ? 0 : relative_l2(expected.out, call.run("reference", without).out);
    Difference difference;
    difference.add(got.out, expected.out);
    EXPECT_EQ(difference.wrong, "");
    const bool exact = text.starts_with("exact");
    const double exact16 = exact && scenario.dtype == DType::bf16  ? kExactBf16Gate
                           : exact && scenario.dtype == DType::f16 ? 5e-4
                                                                   : 0;
    const double bound = exact && scenario.dtype == DType::f32
                             ? kExactF32Gate
                             : std::max(exact16, output_bound(recipe_of(text), own_error, difference.elements));
    EXPECT_LE(difference.relative(), bound);
    EXPECT_EQ(check_lse(recipe_of(text), got.lse, expected.lse), "");
    EXPECT_FALSE(got.wrote_beside);
    EXPECT_EQ(runtime.held(), 0);
    if (::testing::Test::HasFailure()) return;
  }
  EXPECT_EQ(served, entry.scenarios) << "too few scenarios were served";
}

std::string name_of(const ::testing::TestParamInfo<Entry>& test) {
  std::string name = std::to_string(test.index) + "_" + test.param.recipe;
  for (char& c : name)
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  return name;
}

TEST_P(CudaAttentionTest, IsTheOracles) {
  Card card;
  card.pretend(GetParam().capability);
  expect_the_oracles(GetParam(), card, "sm80");
}
INSTANTIATE_TEST_SUITE_P(Recipes, CudaAttentionTest, ::testing::ValuesIn(kEntries), name_of);

// What Hopper's kernels serve: sequences of 16-bit Q in a varlen batch take those of mma.sync.
constexpr Entry kEntriesSm90[] = {
    {"int8_fast", 24},
    {"int8", 30},
    {"int8_block", 10},
    {"int4", 6},
    {"int_flash", 10},
    {"sage1_int8", 6},
    {"int8_fast,smooth_q=off", 6},
    {"int8_fast,p_reference=running", 4},
    {"int8_fast,keep_first=16,keep_near=4,keep_heavy=32", 10},
    {"int8_block,qk_gains=on,robust=on,keep_first=1,keep_near=2,keep_heavy=16", 6},
    {"int8", 12, DType::f32, Flavour::turning_key_bias},
    {"sage2_8b", 16},
    {"sage2_4b", 8},
    {"sage2_8b,v_scale=tensor,row_sum=codes,hadamard_v=on,smooth_v=on,q_scale=token,smooth_q=on", 6},
    {"sage2_8b,v_scale=none,smooth_q=on", 6},
    {"sage2_8b,qk_gains=on,robust=on", 6, DType::f32, Flavour::turning_key_bias},
    {"exact", 14, DType::f16},
    {"exact", 14, DType::bf16},
    {"int_flash_half", 10},
    {"sage1", 8},
    {"int_flash_half,hadamard=on,smooth_q=on,smooth_k=on,hadamard_v=on", 6},
    {"sage1,qk_gains=on,robust=on", 6, DType::f32, Flavour::turning_key_bias},
    {"sage2pp", 12},
    {"sage2pp,v_range=4.5,p_range=224,smooth_q=on", 6},
    {"fa3_fp8", 14},
    {"fp8_e4m3", 10},
    {"fa3_fp8,v_scale=block_channel,smooth_k=on,smooth_q=on,row_sum=codes", 8},
    {"fp8_e4m3,q_scale=token,k_scale=token,v_scale=channel,hadamard_v=on,smooth_v=on", 6},
    {"int8", 8, DType::f32, Flavour::gaussian, 90, 129},
    {"int8", 4, DType::f32, Flavour::turning_key_bias, 90, 129},
    {"int8_fast", 6, DType::f32, Flavour::gaussian, 90, 129},
    {"int8_block", 4, DType::f32, Flavour::gaussian, 90, 129},
    {"exact", 4, DType::f16, Flavour::gaussian, 90, 129},
    {"exact", 4, DType::bf16, Flavour::gaussian, 90, 129},
};
class CudaAttentionSm90Test : public ::testing::TestWithParam<Entry> {};
TEST_P(CudaAttentionSm90Test, IsTheOracles) {
  Card card;
  card.share_multiprocessors(2);
  if (has_wgmma(card)) return expect_the_oracles(GetParam(), card, "sm90");
  // Another GPU: the implementation is refused by name.
  RunOptions on_device;
  on_device.attention = &attention_on_device;
  const Status refused = Call(Dealer(17).draw(GetParam().recipe)).run("sm90", on_device).status;
  EXPECT_EQ(refused.code(), StatusCode::kUnavailable) << refused.message();
}
INSTANTIATE_TEST_SUITE_P(Recipes, CudaAttentionSm90Test, ::testing::ValuesIn(kEntriesSm90), name_of);

void expect_its_range(std::initializer_list<const char*> recipes) {
  RunOptions on_device;
  on_device.attention = &attention_on_device;
  for (const char* recipe : recipes) {
    for (const MaskKind mask : {MaskKind::none, MaskKind::f32_minus_huge}) {
      for (double nats = 50; nats < 1e9; nats *= 37) {
        SCOPED_TRACE(std::string(recipe) + ", score " + std::to_string(nats));
        const Outcome got = one_large_score(recipe, nats, mask).run("", on_device);
        ASSERT_TRUE(got.status.ok()) << got.status.message();
        for (const float x : got.out) ASSERT_NEAR(x, 1.0f, 1e-3f);
      }
    }
  }
}
TEST(CudaLargeScores, TheLargestWeightIsItsRange) {
  const Card card;
  expect_its_range({"int8_fast", "int8_block", "int_flash", "sage1_int8", "int8_fast,p_reference=running", "sage1"});
}
TEST(CudaLargeScores, TheLargestWeightIsItsRangeOnHopper) {
  Card card;
  if (has_wgmma(card))
    expect_its_range({"int8_fast", "int8_block", "int_flash", "sage2_8b", "sage1", "exact", "fa3_fp8"});
}

}  // namespace
}  // namespace octavo::test
