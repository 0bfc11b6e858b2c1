// What a call's plan decides from the shape and the GPU: how much scratch memory a chunk of query blocks takes.
#include "cuda/host/plan.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "emulated_runtime.hpp"

namespace octavo::test {
namespace {

constexpr std::size_t kMostBytes = std::size_t{128} << 20;  // for smooth_q's bias and unfinished rows

struct Shape {
  std::int64_t batch, q_heads, kv_heads, rows, keys;
};

Problem problem_of(const char* recipe, const Shape& shape) {
  Problem problem;
  problem.recipe = *parse_recipe(recipe);
  problem.batch = shape.batch, problem.q_heads = shape.q_heads, problem.kv_heads = shape.kv_heads;
  problem.q_rows = shape.rows, problem.k_rows = shape.keys;
  problem.head_dim = problem.value_dim = 128;
  problem.q.dtype = problem.k.dtype = problem.v.dtype = problem.out.dtype = DType::f16;
  return problem;
}

// Whether heads share tiles by wgmma, once the chunk is found to be within the bound.
bool shares_within_bound(const char* recipe, const Shape& shape) {
  EmulatedRuntime runtime;
  cuda::DeviceProperties gpu = runtime.gpus.at(0);
  gpu.memory_bytes = std::size_t{80} << 30;
  const cuda::Implementation sm90{{"sm90", "", nullptr}, 90, true};
  const Problem problem = problem_of(recipe, shape);
  const cuda::AttentionPlan plan(sm90, problem, gpu);
  const cuda::AttentionScratch scratch = lay_out(plan, nullptr);
  const cuda::Chunk& chunk = plan.chunk;
  EXPECT_TRUE(plan.wgmma && plan.smooth_q_bias);
  EXPECT_GE(std::min({chunk.batches, chunk.heads, chunk.blocks}), 1);
  const std::int64_t vectors = plan.steps.block_means ? 2 : 1;
  const std::int64_t unfinished = plan.leaves_rows() ? plan.parts * cuda::kPackedRows * (plan.dim + 4) : 0;
  const std::int64_t block = vectors * scratch.smooth_q_bias.keys + unfinished;
  EXPECT_LE(static_cast<std::size_t>(chunk.batches * chunk.heads * chunk.blocks * block) * 4, kMostBytes)
      << recipe << ": " << chunk.batches << " batch entries, " << chunk.heads << " heads, " << chunk.blocks
      << " blocks";
  const bool shares = plan.shared.heads > 1;
  EXPECT_EQ(chunk.heads % (shares ? shape.q_heads / shape.kv_heads : 1), 0);
  return shares;
}

// A chunk has whole groups of heads that share tiles: of fewer batch entries where that is more than fits.
TEST(CudaPlan, ChunksOfHeadsThatShareTilesFitInScratchMemory) {
  for (const char* recipe : {"int8_fast", "int8"}) {
    EXPECT_TRUE(shares_within_bound(recipe, {256, 64, 4, 32, 8192}));
    EXPECT_TRUE(shares_within_bound(recipe, {256, 64, 4, 32, 65536}));
    EXPECT_TRUE(shares_within_bound(recipe, {64, 64, 8, 16, 131072}));
    EXPECT_TRUE(shares_within_bound(recipe, {2, 32, 4, 16, 131072})) << "in parts of the keys";
  }
  EXPECT_TRUE(shares_within_bound("int8_fast", {256, 64, 4, 32, 131072}));
}

TEST(CudaPlan, HeadsShareNoTilesWhereTheirGroupDoesNotFit) {
  EXPECT_TRUE(shares_within_bound("int8_fast", {32, 64, 1, 16, 1 << 18}));
  EXPECT_FALSE(shares_within_bound("int8_fast", {32, 64, 1, 16, 1 << 20}));
}

}  // namespace
}  // namespace octavo::test
