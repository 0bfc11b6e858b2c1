// What becomes of floats before the stages: key blocks packed as attention() packs them, and quantize() of an operand
// [1024, D] by role, all in nanoseconds a row (of K and V together where blocks are packed).
#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "benches.hpp"

namespace octavo::bench {
namespace {

constexpr std::int64_t kRows = 1024;

void count_rows(benchmark::State& state, std::int64_t rows) {
  using benchmark::Counter;
  state.counters["ns/row"] =
      Counter(1e-9 * static_cast<double>(rows), Counter::kIsIterationInvariantRate | Counter::kInvert);
}

void pack_blocks(benchmark::State& state, const cpu::Implementation& implementation, const Case& of,
                 std::int64_t head_dim) {
  const PreparedCall call(implementation, of, cpu::kGroupRows, kRows, head_dim);
  const std::int64_t blocks = kRows / call.plan().key_block;
  for (auto _ : state)
    for (std::int64_t i = 0; i < blocks; ++i) call.kernels().pack_block(call.call(), 0, 0, i, call.thread());
  count_rows(state, kRows);
}

// quantize() as the driver runs it: sums, ranges, codes.
void quantize_role(benchmark::State& state, const cpu::Implementation& implementation, const Case& of, Role role,
                   std::int64_t head_dim) {
  std::vector<std::byte> x = normal(DType::f32, kRows * head_dim, 1);
  std::vector<std::int8_t> codes(static_cast<std::size_t>(kRows * head_dim));
  // Room for the finest scales and for one mean a query block.
  std::vector<float> scales(static_cast<std::size_t>(kRows * head_dim)), means(scales.size());
  const Strides<4> strides{kRows * head_dim, kRows * head_dim, head_dim, 1};
  QuantizeProblem problem;
  problem.batch = problem.heads = 1;
  problem.rows = kRows;
  problem.dim = head_dim;
  problem.role = role;
  problem.recipe = recipe_of(of);
  problem.x = {.data = x.data(), .dtype = DType::f32, .strides = strides};
  problem.codes = {.data = codes.data(), .dtype = DType::s8, .strides = strides};
  problem.scales = scales.data();
  const bool smooth = role == Role::q   ? problem.recipe.smooth_q
                      : role == Role::k ? problem.recipe.smooth_k
                                        : problem.recipe.smooth_v;
  problem.mean = smooth ? means.data() : nullptr;
  OneThread here;
  AlignedBuffer scratch(cpu::workspace_size(implementation, problem, 1));
  for (auto _ : state) cpu::quantize(implementation, problem, here, scratch.data());
  count_rows(state, kRows);
}

}  // namespace

void register_operands(const cpu::Implementation& implementation) {
  for (const Case& of : kCases) {
    for (const std::int64_t head_dim : kHeadDims) {
      const std::string prefix =
          std::string(cpu::name(implementation)) + "/" + of.name + "/d" + std::to_string(head_dim);
      benchmark::RegisterBenchmark((prefix + "/pack_block").c_str(), [&of, &implementation, head_dim](auto& state) {
        pack_blocks(state, implementation, of, head_dim);
      });
      // The quantizers take what is of integers in int8_fast, their heaviest user.
      if (std::string(of.name) != "int8_fast") continue;
      for (const auto& [role, name] : {std::pair{Role::q, "q"}, {Role::k, "k"}, {Role::v, "v"}}) {
        benchmark::RegisterBenchmark((prefix + "/quantize_" + name).c_str(),
                                     [&of, &implementation, head_dim, role = role](auto& state) {
                                       quantize_role(state, implementation, of, role, head_dim);
                                     });
      }
    }
  }
}

}  // namespace octavo::bench
