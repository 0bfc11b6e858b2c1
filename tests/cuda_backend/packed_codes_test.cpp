// Codes of packed sequences on a device, where the host does not know their lengths: scales and means have room for the
// most groups that the sequences can have, and kernels find where those of each begin. quantize() makes the oracle's
// bytes, and attention() gives every sequence the bits that it gets alone.
#include <gtest/gtest.h>

#include "card.hpp"
#include "cuda/host/runtime.hpp"
#include "device_twin.hpp"
#include "octavo/device.hpp"
#include "pack.hpp"
#include "same_codes.hpp"
#include "scenario.hpp"

namespace octavo::test {
namespace {

using Lengths = std::vector<std::int64_t>;

Lengths many_sequences() {
  Lengths lengths;
  for (std::int64_t b = 0; b < 75; ++b) lengths.push_back(b % 7 == 3 ? 0 : b % 11 == 5 ? 131 : 1 + 5 * b % 23);
  return lengths;
}
const Lengths kPacks[] = {{0, 5, 130, 0, 33, 64, 300}, {1}, {0, 0}, {128, 128}, many_sequences()};

const char* const kRecipes[] = {"int8_fast",
                                "int8",
                                "int8_block",
                                "int_flash",
                                "int4",
                                "sage2_8b",
                                "sage2_4b",
                                "fa3_fp8",
                                "int_flash_block_v",
                                "int8_fast,q_scale=warp,k_scale=warp",
                                "int8_fast,q_scale=tensor,k_scale=tensor,v_scale=token",
                                "int8_fast,v_scale=channel,smooth_v=on",
                                "int8_fast,v_scale=block,key_block=256",
                                "int8_fast,v_scale=block_channel,key_block=64",
                                "int8_block,smooth_q=on,robust=on"};

TensorView of_integers(const std::vector<std::int64_t>& values) {
  return {values.data(), DType::s64, {static_cast<std::int64_t>(values.size())}};
}
TensorView of_integers(const std::vector<std::int32_t>& values) {
  return {values.data(), DType::s32, {static_cast<std::int64_t>(values.size())}};
}

std::vector<unsigned char> copied(const TensorView& view) {
  return bytes_of(view, [](void* to, const TensorView& from, std::size_t bytes) {
    EXPECT_TRUE(cuda::runtime()->copy(from.device.index, to, from.data, bytes, cuda::CopyKind::to_host).ok());
  });
}

// The floats of every head before the room that is left; `got` is on the device and may have more along axis 1.
void expect_same_heads(const TensorView& got, const TensorView& expected, const char* what) {
  ASSERT_EQ(got.given(), expected.given()) << what;
  if (!got.given()) return;
  ASSERT_EQ(got.rank, expected.rank) << what;
  ASSERT_EQ(got.shape[0], expected.shape[0]) << what;
  ASSERT_LE(expected.shape[1], got.shape[1]) << what;
  const std::vector<unsigned char> a = copied(got), b = bytes_of(expected, copy_on_host);
  const auto size = [](const TensorView& view) { return static_cast<std::size_t>(view.shape[1] * view.strides[1]); };
  const std::size_t of_got = size(got) * 4, of_expected = size(expected) * 4;
  for (std::size_t h = 0; h < static_cast<std::size_t>(got.shape[0]); ++h) {
    for (std::size_t i = 0; i < of_got; i += 4) {
      float x = 0, y = 0;
      std::memcpy(&x, a.data() + h * of_got + i, 4);
      if (i >= of_expected) continue;
      std::memcpy(&y, b.data() + h * of_expected + i, 4);
      ASSERT_TRUE(std::memcmp(&x, &y, 4) == 0 || (std::isnan(x) && std::isnan(y)))
          << what << ": float " << i / 4 << " of head " << h << " is " << x << ", expected " << y;
    }
  }
}

struct Packed {
  Extents extents;
  Tensor x;
  std::vector<std::int64_t> starts;
  std::vector<std::int32_t> short_starts;
  Layout layout;

  Packed(const Lengths& lengths, std::int64_t heads, std::int64_t dim, DType dtype, Layout order, std::uint32_t seed)
      : extents{1, heads, sum(lengths), dim},
        x(dtype, extents, {.layout = order, .padding = 2}, true),
        starts{0},
        layout(order) {
    for (std::int64_t rows : lengths) starts.push_back(starts.back() + rows);
    short_starts.assign(starts.begin(), starts.end());
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    std::vector<float> values(static_cast<std::size_t>(heads * sum(lengths) * dim));
    for (float& value : values) value = normal(random);
    if (!values.empty()) values[values.size() / 2] = std::numeric_limits<float>::infinity();
    x.fill(values);
  }
  static std::int64_t sum(const Lengths& lengths) {
    return std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0});
  }
};

void expect_the_oracles(const std::string& recipe_text, Role role, const Packed& pack, bool in_64_bits) {
  const Recipe recipe = recipe_of(recipe_text);
  const TensorView starts = in_64_bits ? of_integers(pack.starts) : of_integers(pack.short_starts);
  Execution reference;
  reference.implementation = "reference";
  const Result<QuantizedTensor> expected = quantize(pack.x.view(), role, recipe, pack.layout, reference, starts);
  const Device device{DeviceType::cuda, 0};
  DeviceTwins twins(device);
  const Result<QuantizedTensor> got =
      quantize(twins.to_device(pack.x.view()), role, recipe, pack.layout, {}, twins.to_device(starts));
  if (!expected.ok()) {  // the recipe keeps this operand in floats
    EXPECT_EQ(got.status().message(), expected.status().message());
    return;
  }
  ASSERT_TRUE(got.ok()) << got.status().message();
  ASSERT_EQ(got->view().codes.shape, expected->view().codes.shape);
  EXPECT_EQ(copied(got->view().codes), bytes_of(expected->view().codes, copy_on_host)) << "codes differ";
  expect_same_heads(got->view().scales, expected->view().scales, "scales");
  expect_same_heads(got->view().mean, expected->view().mean, "means");
  EXPECT_EQ(got->view().cu_seqlens.device, device);
  EXPECT_EQ(copied(got->view().cu_seqlens), bytes_of(of_integers(pack.starts), copy_on_host)) << "the copy differs";

  // Of codes with room behind the last group, and of codes without.
  const auto tensor = [&] { return Tensor(DType::f32, pack.extents, {.layout = pack.layout}, true); };
  Tensor back = tensor(), here = tensor(), moved = tensor();
  ASSERT_TRUE(dequantize(expected->view(), here.view(), reference).ok());
  DeviceTwins read(device), written(device);
  Status status = dequantize(got->view(), written.to_device(back.view()));
  ASSERT_TRUE(status.ok()) << status.message();
  status = dequantize(read.to_device(expected->view()), written.to_device(moved.view()));
  ASSERT_TRUE(status.ok()) << status.message();
  written.to_host();
  EXPECT_TRUE(same_floats(back.view(), here.view(), copy_on_host)) << "dequantized";
  EXPECT_TRUE(same_floats(moved.view(), here.view(), copy_on_host)) << "dequantized, the oracle's codes";
}

TEST(CudaPackedCodes, BytesAreTheOracles) {
  [[maybe_unused]] const Card card;
  const DType dtypes[] = {DType::f32, DType::f16, DType::bf16};
  std::size_t turn = 0;
  for (const char* recipe : kRecipes) {
    for (Role role : {Role::q, Role::k, Role::v}) {
      for (const Lengths& lengths : kPacks) {
        const std::int64_t dim = turn % 4 == 0 ? 19 : turn % 4 == 1 ? 64 : turn % 4 == 2 ? 128 : 130;
        const Packed pack(lengths, 2, dim, dtypes[turn % 3], turn % 2 == 0 ? Layout::nhd : Layout::hnd, 5);
        SCOPED_TRACE(std::string(recipe) + " " + std::string(to_string(role)) + " sequences " +
                     std::to_string(lengths.size()) + " dim " + std::to_string(dim));
        expect_the_oracles(recipe, role, pack, turn % 5 != 0);
        if (::testing::Test::HasFailure()) return;
        ++turn;
      }
    }
  }
  EXPECT_EQ(card.held(), 0) << "memory was not given back";
}

// Starts that are no starts: nothing outside the tensors is touched, and the call succeeds.
TEST(CudaPackedCodes, InvalidStartsStayInside) {
  [[maybe_unused]] const Card card;
  const Device device{DeviceType::cuda, 0};
  for (const std::vector<std::int64_t>& starts : {std::vector<std::int64_t>{5, 200, 3, 1000, -7},
                                                  {0, 300, 300, 300, 300},
                                                  {0, 300, 0, 300, 0},
                                                  {0, 1, 2, 3, 4}}) {
    for (const char* recipe : kRecipes) {
      for (Role role : {Role::q, Role::k, Role::v}) {
        const Packed pack({300}, 2, 64, DType::f32, Layout::nhd, 3);
        DeviceTwins twins(device);
        const Result<QuantizedTensor> got = quantize(twins.to_device(pack.x.view()), role, recipe_of(recipe),
                                                     Layout::nhd, {}, twins.to_device(of_integers(starts)));
        if (!got.ok()) continue;
        Tensor back(DType::f32, pack.extents, {}, true);
        const Status status = dequantize(got->view(), twins.to_device(back.view()));
        EXPECT_TRUE(status.ok()) << status.message();
        EXPECT_TRUE(synchronize(device).ok());
        // The starts lie behind the scales and means, and were copied before these were written.
        EXPECT_EQ(copied(got->view().cu_seqlens), bytes_of(of_integers(starts), copy_on_host)) << recipe;
      }
    }
  }
}

// attention() on codes that the device has made, beside the same call on the host's.
void attend_to_the_devices_codes(Operands& o, const Recipe& recipe, const Execution& execution) {
  const Device device{DeviceType::cuda, 0};
  DeviceTwins read(device), written(device);
  AttentionInputs inputs;
  QuantizedTensor made[3];
  const auto give_one = [&](const Pack& pack, char letter, TensorView& floats, const QuantizedView*& codes, int i) {
    floats = read.to_device(pack.view());
    if (!o.codes(letter)) return;
    const Result<QuantizedTensor> q =
        quantize(floats, pack.role, recipe, pack.layout, {}, read.to_device(pack.cu_seqlens()));
    ASSERT_TRUE(q.ok()) << q.status().message();
    floats = {};
    made[i] = *q;
    codes = &made[i].view();
  };
  give_one(o.q, 'q', inputs.q, inputs.quantized_q, 0);
  give_one(o.k, 'k', inputs.k, inputs.quantized_k, 1);
  give_one(o.v, 'v', inputs.v, inputs.quantized_v, 2);
  inputs.layout = o.q.layout;
  inputs.out = written.to_device(o.out_view());
  inputs.lse = written.to_device({o.lse.data(), DType::f32, {kHeads, total(Role::q)}});
  inputs.cu_seqlens_q = read.to_device(o.q.cu_seqlens());
  inputs.cu_seqlens_k = read.to_device(o.k.cu_seqlens());
  const Status status = attention(inputs, causal(recipe), execution);
  ASSERT_TRUE(status.ok()) << status.message();
  ASSERT_TRUE(synchronize(device).ok());
  written.to_host();
}

void expect_equal(const Operands& got, const Operands& expected, const char* what) {
  EXPECT_EQ(std::memcmp(got.out.data(), expected.out.data(), got.out.size() * 4), 0) << "O differs: " << what;
  EXPECT_EQ(std::memcmp(got.lse.data(), expected.lse.data(), got.lse.size() * 4), 0) << "LSE differs: " << what;
}

void expect_the_bits_of_each(std::initializer_list<const char*> recipes, const char* implementation) {
  int turn = 0;
  for (const char* text : recipes) {
    const Recipe recipe = recipe_of(text);
    const char* const subsets[] = {"qkv", "kv", "q"};
    const std::string all = subsets[turn++ % 3];
    std::string codes;
    for (char letter : all)
      if (has_codes(recipe, letter)) codes += letter;
    const Layout layout = all == "kv" ? Layout::hnd : Layout::nhd;
    const Pack q(Role::q, layout, 24, 1), k(Role::k, layout, 24, 2), v(Role::v, layout, 17, 3);
    SCOPED_TRACE(std::string(text) + " codes " + codes + " on " + implementation);
    Execution execution;
    execution.implementation = implementation;
    Operands pack(q, k, v, codes), each(q, k, v, codes), made_there(q, k, v, codes);
    attend_to_the_pack(pack, recipe, execution, &attention_on_device);
    attend_to_each(each, recipe, execution, &attention_on_device);
    attend_to_the_devices_codes(made_there, recipe, execution);
    expect_equal(pack, each, "the pack and each sequence");
    expect_equal(made_there, pack, "codes made on the device and on the host");
  }
}

TEST(CudaPackedCodes, EverySequenceGetsTheBitsThatItGetsAlone) {
  [[maybe_unused]] const Card card;
  expect_the_bits_of_each({"int8_fast", "int8_fast", "int8_fast", "int8_block", "int8_block,smooth_q=on", "int4",
                           "int_flash_block_v", "int_flash", "sage2_8b", "sage2_4b", "fa3_fp8",
                           "int8_fast,v_scale=channel,smooth_v=on", "int8_fast,v_scale=block_channel", "sage1"},
                          "sm80");
}

TEST(CudaPackedCodes, EverySequenceGetsTheBitsThatItGetsAloneOnHopper) {
  Card card;
  if (!has_wgmma(card)) return;
  expect_the_bits_of_each({"int8_fast", "int8_block", "sage2_8b"}, "sm90");
}

TEST(CudaPackedCodes, ShapesAreChecked) {
  [[maybe_unused]] const Card card;
  const Pack k(Role::k, Layout::nhd, 24, 2);
  const Result<QuantizedTensor> made =
      quantize(k.view(), Role::k, recipe_of("int8_block"), Layout::nhd, {}, k.cu_seqlens());
  ASSERT_TRUE(made.ok());
  DeviceTwins twins({DeviceType::cuda, 0});
  QuantizedView view = twins.to_device(made->view());
  std::vector<float> back(k.values.size());
  const TensorView out = twins.to_device(k.view(back.data(), DType::f32));
  const std::int64_t groups = view.scales.shape[1];
  const auto message = [&](std::int64_t extent) {
    view.scales.shape[1] = view.scales.strides[0] = extent;
    return dequantize(view, out).message();
  };
  EXPECT_EQ(message(groups), "");
  // 466 keys in 6 sequences, slices of 64 keys with 4 groups: 8 slices at the least, 6 + 460 / 64 at the most.
  EXPECT_NE(message(31).find("x.scales has shape [2, 31]; these codes and this recipe need [2, 52], or as few as 32"),
            std::string::npos)
      << message(31);
  EXPECT_NE(message(53).find("[2, 53]"), std::string::npos);
  view.cu_seqlens = {};
  EXPECT_NE(dequantize(view, out).message(), "");
}

}  // namespace
}  // namespace octavo::test
