// A user's program: every way to octavo builds and runs this one. With all values alike, attention returns that value.
#include <cstdio>
#include <cstring>
#include <vector>

#include "octavo/octavo.hpp"

int main() {
  if (std::strcmp(octavo::version(), OCTAVO_VERSION) != 0) {
    std::fprintf(stderr, "headers of %s, library %s\n", OCTAVO_VERSION, octavo::version());
    return 1;
  }
  constexpr int kRows = 33, kHeads = 2, kDim = 16;
  std::vector<float> q(kRows * kHeads * kDim, 0.25f), k(q), v(q.size(), 2.0f), out(q.size(), 0.0f);
  const auto view = [](const std::vector<float>& x) {
    return octavo::TensorView(x.data(), octavo::DType::f32, {1, kRows, kHeads, kDim});
  };
  octavo::AttentionInputs inputs{.q = view(q), .k = view(k), .v = view(v), .out = view(out)};
  for (const char* name : {"exact", "int8"}) {
    const octavo::Result<octavo::Recipe> recipe = octavo::parse_recipe(name);
    if (!recipe.ok()) return std::fprintf(stderr, "%s\n", recipe.status().message().c_str()), 1;
    const octavo::Status status =
        octavo::attention(inputs, {.recipe = *recipe, .causal = octavo::Causal::bottom_right});
    if (!status.ok()) return std::fprintf(stderr, "%s: %s\n", name, status.message().c_str()), 1;
    for (float value : out) {
      // int8 rounds V to 8 bits and its weights to 1 / 255.
      if (!(value > 1.98f && value < 2.02f)) return std::fprintf(stderr, "%s: %g, not 2\n", name, value), 1;
    }
    std::printf("%s by %s\n", name, std::string(octavo::last_implementation()).c_str());
  }
}
