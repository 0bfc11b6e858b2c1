#include "draw.hpp"

#include <algorithm>

namespace octavo::test {
namespace {

using List = std::vector<std::int64_t>;
const List kDims = {1, 3, 4, 15, 16, 17, 31, 33, 36, 40, 63, 64, 65, 80, 96, 127, 128, 129, 192, 256, 576};
const List kQueries = {1, 2, 3, 4, 5, 15, 16, 17, 31, 33, 127, 128, 129, 300};
const List kKeys = {0, 1, 2, 63, 64, 65, 127, 128, 129, 255, 257, 700};
const List kWindows = {-1, 0, 1, 5, 63, 64, 200, std::int64_t{1} << 40};
constexpr double kMostMultiplications = 2.5e7;
constexpr std::int64_t kFewElements = 2048;

}  // namespace

std::int64_t Dealer::deal(const std::string& axis, const List& values) {
  List& deck = decks_[axis];
  if (deck.empty()) {
    deck = values;
    std::shuffle(deck.begin(), deck.end(), random_);
  }
  const std::int64_t value = deck.back();
  deck.pop_back();
  return value;
}

Placement Dealer::draw_placement(Layout layout) {
  Placement place{.layout = layout};
  if (chance(5)) place.channel_step = 1 + static_cast<std::int64_t>(random_() % 3);
  if (chance(3)) place.padding = 1 + static_cast<std::int64_t>(random_() % 7);
  if (chance(3)) place.offset = 1 + static_cast<std::int64_t>(random_() % 5);
  place.rows_backwards = chance(6);
  place.heads_backwards = chance(6);
  return place;
}

void Dealer::draw_shape(Scenario& s) {
  s.d = deal("d", kDims);
  s.dv = s.d == 192 ? 128 : s.d == 576 ? 512 : chance(3) ? deal("dv", kDims) : s.d;
  s.m = deal("m", kQueries);
  s.n = deal("n", kKeys);
  s.ratio = deal("ratio", {1, 3, 8});
  s.kv_heads = deal("kv_heads", {1, 2, 3});
  s.batch = deal("batch", {1, 1, 2, 3});
  // Too much work: fewer heads, then other sizes (the next deal has them again).
  if (s.multiplications() > kMostMultiplications) s.batch = s.kv_heads = 1;
  if (s.multiplications() > kMostMultiplications) s.ratio = 1;
  while (s.multiplications() > kMostMultiplications)
    (s.m > s.n ? s.m : s.n) = s.m > s.n ? kQueries[random_() % kQueries.size()] : kKeys[random_() % kKeys.size()];
  // So few elements that a single code would decide: more heads.
  while (s.batch * s.q_heads() * s.m * s.dv < kFewElements && s.kv_heads < 12) ++s.kv_heads;
  while (s.batch * s.q_heads() * s.m * s.dv < kFewElements && s.batch < 6) ++s.batch;
}

void Dealer::draw_lengths(Scenario& s) {
  if (chance(5)) {
    const std::size_t count = 1 + random_() % 5;
    while (s.q_lens.size() < count) {
      s.q_lens.push_back(chance(6) ? 0 : kQueries[random_() % (kQueries.size() - 1)]);
      s.k_lens.push_back(kKeys[random_() % (kKeys.size() - 1)]);
    }
    while (s.multiplications() > kMostMultiplications && s.q_lens.size() > 1) s.q_lens.pop_back(), s.k_lens.pop_back();
  } else if (chance(5)) {
    for (std::int64_t b = 0; b < s.batch; ++b)
      s.kv_lens.push_back(chance(3) ? s.n : static_cast<std::int64_t>(random_() % static_cast<unsigned>(s.n + 1)));
  }
}

void Dealer::draw_options(Scenario& s) {
  const std::int64_t causal = deal("causal", {0, 0, 1, 1, 2});
  s.causal = causal == 0 ? Causal::none : causal == 1 ? Causal::bottom_right : Causal::top_left;
  if (chance(4)) {
    s.window_left = kWindows[random_() % kWindows.size()];
    s.window_right = kWindows[random_() % kWindows.size()];
  }
  if (chance(4)) s.softmax_scale = std::vector<double>{0.0, -0.2, 0.05, 0.3}[random_() % 4];
  if (chance(6)) s.softcap = std::vector<double>{0.5, 5.0, 30.0, 1e6}[random_() % 4];
  if (chance(4)) s.mask = static_cast<MaskKind>(deal("mask", {1, 2, 3, 4, 5, 6, 7, 8}));
  s.alibi = chance(6);
  s.symmetric_alibi = s.seed % 3 == 0;
  s.sinks = chance(6);
  s.flavour = static_cast<Flavour>(deal("flavour", {0, 0, 0, 1, 2, 3, 4, 5}));
}

// Codes in place of floats, where the recipe has them; packed sequences are floats only.
void Dealer::draw_codes(Scenario& s) {
  if (s.packed() || !chance(4)) return;
  const Recipe recipe = recipe_of(s.recipe);
  const bool scores = recipe.scores != Format::input && recipe.scores != Format::f16;
  const bool values = recipe.values != Format::input && recipe.values != Format::f16 && !recipe.channel_gains;
  const unsigned which = 1 + random_() % 7;
  s.quantized_q = scores && (which & 1) != 0;
  s.quantized_k = scores && (which & 2) != 0;
  s.quantized_v = values && (which & 4) != 0;
}

Scenario Dealer::draw(const std::string& recipe) {
  Scenario s;
  s.recipe = recipe;
  s.seed = static_cast<std::uint32_t>(random_());
  draw_shape(s);
  draw_lengths(s);
  draw_options(s);
  draw_codes(s);
  const std::int64_t dtype = deal("dtype", {0, 1, 2});
  s.dtype = dtype == 0 ? DType::f32 : dtype == 1 ? DType::f16 : DType::bf16;
  const Layout layout = chance(2) ? Layout::hnd : Layout::nhd;
  s.q_place = draw_placement(layout);
  s.k_place = draw_placement(layout);
  s.v_place = draw_placement(layout);
  s.out_place = draw_placement(layout);
  return s;
}

}  // namespace octavo::test
