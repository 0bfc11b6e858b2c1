// The same bits for any number of threads, whoever runs them, and for a sequence whatever else is in the batch.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>

#include "draw.hpp"
#include "runners.hpp"

namespace octavo::test {
namespace {

std::vector<std::string> all_recipes() {
  std::vector<std::string> texts = {"int8_fast,key_block=64", "int8_fast,channel_gains=on",
                                    "int8_fast,v_scale=channel,smooth_v=on", "int8"};
  for (const RecipeInfo& info : recipes()) texts.emplace_back(info.name);
  return texts;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

// Element i of the batch of [batch][...] values.
std::vector<float> item(const std::vector<float>& values, std::int64_t batch, std::int64_t i) {
  const auto size = static_cast<std::ptrdiff_t>(values.size()) / batch;
  return {values.begin() + i * size, values.begin() + (i + 1) * size};
}

// Rows begin..end-1 of packed values [heads][total][dim].
std::vector<float> packed_rows(const std::vector<float>& values, std::int64_t heads, std::int64_t total,
                               std::int64_t begin, std::int64_t end) {
  std::vector<float> rows;
  if (heads * total == 0) return rows;
  const auto dim = static_cast<std::int64_t>(values.size()) / (heads * total);
  for (std::int64_t h = 0; h < heads; ++h)
    rows.insert(rows.end(), values.begin() + (h * total + begin) * dim, values.begin() + (h * total + end) * dim);
  return rows;
}

template <class Body>
void for_each_implementation(const Body& body) {
  for (const std::string& implementation : supported_implementations()) {
    SCOPED_TRACE(implementation);
    body(implementation);
  }
}

TEST(Determinism, AnyNumberOfThreadsAndAnyRunner) {
  ThreadsRunner one(1), two(2), seven(7);
  BackwardsRunner backwards;
  Dealer dealer(77);
  std::vector<Scenario> scenarios;
  for (const std::string& recipe : all_recipes())
    for (int i = 0; i < 6; ++i) scenarios.push_back(dealer.draw(recipe));
  // Long enough for several tasks a head, several query blocks a task, and parts of a head in several threads.
  for (const std::string& recipe : all_recipes()) {
    for (const std::int64_t m : {200, 1100}) {
      Scenario s;
      s.recipe = recipe;
      s.m = m;
      s.n = 1030;
      s.d = s.dv = 32;
      s.kv_heads = m == 200 ? 1 : 5;
      s.causal = m == 200 ? Causal::none : Causal::bottom_right;
      scenarios.push_back(s);
      s.causal = Causal::none, s.window_left = s.window_right = 100;  // parts of a query block see other keys
      scenarios.push_back(s);
    }
  }
  for (const Scenario& scenario : scenarios) {
    SCOPED_TRACE(describe(scenario));
    const Call call(scenario);
    for_each_implementation([&](const std::string& implementation) {
      const Outcome expected = call.run(implementation, {.runner = &one});
      ASSERT_TRUE(expected.status.ok()) << expected.status.message();
      for (ParallelRunner* runner : {static_cast<ParallelRunner*>(&two), static_cast<ParallelRunner*>(&seven),
                                     static_cast<ParallelRunner*>(&backwards)}) {
        const Outcome got = call.run(implementation, {.runner = runner});
        ASSERT_TRUE(got.status.ok()) << got.status.message();
        EXPECT_TRUE(same_bits(got.out, expected.out)) << runner->threads() << " threads";
        EXPECT_TRUE(same_bits(got.lse, expected.lse)) << runner->threads() << " threads";
      }
      for (int threads : {1, 2, 7}) {
        set_num_threads(threads);
        const Outcome got = call.run(implementation);
        EXPECT_TRUE(same_bits(got.out, expected.out)) << threads << " threads of the own pool";
        EXPECT_TRUE(same_bits(got.lse, expected.lse)) << threads << " threads of the own pool";
      }
      set_num_threads(0);
    });
  }
}

TEST(Determinism, ASequenceAloneOrInABatch) {
  for (const std::string& recipe : all_recipes()) {
    for (const bool lengths : {false, true}) {
      Scenario many;
      many.recipe = recipe;
      many.batch = 4;
      many.kv_heads = 2;
      many.ratio = 3;
      many.m = 33;
      many.n = 300;
      many.d = many.dv = 40;
      many.causal = lengths ? Causal::bottom_right : Causal::none;
      if (lengths) many.kv_lens = {300, 129, 0, 77};
      SCOPED_TRACE(describe(many));
      const Call batch(many);
      for (std::int64_t b = 0; b < many.batch; ++b) {
        Scenario one = many;
        one.batch = 1;
        if (lengths) one.kv_lens = {many.kv_lens[static_cast<std::size_t>(b)]};
        Call alone(one);
        alone.q_values = item(batch.q_values, many.batch, b);
        alone.k_values = item(batch.k_values, many.batch, b);
        alone.v_values = item(batch.v_values, many.batch, b);
        alone.place();
        for_each_implementation([&](const std::string& implementation) {
          const Outcome together = batch.run(implementation), single = alone.run(implementation);
          ASSERT_TRUE(together.status.ok() && single.status.ok());
          EXPECT_TRUE(same_bits(item(together.out, many.batch, b), single.out)) << "sequence " << b;
          EXPECT_TRUE(same_bits(item(together.lse, many.batch, b), single.lse)) << "sequence " << b;
        });
      }
    }
  }
}

// Packed: a sequence is the same bits alone, and as a dense batch of one; neighbours of NaN do not reach it.
TEST(Determinism, APackedSequenceAmongNeighbours) {
  for (const std::string& recipe : all_recipes()) {
    Scenario many;
    many.recipe = recipe;
    many.kv_heads = 2;
    many.ratio = 2;
    many.d = many.dv = 40;
    many.q_lens = {20, 33, 0, 5};
    many.k_lens = {130, 200, 7, 65};
    many.causal = Causal::bottom_right;
    SCOPED_TRACE(describe(many));
    Call batch(many);
    const std::int64_t q_total = 58, k_total = 402;
    std::int64_t q_begin = 0, k_begin = 0;
    for (std::size_t b = 0; b < many.q_lens.size(); ++b) {
      const std::int64_t q_end = q_begin + many.q_lens[b], k_end = k_begin + many.k_lens[b];
      Scenario one = many;
      one.q_lens = one.k_lens = {};
      one.m = many.q_lens[b];
      one.n = many.k_lens[b];
      Call alone(one);
      alone.q_values = packed_rows(batch.q_values, 4, q_total, q_begin, q_end);
      alone.k_values = packed_rows(batch.k_values, 2, k_total, k_begin, k_end);
      alone.v_values = packed_rows(batch.v_values, 2, k_total, k_begin, k_end);
      alone.place();
      Call spoilt(many);
      for (auto* values : {&spoilt.k_values, &spoilt.v_values})
        for (std::int64_t h = 0; h < 2; ++h)
          for (std::int64_t r = 0; r < k_total; ++r)
            if (r < k_begin || r >= k_end)
              std::fill_n(values->begin() + (h * k_total + r) * 40, 40, std::numeric_limits<float>::quiet_NaN());
      spoilt.place();
      for_each_implementation([&](const std::string& implementation) {
        const Outcome together = batch.run(implementation), single = alone.run(implementation),
                      beside_nan = spoilt.run(implementation);
        ASSERT_TRUE(together.status.ok() && single.status.ok() && beside_nan.status.ok());
        const std::vector<float> out = packed_rows(together.out, 4, q_total, q_begin, q_end);
        const std::vector<float> lse = packed_rows(together.lse, 4, q_total, q_begin, q_end);
        EXPECT_TRUE(same_bits(out, single.out)) << "sequence " << b;
        EXPECT_TRUE(same_bits(lse, single.lse)) << "sequence " << b;
        EXPECT_TRUE(same_bits(out, packed_rows(beside_nan.out, 4, q_total, q_begin, q_end))) << "sequence " << b;
        EXPECT_TRUE(same_bits(lse, packed_rows(beside_nan.lse, 4, q_total, q_begin, q_end))) << "sequence " << b;
      });
      q_begin = q_end;
      k_begin = k_end;
    }
  }
}

// Outputs of every recipe on every implementation, appended to a file.
bool write_outputs(const std::string& path) {
  std::FILE* file = std::fopen(path.c_str(), "wb");
  bool good = file != nullptr;
  for (const std::string& recipe : all_recipes()) {
    for (const std::int64_t n : {63, 300}) {
      Scenario s;
      s.recipe = recipe;
      s.m = 150;
      s.n = n;
      s.d = s.dv = 64;
      const Call call(s);
      for (const std::string& implementation : supported_implementations()) {
        const Outcome outcome = call.run(implementation);
        good = good && outcome.status.ok() &&
               std::fwrite(outcome.out.data(), sizeof(float), outcome.out.size(), file) == outcome.out.size() &&
               std::fwrite(outcome.lse.data(), sizeof(float), outcome.lse.size(), file) == outcome.lse.size();
      }
    }
  }
  return file != nullptr && std::fclose(file) == 0 && good;
}

std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// In processes of their own: the environment is read once.
TEST(DeterminismDeathTest, SoftmaxBetweenTheProductsOrAfterThem) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  std::string outputs[2];
  for (const char* value : {"on", "off"}) {
    const std::string path = testing::TempDir() + "octavo_interleave_softmax_" + value;
    EXPECT_EXIT(
        {
          setenv("OCTAVO_INTERLEAVE_SOFTMAX", value, 1);
          std::_Exit(write_outputs(path) ? 0 : 1);
        },
        ::testing::ExitedWithCode(0), "");
    outputs[value == std::string("on")] = contents(path);
    std::remove(path.c_str());
  }
  EXPECT_GT(outputs[0].size(), 100000u);
  EXPECT_TRUE(outputs[0] == outputs[1]);
}

}  // namespace
}  // namespace octavo::test
