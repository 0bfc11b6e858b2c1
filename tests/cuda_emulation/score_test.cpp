// Integer scores to the bit: with factors of 1 and nothing added, what leaves the first product is the dot product of
// the codes, for every slot, at every padded size, in one plane and in two.
#include <gtest/gtest.h>

#include <algorithm>

#include "cuda/attention/load_tiles.hpp"
#include "cuda/attention/qk.hpp"
#include "emulated_attention.hpp"
#include "sample.hpp"

namespace octavo::test {
namespace {

using cuda::PackedFormat;
using cuda::emulation::Emulated;

template <int dim, bool wide>
void expect_exact_scores() {
  using Shape = cuda::AttentionShape<dim, PackedFormat::s8, PackedFormat::s8>;
  Sample s;
  s.recipe = "int8_fast,hadamard=off,smooth_k=off", s.m = wide ? 7 : Shape::kRows, s.n = 128, s.d = s.dv = dim;
  DrawnProblem drawn(s);
  std::vector<float> out, lse;
  PackedProblem packed(drawn.problem(out, lse));
  std::fill(packed.k_factor.begin(), packed.k_factor.end(), 1.0f);
  std::fill(packed.k_addend.begin(), packed.k_addend.end(), 0.0f);
  std::fill(packed.correction.begin(), packed.correction.end(), 0.0f);
  packed.k_codes[3] = 0x80;  // -128 may be among the caller's own
  const auto code = [](const std::vector<std::uint8_t>& codes, std::int64_t row, std::int64_t c) {
    return static_cast<std::int64_t>(static_cast<std::int8_t>(codes[static_cast<std::size_t>(row * dim + c)]));
  };

  int compared = 0;
  cuda::emulation::launch({{1, 1, 1}, Shape::kWarps, Shape::kBytes}, {}, [&](Emulated& machine) {
    const cuda::AttentionTask task = cuda::find_task(machine, packed.params(), Shape::kRows);
    ASSERT_EQ(task.q16, wide);
    cuda::load_queries<Shape>(machine, packed.params(), task_of_warp(packed.params(), task, machine.warp()), wide);
    cuda::load_key_tile<Shape>(machine, packed.params(), task.first_slot, packed.params().k.addend + task.first_slot,
                               0);
    machine.commit_copies();
    machine.wait_copies<0>();
    machine.sync("loaded");
    cuda::Registers<Emulated, std::uint32_t, cuda::kQueryRegisters<Shape>> q;
    cuda::Registers<Emulated, float, 2> ones;
    cuda::Registers<Emulated, float, Shape::kKeys / 2> scores;
    machine.lanes([](int, float(&x)[2]) { x[0] = x[1] = 1; }, ones);
    if constexpr (wide) {
      if (machine.warp() != 0) return;
      cuda::qk_tile_q16<Shape>(machine, cuda::kLowQueryAt<Shape>, 0, ones, scores);
    } else {
      cuda::load_query<Shape>(machine, q);
      cuda::qk_tile<Shape>(machine, q, 0, ones, scores);
    }
    cuda::for_each<Shape::kKeys / 8>(machine, scores, [&](int row, int slot, float score) {
      row += 16 * machine.warp();
      if (row >= s.m) return;
      std::int64_t high = 0, low = 0;
      for (std::int64_t c = 0; c < dim; ++c) {
        high += code(packed.q_codes, row, c) * code(packed.k_codes, slot, c);
        if (wide) low += packed.q_low[static_cast<std::size_t>(row * dim + c)] * code(packed.k_codes, slot, c);
      }
      const float expected =
          wide ? __builtin_fmaf(static_cast<float>(high), 256.0f, static_cast<float>(low)) : static_cast<float>(high);
      EXPECT_EQ(score, expected) << row << " " << slot;
      ++compared;
    });
  });
  EXPECT_EQ(compared, s.m * 128);
}

TEST(Score, IsTheExactDotProduct) {
  expect_exact_scores<64, false>();
  expect_exact_scores<128, false>();
  expect_exact_scores<256, false>();
}

TEST(Score, OfTwoPlanesIsJoinedInF32) {
  expect_exact_scores<64, true>();
  expect_exact_scores<128, true>();
  expect_exact_scores<256, true>();
}

}  // namespace
}  // namespace octavo::test
