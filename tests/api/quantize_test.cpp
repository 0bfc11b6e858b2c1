// quantize() and dequantize(): shapes, errors bounded by the scales, the same bits on every implementation.
#include "octavo/quantize.hpp"

#include <cmath>
#include <cstring>

#include "codes.hpp"

namespace octavo {
namespace {

constexpr std::int64_t kB = 2, kRows = 150, kH = 3;

std::vector<float> dequantized(const QuantizedView& view) {
  std::vector<float> out(static_cast<std::size_t>(view.codes.elements()));
  TensorView to(out.data(), DType::f32,
                {view.codes.shape[0], view.codes.shape[1], view.codes.shape[2], view.codes.shape[3]});
  const Status status = dequantize(view, to);
  EXPECT_TRUE(status.ok()) << status.message();
  return out;
}

// Relative L2 error of a round trip of normal values.
double round_trip_error(std::string_view recipe, Role role, std::int64_t dim, Layout layout = Layout::nhd) {
  const std::vector<float> x = normal_values(kB * kRows * kH * dim, 7);
  const TensorView view = layout == Layout::nhd ? TensorView(x.data(), DType::f32, {kB, kRows, kH, dim})
                                                : TensorView(x.data(), DType::f32, {kB, kH, kRows, dim});
  const Result<QuantizedTensor> q = quantize(view, role, recipe_of(recipe), layout, on_reference());
  if (!q.ok()) {
    ADD_FAILURE() << recipe << ": " << q.status().message();
    return 1;
  }
  const std::vector<float> back = dequantized(q->view());
  double error = 0, norm = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    error += (back[i] - x[i]) * (back[i] - x[i]);
    norm += x[i] * x[i];
  }
  return std::sqrt(error / norm);
}

TEST(QuantizeTest, RoundTripsComeBackAsCloseAsTheFormatAllows) {
  for (std::int64_t dim : {1, 15, 40, 64, 96}) {
    for (Layout layout : {Layout::nhd, Layout::hnd}) {
      for (const char* recipe : {"int8", "int_flash", "int8_block", "sage1", "sage1_int8", "sage2_8b"}) {
        for (Role role : {Role::q, Role::k}) EXPECT_LT(round_trip_error(recipe, role, dim, layout), 0.012) << recipe;
      }
      for (const char* recipe :
           {"int8", "int_flash", "int_flash_block_v", "sage1_int8", "int8_fast,smooth_v=on,v_scale=token"}) {
        EXPECT_LT(round_trip_error(recipe, Role::v, dim, layout), 0.012) << recipe << " V";
      }
      EXPECT_LT(round_trip_error("sage2_4b", Role::q, dim, layout), 0.2);
      EXPECT_LT(round_trip_error("int4", Role::k, dim, layout), 0.2);
      EXPECT_LT(round_trip_error("fa3_fp8", Role::k, dim, layout), 0.05);
      EXPECT_LT(round_trip_error("fp8_e4m3", Role::v, dim, layout), 0.05);
      EXPECT_LT(round_trip_error("fp8_e5m2", Role::q, dim, layout), 0.1);
      EXPECT_LT(round_trip_error("sage2pp", Role::v, dim, layout), 0.05);
    }
  }
}

// Without rotation and means: each element is within half a step of its own scale.
TEST(QuantizeTest, EveryElementIsWithinHalfAStep) {
  constexpr std::int64_t kDim = 24;
  const std::vector<float> x = normal_values(kB * kRows * kH * kDim, 9);
  const Recipe recipe = recipe_of("int_flash");
  const Result<QuantizedTensor> q =
      quantize({x.data(), DType::f32, {kB, kRows, kH, kDim}}, Role::q, recipe, Layout::nhd, on_reference());
  ASSERT_TRUE(q.ok()) << q.status().message();
  const std::vector<float> back = dequantized(q->view());
  const float* const scales = static_cast<const float*>(q->view().scales.data);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const std::size_t head = i / kDim % kH, row = i / (kDim * kH) % kRows, batch = i / (kDim * kH * kRows);
    const float scale = scales[(batch * kH + head) * kRows + row];
    EXPECT_LE(std::abs(back[i] - x[i]), 0.5001f * scale);
  }
}

TEST(QuantizeTest, ShapesOfScalesAndMeans) {
  constexpr std::int64_t kDim = 32;
  const std::vector<float> x = normal_values(kB * kRows * kH * kDim, 9);
  struct Expected {
    const char* recipe;
    Role role;
    const char* scales;
    const char* mean;
    DType codes;
    bool rotated;
  };
  for (const Expected& e : std::initializer_list<Expected>{
           {"int8", Role::q, "[2, 3, 150]", "[2, 3, 2, 32]", DType::s8, true},
           {"int8", Role::k, "[2, 3, 150]", "[2, 3, 32]", DType::s8, true},
           {"int8", Role::v, "[2, 3, 150]", "[]", DType::s8, true},
           {"int4", Role::k, "[2, 3, 150]", "[2, 3, 32]", DType::s4, true},
           {"int_flash", Role::v, "[2, 3]", "[]", DType::s8, false},
           {"int_flash_block_v", Role::v, "[2, 3, 2, 32]", "[]", DType::s8, false},
           {"sage1", Role::q, "[2, 3, 2]", "[]", DType::s8, false},
           {"sage1", Role::k, "[2, 3, 3]", "[2, 3, 32]", DType::s8, false},
           {"sage1_int8", Role::v, "[2, 3, 32]", "[]", DType::s8, false},
           {"sage2_8b", Role::q, "[2, 3, 40]", "[]", DType::s8, false},
           {"sage2_8b", Role::k, "[2, 3, 12]", "[2, 3, 32]", DType::s8, false},
           {"sage2_8b", Role::v, "[2, 3, 32]", "[]", DType::e4m3, false},
           {"fa3_fp8", Role::k, "[2, 3, 2]", "[]", DType::e4m3, true},
           {"fp8_e5m2", Role::k, "[]", "[]", DType::e5m2, false},
       }) {
    const Result<QuantizedTensor> q = quantize({x.data(), DType::f32, {kB, kRows, kH, kDim}}, e.role,
                                               recipe_of(e.recipe), Layout::nhd, on_reference());
    ASSERT_TRUE(q.ok()) << e.recipe << ": " << q.status().message();
    const QuantizedView& view = q->view();
    EXPECT_EQ(shape_string(view.scales), e.scales) << e.recipe << " " << to_string(e.role);
    EXPECT_EQ(shape_string(view.mean), e.mean) << e.recipe << " " << to_string(e.role);
    EXPECT_EQ(view.codes.dtype, e.codes) << e.recipe;
    EXPECT_EQ(view.rotated, e.rotated) << e.recipe;
    EXPECT_EQ(shape_string(view.codes), "[2, 150, 3, 32]");
    EXPECT_EQ(view.role, e.role);
  }
}

TEST(QuantizeTest, RowsOfNibblesBeginOnABytePaddedWithZero) {
  const std::vector<float> x = {7, -7, 3, /**/ 1, -7, 7};  // rows of 3
  const Result<QuantizedTensor> q =
      quantize({x.data(), DType::f32, {1, 2, 1, 3}}, Role::q, recipe_of("int_flash_int4"), Layout::nhd, on_reference());
  ASSERT_TRUE(q.ok()) << q.status().message();
  const TensorView& codes = q->view().codes;
  EXPECT_EQ(codes.strides, (std::array<std::int64_t, 4>{8, 4, 4, 1}));
  const auto* bytes = static_cast<const std::uint8_t*>(codes.data);
  EXPECT_EQ(bytes[0], 0x97);  // 7, -7: the even index in the low nibble
  EXPECT_EQ(bytes[1], 0x03);
  EXPECT_EQ(bytes[2], 0x91);
  EXPECT_EQ(bytes[3], 0x07);
  EXPECT_EQ(dequantized(q->view()), x);
}

TEST(QuantizeTest, ATokenOfZerosComesBackAsZeros) {
  std::vector<float> x = normal_values(20 * 8, 3);
  std::fill(x.begin() + 8, x.begin() + 16, 0.0f);
  for (Role role : {Role::q, Role::v}) {
    const Result<QuantizedTensor> q =
        quantize({x.data(), DType::f32, {1, 20, 1, 8}}, role,
                 recipe_of("int8_fast,hadamard=off,smooth_q=off,hadamard_v=off"), Layout::nhd, on_reference());
    ASSERT_TRUE(q.ok()) << q.status().message();
    const std::vector<float> back = dequantized(q->view());
    for (std::size_t i = 8; i < 16; ++i) EXPECT_EQ(back[i], 0.0f);
  }
}

TEST(QuantizeTest, EmptyTensors) {
  for (const TensorView& x :
       {TensorView(nullptr, DType::f32, {0, 5, 2, 8}), TensorView(nullptr, DType::f32, {2, 0, 2, 8})}) {
    for (Role role : {Role::q, Role::k, Role::v}) {
      const Result<QuantizedTensor> q = quantize(x, role, Recipe{}, Layout::nhd, on_reference());
      ASSERT_TRUE(q.ok()) << q.status().message();
      EXPECT_TRUE(dequantize(q->view(), x).ok());
    }
  }
}

TEST(QuantizeTest, OutputsInHalfPrecisionStayFinite) {
  const std::vector<float> x(16, 3e38f);
  const Result<QuantizedTensor> q =
      quantize({x.data(), DType::f32, {1, 1, 1, 16}}, Role::q, recipe_of("int_flash"), Layout::nhd, on_reference());
  ASSERT_TRUE(q.ok());
  std::vector<std::uint16_t> out(16);
  ASSERT_TRUE(dequantize(q->view(), {out.data(), DType::f16, {1, 1, 1, 16}}).ok());
  for (std::uint16_t value : out) EXPECT_EQ(value, 0x7bff);
}

TEST(QuantizeTest, Refusals) {
  const std::vector<float> x = normal_values(4 * 8, 1);
  const TensorView good(x.data(), DType::f32, {1, 4, 1, 8});
  const auto refused = [](const Result<QuantizedTensor>& result, StatusCode code, const char* words) {
    EXPECT_EQ(result.status().code(), code) << result.status().message();
    EXPECT_NE(result.status().message().find(words), std::string::npos) << result.status().message();
  };
  refused(quantize(good, Role::q, recipe_of("exact")), StatusCode::kUnimplemented, "keeps q in floats");
  refused(quantize(good, Role::v, recipe_of("sage1")), StatusCode::kUnimplemented, "keeps v in floats");
  refused(quantize(good, Role::v, recipe_of("int8_fast,channel_gains=on")), StatusCode::kUnimplemented, "gains");
  refused(quantize({}, Role::q, Recipe{}), StatusCode::kInvalidArgument, "x is missing");
  refused(quantize({x.data(), DType::f64, {1, 2, 1, 8}}, Role::q, Recipe{}), StatusCode::kInvalidArgument, "x is f64");
  refused(quantize({x.data(), DType::f32, {4, 1, 8}}, Role::q, Recipe{}), StatusCode::kInvalidArgument, "4 axes");
  refused(quantize({nullptr, DType::f32, {1, 4, 1, 8}}, Role::q, Recipe{}), StatusCode::kInvalidArgument,
          "null pointer");
  refused(quantize({x.data(), DType::f32, {1, 1, 1, 577}}, Role::q, Recipe{}), StatusCode::kUnimplemented, "1 to 576");
  refused(quantize(good, static_cast<Role>(4), Recipe{}), StatusCode::kInvalidArgument, "role");
  Execution unknown;
  unknown.implementation = "abacus";
  refused(quantize(good, Role::q, Recipe{}, Layout::nhd, unknown), StatusCode::kInvalidArgument, "\"abacus\"");

  const Result<QuantizedTensor> q = quantize(good, Role::q, Recipe{}, Layout::nhd, on_reference());
  ASSERT_TRUE(q.ok());
  std::vector<float> out(32, -5.0f);
  const auto dequantize_refused = [&](const QuantizedView& view, const TensorView& to, const char* words) {
    const Status status = dequantize(view, to);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_NE(status.message().find(words), std::string::npos) << status.message();
  };
  dequantize_refused(q->view(), {out.data(), DType::f32, {1, 4, 1, 4}}, "the codes have [1, 4, 1, 8]");
  dequantize_refused(q->view(), {out.data(), DType::s8, {1, 4, 1, 8}}, "out is s8");
  dequantize_refused(q->view(), {q->view().scales.data, DType::f32, {1, 4, 1, 8}}, "out overlaps x.scales");
  for (float value : out) EXPECT_EQ(value, -5.0f);
}

bool same_bytes(const TensorView& a, const TensorView& b) {
  if (!a.given() || !b.given()) return a.given() == b.given();
  const auto bytes = static_cast<std::size_t>((a.shape[0] * a.strides[0] * bits_of(a.dtype) + 7) / 8);
  return a.strides == b.strides && std::memcmp(a.data, b.data, bytes) == 0;
}

// The quantizer's rules are in f32 and bit-equal everywhere: codes do not depend on the implementation.
TEST(QuantizeTest, EveryImplementationMakesTheSameBits) {
  for (std::int64_t dim : {15, 64}) {
    const std::vector<float> x = normal_values(kB * kRows * kH * dim, 11);
    const TensorView view(x.data(), DType::f32, {kB, kRows, kH, dim});
    for (const RecipeInfo& preset : recipes()) {
      for (Role role : {Role::q, Role::k, Role::v}) {
        const Result<QuantizedTensor> expected = quantize(view, role, preset.recipe, Layout::nhd, on_reference());
        if (!expected.ok()) continue;  // kept in floats
        for (const ImplementationInfo& info : implementations()) {
          if (!info.supported) continue;
          Execution execution;
          execution.implementation = info.name;
          const Result<QuantizedTensor> made = quantize(view, role, preset.recipe, Layout::nhd, execution);
          ASSERT_TRUE(made.ok()) << made.status().message();
          EXPECT_TRUE(same_bytes(made->view().codes, expected->view().codes) &&
                      same_bytes(made->view().scales, expected->view().scales) &&
                      same_bytes(made->view().mean, expected->view().mean))
              << info.name << " " << preset.name << " " << to_string(role) << " head_dim " << dim;
        }
      }
    }
  }
}

TEST(QuantizeTest, BordersThatDoNotFitAreRefused) {
  const std::vector<float> x = normal_values(14 * 2 * 8, 1);
  const std::vector<std::int64_t> falling{0, 9, 6, 14}, none;
  const TensorView packed(x.data(), DType::f32, {14, 2, 8}), batched(x.data(), DType::f32, {1, 14, 2, 8});
  const auto refusal = [&](const TensorView& view, const TensorView& borders) {
    return quantize(view, Role::k, {}, Layout::nhd, {}, borders).status().message();
  };
  const auto expect_words = [](const std::string& message, const char* words) {
    EXPECT_NE(message.find(words), std::string::npos) << message;
  };
  expect_words(refusal(packed, {falling.data(), DType::s64, {4}}), "cu_seqlens decreases from 9 to 6");
  expect_words(refusal(packed, {falling.data(), DType::s64, {1}}), "cu_seqlens ends with 0; x has 14 rows");
  expect_words(refusal(packed, {none.data(), DType::s64, {0}}), "cu_seqlens has no entries");
  expect_words(refusal(packed, {x.data(), DType::f32, {4}}), "cu_seqlens is f32");
  expect_words(refusal(batched, {falling.data(), DType::s64, {4}}), "3 axes are needed");
  expect_words(refusal(packed, {}), "4 axes are needed");
}

}  // namespace
}  // namespace octavo
