// Names, widths and shapes as text.
#include "octavo/tensor_view.hpp"

#include <gtest/gtest.h>

#include <set>

namespace octavo {
namespace {

TEST(TensorViewTest, EveryDTypeHasANameAndAWidth) {
  std::set<std::string_view> names;
  for (int dtype = 0; dtype <= static_cast<int>(DType::boolean); ++dtype) {
    names.insert(to_string(static_cast<DType>(dtype)));
    EXPECT_GT(bits_of(static_cast<DType>(dtype)), 0);
  }
  EXPECT_EQ(names.size(), static_cast<std::size_t>(DType::boolean) + 1);
  EXPECT_EQ(to_string(DType::boolean), "bool");
  EXPECT_EQ(bits_of(DType::s4), 4);
  EXPECT_EQ(bits_of(DType::e4m3), 8);
  EXPECT_EQ(bits_of(DType::bf16), 16);
  EXPECT_EQ(bits_of(DType::f32), 32);
  EXPECT_EQ(bits_of(DType::f64), 64);
  EXPECT_EQ(bits_of(static_cast<DType>(200)), 0);
}

TEST(TensorViewTest, DenseStridesAndShapes) {
  const TensorView view(nullptr, DType::f32, {2, 3, 5, 7});
  EXPECT_EQ(view.strides, (std::array<std::int64_t, 4>{105, 35, 7, 1}));
  EXPECT_EQ(view.elements(), 210);
  EXPECT_EQ(shape_string(view), "[2, 3, 5, 7]");
  EXPECT_EQ(shape_string(TensorView{}), "[]");
  EXPECT_FALSE(TensorView{}.given());
  TensorView broken;
  broken.rank = 77;
  EXPECT_EQ(shape_string(broken), "[0, 0, 0, 0]") << "a nonsensical rank is not followed";
}

}  // namespace
}  // namespace octavo
