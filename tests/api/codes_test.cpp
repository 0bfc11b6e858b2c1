// Codes in place of floats in attention(), padded and varlen: their results, and which are refused.
#include "codes.hpp"

#include "api/quantized_operand.hpp"

namespace octavo {
namespace {

// A call whose operands are codes made here.
struct QuantizedCall : Call {
  explicit QuantizedCall(std::string_view text, bool with_v = true) {
    params.recipe = recipe_of(text);
    made_q = made(inputs.q, Role::q);
    made_k = made(inputs.k, Role::k);
    codes_q = made_q.view();
    codes_k = made_k.view();
    inputs.quantized_q = &codes_q;
    inputs.quantized_k = &codes_k;
    inputs.q = inputs.k = {};
    if (!with_v) return;
    made_v = made(inputs.v, Role::v);
    codes_v = made_v.view();
    inputs.quantized_v = &codes_v;
    inputs.v = {};
  }
  QuantizedTensor made(const TensorView& x, Role role) {
    Result<QuantizedTensor> result = quantize(x, role, params.recipe, Layout::nhd, on_reference());
    EXPECT_TRUE(result.ok()) << result.status().message();
    return result.ok() ? *std::move(result) : QuantizedTensor{};
  }
  QuantizedTensor made_q, made_k, made_v;
  QuantizedView codes_q, codes_k, codes_v;
};

TEST(QuantizedAttentionTest, CodesGiveWhatFloatsGive) {
  for (const char* recipe : {"int_flash", "int_flash_int4", "int_flash_block_v", "sage1_int8", "sage2_8b", "fp8_e4m3",
                             "fp8_e5m2", "fa3_fp8", "int8_fast,smooth_q=off", "int8_block"}) {
    Call floats;
    floats.params.recipe = recipe_of(recipe);
    ASSERT_TRUE(floats.run().ok());
    QuantizedCall codes(recipe);
    const Status status = codes.run();
    ASSERT_TRUE(status.ok()) << recipe << ": " << status.message();
    for (std::size_t i = 0; i < codes.out.size(); ++i) EXPECT_NEAR(codes.out[i], floats.out[i], 1e-5) << recipe;
  }
}

TEST(QuantizedAttentionTest, FloatsAndCodesMix) {
  QuantizedCall call("int_flash", false);
  expect_served(call);
}

TEST(QuantizedAttentionTest, TheMeanOfKMayBeMissing) {
  QuantizedCall call("sage1_int8");
  call.codes_k.mean = {};
  expect_served(call);
}

TEST(QuantizedAttentionTest, CodesMayHaveALayoutOfTheirOwn) {
  QuantizedCall expected("int_flash"), call("int_flash");
  ASSERT_TRUE(expected.run().ok());
  std::swap(call.codes_k.codes.shape[1], call.codes_k.codes.shape[2]);
  std::swap(call.codes_k.codes.strides[1], call.codes_k.codes.strides[2]);
  call.codes_k.layout = Layout::hnd;
  ASSERT_TRUE(call.run().ok());
  EXPECT_EQ(call.out, expected.out);
}

TEST(QuantizedAttentionTest, Refusals) {
  const std::vector<float> floats = normal_values(2 * 4 * 128 * 8, 5);
  {
    QuantizedCall call("int8");
    call.inputs.q = {floats.data(), DType::f32, {2, 5, 4, 8}};
    expect_invalid(call, {"q and quantized_q are both given"});
  }
  {
    QuantizedCall call("int8");
    call.inputs.quantized_k = nullptr;
    expect_invalid(call, {"neither k nor quantized_k"});
  }
  {
    QuantizedCall call("int8");
    std::swap(call.inputs.quantized_q, call.inputs.quantized_k);
    expect_invalid(call, {"quantized_q has codes of k"});
  }
  {
    QuantizedCall call("int8");
    call.params.recipe = recipe_of("int_flash");
    expect_invalid(call, {"quantized_q was made with hadamard=on", "hadamard=off"});
  }
  {
    QuantizedCall call("int_flash");
    call.params.recipe = recipe_of("int8");  // by the name that the caller gave it
    expect_invalid(call, {"quantized_q was made with hadamard=off", "the call's recipe \"int8\" has hadamard=on"});
  }
  {
    QuantizedCall call("int8");
    call.params.recipe.key_block = 64;  // nothing that per-token codes depend on
    expect_served(call);
  }
  {
    QuantizedCall call("int_flash_block_v");
    call.params.recipe.key_block = 64;
    expect_invalid(call, {"quantized_v was made with key_block=128", "key_block=64"});
  }
  {
    QuantizedCall call("int8");
    call.params.recipe = recipe_of("exact");
    expect_refused(call, StatusCode::kUnimplemented, {"keeps q in floats"});
  }
  {
    QuantizedCall call("int8");
    call.codes_k.rotated = false;
    expect_invalid(call, {"quantized_k is not rotated", "hadamard=on"});
  }
  {
    QuantizedCall call("int8");
    call.codes_k.codes.dtype = DType::e4m3;
    expect_invalid(call, {"quantized_k.codes is e4m3", "s8"});
  }
  {
    QuantizedCall call("int8");
    call.codes_q.mean = {};
    expect_invalid(call, {"quantized_q.mean is missing; recipe \"int8\" smooths q", "[2, 4, 1, 8]"});
  }
  {
    QuantizedCall call("int_flash");
    call.codes_k.mean = {floats.data(), DType::f32, {2, 2, 8}};
    expect_invalid(call, {"quantized_k.mean", "subtracts nothing"});
  }
  {
    QuantizedCall call("int8");
    call.codes_k.scales.shape[2] = 6;
    expect_invalid(call, {"quantized_k.scales has shape [2, 2, 6]", "[2, 2, 7]"});
  }
  {
    QuantizedCall call("int8");
    call.codes_k.scales.dtype = DType::f16;
    expect_invalid(call, {"quantized_k.scales is f16", "f32"});
  }
  {
    QuantizedCall call("int8");
    call.codes_k.scales.strides[2] = 2;
    expect_invalid(call, {"quantized_k.scales must be dense"});
  }
  {
    QuantizedCall call("int8");
    call.codes_k.scales.data = nullptr;
    expect_invalid(call, {"quantized_k.scales", "null pointer"});
  }
  {
    QuantizedCall call("fp8_e5m2");
    call.codes_q.scales = {floats.data(), DType::f32, {2, 4}};
    expect_invalid(call, {"quantized_q.scales", "no scales"});
  }
  {
    QuantizedCall call("int8");
    call.codes_v.codes.rank = 3;
    expect_invalid(call, {"quantized_v.codes", "4 axes"});
  }
  {
    QuantizedCall call("int_flash_int4");
    call.codes_k.codes.strides[1] = 9;
    expect_invalid(call, {"quantized_k.codes is s4", "even stride"});
  }
  {
    QuantizedCall call("int8");
    call.codes_v.codes.data = call.inputs.out.data;  // out is the longer one, and its memory touches nothing else
    expect_invalid(call, {"out overlaps quantized_v.codes"});
  }
  {
    QuantizedCall call("int8");
    const std::vector<std::int32_t> borders{0, 5};
    call.inputs.cu_seqlens_q = call.inputs.cu_seqlens_k = {borders.data(), DType::s32, {2}};
    expect_invalid(call, {"quantized_q.codes", "3 axes", "cu_seqlens"});
  }
  {
    QuantizedCall call("int8");
    const std::vector<std::int32_t> borders{0, 5};
    call.codes_q.cu_seqlens = {borders.data(), DType::s32, {2}};
    expect_invalid(call, {"quantized_q.cu_seqlens is given and the call's is not"});
  }
}

// Three sequences of queries, their keys as codes.
struct PackedCall : Call {
  std::vector<std::int64_t> q_borders{0, 3, 3, 10}, k_borders{0, 6, 9, 14}, others{0, 5, 9, 14};
  QuantizedTensor codes;
  QuantizedView codes_k;

  explicit PackedCall(std::string_view recipe = "int8") {
    params.recipe = recipe_of(recipe);
    inputs.q = {q.data(), DType::f32, {10, kHq, kD}};
    inputs.k = {k.data(), DType::f32, {14, kHkv, kD}};
    inputs.v = {v.data(), DType::f32, {14, kHkv, kDv}};
    inputs.out = {out.data(), DType::f32, {10, kHq, kDv}};
    inputs.lse = {lse.data(), DType::f32, {kHq, 10}};
    inputs.cu_seqlens_q = {q_borders.data(), DType::s64, {4}};
    inputs.cu_seqlens_k = {k_borders.data(), DType::s64, {4}};
    const Result<QuantizedTensor> made =
        quantize(inputs.k, Role::k, params.recipe, Layout::nhd, execution, inputs.cu_seqlens_k);
    EXPECT_TRUE(made.ok()) << made.status().message();
    if (made.ok()) codes = *made;
    codes_k = codes.view();
    inputs.k = {};
    inputs.quantized_k = &codes_k;
  }
};

TEST(QuantizedAttentionTest, PackedCodesThatDoNotFitAreRefused) {
  {
    PackedCall call;
    EXPECT_EQ(shape_string(call.codes_k.scales), "[2, 14]");
    EXPECT_EQ(shape_string(call.codes_k.mean), "[3, 2, 8]");
    expect_served(call);
    call.codes_k.cu_seqlens = {};  // the call's say it all
    expect_served(call);
  }
  {
    PackedCall call;
    call.inputs.cu_seqlens_k.data = call.others.data();
    expect_invalid(call, {"quantized_k.cu_seqlens has 6 at entry 1 and cu_seqlens_k has 5"});
  }
  {
    PackedCall call;
    call.codes_k.cu_seqlens.shape[0] = 3;
    expect_invalid(call, {"quantized_k.cu_seqlens has shape [3]", "like cu_seqlens_k"});
  }
  {
    PackedCall call;
    call.k_borders[3] = 13;
    expect_invalid(call, {"cu_seqlens_k ends with 13", "quantized_k has 14 rows"});
  }
  {
    PackedCall call;
    call.codes_k.scales.shape[1] = 13;
    expect_invalid(call, {"quantized_k.scales has shape [2, 13]", "[2, 14]"});
  }
  {
    PackedCall call("sage2_8b");
    call.codes_k.scales.shape[1] = 4;  // groups begin anew with each of the three sequences
    expect_invalid(call, {"quantized_k.scales has shape [2, 4]", "[2, 12]"});
  }
  {
    PackedCall call;
    call.inputs.out.data = call.codes_k.cu_seqlens.data;
    expect_invalid(call, {"out overlaps quantized_k.cu_seqlens"});
  }
}

}  // namespace
}  // namespace octavo
