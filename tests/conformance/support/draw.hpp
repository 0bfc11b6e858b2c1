// Scenarios drawn so that every value of every axis comes up: sizes around the vector and tile widths are dealt like
// cards, each list once through before any value comes again; combinations are left to chance with a fixed seed.
#pragma once

#include <map>
#include <random>
#include <string>
#include <vector>

#include "scenario.hpp"

namespace octavo::test {

class Dealer {
 public:
  explicit Dealer(std::uint32_t seed) : random_(seed) {}

  Scenario draw(const std::string& recipe);

 private:
  std::int64_t deal(const std::string& axis, const std::vector<std::int64_t>& values);
  bool chance(unsigned one_in) { return random_() % one_in == 0; }
  Placement draw_placement(Layout layout);
  void draw_shape(Scenario& s);
  void draw_lengths(Scenario& s);
  void draw_options(Scenario& s);
  void draw_codes(Scenario& s);

  std::mt19937 random_;
  std::map<std::string, std::vector<std::int64_t>> decks_;
};

}  // namespace octavo::test
