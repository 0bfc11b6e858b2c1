// Scratch memory: sizes, the caller's own, and that a call which has it allocates nothing.
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>

#include "call.hpp"
#include "core/aligned_buffer.hpp"
#include "core/workspace_pool.hpp"

// Every allocation of the program goes through here; the tests look at the difference over one call.
static std::atomic<long> allocations{0};

void* operator new(std::size_t bytes) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  if (void* memory = std::malloc(bytes > 0 ? bytes : 1)) return memory;
  throw std::bad_alloc();
}
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  const auto align = static_cast<std::size_t>(alignment);
  if (void* memory = std::aligned_alloc(align, (bytes + align - 1) / align * align)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

namespace octavo {
namespace {

// CPU implementations that this machine and the call allow.
std::vector<std::string_view> able(const Call& call) {
  std::vector<std::string_view> names;
  for (const ImplementationInfo& info : implementations()) {
    if (!info.supported || info.name == "reference") continue;
    Execution execution;
    execution.implementation = info.name;
    if (workspace_size(call.inputs, call.params, execution).ok()) names.push_back(info.name);
  }
  return names;
}

TEST(WorkspaceSizeTest, TheReferenceNeedsNone) {
  Call call;
  const Result<std::size_t> bytes = workspace_size(call.inputs, call.params, call.execution);
  ASSERT_TRUE(bytes.ok()) << bytes.status().message();
  EXPECT_EQ(*bytes, 0u);
}

TEST(WorkspaceSizeTest, MemoryNeedNotBeThereYet) {
  Call call;
  for (TensorView AttentionInputs::* tensor :
       {&AttentionInputs::q, &AttentionInputs::k, &AttentionInputs::v, &AttentionInputs::out, &AttentionInputs::lse}) {
    (call.inputs.*tensor).data = nullptr;
  }
  const Result<std::size_t> bytes = workspace_size(call.inputs, call.params, call.execution);
  EXPECT_TRUE(bytes.ok()) << bytes.status().message();
  call.inputs.k.shape[3] = 3;
  EXPECT_EQ(workspace_size(call.inputs, call.params, call.execution).status().code(), StatusCode::kInvalidArgument);
}

TEST(WorkspaceTest, SizesDoNotDependOnWhetherMemoryIsThere) {
  Call call, empty;
  for (TensorView AttentionInputs::* tensor :
       {&AttentionInputs::q, &AttentionInputs::k, &AttentionInputs::v, &AttentionInputs::out, &AttentionInputs::lse}) {
    (empty.inputs.*tensor).data = nullptr;
  }
  for (std::string_view name : able(call)) {
    call.execution.implementation = empty.execution.implementation = name;
    EXPECT_EQ(*workspace_size(call.inputs, call.params, call.execution),
              *workspace_size(empty.inputs, empty.params, empty.execution));
  }
}

TEST(WorkspaceTest, TooSmallOrBadlyAligned) {
  Call call;
  const std::vector<std::string_view> names = able(call);
  if (names.empty()) GTEST_SKIP() << "no CPU implementation runs here";
  for (std::string_view name : names) {
    Call refused;
    refused.execution.implementation = name;
    const std::size_t bytes = *workspace_size(refused.inputs, refused.params, refused.execution);
    ASSERT_GT(bytes, 0u);
    const AlignedBuffer buffer(bytes + 64);
    refused.execution.workspace = buffer.data();
    refused.execution.workspace_bytes = bytes - 1;
    expect_invalid(refused, {"workspace has", std::to_string(bytes).c_str()});
    refused.execution.workspace = buffer.data() + 4;
    refused.execution.workspace_bytes = bytes;
    expect_invalid(refused, {"workspace is not aligned", "64"});
    refused.execution.workspace = buffer.data();
    expect_served(refused);
  }
}

TEST(WorkspaceTest, MustNotOverlapTensors) {
  Call call;
  call.execution.workspace = call.k.data();
  call.execution.workspace_bytes = 64;
  expect_invalid(call, {"workspace overlaps k"});
  call.execution.workspace = nullptr;
  expect_invalid(call, {"workspace_bytes is 64", "null"});
}

TEST(WorkspaceTest, OfQuantizeMustNotOverlapTensors) {
  alignas(64) float x[4 * 8] = {};
  alignas(64) std::int32_t borders[2] = {0, 4};
  const auto refused = [&](void* workspace, const TensorView& view, const TensorView& cu_seqlens, const char* words) {
    Execution execution;
    execution.workspace = workspace;
    execution.workspace_bytes = sizeof x;
    const Status status = quantize(view, Role::q, Recipe{}, Layout::nhd, execution, cu_seqlens).status();
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << words;
    EXPECT_NE(status.message().find(words), std::string::npos) << status.message();
  };
  refused(x, {x, DType::f32, {1, 4, 1, 8}}, {}, "workspace overlaps x; outputs need memory of their own");
  refused(borders, {x, DType::f32, {4, 1, 8}}, {borders, DType::s32, {2}}, "workspace overlaps cu_seqlens");
}

// No function tells the size, so the refusal does.
TEST(WorkspaceTest, TooSmallAOneForQuantizeIsToldTheSize) {
  static const float x[150 * 2 * 40] = {};
  const TensorView view(x, DType::f32, {1, 150, 2, 40});
  alignas(64) static std::byte memory[1 << 20];
  int refusals = 0;
  for (const ImplementationInfo& info : implementations()) {
    if (!info.supported || info.device != DeviceType::cpu) continue;
    Execution execution;
    execution.implementation = info.name;
    execution.workspace = memory;
    execution.workspace_bytes = 0;
    const Status status = quantize(view, Role::q, Recipe{}, Layout::nhd, execution).status();
    if (status.ok()) continue;  // needs none
    ++refusals;
    constexpr std::string_view kBefore = "workspace has 0 bytes; this call needs ";
    ASSERT_EQ(status.message().substr(0, kBefore.size()), kBefore);
    const std::string needed = status.message().substr(kBefore.size());
    EXPECT_EQ(needed.find_first_not_of("0123456789"), std::string::npos) << status.message();
    execution.workspace_bytes = std::stoul(needed);
    ASSERT_LE(execution.workspace_bytes, sizeof memory);
    EXPECT_TRUE(quantize(view, Role::q, Recipe{}, Layout::nhd, execution).ok()) << info.name;
    execution.workspace_bytes -= 1;
    EXPECT_FALSE(quantize(view, Role::q, Recipe{}, Layout::nhd, execution).ok()) << info.name;
  }
  EXPECT_GT(refusals, 0) << "no implementation needs scratch memory: the test says nothing";
}

TEST(WorkspaceTest, NothingIsAllocatedWithTheCallersOwn) {
  Call call;
  const std::vector<std::string_view> names = able(call);
  if (names.empty()) GTEST_SKIP() << "no CPU implementation runs here";
  for (std::string_view name : names) {
    call.execution.implementation = name;
    const std::size_t bytes = *workspace_size(call.inputs, call.params, call.execution);
    const AlignedBuffer buffer(bytes);
    call.execution.workspace = buffer.data();
    call.execution.workspace_bytes = bytes;
    ASSERT_TRUE(call.run().ok());  // the first call may start threads and read the environment
    Workspace::trim();
    const long before = allocations.load();
    const bool ok = call.run().ok();
    EXPECT_EQ(allocations.load() - before, 0) << name;
    EXPECT_TRUE(ok);
    EXPECT_EQ(Workspace::kept(), 0u) << name;
    call.execution = {};
  }
}

// Scratch memory comes as others left it: fresh zeros, an earlier call's numbers, bytes that read as NaN.
TEST(WorkspaceTest, WhatLiesInItDoesNotMatter) {
  for (std::int64_t queries : {1, 5}) {  // Q in 16 bits, and in a block of its own
    for (const char* recipe : {"int8", "int_flash", "exact", "int_flash_half"}) {
      Call call;
      call.params.recipe = *parse_recipe(recipe);
      call.inputs.q.shape[1] = call.inputs.out.shape[1] = call.inputs.lse.shape[2] = queries;
      for (std::string_view name : able(call)) {
        call.execution.implementation = name;
        const std::size_t bytes = *workspace_size(call.inputs, call.params, call.execution);
        const AlignedBuffer buffer(bytes);
        call.execution.workspace = buffer.data();
        call.execution.workspace_bytes = bytes;
        std::vector<float> first;
        for (int filling : {0x00, 0xff, 0x7b, 0x3f}) {
          std::memset(buffer.data(), filling, bytes);
          ASSERT_TRUE(call.run().ok());
          if (first.empty()) first = call.out;
          EXPECT_EQ(call.out, first) << name << " " << recipe << ", " << queries << " queries, scratch of " << filling;
        }
        call.execution = {};
      }
    }
  }
}

TEST(WorkspaceTest, OneThatIsKeptServesTheNextCall) {
  Call call;
  const std::vector<std::string_view> names = able(call);
  if (names.empty()) GTEST_SKIP() << "no CPU implementation runs here";
  Workspace::trim();
  call.execution.implementation = names.front();
  ASSERT_TRUE(call.run().ok());
  const std::size_t kept = Workspace::kept();
  EXPECT_GT(kept, 0u);
  ASSERT_TRUE(call.run().ok());
  EXPECT_EQ(Workspace::kept(), kept);
  Workspace::trim();
}

// The caller's runner is the one that runs, and is told of no more tasks at a time than it has threads.
TEST(WorkspaceTest, TheCallersRunnerRuns) {
  struct Counting final : ParallelRunner {
    int calls = 0;
    void run(std::int64_t tasks, Body body, void* context) noexcept override {
      ++calls;
      for (std::int64_t task = tasks; task-- > 0;) body(context, task);
    }
    int threads() const noexcept override { return 3; }
  } runner;
  Call expected, call;
  for (std::string_view name : able(call)) {
    expected.execution.implementation = call.execution.implementation = name;
    call.execution.runner = &runner;
    runner.calls = 0;
    ASSERT_TRUE(expected.run().ok());
    ASSERT_TRUE(call.run().ok());
    EXPECT_GT(runner.calls, 0) << name;
    EXPECT_EQ(call.out, expected.out) << name;
  }
}

}  // namespace
}  // namespace octavo
