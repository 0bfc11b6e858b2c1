// Calls that are refused: the message names the value and what is allowed, and the cache stays as it was.
#include <initializer_list>

#include "cases.hpp"

namespace octavo::test {
namespace {

void expect_refused(const Status& status, StatusCode code, std::initializer_list<const char*> words) {
  EXPECT_EQ(to_string(status.code()), to_string(code)) << status.message();
  for (const char* word : words)
    EXPECT_NE(status.message().find(word), std::string::npos) << "no \"" << word << "\" in: " << status.message();
}
void expect_invalid(const Status& status, std::initializer_list<const char*> words) {
  expect_refused(status, StatusCode::kInvalidArgument, words);
}

constexpr KVCacheOptions kOptions{.batch = 2, .kv_heads = 2, .head_dim = 16, .value_head_dim = 8, .capacity = 40};

TEST(KVCacheErrors, Options) {
  const auto with = [](auto change) {
    KVCacheOptions options = kOptions;
    change(options);
    return KVCache::create(options).status();
  };
  expect_invalid(with([](auto& o) { o.batch = 0; }), {"batch is 0"});
  expect_invalid(with([](auto& o) { o.kv_heads = -1; }), {"kv_heads is -1"});
  expect_invalid(with([](auto& o) { o.head_dim = 0; }), {"head_dim is 0"});
  expect_invalid(with([](auto& o) { o.capacity = 0; }), {"capacity is 0"});
  expect_invalid(with([](auto& o) { o.page_size = 24; }), {"page_size is 24", "multiples of 16"});
  expect_invalid(with([](auto& o) { o.pages = 3; }), {"pages is 3"});
  expect_invalid(with([](auto& o) { o.format = DType::u8; }), {"format is u8", "e4m3, s8 and s4"});
  expect_refused(with([](auto& o) { o.head_dim = 513; }), StatusCode::kUnimplemented, {"513", "512"});
  for (const std::int64_t huge : {std::int64_t{1} << 40, std::int64_t{1} << 62, INT64_MAX}) {
    EXPECT_FALSE(with([&](auto& o) { o.capacity = huge; }).ok());
    EXPECT_FALSE(with([&](auto& o) { o.batch = huge; }).ok());
    EXPECT_FALSE(with([&](auto& o) { o.kv_heads = huge; }).ok());
    EXPECT_FALSE(with([&](auto& o) { o.page_size = huge / 16 * 16; }).ok());
    EXPECT_FALSE(with([&](auto& o) { o.page_size = 16, o.pages = huge; }).ok());
  }
}

TEST(KVCacheErrors, AppendChangesNothing) {
  const Rows k(2, 30, 2, 16, 1), v(2, 30, 2, 8, 2), q(2, 1, 4, 16, 3);
  KVCache cache = make_cache(kOptions);
  ASSERT_TRUE(cache.append(k.part(0, 20), v.part(0, 20)).ok());
  const Output before = attend(cache, q.view());
  const auto append = [&](const TensorView& a, const TensorView& b, std::span<const std::int64_t> sequences = {},
                          std::span<const std::int64_t> counts = {}) {
    return cache.append(a, b, Layout::nhd, sequences, counts);
  };
  expect_invalid(append(k.part(0, 21), v.part(0, 21)), {"sequence 0 has 20 tokens", "21", "capacity of 40"});
  const std::int64_t both[] = {0, 1}, uneven[] = {5, 21};
  expect_invalid(append(k.part(0, 30), v.part(0, 30), both, uneven), {"sequence 1 has 20 tokens"});
  const std::int64_t too_many[] = {1, 31}, negative[] = {-1, 0}, one[] = {1}, twice[] = {1, 1}, third[] = {0, 2};
  expect_invalid(append(k.view(), v.view(), both, too_many), {"counts[1] is 31", "0 to 30"});
  expect_invalid(append(k.view(), v.view(), both, negative), {"counts[0] is -1"});
  expect_invalid(append(k.view(), v.view(), both, one), {"counts has 1 entries"});
  expect_invalid(append(k.view(), v.view(), one), {"batch size 2", "1 sequences are named"});
  expect_invalid(append(k.view(), v.view(), twice), {"sequence 1 is named twice"});
  expect_invalid(append(k.view(), v.view(), third), {"sequence 2", "0 to 1"});
  expect_invalid(append(k.sequence(0, 0, 1), v.sequence(0, 0, 1)), {"batch size 1"});
  expect_invalid(append(k.part(0, 1), k.part(0, 1)), {"v has shape", "8"});
  expect_invalid(append(v.part(0, 1), v.part(0, 1)), {"k has shape", "16"});
  expect_invalid(append(k.part(0, 2), v.part(0, 1)), {"v has shape"});
  const Rows half(2, 1, 2, 8, 1, DType::f16);
  expect_invalid(append(k.part(0, 1), half.view()), {"k is f32 and v is f16"});
  TensorView integers = k.part(0, 1);
  integers.dtype = DType::s32;
  expect_invalid(append(integers, v.part(0, 1)), {"k is s32"});
  TensorView null = k.part(0, 1);
  null.data = nullptr;
  expect_invalid(append(null, v.part(0, 1)), {"null pointer"});
  Execution unknown;
  unknown.implementation = "none_such";
  EXPECT_FALSE(cache.append(k.part(0, 1), v.part(0, 1), Layout::nhd, {}, {}, unknown).ok());
  EXPECT_EQ(cache.length(0), 20);
  EXPECT_EQ(attend(cache, q.view()), before);
}

TEST(KVCacheErrors, PagesRunOut) {
  KVCacheOptions options = kOptions;
  options.page_size = 16;
  options.pages = 3;
  KVCache cache = make_cache(options);
  const Rows k(2, 30, 2, 16, 1), v(2, 30, 2, 8, 2), q(2, 1, 4, 16, 3);
  const std::int64_t both[] = {0, 1}, counts[] = {20, 3};
  ASSERT_TRUE(cache.append(k.view(), v.view(), Layout::nhd, both, counts).ok());
  EXPECT_EQ(cache.free_pages(), 0);
  const Output before = attend(cache, q.view());
  expect_refused(cache.append(k.part(0, 14), v.part(0, 14)), StatusCode::kResourceExhausted,
                 {"needs 2 pages", "0 of 3"});
  EXPECT_EQ(attend(cache, q.view()), before);
  ASSERT_TRUE(cache.append(k.part(0, 12), v.part(0, 12)).ok());
  // A shared page is copied before it is written, which takes a free one.
  ASSERT_TRUE(cache.reset().ok());
  EXPECT_EQ(cache.free_pages(), 3);
  const std::int64_t first[] = {0}, second[] = {1};
  ASSERT_TRUE(cache.append(k.sequence(0, 0, 20), v.sequence(0, 0, 20), Layout::nhd, first).ok());
  ASSERT_TRUE(cache.fork(0, 1).ok());
  EXPECT_EQ(cache.free_pages(), 1);
  ASSERT_TRUE(cache.append(k.sequence(0, 0, 1), v.sequence(0, 0, 1), Layout::nhd, second).ok());
  EXPECT_EQ(cache.free_pages(), 0);
  ASSERT_TRUE(cache.append(k.sequence(0, 0, 1), v.sequence(0, 0, 1), Layout::nhd, first).ok());
}

TEST(KVCacheErrors, Queries) {
  KVCache cache = make_cache(kOptions);
  const Rows k(2, 30, 2, 16, 1), v(2, 30, 2, 8, 2), q(2, 1, 4, 16, 3);
  ASSERT_TRUE(cache.append(k.view(), v.view()).ok());
  std::vector<float> out(2 * 4 * 8, -77.0f), lse(2 * 4, -77.0f);
  const auto attempt = [&](auto change) {
    CacheQuery query;
    CacheAttentionParams params;
    query.q = q.view();
    query.out = {out.data(), DType::f32, {2, 1, 4, 8}};
    query.lse = {lse.data(), DType::f32, {2, 4, 1}};
    change(query, params);
    return cache.attend(query, params);
  };
  expect_invalid(attempt([](auto& c, auto&) { c.q.shape[2] = 3; }), {"q has 3 heads", "cache 2"});
  expect_invalid(attempt([](auto& c, auto&) { c.q.shape[3] = 15; }), {"head_dim 15", "16"});
  expect_invalid(attempt([](auto& c, auto&) { c.q.shape[0] = 1; }), {"out has shape"});
  expect_invalid(attempt([](auto& c, auto&) { c.q.rank = 3; }), {"4 axes"});
  expect_invalid(attempt([](auto& c, auto&) { c.out = {}; }), {"out is missing"});
  expect_invalid(attempt([](auto& c, auto&) { c.out.shape[3] = 7; }), {"out has shape", "[2, 1, 4, 8]"});
  expect_invalid(attempt([](auto& c, auto&) { c.out.dtype = DType::s8; }), {"out is s8"});
  expect_invalid(attempt([](auto& c, auto&) { c.out.strides[2] = 0; }), {"out has strides"});
  expect_invalid(attempt([](auto& c, auto&) { c.lse.shape[1] = 3; }), {"lse has shape"});
  expect_invalid(attempt([&](auto& c, auto&) { c.lse.data = out.data(); }), {"overlaps"});
  expect_invalid(attempt([](auto& c, auto&) { c.sinks = c.lse; }), {"sinks has shape"});
  expect_invalid(attempt([](auto&, auto& p) { p.softcap = -1; }), {"softcap is -1"});
  expect_invalid(attempt([](auto&, auto& p) { p.window_left = -2; }), {"window is (-2, -1)"});
  expect_invalid(attempt([](auto&, auto& p) { p.softmax_scale = INFINITY; }), {"softmax_scale"});
  const std::int64_t wrong[] = {0, 7};
  expect_invalid(attempt([&](auto& c, auto&) { c.sequences = wrong; }), {"sequence 7"});
  for (const float x : out) EXPECT_EQ(x, -77.0f);
  for (const float x : lse) EXPECT_EQ(x, -77.0f);
  EXPECT_TRUE(attempt([](auto&, auto&) {}).ok());
}

TEST(KVCacheErrors, Sequences) {
  KVCache cache = make_cache(kOptions);
  const Rows k(2, 30, 2, 16, 1), v(2, 30, 2, 8, 2);
  ASSERT_TRUE(cache.append(k.view(), v.view()).ok());
  expect_invalid(cache.trim(2, 0), {"sequence 2", "0 to 1"});
  expect_invalid(cache.trim(0, 31), {"length is 31", "30 tokens"});
  expect_invalid(cache.trim(0, -1), {"length is -1"});
  expect_invalid(cache.fork(0, 2), {"sequence 2"});
  expect_invalid(cache.fork(-1, 0), {"sequence -1"});
  const std::int64_t few[] = {0}, wrong[] = {0, 5};
  expect_invalid(cache.reorder(few), {"sources has 1 entries", "2"});
  expect_invalid(cache.reorder(wrong), {"sequence 5"});
  expect_invalid(cache.reset(wrong), {"sequence 5"});
  EXPECT_EQ(cache.length(0), 30);
  EXPECT_EQ(cache.length(1), 30);
  std::vector<std::int8_t> codes(2 * 30 * 16);
  std::vector<float> scales(2 * 30);
  const TensorView c(codes.data(), DType::s8, {2, 30, 16}), s(scales.data(), DType::f32, {2, 30});
  EXPECT_TRUE(cache.read_k(0, c, s).ok());
  expect_invalid(cache.read_k(0, c), {"scales is missing"});
  expect_invalid(cache.read_v(0, c, s), {"codes has shape"});
  expect_invalid(cache.read_k(3, c, s), {"sequence 3"});
}

}  // namespace
}  // namespace octavo::test
