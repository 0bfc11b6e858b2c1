// Slots against the reason for them: where scores fall in a lane's registers and where weights are wanted.
#include <gtest/gtest.h>

#include "cuda/operands/packed_block.hpp"
#include "cuda/tile/fragments.hpp"

namespace octavo::cuda {
namespace {

TEST(Packed, SlotsAreAPermutationWithinSixteen) {
  for (std::int32_t key = 0; key < 128; ++key) {
    EXPECT_EQ(key_of_slot(slot_of_key(key)), key);
    EXPECT_EQ(slot_of_key(key) / 16, key / 16);
  }
}

// Scores of slots 0..31 are four tiles of C; byte i of register r of A [16, 32] must be a score of the same lane, the
// one of the key that A's column is, in the order in which the weights are packed.
TEST(Packed, AScoreIsTheWeightThatItsLaneWants) {
  for (int lane = 0; lane < 32; ++lane) {
    for (int reg = 0; reg < 4; ++reg) {
      for (int i = 0; i < 4; ++i) {
        const Place wanted = place_in_a<4>(lane, reg, i);
        const int tile = 2 * (reg / 2) + i / 2;
        const Place score = place_in_c(lane, 2 * (reg % 2) + i % 2);
        EXPECT_EQ(score.row, wanted.row);
        EXPECT_EQ(key_of_slot(8 * tile + score.column), wanted.column);
      }
    }
  }
}

// Two neighbouring tiles of scores are A [16, 16] of 16-bit weights as they come.
TEST(Packed, SixteenBitWeightsNeedNoSlots) {
  for (int lane = 0; lane < 32; ++lane) {
    for (int reg = 0; reg < 4; ++reg) {
      for (int i = 0; i < 2; ++i) {
        const Place wanted = place_in_a<2>(lane, reg, i), score = place_in_c(lane, 2 * (reg % 2) + i);
        EXPECT_EQ(score.row, wanted.row);
        EXPECT_EQ(8 * (reg / 2) + score.column, wanted.column);
      }
    }
  }
}

TEST(Packed, BlocksOfPackedSequencesDoNotOverlap) {
  for (std::int64_t first = 0; first < 300; first += 7) {
    for (std::int64_t second = 0; second < 300; ++second) {
      std::int64_t begin = 0, b = 0, free = 0;
      for (std::int64_t rows : {first, second, std::int64_t{1}, std::int64_t{0}, first}) {
        const std::int64_t block = first_varlen_block(begin, b);
        ASSERT_GE(block, free);
        free = block + packed_blocks(rows);
        begin += rows, ++b;
      }
      ASSERT_LE(free, grid_of_varlen(b, begin).head_stride);
    }
  }
}

}  // namespace
}  // namespace octavo::cuda
