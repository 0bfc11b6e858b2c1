// Query heads that share tiles of rows (cuda/host/head_tiles.hpp) must have the bits that a tile for each gives, and
// the oracle's numbers.
#pragma once

#include <gtest/gtest.h>

#include <cstring>

#include "cuda/host/head_tiles.hpp"
#include "dealt_samples.hpp"
#include "packed_problem.hpp"
#include "reference/reference.hpp"

namespace octavo::test {

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// A dealt sample with `m` rows of `ratio` query heads for each of two KV heads, not packed.
inline Sample sample_of_group(Dealer& dealer, const Entry& entry, int index, std::int64_t m, std::int64_t ratio) {
  Sample s = dealer.draw(entry.recipe, entry.dtype, index);
  s.kv_heads = 2, s.ratio = ratio, s.m = m;
  s.q_lens.clear(), s.k_lens.clear();
  return s;
}

// run(packed problem) launches the kernels; `hopper`: which take numbers of E4M3 as codes.
template <class Run>
void expect_bits_of_separate_tiles(const Sample& sample, bool hopper, std::int64_t tile_rows, std::int64_t least_rows,
                                   Run&& run) {
  DrawnProblem drawn(sample);
  std::vector<float> out, lse;
  Results results;
  Problem expected = drawn.problem(results.expected_out, results.expected_lse);
  if (hopper && expected.recipe.scores == Format::e4m3) expected.recipe.accumulator = Accumulator::sm90;
  reference::attention(expected);
  const PackedProblem separate(drawn.problem(out, lse), hopper);
  run(separate);
  PackedProblem shared(drawn.problem(results.out, results.lse), hopper);
  const cuda::SharedTiles tiles = cuda::tiles_of_heads(sample.m, sample.ratio, tile_rows, least_rows);
  ASSERT_GT(tiles.heads, 1) << describe(sample);
  shared.share_tiles(tiles);
  run(shared);
  EXPECT_TRUE(same_bits(results.out, out)) << describe(sample);
  EXPECT_TRUE(same_bits(results.lse, lse)) << describe(sample);
  compare(sample, results);
}

}  // namespace octavo::test
