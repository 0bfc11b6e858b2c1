#include "compare.hpp"

#include <algorithm>
#include <sstream>

namespace octavo::test {

void Difference::add(const std::vector<float>& got, const std::vector<float>& expected) {
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double x = got[i], y = expected[i];
    if (std::isfinite(x) && std::isfinite(y)) {
      squares += (x - y) * (x - y);
      norm += y * y;
    } else if (wrong.empty() && !(std::isnan(x) && std::isnan(y)) && x != y) {
      std::ostringstream text;
      text << "element " << i << " is " << x << ", expected " << y;
      wrong = text.str();
    }
  }
  elements += static_cast<std::int64_t>(expected.size());
}

double relative_l2(const std::vector<float>& got, const std::vector<float>& expected) {
  Difference difference;
  difference.add(got, expected);
  return difference.wrong.empty() ? difference.relative() : INFINITY;
}

bool is_exact_or_s8(const Recipe& recipe) {
  const bool s4 = recipe.scores == Format::s4 || recipe.values == Format::s4;
  return !s4 && (recipe.values == Format::input || recipe.values == Format::s8);
}

double output_bound(const Recipe& recipe, double own_error, std::int64_t elements) {
  const double bound = is_exact_or_s8(recipe) ? 1e-3 : std::max(2e-3, 0.02 * own_error);
  // One code that rounds the other way shows in a small output.
  const bool has_codes = recipe.p != WeightFormat::input;
  constexpr std::int64_t kFewThousand = 4096;
  return has_codes && elements <= kFewThousand ? 4 * bound : bound;
}

std::string check_lse(const Recipe& recipe, const std::vector<float>& got, const std::vector<float>& expected) {
  const bool coarse = recipe.scores == Format::s4 || recipe.values == Format::s4;
  std::size_t beyond = 0;
  std::ostringstream text;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double x = got[i], y = expected[i];
    if (!std::isfinite(y)) {
      if (std::isnan(y) ? std::isnan(x) : x == y) continue;
      text << "LSE of row " << i << " is " << x << ", expected " << y;
      return text.str();
    }
    // An f32 of this size has no finer steps.
    const double error = std::fabs(x - y) - 1.2e-7 * std::fabs(y);
    beyond += !(error <= 2e-3);
    if (!(error <= (coarse ? 0.2 : 0.02))) {
      text << "LSE of row " << i << " is " << x << ", expected " << y;
      return text.str();
    }
  }
  if (static_cast<double>(beyond) > 0.02 * static_cast<double>(expected.size())) {
    text << beyond << " of " << expected.size() << " LSE are off by more than 2e-3";
    return text.str();
  }
  return {};
}

}  // namespace octavo::test
