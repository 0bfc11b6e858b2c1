// A call of one head that has just run on one implementation: its packed blocks, its queries' words and its factors lie
// in scratch memory where the plan says, so that each kernel can be called again, alone, on what the driver gives it.
// Q [rows, D], K [keys, D], V [keys, D] of N(0, 1); one thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/aligned_buffer.hpp"
#include "cpu/implementation.hpp"
#include "cpu/plan.hpp"

namespace octavo::bench {

// What a recipe is called with; which kinds of the stages that takes is the plan's affair.
struct Case {
  const char* name;
  const char* recipe;
  DType dtype;
};

// Recipes that together take every kind of every stage.
inline constexpr Case kCases[] = {
    {"int8", "int8", DType::f32},         {"int8_fast", "int8_fast", DType::f32},
    {"int8_p16", "int8_p16", DType::f32}, {"int_flash", "int_flash", DType::f32},
    {"sage2_8b", "sage2_8b", DType::f32}, {"sage1", "sage1", DType::f32},
    {"exact_f32", "exact", DType::f32},   {"exact_bf16", "exact", DType::bf16},
};
inline constexpr std::int64_t kHeadDims[] = {64, 128};

// Runs tasks one after the other where it is called.
class OneThread final : public ParallelRunner {
 public:
  void run(std::int64_t tasks, Body body, void* context) noexcept override {
    for (std::int64_t task = 0; task < tasks; ++task) body(context, task);
  }
  int threads() const noexcept override { return 1; }
};

class PreparedCall {
 public:
  PreparedCall(const cpu::Implementation& implementation, const Case& of, std::int64_t rows, std::int64_t keys,
               std::int64_t head_dim);
  // The plan points at the problem.
  PreparedCall(const PreparedCall&) = delete;
  PreparedCall& operator=(const PreparedCall&) = delete;

  const Problem& problem() const { return problem_; }
  const cpu::KernelTable& kernels() const { return *implementation_.kernels; }
  const cpu::Plan& plan() const { return plan_; }
  cpu::Call call() const { return {&plan_, scratch_.data()}; }
  std::byte* thread() const { return scratch_.data() + plan_.threads_at; }
  std::byte* block(std::int64_t i) const { return cpu::block_at(call(), 0, 0, i); }
  // The whole call once more, with everything that becomes of floats.
  void run();

 private:
  const cpu::Implementation& implementation_;
  Problem problem_;
  std::vector<std::byte> q_, k_, v_, out_;
  cpu::Plan plan_;
  AlignedBuffer scratch_;
};

// N(0, 1) as [count] numbers of a format.
std::vector<std::byte> normal(DType dtype, std::int64_t count, unsigned seed);
Recipe recipe_of(const Case& of);

}  // namespace octavo::bench
