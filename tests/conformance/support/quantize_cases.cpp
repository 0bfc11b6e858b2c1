#include "quantize_cases.hpp"

#include <cmath>
#include <cstring>
#include <random>

#include "octavo/recipe.hpp"

namespace octavo::test {

std::vector<QuantizeShape> quantize_shapes(std::initializer_list<QuantizeShape> more) {
  std::vector<QuantizeShape> shapes = {
      {{1, 1, 1, 1}, {}},
      {{2, 3, 130, 3}, {.layout = Layout::hnd}},
      {{1, 2, 65, 16}, {.channel_step = 2}},
      {{1, 1, 300, 17}, {.layout = Layout::hnd, .padding = 3, .rows_backwards = true}},
      {{2, 2, 33, 64}, {.offset = 3, .heads_backwards = true}},
  };
  shapes.insert(shapes.end(), more);
  return shapes;
}

std::vector<std::string> quantize_recipes(std::initializer_list<const char*> more) {
  std::vector<std::string> texts;
  for (const RecipeInfo& info : recipes()) texts.emplace_back(info.name);
  for (const char* text :
       {"int8,v_scale=token", "int8,v_scale=tensor", "int8,v_scale=channel,hadamard_v=off",
        "int8,v_scale=block,key_block=256", "int8,v_scale=block_channel,key_block=64",
        "int8,v_scale=channel,smooth_v=on,v_range=100", "int8,q_scale=warp,k_scale=warp",
        "int8,q_scale=tensor,k_scale=tensor", "int4,q_scale=block,k_scale=thread", "int_flash_int4,v_scale=token"})
    texts.emplace_back(text);
  texts.insert(texts.end(), more.begin(), more.end());
  return texts;
}

Tensor quantize_input(const QuantizeShape& shape, DType dtype, const Spoilt& spoilt) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<std::size_t>(shape.extents.elements()));
  for (float& x : values) x = normal(random);
  spoilt.spoil(values, shape.extents);
  Tensor x(dtype, shape.extents, shape.place);
  x.fill(values);
  return x;
}

std::string quantize_trace(const std::string& recipe, Role role, DType dtype, const QuantizeShape& shape,
                           const Spoilt& spoilt) {
  return recipe + " " + std::string(to_string(role)) + " " + std::string(to_string(dtype)) + " rows " +
         std::to_string(shape.extents.rows) + " dim " + std::to_string(shape.extents.dim) + " " + spoilt.what;
}

std::size_t stored_size(const TensorView& view) {
  return view.given() ? static_cast<std::size_t>((view.shape[0] * view.strides[0] * bits_of(view.dtype) + 7) / 8) : 0;
}

std::vector<unsigned char> stored_bytes(const TensorView& view) {
  std::vector<unsigned char> bytes(stored_size(view));
  if (!bytes.empty()) std::memcpy(bytes.data(), view.data, bytes.size());
  return bytes;
}

::testing::AssertionResult same_floats(const std::vector<unsigned char>& got,
                                       const std::vector<unsigned char>& expected) {
  if (got.size() != expected.size())
    return ::testing::AssertionFailure() << got.size() << " bytes, expected " << expected.size();
  for (std::size_t i = 0; i + 4 <= expected.size(); i += 4) {
    float a, b;
    std::memcpy(&a, got.data() + i, 4);
    std::memcpy(&b, expected.data() + i, 4);
    if (std::memcmp(&a, &b, 4) != 0 && !(std::isnan(a) && std::isnan(b)))
      return ::testing::AssertionFailure() << "element " << i / 4 << " is " << a << ", expected " << b;
  }
  return ::testing::AssertionSuccess();
}

}  // namespace octavo::test
