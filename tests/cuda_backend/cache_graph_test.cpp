// A key-value cache in a CUDA graph: appends and attention that were recorded once read lengths from the device.
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "../kv_cache/cases.hpp"
#include "device_twin.hpp"
#include "emulated_runtime.hpp"

namespace octavo::test {
namespace {

constexpr Device kGpu{DeviceType::cuda, 0};
constexpr std::int64_t kHeads = 2, kDim = 64;

DeviceMemory on_gpu(const Rows& rows) {
  DeviceMemory memory = *DeviceMemory::allocate(kGpu, rows.bytes.size());
  EXPECT_TRUE(memory.copy_from(rows.bytes.data(), rows.bytes.size()).ok());
  return memory;
}
TensorView view_of(const DeviceMemory& memory, std::initializer_list<std::int64_t> shape) {
  TensorView view(memory.data(), DType::f32, shape);
  view.device = kGpu;
  return view;
}

class CudaCacheGraphTest : public ::testing::Test {
 protected:
  void SetUp() override {
    options.batch = 2;
    options.kv_heads = kHeads;
    options.head_dim = kDim;
    options.capacity = 640;
    KVCacheOptions there = options;
    there.device = kGpu;
    host.emplace(make_cache(options));
    device.emplace(make_cache(there));
    workspace = *DeviceMemory::allocate(kGpu, 1 << 20);
    execution.stream = this;
    execution.workspace = workspace.data();
    execution.workspace_bytes = workspace.bytes();
  }
  // Appends to both.
  void append(const Rows& keys, const Rows& values) {
    ASSERT_TRUE(host->append(keys.view(), values.view()).ok());
    const DeviceMemory of_k = on_gpu(keys), of_v = on_gpu(values);
    const Status status =
        device->append(view_of(of_k, {2, keys.rows, kHeads, kDim}), view_of(of_v, {2, keys.rows, kHeads, kDim}));
    ASSERT_TRUE(status.ok()) << status.message();
  }
  CacheQuery query() const {
    CacheQuery result;
    result.q = view_of(q, {2, 1, 4, kDim});
    result.out = view_of(out, {2, 1, 4, kDim});
    return result;
  }

  EmulatedRuntime runtime_;
  KVCacheOptions options;
  std::optional<KVCache> host, device;
  DeviceMemory workspace;
  DeviceMemory k = on_gpu(Rows(2, 1, kHeads, kDim, 0)), v = on_gpu(Rows(2, 1, kHeads, kDim, 0)),
               q = on_gpu(Rows(2, 1, 4, kDim, 0)), out = on_gpu(Rows(2, 1, 4, kDim, 0));
  Execution execution;
};

TEST_F(CudaCacheGraphTest, ReplaysAppendAndAttend) {
  append(Rows(2, 510, kHeads, kDim, 1), Rows(2, 510, kHeads, kDim, 2));
  runtime_.captured_stream = this;
  runtime_.records = true;
  const TensorView one_k = view_of(k, {2, 1, kHeads, kDim}), one_v = view_of(v, {2, 1, kHeads, kDim});
  Status status = device->append(one_k, one_v, Layout::nhd, {}, {}, execution);
  ASSERT_TRUE(status.ok()) << status.message();
  status = device->attend(query(), {}, execution);
  ASSERT_TRUE(status.ok()) << status.message();
  runtime_.captured_stream = nullptr;
  EXPECT_EQ(device->length(0), 510);

  for (std::uint32_t step = 0; step < 4; ++step) {  // past the end of a split of 512 keys
    const Rows new_k(2, 1, kHeads, kDim, 10 + step), new_v(2, 1, kHeads, kDim, 20 + step),
        new_q(2, 1, 4, kDim, 30 + step);
    ASSERT_TRUE(k.copy_from(new_k.bytes.data(), new_k.bytes.size()).ok());
    ASSERT_TRUE(v.copy_from(new_v.bytes.data(), new_v.bytes.size()).ok());
    ASSERT_TRUE(q.copy_from(new_q.bytes.data(), new_q.bytes.size()).ok());
    status = runtime_.replay();
    ASSERT_TRUE(status.ok()) << status.message();
    ASSERT_TRUE(host->append(new_k.view(), new_v.view()).ok());
    const Output expected = attend(*host, new_q.view(), {}, on("reference"));
    std::vector<float> got(expected.o.size());
    ASSERT_TRUE(out.copy_to(got.data(), got.size() * sizeof(float)).ok());
    EXPECT_LT(relative_l2(got, expected.o), 2e-5) << step;
  }
  ASSERT_TRUE(device->advance(4).ok());
  EXPECT_EQ(device->length(1), 514);
  EXPECT_EQ(device->advance(127).code(), StatusCode::kInvalidArgument);
  // The host's lengths and the device's agree again.
  append(Rows(2, 3, kHeads, kDim, 5), Rows(2, 3, kHeads, kDim, 6));
  const Rows last(2, 1, 4, kDim, 7);
  ASSERT_TRUE(q.copy_from(last.bytes.data(), last.bytes.size()).ok());
  status = device->attend(query());
  ASSERT_TRUE(status.ok()) << status.message();
  std::vector<float> got(last.values.size());
  ASSERT_TRUE(out.copy_to(got.data(), got.size() * sizeof(float)).ok());
  EXPECT_LT(relative_l2(got, attend(*host, last.view(), {}, on("reference")).o), 2e-5);
}

TEST_F(CudaCacheGraphTest, AFullSequenceStaysAsItIs) {
  append(Rows(2, 639, kHeads, kDim, 1), Rows(2, 639, kHeads, kDim, 2));
  runtime_.captured_stream = this;
  runtime_.records = true;
  ASSERT_TRUE(
      device->append(view_of(k, {2, 1, kHeads, kDim}), view_of(v, {2, 1, kHeads, kDim}), Layout::nhd, {}, {}, execution)
          .ok());
  runtime_.captured_stream = nullptr;
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(runtime_.replay().ok());
  ASSERT_TRUE(device->advance(1).ok());
  ASSERT_TRUE(host->append(Rows(2, 1, kHeads, kDim, 0).view(), Rows(2, 1, kHeads, kDim, 0).view()).ok());
  const Rows rows(2, 1, 4, kDim, 3);
  ASSERT_TRUE(q.copy_from(rows.bytes.data(), rows.bytes.size()).ok());
  ASSERT_TRUE(device->attend(query()).ok());
  std::vector<float> got(rows.values.size());
  ASSERT_TRUE(out.copy_to(got.data(), got.size() * sizeof(float)).ok());
  EXPECT_LT(relative_l2(got, attend(*host, rows.view(), {}, on("reference")).o), 2e-5);
}

// Whatever the order in which warps run, a barrier that is missing would change bits.
TEST_F(CudaCacheGraphTest, AnyOrderOfWarps) {
  append(Rows(2, 600, kHeads, kDim, 1), Rows(2, 600, kHeads, kDim, 2));
  const Rows rows(2, 1, 4, kDim, 3);
  ASSERT_TRUE(q.copy_from(rows.bytes.data(), rows.bytes.size()).ok());
  std::vector<float> first(rows.values.size()), other(rows.values.size());
  for (std::uint32_t seed = 0; seed < 4; ++seed) {
    runtime_.options.shuffle = seed;
    ASSERT_TRUE(device->attend(query()).ok());
    std::vector<float>& got = seed == 0 ? first : other;
    ASSERT_TRUE(out.copy_to(got.data(), got.size() * sizeof(float)).ok());
    EXPECT_TRUE(seed == 0 || first == other) << seed;
  }
}

TEST_F(CudaCacheGraphTest, Refusals) {
  const TensorView one_k = view_of(k, {2, 1, kHeads, kDim}), one_v = view_of(v, {2, 1, kHeads, kDim});
  runtime_.captured_stream = this;
  Status status = device->append(one_k, one_v, Layout::nhd, {}, {}, execution);
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
  EXPECT_NE(status.message().find("its first append, which fixes K's mean"), std::string::npos) << status.message();
  runtime_.captured_stream = nullptr;
  append(Rows(2, 70, kHeads, kDim, 1), Rows(2, 70, kHeads, kDim, 2));
  ASSERT_TRUE(device->trim(0, 50).ok());
  runtime_.captured_stream = this;
  status = device->attend(query(), {}, execution);
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
  EXPECT_NE(status.message().find("lengths, block tables and copies"), std::string::npos) << status.message();
  runtime_.captured_stream = nullptr;
  ASSERT_TRUE(device->attend(query(), {}, execution).ok());
  runtime_.captured_stream = this;
  Execution without = execution;
  without.workspace = nullptr;
  without.workspace_bytes = 0;
  status = device->attend(query(), {}, without);
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
  EXPECT_NE(status.message().find("no workspace is given"), std::string::npos) << status.message();

  KVCacheOptions paged = options;
  paged.page_size = 16;
  paged.device = kGpu;
  KVCache pages = make_cache(paged);
  EXPECT_EQ(pages.append(one_k, one_v, Layout::nhd, {}, {}, execution).code(), StatusCode::kUnimplemented);
}

// A launch that fails makes the device's tables unknown: the next call brings them again.
TEST_F(CudaCacheGraphTest, AFailedLaunchIsRecovered) {
  append(Rows(2, 70, kHeads, kDim, 1), Rows(2, 70, kHeads, kDim, 2));
  const Rows rows(2, 1, kHeads, kDim, 3);
  const DeviceMemory of_k = on_gpu(rows), of_v = on_gpu(rows);
  runtime_.failing_launch = runtime_.launches + 1;  // the lengths
  EXPECT_EQ(device->append(view_of(of_k, {2, 1, kHeads, kDim}), view_of(of_v, {2, 1, kHeads, kDim})).code(),
            StatusCode::kInternal);
  runtime_.failing_launch = -1;
  EXPECT_EQ(device->length(0), 70);
  append(rows, rows);
  const Rows queries(2, 1, 4, kDim, 4);
  ASSERT_TRUE(q.copy_from(queries.bytes.data(), queries.bytes.size()).ok());
  ASSERT_TRUE(device->attend(query()).ok());
  std::vector<float> got(queries.values.size());
  ASSERT_TRUE(out.copy_to(got.data(), got.size() * sizeof(float)).ok());
  EXPECT_LT(relative_l2(got, attend(*host, queries.view(), {}, on("reference")).o), 2e-5);
}

}  // namespace
}  // namespace octavo::test
