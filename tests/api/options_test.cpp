// Errors of masks, slopes, sinks, lengths and varlen sequences.
#include <limits>
#include <numeric>

#include "call.hpp"

namespace octavo {
namespace {

TEST(MaskTest, RanksOneToFourBroadcastFromTheRight) {
  const std::vector<float> zeros(2 * 4 * 5 * 7, 0.0f);
  Call plain;
  ASSERT_TRUE(plain.run().ok());
  for (const TensorView& mask :
       {TensorView(zeros.data(), DType::f32, {7}), TensorView(zeros.data(), DType::f32, {1}),
        TensorView(zeros.data(), DType::f32, {5, 7}), TensorView(zeros.data(), DType::f32, {5, 1}),
        TensorView(zeros.data(), DType::f32, {4, 5, 7}), TensorView(zeros.data(), DType::f32, {2, 1, 5, 7}),
        TensorView(zeros.data(), DType::f32, {2, 4, 5, 7}), TensorView(zeros.data(), DType::f64, {5, 7}),
        TensorView(zeros.data(), DType::f16, {5, 7}), TensorView(zeros.data(), DType::bf16, {5, 7})}) {
    Call call;
    call.inputs.mask = mask;
    const Status status = call.run();
    ASSERT_TRUE(status.ok()) << shape_string(mask) << ": " << status.message();
    for (std::size_t i = 0; i < call.out.size(); ++i) EXPECT_NEAR(call.out[i], plain.out[i], 2e-2);
  }
}

TEST(MaskTest, AMaskReachesTheRowsItNames) {
  std::vector<std::uint8_t> see(5 * 7, 1);
  std::fill(see.begin() + 3 * 7, see.begin() + 4 * 7, std::uint8_t{0});  // row 3 sees nothing
  Call call;
  call.inputs.mask = {see.data(), DType::boolean, {5, 7}};
  ASSERT_TRUE(call.run().ok());
  for (std::size_t i = 0; i < call.lse.size(); ++i) {
    EXPECT_EQ(call.lse[i] == -std::numeric_limits<float>::infinity(), i % 5 == 3);
  }
}

TEST(MaskTest, Refusals) {
  const std::vector<float> zeros(1000, 0.0f);
  for (DType dtype : {DType::s32, DType::u8, DType::s64, DType::e4m3}) {
    Call call;
    call.inputs.mask = {zeros.data(), dtype, {5, 7}};
    expect_invalid(call, {"mask is", to_string(dtype).data(), "bool", "f64"});
  }
  for (const TensorView& mask :
       {TensorView(zeros.data(), DType::f32, {6}), TensorView(zeros.data(), DType::f32, {7, 5}),
        TensorView(zeros.data(), DType::f32, {2, 5, 7}), TensorView(zeros.data(), DType::f32, {3, 4, 5, 7})}) {
    Call call;
    call.inputs.mask = mask;
    expect_invalid(call, {"mask has shape", "broadcast from the right to [2, 4, 5, 7]"});
  }
  Call scalar;
  scalar.inputs.mask.data = const_cast<float*>(zeros.data());
  expect_invalid(scalar, {"mask has rank 0", "1 to 4"});
  Call null;
  null.inputs.mask = {nullptr, DType::f32, {5, 7}};
  expect_invalid(null, {"mask", "null pointer"});
  Call overlapping;
  overlapping.inputs.mask = {overlapping.out.data() + 9, DType::f32, {7}};
  expect_invalid(overlapping, {"out overlaps mask"});
}

TEST(SlopesTest, ShapesAndDType) {
  const std::vector<float> values(16, 0.25f);
  for (const TensorView& slopes :
       {TensorView(values.data(), DType::f32, {4}), TensorView(values.data(), DType::f32, {2, 4}),
        TensorView(values.data(), DType::f16, {4}), TensorView(values.data(), DType::f64, {4})}) {
    Call call;
    call.inputs.alibi_slopes = slopes;
    expect_served(call);
  }
  Call shape;
  shape.inputs.alibi_slopes = {values.data(), DType::f32, {2}};
  expect_invalid(shape, {"alibi_slopes has shape [2]", "[4]", "[2, 4]"});
  Call missing;
  missing.params.alibi = Alibi::symmetric;
  expect_invalid(missing, {"alibi is symmetric", "alibi_slopes are missing"});
  missing.inputs.alibi_slopes = {values.data(), DType::f32, {4}};
  expect_served(missing);
  Call unknown;
  unknown.params.alibi = static_cast<Alibi>(2);
  expect_invalid(unknown, {"alibi is the unknown value 2", "causal and symmetric"});
  Call dtype;
  dtype.inputs.alibi_slopes = {values.data(), DType::s32, {4}};
  expect_invalid(dtype, {"alibi_slopes is s32", "f32, f16, bf16 and f64"});
}

TEST(SinksTest, ShapesAndDType) {
  const std::vector<double> values(16, 0.0);
  for (DType dtype : {DType::f32, DType::f16, DType::bf16, DType::f64}) {
    Call call;
    call.inputs.sinks = {values.data(), dtype, {4}};
    expect_served(call);
  }
  Call shape;
  shape.inputs.sinks = {values.data(), DType::f32, {2, 4}};
  expect_invalid(shape, {"sinks has shape [2, 4]", "[4]"});
  Call dtype;
  dtype.inputs.sinks = {values.data(), DType::s32, {4}};
  expect_invalid(dtype, {"sinks is s32", "f64"});
}

TEST(KvLensTest, RangeShapeDType) {
  for (std::int32_t length : {0, 3, 7}) {
    const std::vector<std::int32_t> lengths{length, 7};
    Call call;
    call.inputs.kv_lens = {lengths.data(), DType::s32, {2}};
    expect_served(call);
  }
  const std::vector<std::int64_t> beyond{7, 8}, negative{-1, 2};
  Call call;
  call.inputs.kv_lens = {beyond.data(), DType::s64, {2}};
  expect_invalid(call, {"kv_lens[1] is 8", "0 to 7"});
  call.inputs.kv_lens = {negative.data(), DType::s64, {2}};
  expect_invalid(call, {"kv_lens[0] is -1", "0 to 7"});
  call.inputs.kv_lens = {beyond.data(), DType::s64, {1}};
  expect_invalid(call, {"kv_lens has shape [1]", "[batch]"});
  call.inputs.kv_lens = {beyond.data(), DType::u32, {2}};
  expect_invalid(call, {"kv_lens is u32", "s32 and s64"});
  call.inputs.kv_lens = {nullptr, DType::s32, {2}};
  expect_invalid(call, {"kv_lens", "null pointer"});
}

// Two sequences of 2 and 3 rows, 3 and 4 keys.
struct PackedCall : Call {
  std::vector<std::int32_t> borders_q{0, 2, 5};
  std::vector<std::int64_t> borders_k{0, 3, 7};
  PackedCall() {
    inputs.q = {q.data(), DType::f32, {5, kHq, kD}};
    inputs.k = {k.data(), DType::f32, {7, kHkv, kD}};
    inputs.v = {v.data(), DType::f32, {7, kHkv, kDv}};
    out.resize(5 * kHq * kDv);
    lse.resize(kHq * 5);
    inputs.out = {out.data(), DType::f32, {5, kHq, kDv}};
    inputs.lse = {lse.data(), DType::f32, {kHq, 5}};
    inputs.cu_seqlens_q = {borders_q.data(), DType::s32, {3}};
    inputs.cu_seqlens_k = {borders_k.data(), DType::s64, {3}};
  }
};

TEST(PackedTest, EachSequenceIsACallOfItsOwn) {
  PackedCall packed;
  expect_served(packed);
  Call alone;
  alone.inputs.q = {packed.q.data() + 2 * Call::kHq * Call::kD, DType::f32, {1, 3, Call::kHq, Call::kD}};
  alone.inputs.k = {packed.k.data() + 3 * Call::kHkv * Call::kD, DType::f32, {1, 4, Call::kHkv, Call::kD}};
  alone.inputs.v = {packed.v.data() + 3 * Call::kHkv * Call::kDv, DType::f32, {1, 4, Call::kHkv, Call::kDv}};
  alone.inputs.out = {alone.out.data(), DType::f32, {1, 3, Call::kHq, Call::kDv}};
  alone.inputs.lse = {alone.lse.data(), DType::f32, {1, Call::kHq, 3}};
  ASSERT_TRUE(alone.run().ok());
  for (std::size_t i = 0; i < 3 * Call::kHq * Call::kDv; ++i) {
    EXPECT_EQ(packed.out[2 * Call::kHq * Call::kDv + i], alone.out[i]);
  }
  for (std::size_t h = 0; h < Call::kHq; ++h) {
    for (std::size_t row = 0; row < 3; ++row) EXPECT_EQ(packed.lse[h * 5 + 2 + row], alone.lse[h * 3 + row]);
  }
}

TEST(PackedTest, Borders) {
  const auto refused = [](std::vector<std::int32_t> borders, std::initializer_list<const char*> words) {
    PackedCall call;
    call.borders_q = std::move(borders);
    call.inputs.cu_seqlens_q.data = call.borders_q.data();
    expect_invalid(call, words);
  };
  refused({1, 2, 5}, {"cu_seqlens_q begins with 1", "0"});
  refused({0, 6, 5}, {"cu_seqlens_q decreases from 6 to 5", "entry 2"});
  refused({0, -1, 5}, {"cu_seqlens_q decreases from 0 to -1", "entry 1"});
  refused({0, 2, 4}, {"cu_seqlens_q ends with 4", "q has 5 rows"});
  PackedCall keys;
  keys.borders_k[2] = 8;
  expect_invalid(keys, {"cu_seqlens_k ends with 8", "k has 7 rows"});
}

TEST(PackedTest, Shapes) {
  PackedCall one_missing;
  one_missing.inputs.cu_seqlens_k = {};
  expect_invalid(one_missing, {"only cu_seqlens_q", "cu_seqlens_k"});
  PackedCall lengths;
  lengths.inputs.cu_seqlens_k.shape[0] = 2;
  expect_invalid(lengths, {"cu_seqlens_k has shape [2]", "batch + 1"});
  PackedCall none;
  none.inputs.cu_seqlens_q.shape[0] = 0;
  expect_invalid(none, {"cu_seqlens_q has no entries"});
  PackedCall rank;
  rank.inputs.q = {rank.q.data(), DType::f32, {1, 5, Call::kHq, Call::kD}};
  expect_invalid(rank, {"q has shape", "3 axes", "cu_seqlens"});
  PackedCall lse;
  lse.inputs.lse = {lse.lse.data(), DType::f32, {1, Call::kHq, 5}};
  expect_invalid(lse, {"lse has shape", "[4, 5]", "[heads, total]"});
  PackedCall dtype;
  dtype.inputs.cu_seqlens_q.dtype = DType::f32;
  expect_invalid(dtype, {"cu_seqlens_q is f32", "s32 and s64"});
  PackedCall both;
  const std::vector<std::int32_t> kv_lens{1, 1};
  both.inputs.kv_lens = {kv_lens.data(), DType::s32, {2}};
  expect_invalid(both, {"kv_lens and cu_seqlens"});
}

TEST(PackedTest, AMaskIsAsLargeAsTheLongestSequence) {
  const std::vector<float> zeros(2 * 4 * 5 * 7, 0.0f);
  PackedCall longest;
  longest.inputs.mask = {zeros.data(), DType::f32, {2, 1, 3, 4}};
  expect_served(longest);
  PackedCall total;
  total.inputs.mask = {zeros.data(), DType::f32, {5, 7}};
  expect_invalid(total, {"mask has shape [5, 7]", "[2, 4, 3, 4]", "longest"});
}

}  // namespace
}  // namespace octavo
