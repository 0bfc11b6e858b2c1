// Primitives that cross lanes: exchanges, transposition, reductions.
#include "policies.hpp"

namespace octavo::cpu {
namespace {

TEST(Lanes, LanesChangePlaces) {
  std::vector<float> values = edge_floats();
  for (float x : random_floats(64, 7)) values.push_back(x);
  for_each_policy([&](const SimdPrimitives& w) {
    float a[kMostLanes], out[kMostLanes];
    for (int power = 0; (1 << power) < w.lanes; ++power) {
      const int distance = 1 << power;
      for (std::size_t first = 0; first < values.size(); ++first) {
        for (int i = 0; i < w.lanes; ++i) a[i] = values[(first + 7 * static_cast<std::size_t>(i)) % values.size()];
        ASSERT_NE(w.swap[power], nullptr);
        w.swap[power](a, out);
        for (int i = 0; i < w.lanes; ++i) ASSERT_TRUE(same_float(out[i], a[i ^ distance])) << distance;
        w.butterfly[power](a, out);
        for (int i = 0; i < w.lanes; ++i) {
          const float expected = (i & distance) == 0 ? a[i] + a[i ^ distance] : a[i ^ distance] - a[i];
          ASSERT_TRUE(same_float(out[i], expected)) << "distance " << distance << " lane " << i;
        }
      }
    }
  });
}

TEST(Lanes, Transpose) {
  for_each_policy([&](const SimdPrimitives& w) {
    for (int from_ld : {w.lanes, w.lanes + 3}) {
      for (int to_ld : {w.lanes, w.lanes + 5}) {
        std::vector<std::int32_t> from(static_cast<std::size_t>(from_ld * w.lanes));
        std::vector<std::int32_t> to(static_cast<std::size_t>(to_ld * w.lanes), -1);
        for (std::size_t i = 0; i < from.size(); ++i) from[i] = static_cast<std::int32_t>(i * 2654435761u >> 1);
        w.transpose(from.data(), from_ld, to.data(), to_ld);
        for (int i = 0; i < w.lanes; ++i) {
          for (int j = 0; j < to_ld; ++j) {
            const std::int32_t expected = j < w.lanes ? from[static_cast<std::size_t>(j * from_ld + i)] : -1;
            ASSERT_EQ(to[static_cast<std::size_t>(i * to_ld + j)], expected) << i << ", " << j;
          }
        }
      }
    }
  });
}

TEST(Lanes, Reductions) {
  for_each_policy([&](const SimdPrimitives& w) {
    const auto lanes = static_cast<std::size_t>(w.lanes);
    std::mt19937 random(8);
    std::vector<float> rows(lanes * lanes);
    float most[kMostLanes], sums[kMostLanes];
    for (int trial = 0; trial < 200; ++trial) {
      // Integers: their sums are exact in any order. Some minus infinities, some rows of nothing else.
      for (float& x : rows) x = static_cast<float>(static_cast<int>(random() % 20001) - 10000);
      w.row_sum(rows.data(), sums);
      for (std::size_t i = 0; i < lanes; ++i) {
        float sum = 0;
        for (std::size_t j = 0; j < lanes; ++j) sum += rows[i * lanes + j];
        ASSERT_EQ(sums[i], sum) << "row " << i;
        ASSERT_EQ(w.reduce_add(rows.data() + i * lanes), sum);
      }
      const std::size_t hidden_row = random() % lanes;
      for (std::size_t j = 0; j < rows.size(); ++j)
        if (random() % 3 == 0 || j / lanes == hidden_row) rows[j] = -std::numeric_limits<float>::infinity();
      w.row_max(rows.data(), most);
      for (std::size_t i = 0; i < lanes; ++i) {
        const float expected = *std::max_element(rows.begin() + static_cast<std::ptrdiff_t>(i * lanes),
                                                 rows.begin() + static_cast<std::ptrdiff_t>((i + 1) * lanes));
        ASSERT_EQ(most[i], expected) << "row " << i;
        ASSERT_EQ(w.reduce_max(rows.data() + i * lanes), expected);
      }
    }
  });
}

}  // namespace
}  // namespace octavo::cpu
