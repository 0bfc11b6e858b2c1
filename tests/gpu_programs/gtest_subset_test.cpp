// The subset of GoogleTest tests itself: each test under Fails must fail, each under Passes pass, and a failure must
// not reach the next test. Exit code 0 where all do.
#include <gtest/gtest.h>

#include <cstdio>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
bool went_on = false;

testing::AssertionResult is_even(int x) {
  if (x % 2 == 0) return testing::AssertionSuccess();
  return testing::AssertionFailure() << x << " is odd";
}

TEST(Fails, True) { EXPECT_TRUE(1 > 2); }
TEST(Fails, Result) { EXPECT_TRUE(is_even(3)) << "with more"; }
TEST(Fails, False) { EXPECT_FALSE(is_even(2)); }
TEST(Fails, Equal) { EXPECT_EQ(1, 2); }
TEST(Fails, EqualVectors) { EXPECT_EQ(std::vector<int>({1, 2}), std::vector<int>({1, 3})); }
TEST(Fails, Unequal) { EXPECT_NE(1, 1); }
TEST(Fails, LessOrEqual) { EXPECT_LE(2, 1); }
TEST(Fails, LessThanNan) { EXPECT_LE(1.0f, kNan); }
TEST(Fails, FloatEqual) { EXPECT_FLOAT_EQ(1.0f, 1.0f + 5 * std::numeric_limits<float>::epsilon()); }
TEST(Fails, FloatEqualNan) { EXPECT_FLOAT_EQ(kNan, kNan); }
TEST(Fails, Near) { ASSERT_NEAR(1.0f, 1.1f, 0.05f); }
TEST(Fails, NearNan) { ASSERT_NEAR(kNan, 1.0f, 0.05f); }
TEST(Fails, Exception) { throw std::runtime_error("an \"exception\""); }
TEST(Fails, AnAssertEndsTheTest) {
  ASSERT_EQ(1, 2) << "here";
  went_on = true;
}

TEST(Passes, ThatNothingWentOn) { EXPECT_FALSE(went_on); }
TEST(Passes, FloatEqual) {
  EXPECT_FLOAT_EQ(1.0f, 1.0f + 3 * std::numeric_limits<float>::epsilon());
  EXPECT_FLOAT_EQ(-0.0f, 0.0f);
}
TEST(Passes, Nothing) { EXPECT_FALSE(HasFailure()); }

class FailsWithParam : public testing::TestWithParam<int> {};
constexpr int kOdd[] = {1, 3};
TEST_P(FailsWithParam, IsEven) {
  SCOPED_TRACE("parameter " + std::to_string(GetParam()));
  EXPECT_TRUE(is_even(GetParam()));
}
INSTANTIATE_TEST_SUITE_P(Odd, FailsWithParam, testing::ValuesIn(kOdd), [](const auto& test) {
  return std::to_string(test.index) + "_" + std::to_string(test.param);
});

int problems = 0;

// Runs one pattern and compares the exit code.
void expect(const char* pattern, int code) {
  std::string name = "gtest_subset_test", text = pattern;
  char* arguments[] = {name.data(), text.data()};
  if (testing::run_tests(2, arguments) == code) return;
  std::printf("%s: the exit code is not %d\n", pattern, code);
  ++problems;
}

}  // namespace

int main() {
  for (const char* name :
       {"Fails.True", "Fails.Result", "Fails.False", "Fails.Equal", "Fails.EqualVectors", "Fails.Unequal",
        "Fails.LessOrEqual", "Fails.LessThanNan", "Fails.FloatEqual", "Fails.FloatEqualNan", "Fails.Near",
        "Fails.NearNan", "Fails.Exception", "Fails.AnAssertEndsTheTest", "Odd/FailsWithParam.IsEven/0_1",
        "Odd/FailsWithParam.IsEven/1_3"}) {
    expect(name, 1);
  }
  expect("Passes.*", 0);
  expect("*", 1);
  expect("Passes", 2);
  return problems == 0 ? 0 : 1;
}
