// What the CUDA back end serves of what a CPU does: every preset with every number of channels and every option finds
// its kernels on each generation of GPUs, and of the recipes that differ from a preset by one field the refused ones
// are those of a list. Kernels are noted here, not run.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <optional>
#include <regex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "device_twin.hpp"
#include "emulated_runtime.hpp"
#include "padding.hpp"
#include "recipe_values.hpp"
#include "scenario.hpp"

namespace octavo::test {
namespace {

constexpr std::int64_t kDims[] = {40, 64, 96, 128, 192, 256};

struct Gpu {
  int capability;
  bool wgmma;
};
constexpr Gpu kGpus[] = {{80, false}, {89, false}, {90, true}, {100, false}, {120, false}};

bool has_codes(Format format) { return format != Format::input && format != Format::f16; }

struct Option {
  const char* what;
  void (*set)(Scenario&);
};
const Option kOptions[] = {
    {"nothing else", [](Scenario&) {}},
    {"f32", [](Scenario& s) { s.dtype = DType::f32; }},
    {"bf16", [](Scenario& s) { s.dtype = DType::bf16; }},
    {"few rows", [](Scenario& s) { s.m = 3; }},
    {"many rows", [](Scenario& s) { s.m = 200, s.n = 300; }},
    {"few rows, many keys", [](Scenario& s) { s.n = 5000; }},
    {"fewer channels of V", [](Scenario& s) { s.dv = 24; }},
    {"fewer channels of Q", [](Scenario& s) { s.d = 24; }},
    {"causal", [](Scenario& s) { s.causal = Causal::bottom_right; }},
    {"a window of the other diagonal", [](Scenario& s) { s.causal = Causal::top_left, s.window_left = 9; }},
    {"a mask of bools", [](Scenario& s) { s.mask = MaskKind::bool_full; }},
    {"a mask of keys", [](Scenario& s) { s.mask = MaskKind::bool_keys; }},
    {"a mask of f32", [](Scenario& s) { s.mask = MaskKind::f32_full; }},
    {"a mask of f16", [](Scenario& s) { s.mask = MaskKind::f16_heads; }},
    {"a mask of bf16", [](Scenario& s) { s.mask = MaskKind::bf16_queries; }},
    {"a mask of f64", [](Scenario& s) { s.mask = MaskKind::f64_strided; }},
    {"ALiBi", [](Scenario& s) { s.alibi = true; }},
    {"symmetric ALiBi", [](Scenario& s) { s.alibi = s.symmetric_alibi = true; }},
    {"softcap", [](Scenario& s) { s.softcap = 5; }},
    {"sinks", [](Scenario& s) { s.sinks = true; }},
    {"kv_lens", [](Scenario& s) { s.kv_lens = {31}; }},
    {"key_mask", [](Scenario& s) { s.key_mask = true; }},
    {"varlen", [](Scenario& s) { s.q_lens = {20, 0, 3}, s.k_lens = {40, 5, 17}; }},
    {"varlen with options",
     [](Scenario& s) {
       s.q_lens = {20, 3}, s.k_lens = {40, 17};
       s.causal = Causal::bottom_right, s.sinks = s.alibi = true, s.softcap = 5;
     }},
    {"codes", [](Scenario& s) { s.quantized_q = s.quantized_k = s.quantized_v = true; }},
    {"codes of K", [](Scenario& s) { s.quantized_k = true; }},
};

Scenario scenario_of(const std::string& recipe_text, std::int64_t dim, const Option& option) {
  Scenario s;
  s.recipe = recipe_text;
  s.ratio = 2;
  s.m = 20, s.n = 40;
  s.d = s.dv = dim;
  s.dtype = DType::f16;
  option.set(s);
  const Recipe recipe = recipe_of(recipe_text);
  s.quantized_q = s.quantized_q && has_codes(recipe.scores);
  s.quantized_k = s.quantized_k && has_codes(recipe.scores);
  s.quantized_v = s.quantized_v && has_codes(recipe.values);
  return s;
}

class CudaServedTest : public ::testing::Test {
 protected:
  CudaServedTest() { runtime_.runs_kernels = false; }
  void be(const Gpu& gpu) {
    runtime_.pretend(gpu.capability);
    runtime_.gpus.at(0).wgmma_kernels = gpu.wgmma;
  }
  EmulatedRuntime runtime_;
};

TEST_F(CudaServedTest, EveryPresetWithEveryOption) {
  RunOptions on_device;
  on_device.attention = &attention_on_device;
  int calls = 0;
  for (const RecipeInfo& info : recipes()) {
    for (const std::int64_t dim : kDims) {
      for (const Option& option : kOptions) {
        const Call call(scenario_of(std::string(info.name), dim, option));
        SCOPED_TRACE(describe(call.scenario()) + ", " + option.what);
        ASSERT_TRUE(call.accepts("").ok()) << call.accepts("").message();
        for (const Gpu& gpu : kGpus) {
          be(gpu);
          runtime_.launched.clear();
          const Status status = call.run("", on_device).status;
          EXPECT_TRUE(status.ok()) << "on " << gpu.capability << ": " << status.message();
          EXPECT_TRUE(std::any_of(runtime_.launched.begin(), runtime_.launched.end(),
                                  [](const std::string& name) { return name.starts_with("attend_"); }))
              << "on " << gpu.capability;
          ++calls;
        }
        if (HasFailure()) return;
      }
    }
  }
  EXPECT_GT(calls, 10000);
  EXPECT_EQ(runtime_.held(), 0);
}

TEST_F(CudaServedTest, CodesOfEveryPreset) {
  DeviceTwins twins({DeviceType::cuda, 0});
  std::vector<float> numbers(200 * 256);
  const std::vector<std::int64_t> starts = {0, 50, 50, 200};
  const Padding padding{{30, 0}, std::vector<unsigned char>(200, 1), 2, 100};
  const TensorView cu_seqlens(starts.data(), DType::s64, {4});
  const auto twin = [&](const TensorView& view) { return twins.to_device(view); };
  int made = 0;
  for (const RecipeInfo& info : recipes()) {
    for (const std::int64_t dim : kDims) {
      for (const Role role : {Role::q, Role::k, Role::v}) {
        SCOPED_TRACE(std::string(info.name) + " " + std::string(to_string(role)) + " " + std::to_string(dim));
        const TensorView x(numbers.data(), DType::f32, {2, 100, 1, dim}),
            all(numbers.data(), DType::f32, {200, 1, dim});
        const auto expect_served = [&](const TensorView& of, const TensorView& cu, const TensorView& lens,
                                       const TensorView& mask) {
          const Result<QuantizedTensor> here = quantize(of, role, info.recipe, Layout::nhd, {}, cu, lens, mask);
          const Result<QuantizedTensor> there =
              quantize(twin(of), role, info.recipe, Layout::nhd, {}, twin(cu), twin(lens), twin(mask));
          ASSERT_EQ(there.status().message(), here.status().message());
          if (!here.ok()) return;  // kept in floats
          const Status status = dequantize(there->view(), twin(of));
          EXPECT_TRUE(status.ok()) << status.message();
          ++made;
        };
        expect_served(x, {}, {}, {});
        expect_served(all, cu_seqlens, {}, {});
        if (role != Role::q) expect_served(x, {}, padding.kv_lens(), padding.key_mask());
      }
    }
  }
  EXPECT_GT(made, 600);
}

TEST_F(CudaServedTest, CachesOfEveryFormat) {
  const Device gpu{DeviceType::cuda, 0};
  std::vector<float> numbers(2 * 200 * 4 * 256);
  std::vector<unsigned char> bools(2 * 200 * 200, 1);
  const std::vector<std::int64_t> starts = {0, 1, 4};
  for (const DType format : {DType::s8, DType::s4, DType::e4m3, DType::f16, DType::bf16, DType::f32}) {
    for (const std::int64_t dim : kDims) {
      for (const std::int64_t page_size : {0, 32}) {
        SCOPED_TRACE(std::string(to_string(format)) + " " + std::to_string(dim) + " " + std::to_string(page_size));
        KVCacheOptions options;
        options.batch = 2, options.kv_heads = 2, options.head_dim = dim, options.capacity = 300;
        options.format = format, options.page_size = page_size, options.device = gpu;
        Result<KVCache> made = KVCache::create(options);
        ASSERT_TRUE(made.ok()) << made.status().message();
        KVCache& cache = *made;
        const auto expect_launched = [&](const char* kernel) {
          EXPECT_TRUE(std::any_of(runtime_.launched.begin(), runtime_.launched.end(), [&](const std::string& name) {
            return name.starts_with(kernel);
          })) << kernel;
          runtime_.launched.clear();
        };
        runtime_.launched.clear();
        const auto expect_ok = [](const Status& status) { EXPECT_TRUE(status.ok()) << status.message(); };
        for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
          DeviceTwins twins(gpu);
          const TensorView rows = twins.to_device({numbers.data(), dtype, {2, 96, 2, dim}});
          expect_ok(cache.append(rows, rows));
          expect_launched("append_cache_rows");
          CacheQuery query;
          query.q = twins.to_device({numbers.data(), dtype, {2, 3, 4, dim}});
          query.out = twins.to_device({numbers.data(), dtype, {2, 3, 4, dim}});
          expect_ok(cache.attend(query));
          expect_launched("attend_cache");
          const std::int64_t keys = cache.length(0);
          query.sinks = twins.to_device({numbers.data(), DType::f16, {4}});
          query.alibi_slopes = twins.to_device({numbers.data(), DType::f32, {2, 4}});
          query.mask = twins.to_device({numbers.data(), DType::bf16, {3, keys}});
          query.key_mask = twins.to_device({bools.data(), DType::boolean, {2, keys}});
          query.tree_mask = twins.to_device({bools.data(), DType::boolean, {3, 3}});
          CacheAttentionParams params;
          params.window_left = 50, params.softcap = 5;
          expect_ok(cache.attend(query, params));
          expect_launched("attend_cache");
          query.q = twins.to_device({numbers.data(), dtype, {4, 4, dim}});
          query.out = twins.to_device({numbers.data(), dtype, {4, 4, dim}});
          query.cu_seqlens_q = {starts.data(), DType::s64, {3}};
          expect_ok(cache.attend(query, params));
          expect_launched("attend_cache");
          expect_ok(cache.trim(0, 90));
          expect_ok(cache.fork(0, 1));
          expect_ok(cache.reorder(std::vector<std::int64_t>{1, 1}));
        }
        DeviceTwins twins(gpu);
        const TensorView rows = twins.to_device({numbers.data(), DType::f32, {2, 96, 2, dim}});
        expect_ok(cache.append(rows, rows));
        expect_ok(cache.evict(0, 64, cache.length(0) - 64 - 64));
        runtime_.launched.clear();
        std::vector<std::byte> bytes(cache.saved_size());
        expect_ok(cache.save(bytes));
        if (page_size == 0) expect_launched("move_cache_strips");
        const Result<KVCache> loaded = KVCache::load(bytes, gpu);
        expect_ok(loaded.status());
      }
    }
  }
}

// "key_block=64 with values=s8" of "... does not support key_block=64 with values=s8; it supports ...".
std::string missing_in(const std::string& message) {
  static const std::string kBefore = " does not support ";
  const std::size_t at = message.find(kBefore);
  if (at == std::string::npos) return message;
  const std::size_t begin = at + kBefore.size();
  return message.substr(begin, message.find(';') - begin);
}

// The fields that the message names as missing, without their values.
std::string fields_in(const std::string& message) {
  return std::regex_replace(missing_in(message), std::regex("=[^ ,]+"), "");
}

// What the message offers in the field's place: {"p", "s8", "u8"} of "it supports p=s8 and u8 there". Empty: a
// sentence.
std::vector<std::string> offer_of(const std::string& message) {
  static const std::regex kOffer("; it supports ([a-z0-9_]+)=([a-z0-9_]+(?:(?:, | and )[a-z0-9_]+)*)");
  std::smatch found;
  if (!std::regex_search(message, found, kOffer)) return {};
  std::vector<std::string> offer = {found[1]};
  const std::string values = found[2];
  static const std::regex kLink(", | and ");
  offer.insert(offer.end(), std::sregex_token_iterator(values.begin(), values.end(), kLink, -1), {});
  return offer;
}

// Calls of recipes that differ from a preset by one field.
struct Served {
  std::set<std::string> refused;
  std::map<std::string, bool> offers;  // whether some call that took the offer was not refused for that field again
  int served = 0, refusals = 0;

  explicit Served(const char* implementation) : implementation_(implementation) {
    on_device_.attention = &attention_on_device;
    for (const RecipeInfo& info : recipes()) {
      for (const auto& [field, values] : values_of_fields()) {
        for (const char* value : values) try_recipe(info.recipe, field, value);
      }
    }
  }

 private:
  // Of a recipe with another value of a field, where a CPU has it.
  std::optional<Status> status_with(Recipe recipe, std::string_view field, std::string_view value) const {
    if (!set_recipe_field(recipe, field, value).ok() || !check_recipe(recipe).ok()) return {};
    const Call call(scenario_of(to_string(recipe), 64, kOptions[0]));
    if (!call.accepts("").ok()) return {};
    return call.run(implementation_, on_device_).status;
  }
  void try_recipe(Recipe recipe, std::string_view field, const char* value) {
    const std::optional<Status> status = status_with(recipe, field, value);
    if (!status) return;
    ++(status->ok() ? served : refusals);
    if (status->ok()) return;
    const std::string message(status->message());
    ASSERT_TRUE(set_recipe_field(recipe, field, value).ok());
    EXPECT_EQ(status->code(), StatusCode::kUnimplemented) << message;
    EXPECT_NE(message.find("; it supports "), std::string::npos) << message;
    EXPECT_NE(message.find(to_string(recipe)), std::string::npos) << message;
    refused.insert(fields_in(message));
    const std::vector<std::string> offer = offer_of(message);
    for (std::size_t i = 1; i < offer.size(); ++i) {
      const std::optional<Status> taken = status_with(recipe, offer[0], offer[i]);
      bool& kept = offers[fields_in(message) + ": " + offer[i]];
      kept = kept || (taken && (taken->ok() || !missing_in(taken->message()).starts_with(offer[0] + "=")));
    }
  }

  const char* implementation_;
  RunOptions on_device_;
};

// The kernels take every value that a message offers.
void expect_true_offers(const Served& of) {
  EXPECT_GT(of.offers.size(), 15u);
  for (const auto& [offer, kept] : of.offers) EXPECT_TRUE(kept) << offer;
}

// docs/cuda.md has the same list.
std::set<std::string> refused_everywhere() {
  return {"accumulator with scores",
          "channel_gains",
          "hadamard with scores",
          "hadamard_v with scores",
          "key_block with values",
          "key_block with values and scores",
          "p with values",
          "p_range with p",
          "p_reference with p",
          "scores with p and values",
          "smooth_k with scores",
          "smooth_q with scores",
          "smooth_v with scores",
          "v_scale with values",
          "v_scale with values and scores"};
}

TEST_F(CudaServedTest, RefusedRecipes) {
  const Served of("");
  EXPECT_EQ(of.refused, refused_everywhere());
  expect_true_offers(of);
  EXPECT_GT(of.served, 2 * of.refusals);
}

TEST_F(CudaServedTest, RecipesRefusedByHoppersKernels) {
  be({90, true});
  std::set<std::string> expected = refused_everywhere();
  expected.erase("accumulator with scores");  // refused with all formats, below
  expected.insert("keep_first with keep_near and keep_heavy and values");
  expected.insert("scores with p and values and accumulator, inputs of f16 and 64 channels");
  const Served of("sm90");
  EXPECT_EQ(of.refused, expected);
  expect_true_offers(of);
  EXPECT_GT(of.served, of.refusals);
}

}  // namespace
}  // namespace octavo::test
