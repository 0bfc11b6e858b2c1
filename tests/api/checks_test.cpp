// Every refusal of a call with float operands: its code, its key words, and an output that stays as it was.
#include "api/checks.hpp"

#include <cmath>
#include <limits>

#include "call.hpp"

namespace octavo {
namespace {

template <class Any>
std::array<std::int64_t, 4> strides_of(const Any& tensor) {
  return {tensor.strides[0], tensor.strides[1], tensor.strides[2], tensor.strides[3]};
}

constexpr double kInfinity = std::numeric_limits<double>::infinity();

TEST(ChecksTest, TheCallThatTheOthersBendIsLegal) {
  Call call;
  expect_served(call);
  for (float value : call.lse) EXPECT_TRUE(std::isfinite(value));
}

TEST(ChecksTest, MissingTensors) {
  for (TensorView AttentionInputs::* tensor :
       {&AttentionInputs::q, &AttentionInputs::k, &AttentionInputs::v, &AttentionInputs::out}) {
    Call call;
    call.inputs.*tensor = {};
    expect_invalid(call, {"is missing"});
  }
  Call call;
  call.inputs.lse = {};
  const Status status = call.run();
  EXPECT_TRUE(status.ok()) << "lse is optional: " << status.message();
}

TEST(ChecksTest, Ranks) {
  Call call;
  call.inputs.q = {call.q.data(), DType::f32, {Call::kM, Call::kHq, Call::kD}};
  expect_invalid(call, {"q has shape [5, 4, 8]", "4 axes"});
  call.inputs.q.rank = 9;
  expect_invalid(call, {"q has rank 9", "0 to 4"});
  call.inputs.q.rank = -1;
  expect_invalid(call, {"q"});
}

TEST(ChecksTest, DTypes) {
  for (DType dtype : {DType::f64, DType::s8, DType::s32, DType::boolean, DType::e4m3, DType::s4}) {
    Call call;
    call.inputs.k.dtype = dtype;
    expect_invalid(call, {"k is", to_string(dtype).data(), "f32, f16 and bf16"});
  }
  Call unknown;
  unknown.inputs.q.dtype = static_cast<DType>(99);
  expect_invalid(unknown, {"q", "unknown dtype 99"});
  Call mixed;
  mixed.inputs.v.dtype = DType::f16;
  expect_invalid(mixed, {"v is f16", "q is f32", "one dtype"});
  Call out;
  out.inputs.out.dtype = DType::f64;
  expect_invalid(out, {"out is f64", "f32, f16 and bf16"});
  Call lse;
  lse.inputs.lse.dtype = DType::f16;
  expect_invalid(lse, {"lse is f16", "must be f32"});
}

TEST(ChecksTest, ShapesThatDisagree) {
  {
    Call call;
    call.inputs.k = {call.k.data(), DType::f32, {1, Call::kN, Call::kHkv, Call::kD}};
    expect_invalid(call, {"batch", "2, 1 and 2"});
  }
  {
    Call call;
    call.inputs.k.shape[2] = call.inputs.v.shape[2] = 1;
    call.inputs.q = {call.q.data(), DType::f32, {Call::kB, Call::kM, 3, Call::kD}};
    call.inputs.k.shape[2] = call.inputs.v.shape[2] = 2;
    expect_invalid(call, {"q has 3 heads", "k has 2", "multiple"});
  }
  {
    Call call;
    call.inputs.v.shape[2] = 1;
    expect_invalid(call, {"k has 2 heads", "v has 1"});
  }
  {
    Call call;
    call.inputs.v.shape[1] = 6;
    expect_invalid(call, {"k has 7 rows", "v has 6"});
  }
  {
    Call call;
    call.inputs.k.shape[3] = 4;
    expect_invalid(call, {"head_dim 8", "k has 4"});
  }
  {
    Call call;
    call.inputs.out.shape[3] = 8;
    expect_invalid(call, {"out has shape [2, 5, 4, 8]", "[2, 5, 4, 6]"});
  }
  {
    Call call;
    call.inputs.lse = {call.lse.data(), DType::f32, {Call::kB, Call::kM, Call::kHq}};
    expect_invalid(call, {"lse has shape [2, 5, 4]", "[2, 4, 5]"});
  }
}

TEST(ChecksTest, Extents) {
  Call negative;
  negative.inputs.k.shape[1] = -7;
  expect_invalid(negative, {"k has shape [2, -7, 2, 8]", "negative"});
  Call heads;
  heads.inputs.k.shape[2] = 0;
  expect_invalid(heads, {"k has shape", "at least 1"});
  Call dim;
  dim.inputs.q.shape[3] = 0;
  expect_invalid(dim, {"q has shape", "head_dim", "at least 1"});
}

TEST(ChecksTest, HeadDimensions) {
  const std::vector<float> zeros(2 * 577, 0.5f);
  std::vector<float> out(577, Call::kUntouched);
  Call call;
  call.inputs.lse = {};
  const auto shape = [&](std::int64_t d, std::int64_t dv) {
    call.inputs.q = call.inputs.k = {zeros.data(), DType::f32, {1, 1, 1, d}};
    call.inputs.v = {zeros.data(), DType::f32, {1, 1, 1, dv}};
    call.inputs.out = {out.data(), DType::f32, {1, 1, 1, dv}};
  };
  shape(577, 8);
  expect_refused(call, StatusCode::kUnimplemented, {"q has head_dim 577", "1 to 576"});
  shape(8, 577);
  expect_refused(call, StatusCode::kUnimplemented, {"v has head_dim 577", "1 to 576"});
  for (std::int64_t dim : {1, 576}) {
    shape(dim, dim);
    const Status status = call.run();
    EXPECT_TRUE(status.ok()) << status.message();
    EXPECT_NEAR(out[0], 0.5f, 0.01f);
  }
}

TEST(ChecksTest, Devices) {
  Call call;
  call.inputs.v.device = {DeviceType::cuda, 3};
  expect_refused(call, StatusCode::kUnavailable, {"v is on CUDA device 3", "CPU only"});
  Call unknown;
  unknown.inputs.out.device.type = static_cast<DeviceType>(7);
  expect_invalid(unknown, {"out", "unknown device type 7"});
  Call stream;
  int something = 0;
  stream.execution.stream = &something;
  expect_invalid(stream, {"stream", "null"});
}

TEST(ChecksTest, NullPointers) {
  for (TensorView AttentionInputs::* tensor :
       {&AttentionInputs::q, &AttentionInputs::k, &AttentionInputs::v, &AttentionInputs::out, &AttentionInputs::lse}) {
    Call call;
    (call.inputs.*tensor).data = nullptr;
    expect_invalid(call, {"null pointer"});
  }
}

TEST(ChecksTest, EmptyTensors) {
  Call no_batch;
  no_batch.inputs.q = no_batch.inputs.k = {nullptr, DType::f32, {0, 3, 2, 8}};
  no_batch.inputs.v = {nullptr, DType::f32, {0, 3, 2, 6}};
  no_batch.inputs.out = {nullptr, DType::f32, {0, 3, 2, 6}};
  no_batch.inputs.lse = {nullptr, DType::f32, {0, 2, 3}};
  EXPECT_TRUE(no_batch.run().ok()) << no_batch.run().message();

  Call no_queries;
  no_queries.inputs.q = {nullptr, DType::f32, {Call::kB, 0, Call::kHq, Call::kD}};
  no_queries.inputs.out = {nullptr, DType::f32, {Call::kB, 0, Call::kHq, Call::kDv}};
  no_queries.inputs.lse = {nullptr, DType::f32, {Call::kB, Call::kHq, 0}};
  EXPECT_TRUE(no_queries.run().ok()) << no_queries.run().message();

  Call no_keys;
  no_keys.inputs.k = {nullptr, DType::f32, {Call::kB, 0, Call::kHkv, Call::kD}};
  no_keys.inputs.v = {nullptr, DType::f32, {Call::kB, 0, Call::kHkv, Call::kDv}};
  ASSERT_TRUE(no_keys.run().ok()) << no_keys.run().message();
  for (float value : no_keys.out) EXPECT_EQ(value, 0.0f);
  for (float value : no_keys.lse) EXPECT_EQ(value, -std::numeric_limits<float>::infinity());
}

TEST(ChecksTest, AbsurdShapesAndStridesDoNotOverflow) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  constexpr std::int64_t kLeast = std::numeric_limits<std::int64_t>::min();
  for (std::int64_t stride : {kMost, kLeast, kMost / 4, kLeast / 4, std::int64_t{1} << 61, -(std::int64_t{1} << 61)}) {
    for (std::size_t axis = 0; axis < 4; ++axis) {
      Call call;
      call.inputs.k.strides[axis] = stride;
      expect_invalid(call, {"k with shape", "outside the address space"});
    }
  }
  // Each axis alone fits, their sum does not.
  Call sum;
  sum.inputs.k.strides = {kMost / 2, kMost / 12, kMost / 2, 1};
  expect_invalid(sum, {"outside the address space"});
  for (std::int64_t extent : {kMost, kMost / 8, std::int64_t{1} << 50}) {
    Call call;
    call.inputs.k.shape[1] = call.inputs.v.shape[1] = extent;
    call.inputs.k.strides[1] = call.inputs.v.strides[1] = 0;
    expect_invalid(call, {"k", "2^52"});
    call.inputs.k.shape[0] = 0;
    expect_invalid(call, {"k"});
  }
  Call rows;
  rows.inputs.q.shape[1] = kMost;
  rows.inputs.q.strides[1] = 0;
  expect_invalid(rows, {"q", "2^52"});
}

TEST(ChecksTest, OutputsOverlapNothing) {
  {
    Call call;
    call.inputs.out.data = call.q.data() + 3;
    expect_invalid(call, {"out overlaps q"});
  }
  {
    Call call;
    call.inputs.out.data = call.v.data() + call.v.size() - 1;
    expect_invalid(call, {"out overlaps v"});
  }
  {
    Call call;
    call.inputs.lse.data = call.out.data();
    expect_invalid(call, {"overlaps", "lse", "out"});
  }
  {
    Call call;
    std::vector<float> shared(4 + call.lse.size());
    call.inputs.sinks = {shared.data(), DType::f32, {Call::kHq}};
    call.inputs.lse.data = shared.data() + 3;
    expect_invalid(call, {"lse overlaps sinks"});
    call.inputs.lse.data = shared.data() + 4;
    EXPECT_TRUE(call.run().ok()) << "neighbours do not overlap";
  }
  {
    // A negative stride reaches below the pointer.
    Call call;
    std::vector<float> shared(call.v.size() + call.out.size());
    call.inputs.out.data = shared.data();
    call.inputs.v.data = shared.data() + call.out.size() - 1 + Call::kDv - 1;
    call.inputs.v.strides[3] = -1;
    expect_invalid(call, {"out overlaps v"});
    call.inputs.v.data = shared.data() + call.out.size() + Call::kDv - 1;
    EXPECT_TRUE(call.run().ok()) << "neighbours do not overlap";
  }
}

TEST(ChecksTest, OutputsDoNotOverlapThemselves) {
  for (std::size_t axis = 0; axis < 4; ++axis) {
    Call call;
    call.inputs.out.strides[axis] = 0;
    expect_invalid(call, {"out", "strides", "share memory"});
  }
  Call twisted;
  twisted.inputs.out.strides[2] = 5;  // rows of 6 elements every 5
  expect_invalid(twisted, {"out", "share memory"});
  Call lse;
  lse.inputs.lse.strides[1] = 0;
  expect_invalid(lse, {"lse", "share memory"});
  Call single;  // the stride of an axis with one element means nothing
  single.inputs.q.shape[0] = single.inputs.k.shape[0] = single.inputs.v.shape[0] = 1;
  single.inputs.out.shape[0] = single.inputs.lse.shape[0] = 1;
  single.inputs.out.strides[0] = 0;
  EXPECT_TRUE(single.run().ok()) << single.run().message();
}

TEST(ChecksTest, AnyStridesAreLegal) {
  Call dense;
  ASSERT_TRUE(dense.run().ok());
  // The same values, channels backwards in memory with gaps, heads and rows exchanged; out likewise.
  Call strange;
  std::vector<float> q(static_cast<std::size_t>(Call::kB * Call::kM * Call::kHq * Call::kD * 3));
  const std::int64_t rows = Call::kD * 3, heads = Call::kM * rows, batch = Call::kHq * heads;
  for (std::int64_t b = 0; b < Call::kB; ++b) {
    for (std::int64_t m = 0; m < Call::kM; ++m) {
      for (std::int64_t h = 0; h < Call::kHq; ++h) {
        for (std::int64_t c = 0; c < Call::kD; ++c) {
          q[static_cast<std::size_t>(b * batch + h * heads + m * rows + (Call::kD - 1 - c) * 3)] =
              strange.q[static_cast<std::size_t>(((b * Call::kM + m) * Call::kHq + h) * Call::kD + c)];
        }
      }
    }
  }
  strange.inputs.q = TensorView(q.data() + (Call::kD - 1) * 3, DType::f32, {Call::kB, Call::kM, Call::kHq, Call::kD},
                                {batch, rows, heads, -3});
  ASSERT_TRUE(strange.run().ok()) << strange.run().message();
  EXPECT_EQ(strange.out, dense.out);
  EXPECT_EQ(strange.lse, dense.lse);
}

TEST(ChecksTest, LayoutsAreTheSameTensorsWithOtherAxes) {
  Call nhd;
  ASSERT_TRUE(nhd.run().ok());
  Call hnd;
  hnd.inputs.layout = Layout::hnd;
  for (TensorView AttentionInputs::* tensor :
       {&AttentionInputs::q, &AttentionInputs::k, &AttentionInputs::v, &AttentionInputs::out}) {
    std::swap((hnd.inputs.*tensor).shape[1], (hnd.inputs.*tensor).shape[2]);
    std::swap((hnd.inputs.*tensor).strides[1], (hnd.inputs.*tensor).strides[2]);
  }
  ASSERT_TRUE(hnd.run().ok()) << hnd.run().message();
  EXPECT_EQ(hnd.out, nhd.out);
  hnd.inputs.layout = static_cast<Layout>(5);
  EXPECT_EQ(hnd.run().code(), StatusCode::kInvalidArgument);
}

TEST(ChecksTest, Numbers) {
  for (double scale : {kInfinity, -kInfinity, 1e300}) {
    Call call;
    call.params.softmax_scale = scale;
    expect_invalid(call, {"softmax_scale is", "finite"});
  }
  for (double scale : {0.0, -0.25}) {
    Call call;
    call.params.softmax_scale = scale;
    expect_served(call);
  }
  for (double softcap : {-1.0, kInfinity, std::nan(""), 1e-60}) {
    Call call;
    call.params.softcap = softcap;
    expect_invalid(call, {"softcap is", "0 (off)"});
  }
  for (std::int64_t window : {std::int64_t{-2}, std::numeric_limits<std::int64_t>::min()}) {
    Call left;
    left.params.window_left = window;
    expect_invalid(left, {"window is (", "-1 (unlimited)"});
    Call right;
    right.params.window_right = window;
    expect_invalid(right, {"window is (", "-1 (unlimited)"});
  }
  Call causal;
  causal.params.causal = static_cast<Causal>(9);
  expect_invalid(causal, {"causal", "9", "bottom_right"});
  Call recipe;
  recipe.params.recipe.p_range = 0;
  expect_invalid(recipe, {"p_range"});
}

TEST(ChecksTest, DefaultScaleIsOneOverTheRootOfD) {
  Call by_default, by_hand;
  by_hand.params.softmax_scale = 1.0 / std::sqrt(8.0);
  ASSERT_TRUE(by_default.run().ok());
  ASSERT_TRUE(by_hand.run().ok());
  EXPECT_EQ(by_default.out, by_hand.out);
}

TEST(ChecksTest, WindowsBeyondEverythingAreNone) {
  Call plain, wide;
  wide.params.window_left = std::numeric_limits<std::int64_t>::max();
  wide.params.window_right = std::int64_t{1} << 40;
  ASSERT_TRUE(plain.run().ok());
  ASSERT_TRUE(wide.run().ok());
  EXPECT_EQ(plain.out, wide.out);
}

// What the kernels see: strides in their order, broadcast axes with stride 0.
TEST(ChecksTest, TheProblemIsResolved) {
  Call call;
  const std::vector<float> mask(7, 0.0f), slopes(8, 0.5f);
  call.inputs.mask = {mask.data(), DType::f32, {1, 7}};
  call.inputs.alibi_slopes = {slopes.data(), DType::f32, {2, 4}};
  Problem problem;
  ByteRanges ranges;
  const Status status = check_attention(call.inputs, call.params, Pointers::needed, problem, ranges);
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(problem.batch, 2);
  EXPECT_EQ(problem.q_heads, 4);
  EXPECT_EQ(problem.kv_heads, 2);
  EXPECT_EQ(problem.q_rows, 5);
  EXPECT_EQ(problem.k_rows, 7);
  EXPECT_EQ(problem.head_dim, 8);
  EXPECT_EQ(problem.value_dim, 6);
  EXPECT_EQ(strides_of(problem.q), (std::array<std::int64_t, 4>{160, 8, 32, 1}));
  EXPECT_EQ(strides_of(problem.out), (std::array<std::int64_t, 4>{120, 6, 24, 1}));
  EXPECT_EQ(strides_of(problem.mask), (std::array<std::int64_t, 4>{0, 0, 0, 1}));
  EXPECT_EQ(strides_of(problem.alibi_slopes), (std::array<std::int64_t, 4>{4, 1, 0, 0}));
  EXPECT_FALSE(problem.varlen());
}

}  // namespace
}  // namespace octavo
