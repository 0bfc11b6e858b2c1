// The order of tasks: every one comes once, long ones before short ones within few heads.
#include "spec/task_order.hpp"

#include <gtest/gtest.h>

#include <set>
#include <utility>
#include <vector>

namespace octavo::spec {
namespace {

std::vector<TaskPlace> order(std::int64_t heads, std::int64_t stretches, std::int64_t workers, bool rows_grow) {
  std::vector<TaskPlace> places;
  for (std::int64_t task = 0; task < heads * stretches; ++task)
    places.push_back(task_place(task, heads, stretches, workers, rows_grow));
  return places;
}

TEST(TaskOrder, EveryStretchOfEveryHeadComesOnce) {
  for (const bool rows_grow : {false, true}) {
    for (const std::int64_t heads : {1, 2, 3, 5, 8, 13, 32}) {
      for (const std::int64_t stretches : {1, 2, 3, 8, 9, 64}) {
        for (const std::int64_t workers : {1, 2, 3, 16, 200}) {
          std::set<std::pair<std::int64_t, std::int64_t>> seen;
          for (const TaskPlace& place : order(heads, stretches, workers, rows_grow)) {
            EXPECT_TRUE(place.head >= 0 && place.head < heads && place.stretch >= 0 && place.stretch < stretches);
            seen.insert({place.head, place.stretch});
          }
          ASSERT_EQ(seen.size(), static_cast<std::size_t>(heads * stretches))
              << heads << " heads, " << stretches << " stretches, " << workers << " workers";
        }
      }
    }
  }
}

TEST(TaskOrder, HeadsFollowOneAnother) {
  std::int64_t before = 0;
  for (const TaskPlace& place : order(5, 4, 2, false)) {
    EXPECT_GE(place.head, before);
    before = place.head;
  }
}

// Eight stretches are enough for two workers: one head after another, the longest first.
TEST(TaskOrder, RowsThatGrowGoFromLongToShortWithinAHead) {
  const std::vector<TaskPlace> places = order(3, 8, 2, true);
  for (std::size_t i = 0; i < places.size(); ++i) {
    EXPECT_EQ(places[i].head, static_cast<std::int64_t>(i / 8));
    EXPECT_EQ(places[i].stretch, 7 - static_cast<std::int64_t>(i % 8));
  }
}

// Two stretches are not: four heads go together, and no stretch is longer than one before it of the same heads.
TEST(TaskOrder, FewStretchesTakeHeadsTogether) {
  const std::vector<TaskPlace> places = order(9, 2, 2, true);  // groups of 4 and 5 heads
  for (std::size_t i = 0; i < 8; ++i)
    EXPECT_EQ(places[i], (TaskPlace{static_cast<std::int64_t>(i % 4), i < 4 ? 1 : 0}));
  for (std::size_t i = 0; i < 10; ++i)
    EXPECT_EQ(places[8 + i], (TaskPlace{4 + static_cast<std::int64_t>(i % 5), i < 5 ? 1 : 0}));
}

}  // namespace
}  // namespace octavo::spec
