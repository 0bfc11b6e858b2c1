// Metrics from their definitions, parts of a recipe, and the synthetic data.
#include "study/measure.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "common/elements.hpp"
#include "common/failure.hpp"
#include "study/distributions.hpp"

namespace octavo::study {
namespace {

TEST(Metrics, FromTheirDefinitions) {
  const Problem problem = make_problem({.name = "gaussian"}, {2, 3, 20, 8}, 1, false);
  Output output{problem.out(), problem.lse(), ""};
  const Metrics none = metrics_of(problem, output, 0, 2);
  EXPECT_EQ(none.relative_l2 + none.relative_l1 + none.mre + none.max_abs + none.lse + none.bias, 0);
  for (double& x : output.out) x *= 1.1;
  for (double& x : output.lse) x += 0.25;
  output.lse[4] += 0.5;  // of the second head
  const Metrics larger = metrics_of(problem, output, 0, 2);
  EXPECT_NEAR(larger.relative_l2, 0.1, 1e-12);
  EXPECT_NEAR(larger.relative_l1, 0.1, 1e-12);
  EXPECT_NEAR(larger.bias, 0.1, 1e-12);
  EXPECT_NEAR(larger.cosine, 1, 1e-12);
  EXPECT_NEAR(larger.mre, 0.1, 1e-3);
  EXPECT_NEAR(larger.lse, 0.25 + 0.5 / 6, 1e-12);
  EXPECT_NEAR(larger.lse_worst, 0.75, 1e-12);
  EXPECT_NEAR(metrics_of(problem, output, 0, 1).lse_worst, 0.25, 1e-12);
  EXPECT_TRUE(std::isnan(metrics_of(problem, {output.out, {}, ""}, 0, 2).lse));
}

TEST(Metrics, MeanSpreadMedianWorst) {
  Summary summary;
  for (const double error : {1.0, 2.0, 6.0}) summary.samples.push_back({.relative_l2 = error});
  EXPECT_EQ(summary.mean(&Metrics::relative_l2), 3);
  EXPECT_NEAR(summary.spread(&Metrics::relative_l2), std::sqrt(7.0), 1e-12);
  EXPECT_EQ(summary.median(&Metrics::relative_l2), 2);
  EXPECT_EQ(summary.worst(&Metrics::relative_l2), 6);
}

TEST(Parts, LeaveOneSourceOfError) {
  const Problem problem = make_problem({.name = "gaussian"}, {2, 64, 512, 64}, 1, false);
  for (const char* preset : {"int8", "int8_fast", "int_flash", "sage2_8b", "fa3_fp8", "sage2pp"}) {
    double squares = 0;
    for (const Part part : {Part::qk, Part::p, Part::v}) {
      const double error = metrics_of(problem, run(problem, only(composed(preset), part)), 0, 2).relative_l2;
      EXPECT_GT(error, 1e-4) << preset << ", " << to_string(part);
      squares += error * error;
    }
    const double all = metrics_of(problem, run(problem, composed(preset)), 0, 2).relative_l2;
    EXPECT_NEAR(std::sqrt(squares), all, 0.2 * all) << preset;
  }
}

TEST(Recipes, AreComposedAndChecked) {
  EXPECT_EQ(to_string(composed("int8_fast", "key_block=64,smooth_q=off")),
            to_string(composed("int8_fast,smooth_q=off,key_block=64")));
  EXPECT_THROW(composed("int8_fast", "key_block=65"), tool::Failure);
  EXPECT_THROW(composed("none"), tool::Failure);
}

TEST(Distributions, AreWhatTheySay) {
  const auto numbers = [](const TensorView& x) { return tool::to_f64(x); };
  const Shape shape{1, 64, 2048, 64};
  double largest = 0, sum = 0;
  for (const double x : numbers(make_problem(distribution("uniform"), shape, 1).k())) {
    largest = std::fmax(largest, std::fabs(x)), sum += x * x;
  }
  EXPECT_LE(largest, 0.5);
  EXPECT_NEAR(sum / (2048 * 64), 1.0 / 12, 2e-3);

  // Key 0 leads by 8 nats on average, and its value is a fiftieth.
  const Problem sink = make_problem(distribution("sink8_tiny"), shape, 1);
  const std::vector<double> q = numbers(sink.q()), k = numbers(sink.k()), v = numbers(sink.v());
  double lead = 0, value = 0;
  for (std::size_t i = 0; i < 64; ++i) {
    for (std::size_t d = 0; d < 64; ++d) lead += q[i * 64 + d] * k[d] / 8 / 64;
  }
  for (std::size_t d = 0; d < 64; ++d) value += v[d] * v[d] / 64;
  EXPECT_NEAR(lead, 8, 1);
  EXPECT_NEAR(std::sqrt(value), 0.02, 0.005);

  EXPECT_EQ(numbers(make_problem(distribution("gaussian"), shape, 2).q()),
            numbers(make_problem(distribution("gaussian"), shape, 2).q()));
  EXPECT_NE(numbers(make_problem(distribution("gaussian"), shape, 2).q()),
            numbers(make_problem(distribution("gaussian"), shape, 3).q()));
}

}  // namespace
}  // namespace octavo::study
