// Sizes beyond 32 bits and memory that grows with the tokens, not with their square.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <algorithm>
#include <random>

#include "compare.hpp"
#include "scenario.hpp"

namespace octavo::test {
namespace {

// A region of address space: pages cost memory once they are touched.
class SparseRegion {
 public:
  explicit SparseRegion(std::size_t bytes) : bytes_(bytes) {
    data_ = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  }
  ~SparseRegion() {
    if (data() != nullptr) munmap(data_, bytes_);
  }
  SparseRegion(const SparseRegion&) = delete;
  void* data() const { return data_ == MAP_FAILED ? nullptr : data_; }

 private:
  std::size_t bytes_;
  void* data_;
};

// Rows, heads or batches that lie more than 2^31 elements apart, one tensor at a time.
TEST(Large, StridesBeyond32Bits) {
  constexpr std::int64_t kApart = (std::int64_t{1} << 31) + 4096, kB = 2, kH = 2, kRows = 3, kD = 16;
  const SparseRegion region(static_cast<std::size_t>(kApart) * 3 * 2 + (1 << 20));
  if (region.data() == nullptr) GTEST_SKIP() << "no 12 GiB of address space to be had";
  Scenario s;
  s.batch = kB;
  s.kv_heads = kH;
  s.m = s.n = kRows;
  s.d = s.dv = kD;
  s.dtype = DType::bf16;
  for (const char* recipe : {"exact", "int8"}) {
    s.recipe = recipe;
    const Call call(s);
    // Dense [B, H, R, D] values as the inputs of a plain call, then one of them moved into the region.
    Tensor q(DType::bf16, {kB, kH, kRows, kD}, {.layout = Layout::hnd}),
        k(DType::bf16, {kB, kH, kRows, kD}, {.layout = Layout::hnd}),
        v(DType::bf16, {kB, kH, kRows, kD}, {.layout = Layout::hnd});
    q.fill(call.q_values);
    k.fill(call.k_values);
    v.fill(call.v_values);
    for (const std::string& implementation : supported_implementations()) {
      const auto run = [&](int moved, int axis) {
        AttentionInputs inputs;
        inputs.layout = Layout::hnd;
        inputs.q = q.view(), inputs.k = k.view(), inputs.v = v.view();
        std::vector<std::uint16_t> out(kB * kH * kRows * kD);
        inputs.out = {out.data(), DType::bf16, {kB, kH, kRows, kD}};
        TensorView* views[] = {&inputs.q, &inputs.k, &inputs.v, &inputs.out};
        TensorView far;
        if (moved >= 0) {
          far = *views[moved];
          far.data = region.data();
          far.strides[static_cast<std::size_t>(axis)] = kApart;
        }
        const auto each = [&](const auto& visit) {
          for (std::int64_t b = 0; b < kB; ++b)
            for (std::int64_t h = 0; h < kH; ++h)
              for (std::int64_t r = 0; r < kRows; ++r)
                for (std::int64_t c = 0; c < kD; ++c) {
                  const TensorView& near = *views[moved];
                  visit(static_cast<std::uint16_t*>(
                            near.data)[b * near.strides[0] + h * near.strides[1] + r * near.strides[2] + c],
                        static_cast<std::uint16_t*>(
                            far.data)[b * far.strides[0] + h * far.strides[1] + r * far.strides[2] + c]);
                }
        };
        if (moved >= 0) each([](std::uint16_t near, std::uint16_t& there) { there = near; });
        AttentionInputs moved_inputs = inputs;
        TensorView* moved_views[] = {&moved_inputs.q, &moved_inputs.k, &moved_inputs.v, &moved_inputs.out};
        if (moved >= 0) *moved_views[moved] = far;
        AttentionParams params;
        params.recipe = recipe_of(recipe);
        Execution execution;
        execution.implementation = implementation;
        const Status status = attention(moved_inputs, params, execution);
        EXPECT_TRUE(status.ok()) << status.message();
        if (moved == 3) each([](std::uint16_t& near, std::uint16_t there) { near = there; });
        return out;
      };
      const std::vector<std::uint16_t> expected = run(-1, 0);
      for (int moved = 0; moved < 4; ++moved)
        for (int axis = 0; axis < 3; ++axis)
          EXPECT_EQ(run(moved, axis), expected)
              << implementation << " " << recipe << " tensor " << moved << " axis " << axis;
    }
  }
}

std::int64_t peak_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return std::int64_t{usage.ru_maxrss} * 1024;
}

constexpr std::int64_t kTokens = 65536, kDim = 128, kGiB = std::int64_t{1} << 30;

// One head of 64k tokens: M rows against all of them, Q and K and V f16, causal.
struct LongHead {
  std::vector<std::uint16_t> q, k, v;
  std::vector<float> out, lse;
  AttentionInputs inputs;
  AttentionParams params;

  explicit LongHead(std::int64_t rows) {
    std::minstd_rand random(5);
    const auto fill = [&](std::vector<std::uint16_t>& x, std::int64_t count) {
      x.resize(static_cast<std::size_t>(count));
      // f16 of magnitude 2^-7 to 2, both signs: quick to make.
      for (std::uint16_t& bits : x) bits = static_cast<std::uint16_t>(((random() >> 8) & 0x9fffu) + 0x2000u);
    };
    fill(q, rows * kDim);
    fill(k, kTokens * kDim);
    fill(v, kTokens * kDim);
    out.resize(static_cast<std::size_t>(rows * kDim));
    lse.resize(static_cast<std::size_t>(rows));
    inputs.q = {q.data(), DType::f16, {1, rows, 1, kDim}};
    inputs.k = {k.data(), DType::f16, {1, kTokens, 1, kDim}};
    inputs.v = {v.data(), DType::f16, {1, kTokens, 1, kDim}};
    inputs.out = {out.data(), DType::f32, {1, rows, 1, kDim}};
    inputs.lse = {lse.data(), DType::f32, {1, 1, rows}};
    params.recipe = recipe_of("int8");
    params.causal = Causal::bottom_right;
  }
};

TEST(Large, AHeadOf64kTokensTakesLessThanAGibibyte) {
  for (const std::int64_t rows : {4, 128}) {
    LongHead head(rows);
    for (const std::string& implementation : supported_implementations()) {
      SCOPED_TRACE(implementation + " rows " + std::to_string(rows));
      Execution execution;
      execution.implementation = implementation;
      const std::int64_t before = peak_bytes();
      const Status status = attention(head.inputs, head.params, execution);
      ASSERT_TRUE(status.ok()) << status.message();
      EXPECT_LT(peak_bytes() - before, kGiB);
      for (float x : head.out) ASSERT_TRUE(std::isfinite(x));
      // Every row sees about as many keys: the LSE is about log(65536) and the same everywhere.
      for (float x : head.lse) ASSERT_NEAR(x, 11.5f, 1.5f);
    }
  }
}

// What the whole square needs is told before it runs.
TEST(Large, ScratchMemoryOf64kQueriesToo) {
  LongHead head(kTokens);
  for (const std::string& implementation : supported_implementations()) {
    Execution execution;
    execution.implementation = implementation;
    const Result<std::size_t> bytes = workspace_size(head.inputs, head.params, execution);
    ASSERT_TRUE(bytes.ok()) << bytes.status().message();
    EXPECT_LT(*bytes, static_cast<std::size_t>(kGiB)) << implementation;
  }
}

}  // namespace
}  // namespace octavo::test
