// Hopper's emulated attention against the oracle running the same recipe: shapes around the tiles, every option, tasks
// shared by few blocks; the mma.sync kernels' numbers where the arithmetic is the same.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <tuple>

#include "compare.hpp"
#include "dealt_samples.hpp"
#include "emulated_attention.hpp"
#include "emulated_attention_sm90.hpp"
#include "reference/reference.hpp"
#include "sample.hpp"

namespace octavo::test {
namespace {

using cuda::emulation::Completion;
using cuda::emulation::Options;

Results run(const Sample& sample, DrawnProblem& drawn, const Options& options = {}, std::int64_t blocks = 3) {
  Results results;
  Problem expected = drawn.problem(results.expected_out, results.expected_lse);
  // Sums of FP8 scores keep 13 fractional bits, which moves weights of few bits to other codes.
  if (expected.recipe.scores == Format::e4m3) expected.recipe.accumulator = Accumulator::sm90;
  reference::attention(expected);
  const Problem problem = drawn.problem(results.out, results.lse);
  EXPECT_TRUE(PackedProblem::serves(problem)) << describe(sample);
  const PackedProblem packed(problem, true);
  EXPECT_TRUE(run_emulated_sm90(packed, options, blocks)) << describe(sample);
  return results;
}
void check(const Sample& sample, const Options& options = {}, std::int64_t blocks = 3) {
  DrawnProblem drawn(sample);
  compare(sample, run(sample, drawn, options, blocks));
}

class RecipesSm90 : public testing::TestWithParam<Entry> {};

TEST_P(RecipesSm90, AgreeWithTheOracle) {
  Dealer dealer(20261130);
  const int samples = GetParam().dtype == DType::f32 ? 16 : 8;
  for (int i = 0; i < samples; ++i) {
    check(dealer.draw(GetParam().recipe, GetParam().dtype, i),
          {i % 2 == 0 ? Completion::at_wait : Completion::at_issue, static_cast<std::uint32_t>(i)}, 1 + i % 4);
  }
}

INSTANTIATE_TEST_SUITE_P(AttentionSm90, RecipesSm90,
                         testing::Values(Entry{"int8_fast", DType::f32}, Entry{"int8_fast", DType::f16},
                                         Entry{"int4", DType::f32}, Entry{"int8_block", DType::f32},
                                         Entry{"int_flash", DType::f32}, Entry{"int_flash", DType::bf16},
                                         Entry{"int_flash_int4", DType::f32}, Entry{"int_flash_block_v", DType::f32},
                                         Entry{"sage1_int8", DType::f32}, Entry{"int8_fast,smooth_q=off", DType::f32},
                                         Entry{"int8_fast,p_reference=running", DType::f32},
                                         Entry{"int8_fast,v_scale=channel,smooth_v=on", DType::f32},
                                         Entry{"int8_fast,v_scale=block,row_sum=codes", DType::f32},
                                         Entry{"int8_fast,p=s8,p_range=127,hadamard_v=off", DType::f32},
                                         Entry{"exact", DType::f16}, Entry{"exact", DType::bf16},
                                         Entry{"int_flash_half", DType::f16}, Entry{"sage1,row_sum=codes", DType::bf16},
                                         Entry{"exact,row_sum=codes", DType::bf16}, Entry{"fa3_fp8", DType::f32},
                                         Entry{"fa3_fp8,v_scale=block_channel,row_sum=codes", DType::f16},
                                         Entry{"fp8_e4m3", DType::f16}, Entry{"sage2_8b", DType::f16}));

TEST(AttentionSm90, ShapesAroundTheTiles) {
  for (const std::int64_t d : {64, 128}) {
    for (const std::int64_t m : {1, 63, 64, 65, 128, 129, 300}) {
      for (const std::int64_t n : {1, 127, 128, 129, 385, 520}) {
        Sample s{.recipe = m % 2 == 0 ? "int8_fast,smooth_q=off" : "int8_block", .m = m, .n = n, .d = d, .dv = d};
        s.causal = (m + n) % 3 == 0 ? Causal::none : (m + n) % 3 == 1 ? Causal::bottom_right : Causal::top_left;
        if (n > 300) s.window_left = 100 + m;
        check(s, {Completion::at_wait, static_cast<std::uint32_t>(n)});
        if (m != 65 || d != 128) continue;  // float products take the emulation long
        s.recipe = "exact", s.dtype = n % 2 == 0 ? DType::f16 : DType::bf16;
        check(s, {Completion::at_wait, static_cast<std::uint32_t>(n)});
      }
    }
  }
}

// P V in slices, O staged four rows at a time; of 16 bits tiles of half a block.
TEST(AttentionSm90, MoreThan128Channels) {
  struct Case {
    const char* recipe;
    DType dtype;
    std::int64_t m, n, d, dv;
  };
  int turn = 0;
  for (const Case& of :
       {Case{"int8_fast", DType::f32, 130, 300, 256, 256}, Case{"int8_fast", DType::f16, 70, 129, 160, 200},
        Case{"int4", DType::f32, 20, 140, 129, 64}, Case{"int8_block", DType::f32, 65, 260, 256, 256},
        Case{"int_flash", DType::bf16, 140, 257, 192, 128}, Case{"sage1_int8", DType::f32, 17, 70, 256, 256},
        Case{"exact", DType::f16, 70, 130, 256, 256}, Case{"exact", DType::bf16, 129, 65, 200, 136}}) {
    for (const bool options : {false, true}) {
      Sample s{.recipe = of.recipe, .kv_heads = 2, .m = of.m, .n = of.n, .d = of.d, .dv = of.dv};
      s.dtype = of.dtype, s.seed = static_cast<std::uint32_t>(++turn);
      s.causal = turn % 3 == 0 ? Causal::none : Causal::bottom_right;
      if (options) s.softcap = 9, s.sinks = s.alibi = true, s.window_left = 90;
      check(s, {turn % 2 == 0 ? Completion::at_wait : Completion::at_issue, static_cast<std::uint32_t>(turn)},
            1 + turn % 3);
    }
  }
}

// V's codes are stored as 128 more: over many keys O must not lose digits beside what that adds (6e-5 were it taken off
// at the end only).
TEST(AttentionSm90, ManyKeysCostNoDigits) {
  Sample s{.recipe = "int8_fast", .m = 20, .n = 16 << 10, .softmax_scale = 1e-3};  // rows of about equal weights
  DrawnProblem drawn(s);
  std::vector<float> by_mma_sync, by_wgmma, lse;
  const PackedProblem own(drawn.problem(by_mma_sync, lse));
  using Sm80 = cuda::AttentionShape<64, cuda::PackedFormat::s8, cuda::PackedFormat::s8>;
  cuda::emulation::launch(attention_grid<Sm80>(own.params()), {}, [&](cuda::emulation::Emulated& machine) {
    cuda::attend<cuda::emulation::Emulated, Sm80, cuda::AttentionVariant::folded>(machine, own.params());
  });
  const PackedProblem packed(drawn.problem(by_wgmma, lse));
  ASSERT_TRUE(run_emulated_sm90(packed));
  EXPECT_LT(relative_l2(by_wgmma, by_mma_sync), 2e-5);
}

TEST(AttentionSm90, NothingToSee) {
  for (const char* recipe : {"int8_fast", "int_flash"}) {
    Sample s{.recipe = recipe, .m = 140, .n = 0};
    check(s);
    s.sinks = true;
    check(s);
    s.n = 30, s.causal = Causal::bottom_right;  // the first rows, and the first warpgroup, see no key
    check(s);
    s.n = 200, s.window_left = 0, s.m = 300;
    check(s);
  }
}

TEST(AttentionSm90, ANanStaysWhereItBelongs) {
  for (const char* recipe : {"int8_fast", "int_flash", "int_flash_block_v"}) {
    const Sample s{.recipe = recipe, .m = 70, .n = 90, .causal = Causal::bottom_right};
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

// Scores far from zero, above and below, take the way that shifts them (shift_far_scores()).
TEST(AttentionSm90, ScoresFarFromZero) {
  for (const double scale : {1e-6, 4.0, 60.0, -60.0}) {
    Sample s{.m = 40, .n = 200, .d = 128, .dv = 128};
    s.softmax_scale = scale;
    check(s);
    s.recipe = "int8_block";
    check(s);
    s.recipe = "int_flash";
    check(s);
  }
  check({.m = 33, .n = 150, .mask = SampleMask::f32_minus_huge});
}

// Every block of rows of every head is one task; within a group of heads the last rows come first.
TEST(AttentionSm90, TasksAreEachOnce) {
  for (const std::uint32_t heads_at_once : {1u, 2u, 4u, 5u, 6u, 100u}) {
    cuda::AttentionKernelParams p;
    p.queries.heads = 6, p.keys.heads = 3, p.queries.rows = 128 * 7 - 5, p.keys.rows = 300;
    p.queries.grid = cuda::grid_of_batch(6, p.queries.rows), p.keys.grid = cuda::grid_of_batch(3, p.keys.rows);
    p.chunk = {1, 5, 2, 3, 1, 2};  // of blocks, heads and batch entries: the first, how many
    std::set<std::tuple<std::int64_t, std::int32_t, std::int32_t>> seen;
    std::int32_t last_row = 0;
    for (std::uint32_t index = 0; index < cuda::tasks_of_chunk(p); ++index) {
      const cuda::AttentionTask task = cuda::task_of_index(p, heads_at_once, index);
      EXPECT_TRUE(task.present && task.batch >= 1 && task.batch < 3 && task.head >= 2 && task.head < 5);
      EXPECT_TRUE(task.first_row >= 128 && task.first_row < 128 * 6 && task.first_row % 128 == 0);
      EXPECT_TRUE(heads_at_once < 100 || index == 0 || task.first_row <= last_row);
      last_row = task.first_row;
      seen.insert({task.batch, task.head, task.first_row});
    }
    EXPECT_EQ(seen.size(), 30u);
  }
}

// A causal call of 8 heads and 4096 rows on 132 multiprocessors, its tiles of keys counted for each block.
TEST(AttentionSm90, BlocksThatAskForTasksGetEqualShares) {
  constexpr std::uint32_t kBlocks = 132;
  cuda::AttentionKernelParams p;
  p.causal = Causal::bottom_right;
  p.queries.heads = p.keys.heads = 8, p.queries.rows = p.keys.rows = 4096;
  p.queries.grid = p.keys.grid = cuda::grid_of_batch(8, 4096);
  p.chunk = {0, 32, 0, 8, 0, 1};
  std::vector<std::int64_t> by_number(kBlocks), asked(kBlocks);
  std::int64_t all = 0;
  for (std::uint32_t index = 0; index < cuda::tasks_of_chunk(p); ++index) {
    const cuda::AttentionTask task = cuda::task_of_index(p, 8, index);
    const cuda::Keys32 keys = cuda::keys_of_rows(p, task, task.first_row, 128);
    const std::int64_t tiles = (keys.end - keys.begin + 127) / 128;
    all += tiles;
    by_number[index % kBlocks] += tiles;
    *std::min_element(asked.begin(), asked.end()) += tiles;  // the block that is done first
  }
  const double share = static_cast<double>(all) / kBlocks;
  EXPECT_LT(static_cast<double>(*std::max_element(asked.begin(), asked.end())), 1.05 * share);
  EXPECT_GT(static_cast<double>(*std::max_element(by_number.begin(), by_number.end())), 1.4 * share);
}

TEST(AttentionSm90, NeitherWarpsNorBlocksChangeABit) {
  const Sample s{.kv_heads = 2, .ratio = 2, .m = 200, .n = 300, .causal = Causal::bottom_right};
  DrawnProblem drawn(s);
  std::vector<float> first, other, lse;
  run_emulated_sm90(PackedProblem(drawn.problem(first, lse)));
  for (std::uint32_t shuffle : {1u, 2u}) {
    for (Completion completion : {Completion::at_issue, Completion::at_wait}) {
      run_emulated_sm90(PackedProblem(drawn.problem(other, lse)), {completion, shuffle}, 1 + 4 * shuffle);
      EXPECT_EQ(first, other);
    }
  }
}

}  // namespace
}  // namespace octavo::test
