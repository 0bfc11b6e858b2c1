// Emulated attention against the oracle running the same recipe: shapes around the tiles, every option, every kind of
// operand; and what the emulation says about the kernel: no race, no read too early, in any order of the warps.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "compare.hpp"
#include "dealt_samples.hpp"
#include "emulated_attention.hpp"
#include "reference/reference.hpp"
#include "sample.hpp"

namespace octavo::test {
namespace {

using cuda::emulation::Completion;
using cuda::emulation::Options;

Results run(const Sample& sample, DrawnProblem& drawn, const Options& options = {}) {
  Results results;
  const Problem expected = drawn.problem(results.expected_out, results.expected_lse);
  reference::attention(expected);
  const Problem problem = drawn.problem(results.out, results.lse);
  EXPECT_TRUE(PackedProblem::serves(problem)) << describe(sample);
  const PackedProblem packed(problem);
  EXPECT_TRUE(run_emulated(packed, options)) << describe(sample);
  return results;
}

void check(const Sample& sample, const Options& options = {}) {
  DrawnProblem drawn(sample);
  compare(sample, run(sample, drawn, options));
}

class Recipes : public testing::TestWithParam<Entry> {};

TEST_P(Recipes, AgreeWithTheOracle) {
  Dealer dealer(20240901);
  for (int i = 0; i < 16; ++i) {
    check(dealer.draw(GetParam().recipe, GetParam().dtype, i),
          {i % 2 == 0 ? Completion::at_wait : Completion::at_issue, static_cast<std::uint32_t>(i)});
  }
}

INSTANTIATE_TEST_SUITE_P(
    Attention, Recipes,
    testing::Values(Entry{"int8_fast", DType::f32}, Entry{"int8_fast", DType::f16}, Entry{"int4", DType::f32},
                    Entry{"int8_p16", DType::f32}, Entry{"int8_block,p=u16,p_range=65535", DType::f16},
                    Entry{"int8_block", DType::f32}, Entry{"int_flash", DType::f32}, Entry{"int_flash", DType::bf16},
                    Entry{"int_flash_int4", DType::f32}, Entry{"int_flash_block_v", DType::f32},
                    Entry{"sage1_int8", DType::f32}, Entry{"int_flash_half", DType::f32}, Entry{"sage1", DType::f16},
                    Entry{"sage2_8b", DType::f32}, Entry{"sage2_4b", DType::f16}, Entry{"sage2pp", DType::f32},
                    Entry{"sage1,accumulator=f16,key_block=64", DType::f16}, Entry{"fa3_fp8", DType::f32},
                    Entry{"fa3_fp8,v_scale=block_channel,smooth_q=on", DType::f16}, Entry{"fp8_e4m3", DType::f16},
                    Entry{"fp8_e5m2", DType::f32}, Entry{"sage2_8b,p=e5m2,values=e5m2,p_range=1", DType::f32},
                    Entry{"sage2_8b,v_scale=tensor,row_sum=codes,hadamard=on", DType::f32}, Entry{"exact", DType::f16},
                    Entry{"exact", DType::bf16}, Entry{"exact", DType::f32},
                    Entry{"int8_fast,smooth_q=off", DType::f32}, Entry{"int8_fast,channel_gains=on", DType::f32},
                    Entry{"int8_fast,p_reference=running", DType::f32},
                    Entry{"int8_fast,v_scale=channel,smooth_v=on", DType::f32},
                    Entry{"int8_fast,v_scale=block,row_sum=codes", DType::f32},
                    Entry{"int8_fast,p=s8,p_range=127,hadamard_v=off", DType::f32},
                    Entry{"int_flash_half,hadamard=on,smooth_q=on,smooth_k=on,row_sum=codes", DType::f32}));

TEST(Attention, HeadsOf256Channels) {
  for (const auto& [recipe, dtype] :
       {Entry{"int8_fast", DType::f32}, Entry{"int_flash_half", DType::f32}, Entry{"sage2_8b", DType::f32},
        Entry{"fa3_fp8", DType::f32}, Entry{"fa3_fp8,v_scale=block_channel", DType::f16}, Entry{"exact", DType::f16},
        Entry{"exact", DType::bf16}, Entry{"exact", DType::f32}}) {
    for (std::int64_t d : {256, 200}) {
      Sample s{.recipe = recipe, .kv_heads = 1, .m = 140, .n = 270, .d = d, .dv = d, .dtype = dtype};
      s.causal = d == 256 ? Causal::bottom_right : Causal::none;
      check(s, {d == 256 ? Completion::at_wait : Completion::at_issue, 3});
      s.m = 9, s.mask = SampleMask::f32_full;
      check(s);
    }
  }
}

TEST(Attention, NothingToSee) {
  for (const char* recipe : {"int8_fast", "int_flash"}) {
    Sample s{.recipe = recipe, .m = 40, .n = 0};
    check(s);
    s.sinks = true;
    check(s);
    s.n = 30, s.causal = Causal::bottom_right;  // the first ten rows see no key
    check(s);
    s.n = 200, s.window_left = 0, s.m = 300;
    check(s);
  }
}

TEST(Attention, ANanStaysWhereItBelongs) {
  for (const auto& [recipe, dtype] :
       {Entry{"int8_fast", DType::f32}, Entry{"int_flash", DType::f32}, Entry{"int_flash_block_v", DType::f32},
        Entry{"exact", DType::f16}, Entry{"int_flash_half", DType::f32},
        Entry{"sage2_8b,q_scale=token,k_scale=token", DType::f32}}) {
    const Sample s{.recipe = recipe, .m = 70, .n = 90, .dtype = dtype, .causal = Causal::bottom_right};
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
      for (Operand Problem::* operand : {&Problem::q, &Problem::k}) {
        DrawnProblem drawn(s);
        drawn.plant(operand, 50, bad);
        const Results results = run(s, drawn);
        compare(s, results);
        for (std::int64_t row = 0; row < s.m; ++row) {
          const bool reached = operand == &Problem::q ? row == 50 : 50 <= row + s.n - s.m;
          EXPECT_EQ(std::isnan(results.lse[static_cast<std::size_t>(row)]), reached) << describe(s) << " row " << row;
        }
      }
    }
  }
}

TEST(Attention, ConstantsInAMaskChangeNothing) {
  Sample s{.m = 33, .n = 150, .mask = SampleMask::f32_minus_huge};
  check(s);
  s.recipe = "int_flash";
  check(s);
}

TEST(Attention, NarrowOutputsAreTheRoundedWideOnes) {
  for (DType dtype : {DType::f16, DType::bf16}) {
    Sample s{.m = 20, .n = 40, .d = 64, .dv = 63};
    std::vector<float> wide, narrow, lse;
    DrawnProblem drawn(s);
    run_emulated(PackedProblem(drawn.problem(wide, lse)));
    s.out_dtype = dtype;
    DrawnProblem drawn_narrow(s);
    run_emulated(PackedProblem(drawn_narrow.problem(narrow, lse)));
    const std::vector<float> got = DrawnProblem::as_floats(narrow, dtype);
    for (std::size_t i = 0; i < wide.size(); ++i) {
      EXPECT_EQ(got[i], dtype == DType::f16 ? f16_to_f32(f32_to_f16(wide[i])) : bf16_to_f32(f32_to_bf16(wide[i])));
    }
  }
}

TEST(Attention, TheOrderOfTheWarpsChangesNoBit) {
  const Sample s{.m = 200, .n = 300, .d = 128, .dv = 128, .causal = Causal::bottom_right};
  DrawnProblem drawn(s);
  std::vector<float> first, other, lse;
  run_emulated(PackedProblem(drawn.problem(first, lse)));
  for (std::uint32_t shuffle : {1u, 2u}) {
    for (Completion completion : {Completion::at_issue, Completion::at_wait}) {
      run_emulated(PackedProblem(drawn.problem(other, lse)), {completion, shuffle});
      EXPECT_EQ(first, other);
    }
  }
}

}  // namespace
}  // namespace octavo::test
