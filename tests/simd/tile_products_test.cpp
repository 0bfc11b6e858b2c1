// The integer products in tiles: whole calls on amx_int8's kernels over emulated tiles give the bits of
// avx512_vnni_bf16, whose products are as exact and whose float steps are the same.
#include <gtest/gtest.h>

#include <cstring>
#include <thread>

#include "api/checks.hpp"
#include "core/aligned_buffer.hpp"
#include "cpu/features.hpp"
#include "draw.hpp"
#include "emulated_state.hpp"

namespace octavo::test {
namespace {

// As octavo::attention() runs it, on scratch memory full of bytes that no result may depend on.
Status on_emulated_tiles(const AttentionInputs& inputs, const AttentionParams& params, const Execution& execution) {
  Problem problem;
  ByteRanges ranges;
  if (Status status = check_attention(inputs, params, Pointers::needed, problem, ranges); !status.ok()) return status;
  if (problem.batch == 0 || problem.q_rows == 0) return {};
  ParallelRunner& runner = *execution.runner;
  const AlignedBuffer scratch(cpu::workspace_size(cpu::kEmulatedTiles, problem, runner.threads()));
  std::memset(scratch.data(), 0x5a, scratch.size());
  cpu::attention(cpu::kEmulatedTiles, problem, runner, scratch.data());
  return {};
}

// Each task on a thread of its own, which must find its tiles closed and leave them so.
class OneThreadATask final : public ParallelRunner {
 public:
  int threads() const noexcept override { return 2; }
  void run(std::int64_t tasks, Body body, void* context) noexcept override {
    for (std::int64_t task = 0; task < tasks; ++task) {
      std::thread([&] {
        body(context, task);
        faults += cpu::emulated_tiles.faults + (cpu::emulated_tiles.open ? 1 : 0);
        used = used || cpu::emulated_tiles.products > 0;
      }).join();
    }
  }
  long faults = 0;
  bool used = false;
};

class TileProducts : public testing::TestWithParam<std::string> {
 protected:
  // Whether tiles took part.
  bool expect_same_bits(const Scenario& scenario) {
    SCOPED_TRACE(describe(scenario));
    OneThreadATask runner;
    const Call call(scenario);
    const Outcome expected = call.run(GetParam());
    const Outcome got = call.run("", {.runner = &runner, .attention = on_emulated_tiles});
    EXPECT_TRUE(expected.status.ok()) << expected.status.message();
    EXPECT_TRUE(got.status.ok()) << got.status.message();
    EXPECT_FALSE(got.wrote_beside);
    EXPECT_EQ(runner.faults, 0);
    expect_bits(got.out, expected.out, "O");
    expect_bits(got.lse, expected.lse, "LSE");
    return runner.used;
  }

 private:
  static void expect_bits(const std::vector<float>& got, const std::vector<float>& expected, const char* name) {
    ASSERT_EQ(got.size(), expected.size());
    for (std::size_t i = 0; i < got.size(); ++i)
      ASSERT_EQ(std::memcmp(&got[i], &expected[i], sizeof(float)), 0)
          << name << "[" << i << "]: " << got[i] << " for " << expected[i];
  }
};

// Every kind of both products.
const std::vector<std::string> kRecipes = {
    "int8",       "int_flash", "int4",           "int8_p16", "int8_block",
    "sage1_int8", "sage2_8b",  "int_flash_half", "sage1",    "int8_fast,key_block=64"};

TEST_P(TileProducts, RowsAroundAGroup) {
  for (const std::string& recipe : kRecipes) {
    for (std::int64_t m = 1; m <= 17; ++m) {
      Scenario s;
      s.recipe = recipe;
      s.m = m;
      s.n = 200;
      s.d = s.dv = 64;
      s.causal = m % 2 == 0 ? Causal::bottom_right : Causal::none;
      EXPECT_TRUE(expect_same_bits(s));
    }
  }
}

TEST_P(TileProducts, KeysAroundAStep) {
  for (const std::string& recipe : kRecipes) {
    for (const std::int64_t n : {1, 3, 4, 5, 63, 64, 65, 66, 127, 128, 129, 130, 191, 193, 255, 257}) {
      Scenario s;
      s.recipe = recipe;
      s.m = n % 2 == 0 ? 21 : 7;
      s.n = n;
      s.d = s.dv = 80;
      s.causal = n % 3 == 0 ? Causal::top_left : Causal::none;
      // int8 computes so few rows and keys exactly, without integer products.
      const bool integer = recipe != "int8" || n > 128;
      EXPECT_EQ(expect_same_bits(s), integer) << recipe << ", " << n << " keys";
    }
  }
}

// Steps that end within a tile, and last strips of V of one to four tiles.
TEST_P(TileProducts, ChannelsOfQueriesAndOfValues) {
  for (const std::string& recipe : kRecipes) {
    for (const std::int64_t d : {1, 16, 33, 48, 64, 65, 96, 112, 127, 128, 129, 192, 256, 576}) {
      Scenario s;
      s.recipe = recipe;
      s.m = 33;
      s.n = 140;
      s.d = d;
      s.dv = d == 576 ? 512 : 17 + (d * 5) % 200;
      EXPECT_TRUE(expect_same_bits(s));
    }
  }
}

// Several row groups, heads and sequences: the weights of a group between the products of the next.
TEST_P(TileProducts, GroupsHeadsAndBlocks) {
  for (const std::string& recipe : kRecipes) {
    for (const Causal causal : {Causal::none, Causal::bottom_right}) {
      Scenario s;
      s.recipe = recipe;
      s.batch = 2;
      s.kv_heads = 2;
      s.ratio = 3;
      s.m = 150;
      s.n = 300;
      s.d = 128;
      s.dv = 72;
      s.causal = causal;
      EXPECT_TRUE(expect_same_bits(s));
    }
  }
}

// Whatever else a call may ask for.
TEST_P(TileProducts, DrawnCalls) {
  Dealer dealer(91);
  int used = 0, calls = 0;
  for (const RecipeInfo& info : recipes()) {
    for (int i = 0; i < 12; ++i, ++calls) used += expect_same_bits(dealer.draw(std::string(info.name))) ? 1 : 0;
  }
  EXPECT_GT(used, calls / 2);
}

std::vector<std::string> equals() {
  if ((cpu::kEmulatedTiles.features & ~cpu::features()) != 0) return {};
  return {"avx512_vnni_bf16"};
}
INSTANTIATE_TEST_SUITE_P(As, TileProducts, testing::ValuesIn(equals()), [](const auto& as) { return as.param; });
// A machine without AVX-512 has none.
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(TileProducts);

}  // namespace
}  // namespace octavo::test
