// What can be wrong with a device, a pointer, a stream or memory: an error in words, nothing launched, nothing kept.
#include "octavo/device.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "device_twin.hpp"
#include "emulated_runtime.hpp"
#include "octavo/octavo.hpp"
#include "scenario.hpp"

namespace octavo::test {
namespace {

constexpr Device kCard{DeviceType::cuda, 0};
constexpr std::int64_t kRows = 40, kHeads = 2, kDim = 16;

class CudaDeviceTest : public ::testing::Test {
 protected:
  CudaDeviceTest() : twins_(kCard) {
    x_.assign(static_cast<std::size_t>(kRows * kHeads * kDim), 0.25f);
    host_ = {x_.data(), DType::f32, {1, kRows, kHeads, kDim}};
    inputs_.q = inputs_.k = inputs_.v = twins_.to_device(host_);
    inputs_.out = twins_.to_device(host_);
    execution_.stream = this;  // some stream
  }
  Status run() { return attention(inputs_, params_, execution_); }
  // The same rows as those of varlen sequences.
  void pack() {
    for (TensorView* x : {&inputs_.q, &inputs_.k, &inputs_.v, &inputs_.out}) {
      x->rank = 3;
      x->shape = {kRows, kHeads, kDim};
      x->strides = {kHeads * kDim, kDim, 1};
    }
  }
  void expect_refused(StatusCode code, const std::vector<std::string>& words) {
    const int before = runtime_.held();
    const Status status = run();
    EXPECT_EQ(status.code(), code) << status.message();
    for (const std::string& word : words) EXPECT_NE(status.message().find(word), std::string::npos) << status.message();
    EXPECT_EQ(runtime_.launches, 0) << "something was launched";
    EXPECT_EQ(runtime_.held(), before) << "memory was kept";
  }

  EmulatedRuntime runtime_;
  DeviceTwins twins_;
  std::vector<float> x_;
  TensorView host_;
  AttentionInputs inputs_;
  AttentionParams params_;
  Execution execution_;
};

TEST_F(CudaDeviceTest, RunsOnTheStreamAndGivesMemoryBack) {
  const int before = runtime_.held();
  const Status status = run();
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_GT(runtime_.launches, 3);
  EXPECT_EQ(runtime_.held(), before);
  EXPECT_EQ(last_implementation(), "sm80");
}

TEST_F(CudaDeviceTest, MixedTensors) {
  inputs_.k = host_;
  expect_refused(StatusCode::kInvalidArgument, {"k is on the CPU and q on CUDA device 0", "one device"});
}

TEST_F(CudaDeviceTest, EveryTensorCounts) {
  std::int32_t lengths[2] = {0, 40};
  bool mask[40] = {};
  float two[2] = {};
  const TensorView lens(lengths, DType::s32, {1}), borders(lengths, DType::s32, {2});
  const TensorView keys(mask, DType::boolean, {40}), per_head(two, DType::f32, {2});
  const std::vector<std::pair<TensorView AttentionInputs::*, TensorView>> optional = {
      {&AttentionInputs::lse, TensorView(x_.data(), DType::f32, {1, kHeads, kRows})},
      {&AttentionInputs::mask, keys},
      {&AttentionInputs::alibi_slopes, per_head},
      {&AttentionInputs::sinks, per_head},
      {&AttentionInputs::kv_lens, lens},
      {&AttentionInputs::cu_seqlens_q, borders},
      {&AttentionInputs::cu_seqlens_k, borders},
      {&AttentionInputs::out, host_}};
  for (const auto& [member, view] : optional) {
    const TensorView before = inputs_.*member;
    inputs_.*member = view;
    expect_refused(StatusCode::kInvalidArgument, {"is on the CPU and", "CUDA device 0"});
    inputs_.*member = before;
  }
}

TEST_F(CudaDeviceTest, DevicesThatDoNotExist) {
  inputs_.q.device.index = 1;
  expect_refused(StatusCode::kInvalidArgument, {"q is on CUDA device 1", "sees 1 device, number 0"});
  inputs_.q.device.index = -1;
  expect_refused(StatusCode::kInvalidArgument, {"q is on CUDA device -1"});
}

TEST_F(CudaDeviceTest, TwoDevices) {
  runtime_.gpus.push_back(runtime_.gpus[0]);
  inputs_.v.device.index = 1;
  expect_refused(StatusCode::kInvalidArgument, {"v is on CUDA device 1 and q on CUDA device 0"});
  inputs_.q.device.index = inputs_.k.device.index = inputs_.out.device.index = 1;
  expect_refused(StatusCode::kInvalidArgument, {"q is declared to be on CUDA device 1", "device 0's"});
}

TEST_F(CudaDeviceTest, PointersToTheHost) {
  inputs_.v.data = x_.data();
  expect_refused(StatusCode::kInvalidArgument, {"v is declared to be on CUDA device 0", "host's memory"});
  // Where the device reads the host's memory, there is nothing wrong with it.
  runtime_.gpus[0].pageable_memory = true;
  EXPECT_TRUE(run().ok());
}

TEST_F(CudaDeviceTest, NoDriver) {
  runtime_.no_devices = Status(StatusCode::kUnavailable, "no NVIDIA driver is installed");
  expect_refused(StatusCode::kUnavailable, {"q is on CUDA device 0", "no NVIDIA driver is installed"});
  EXPECT_EQ(devices().status().message(), "no NVIDIA driver is installed");
  for (const ImplementationInfo& info : implementations()) {
    if (info.name != "sm80") continue;
    EXPECT_FALSE(info.supported);
    EXPECT_EQ(info.reason, "no NVIDIA driver is installed");
    EXPECT_EQ(info.device, DeviceType::cuda);
  }
}

TEST_F(CudaDeviceTest, CardsThatAreTooOld) {
  runtime_.gpus[0].name = "Some T4";
  runtime_.gpus[0].major = 7;
  runtime_.gpus[0].minor = 5;
  expect_refused(StatusCode::kUnavailable, {"Some T4 has compute capability 7.5; sm80 needs 8.0"});
}

// wgmma is in GPUs of compute capability 9.0 and in no others.
TEST_F(CudaDeviceTest, Hopper) {
  params_.recipe = *parse_recipe("int8_fast");
  runtime_.gpus[0].wgmma_kernels = true;
  ASSERT_TRUE(run().ok());
  EXPECT_EQ(last_implementation(), "sm90");
  EXPECT_NE(std::find(runtime_.launched.begin(), runtime_.launched.end(), "attend_sm90_64_folded"),
            runtime_.launched.end());
  params_.recipe = *parse_recipe("fp8_e5m2");
  ASSERT_TRUE(run().ok());
  EXPECT_EQ(last_implementation(), "sm80");
  runtime_.launches = 0;
  execution_.implementation = "sm90";
  expect_refused(StatusCode::kUnimplemented,
                 {"\"sm90\" does not support", "scores=e5m2 with p=e5m2 and values=e5m2", "e4m3 throughout"});
  runtime_.gpus[0].wgmma_kernels = false;
  expect_refused(StatusCode::kUnavailable, {"no kernels by wgmma"});
  runtime_.gpus[0].name = "Some B200";
  runtime_.gpus[0].major = 10;
  expect_refused(StatusCode::kUnavailable, {"Some B200 has compute capability 10.0", "no wgmma", "sm90 needs 9.0"});
}

TEST_F(CudaDeviceTest, Names) {
  execution_.implementation = "sm80";
  EXPECT_TRUE(run().ok());
  runtime_.launches = 0;
  execution_.implementation = "scalar";
  expect_refused(StatusCode::kInvalidArgument, {"\"scalar\" computes on the CPU", "CUDA device 0"});
  execution_.implementation = "sm81";
  expect_refused(StatusCode::kInvalidArgument, {"\"sm81\" is unknown", "sm80", "reference"});
  Execution on_cpu;
  on_cpu.implementation = "sm80";
  AttentionInputs host = inputs_;
  host.q = host.k = host.v = host_;
  std::vector<float> out(x_.size());
  host.out = {out.data(), DType::f32, {1, kRows, kHeads, kDim}};
  const Status status = attention(host, {}, on_cpu);
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("\"sm80\" computes on CUDA devices; the tensors are on the CPU"), std::string::npos);
}

TEST_F(CudaDeviceTest, OutOfMemory) {
  runtime_.memory_left = 1000;
  expect_refused(StatusCode::kResourceExhausted, {"bytes on CUDA device 0", "out of memory"});
  const Result<QuantizedTensor> codes = quantize(inputs_.q, Role::q, {});
  EXPECT_EQ(codes.status().code(), StatusCode::kResourceExhausted);
}

TEST_F(CudaDeviceTest, CapturedStreams) {
  runtime_.captured_stream = this;
  expect_refused(StatusCode::kFailedPrecondition,
                 {"captured into a graph", "no workspace is given", "workspace_size()"});
  EXPECT_EQ(quantize(inputs_.q, Role::q, {}, Layout::nhd, execution_).status().code(), StatusCode::kFailedPrecondition);
  // With a workspace the call takes no memory, and may be recorded.
  const Result<std::size_t> bytes = workspace_size(inputs_, params_, execution_);
  ASSERT_TRUE(bytes.ok());
  const Result<DeviceMemory> workspace = DeviceMemory::allocate(kCard, *bytes);
  ASSERT_TRUE(workspace.ok());
  execution_.workspace = workspace->data();
  execution_.workspace_bytes = *bytes;
  EXPECT_TRUE(run().ok());
}

TEST_F(CudaDeviceTest, StreamsThatCannotBeUsed) {
  runtime_.broken_stream = this;
  expect_refused(StatusCode::kInvalidArgument, {"the stream cannot be used"});
}

TEST_F(CudaDeviceTest, Workspaces) {
  const Result<std::size_t> bytes = workspace_size(inputs_, params_, execution_);
  ASSERT_TRUE(bytes.ok());
  const Result<DeviceMemory> workspace = DeviceMemory::allocate(kCard, *bytes + 256);
  ASSERT_TRUE(workspace.ok());
  const auto at = [&](std::size_t offset) { return static_cast<std::byte*>(workspace->data()) + offset; };
  execution_.workspace = at(0);
  execution_.workspace_bytes = *bytes - 1;
  expect_refused(StatusCode::kInvalidArgument, {"workspace has", "this call needs " + std::to_string(*bytes)});
  execution_.workspace = at(64);
  execution_.workspace_bytes = *bytes;
  expect_refused(StatusCode::kInvalidArgument, {"not aligned", "256"});
  std::vector<std::byte> host(*bytes + 256);
  void* start = host.data();
  std::size_t space = host.size();
  execution_.workspace = std::align(256, *bytes, start, space);
  expect_refused(StatusCode::kInvalidArgument, {"workspace is declared to be on CUDA device 0", "host's memory"});
  execution_.workspace = inputs_.q.data;
  expect_refused(StatusCode::kInvalidArgument, {"overlaps"});
  execution_.workspace = at(0);
  runtime_.memory_left = 0;  // nothing is allocated then
  EXPECT_TRUE(run().ok());
}

TEST_F(CudaDeviceTest, LaunchesThatFail) {
  const int before = runtime_.held();
  for (int i = 0; i < 4; ++i) {
    runtime_.launches = 0;
    runtime_.failing_launch = i;
    const Status status = run();
    EXPECT_EQ(status.code(), StatusCode::kInternal);
    EXPECT_EQ(runtime_.launches, i) << "launches went on after one had failed";
    EXPECT_EQ(runtime_.held(), before);
  }
}

TEST_F(CudaDeviceTest, WhatTheKernelsDoNotServe) {
  params_.recipe = recipe_of("sage2_8b,accumulator=sm89");
  expect_refused(
      StatusCode::kUnimplemented,
      {"\"sm80\" does not support", "accumulator=sm89 (a model of tensor cores); it supports accumulator=f32 and f16"});
  params_.recipe = recipe_of("sage2pp,key_block=32");
  expect_refused(StatusCode::kUnimplemented, {"key_block=32 with accumulator=f16; it supports key_block=64 there"});
  params_.recipe = recipe_of("sage2pp,two_level=off");
  expect_refused(StatusCode::kUnimplemented, {"two_level=off with accumulator=f16; it supports two_level=on there"});
  params_.recipe = recipe_of("fa3_fp8,key_block=64");
  expect_refused(StatusCode::kUnimplemented,
                 {"key_block=64 with values=e4m3 and scores=e4m3; it supports key_block=128 there"});
  params_.recipe = recipe_of("sage2_8b,key_block=128");
  expect_refused(StatusCode::kUnimplemented,
                 {"key_block=128 with values=e4m3 and scores=s8; it supports key_block=64 there"});
  params_.recipe = recipe_of("sage2_8b,v_scale=block_channel");
  expect_refused(StatusCode::kUnimplemented,
                 {"v_scale=block_channel with values=e4m3 and scores=s8", "v_scale=channel, tensor and none there"});
  params_.recipe = recipe_of("exact,hadamard=on");
  expect_refused(StatusCode::kUnimplemented, {"hadamard=on with scores=input; it supports hadamard=off there"});
  runtime_.gpus.at(0).wgmma_kernels = true;
  execution_.implementation = "sm90";
  params_.recipe = recipe_of("sage2_8b,keep_near=1");
  expect_refused(StatusCode::kUnimplemented,
                 {"\"sm90\" does not support keep_first=0 with keep_near=1 and keep_heavy=0 and values=e4m3",
                  "kept keys beside scores and values of s8 or s4 alone"});
  params_.recipe = recipe_of("int8_p16");
  expect_refused(StatusCode::kUnimplemented, {"p=u16 with values=s8; it supports p=s8 and u8 there"});
  // Q in 16 bits: of fewer than 16 rows, or of sequences whose lengths the host does not know.
  params_.recipe = recipe_of("sage2_8b,smooth_q=on,q_scale=token");
  inputs_.q.shape[1] = inputs_.out.shape[1] = 15;
  expect_refused(StatusCode::kUnimplemented,
                 {"15 query rows of smooth_q=on with q_scale=token; it supports 16 or more"});
  const std::vector<std::int64_t> borders = {0, 15, 40};
  pack();
  inputs_.cu_seqlens_q = inputs_.cu_seqlens_k = twins_.to_device(TensorView(borders.data(), DType::s64, {3}));
  expect_refused(StatusCode::kUnimplemented,
                 {"smooth_q=on with q_scale=token and values=e4m3 of varlen sequences; it supports these with "
                  "values=s8, s4 and f16"});
}

TEST_F(CudaDeviceTest, HeadsThatAreTooWide) {
  std::vector<float> wide(257);
  DeviceTwins twins(kCard);
  const auto rows_of = [&](std::int64_t dim) {
    return twins.to_device(TensorView(wide.data(), DType::f32, {1, 1, 1, dim}));
  };
  inputs_.q = inputs_.k = rows_of(16);
  inputs_.v = rows_of(257), inputs_.out = rows_of(257);
  expect_refused(StatusCode::kUnimplemented, {"head_dim 257 of v", "1 to 256"});
  inputs_.q = inputs_.k = rows_of(257);
  inputs_.v = rows_of(16), inputs_.out = rows_of(16);
  expect_refused(StatusCode::kUnimplemented, {"head_dim 257 of q and k", "1 to 256"});
}

TEST_F(CudaDeviceTest, LengthsTheHostCannotRead) {
  // Whatever stands in the device's integers, kernels stay inside the tensors (the emulation would see a read beside
  // them as a crash or a NaN): negative, falling, far too large.
  for (const std::vector<std::int32_t>& lengths :
       {std::vector<std::int32_t>{-5}, std::vector<std::int32_t>{1 << 30}, std::vector<std::int32_t>{7}}) {
    inputs_.kv_lens = twins_.to_device(TensorView(lengths.data(), DType::s32, {1}));
    EXPECT_TRUE(run().ok());
  }
  inputs_.kv_lens = {};
  pack();
  for (const std::vector<std::int64_t>& borders :
       {std::vector<std::int64_t>{0, 15, 15, 40}, std::vector<std::int64_t>{9, -3, 1 << 20, 2},
        std::vector<std::int64_t>{-100, -50, -20, -1}, std::vector<std::int64_t>{40, 30, 20, 10}}) {
    inputs_.cu_seqlens_q = inputs_.cu_seqlens_k = twins_.to_device(TensorView(borders.data(), DType::s64, {4}));
    EXPECT_TRUE(run().ok());
  }
}

TEST_F(CudaDeviceTest, PackedMasksOverRows) {
  const std::vector<std::int64_t> borders = {0, 15, 40};
  const bool mask[40] = {};
  pack();
  inputs_.cu_seqlens_q = inputs_.cu_seqlens_k = twins_.to_device(TensorView(borders.data(), DType::s64, {3}));
  inputs_.mask = twins_.to_device(TensorView(mask, DType::boolean, {25}));
  expect_refused(StatusCode::kUnimplemented, {"a mask over the rows or keys of varlen sequences", "kv_lens"});
}

TEST_F(CudaDeviceTest, SizesWithoutMemory) {
  const std::size_t bytes = *workspace_size(inputs_, params_, execution_);
  EXPECT_GT(bytes, 0u);
  for (TensorView* x : {&inputs_.q, &inputs_.k, &inputs_.v, &inputs_.out}) x->data = nullptr;
  EXPECT_EQ(*workspace_size(inputs_, params_, execution_), bytes);
  // On a device lengths are no part of the question.
  inputs_.kv_lens = TensorView(nullptr, DType::s32, {1});
  inputs_.kv_lens.device = kCard;
  EXPECT_TRUE(workspace_size(inputs_, params_, execution_).ok());
}

TEST_F(CudaDeviceTest, Memory) {
  const Result<std::vector<DeviceInfo>> list = devices();
  ASSERT_TRUE(list.ok());
  EXPECT_EQ(list->at(0).compute_capability, "9.0");
  const Result<DeviceMemory> memory = DeviceMemory::allocate(kCard, 16);
  ASSERT_TRUE(memory.ok());
  const char text[] = "0123456789abcde";
  char back[16] = {};
  EXPECT_TRUE(memory->copy_from(text, 16).ok());
  EXPECT_TRUE(memory->copy_to(back, 8, 8).ok());
  EXPECT_STREQ(back, "89abcde");
  EXPECT_EQ(memory->copy_to(back, 9, 8).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(memory->copy_to(back, 1, 17).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(DeviceMemory::allocate({DeviceType::cuda, 3}, 1).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(synchronize({DeviceType::cuda, 3}).code(), StatusCode::kInvalidArgument);
  EXPECT_TRUE(synchronize(kCard).ok());
  EXPECT_TRUE(DeviceMemory::allocate({}, 100).ok());  // the CPU counts as a device
}

// smooth_q's correction and the rest of rows with kept keys in memory for a few query blocks only: the same result, in
// more launches.
void expect_chunks_to_agree(EmulatedRuntime& runtime, const char* recipe, bool packed) {
  SCOPED_TRACE(recipe);
  Scenario scenario;
  scenario.recipe = recipe;
  scenario.batch = 2;
  scenario.kv_heads = 2;
  scenario.ratio = 2;
  scenario.m = 300;
  scenario.n = 200;
  if (packed) scenario.q_lens = {300, 5, 140}, scenario.k_lens = {200, 40, 300};
  const Call call(scenario);
  RunOptions on_device;
  on_device.attention = &attention_on_device;
  const Outcome whole = call.run("", on_device);
  const int launches = runtime.launches;
  ASSERT_TRUE(whole.status.ok()) << whole.status.message();
  for (std::size_t bytes : {std::size_t{1} << 10, std::size_t{2} << 10, std::size_t{8} << 10, std::size_t{12} << 10}) {
    runtime.gpus[0].memory_bytes = 64 * bytes;
    runtime.launches = 0;
    const Outcome chunks = call.run("", on_device);
    ASSERT_TRUE(chunks.status.ok()) << chunks.status.message();
    EXPECT_GT(runtime.launches, launches);
    EXPECT_EQ(chunks.out, whole.out);
    EXPECT_EQ(chunks.lse, whole.lse);
  }
}

TEST_F(CudaDeviceTest, ChunksOfTheCorrection) {
  const cuda::DeviceProperties whole = runtime_.gpus[0];
  for (const char* recipe : {"int8_fast", "int8"}) {
    for (const bool packed : {false, true}) {
      runtime_.gpus[0] = whole;
      runtime_.launches = 0;
      expect_chunks_to_agree(runtime_, recipe, packed);
    }
  }
}

}  // namespace
}  // namespace octavo::test
