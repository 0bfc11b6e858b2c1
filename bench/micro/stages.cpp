// The three stages as prefill.hpp calls them: the eight row groups of a query block, [128, D], against one key block.
//   Gop/s    2 operations for each product of a row, a key and a channel (score: D, value: Dv, attend: D + Dv)
//   of_peak  the same as a part of the instruction peak of the numbers the stage multiplies, measured in this process;
//            not where tiles multiply, whose peak is not measured
// The weights have no products: they are given in nanoseconds a row of 128 keys.
#include <cmath>
#include <memory>
#include <string>

#include "benches.hpp"

namespace octavo::bench {
namespace {

constexpr std::int64_t kRows = cpu::kQueryBlock;
constexpr std::int64_t kKeys = 512;

// Buffers and arguments of the stages for one query block and the first key block.
class StageRun {
 public:
  explicit StageRun(const PreparedCall& call)
      : plan_(call.plan()),
        stages_(call.kernels().stages(plan_, false)),
        tiles_(call.kernels(), call.plan()),
        thread_(call.thread()),
        block_(call.block(0)),
        memory_(
            static_cast<std::size_t>(4 * kGroups * cpu::kGroupRows * (plan_.key_block + 4 * plan_.v_columns + 64))) {
    scores_ = reinterpret_cast<float*>(memory_.data());
    out_ = scores_ + kRows * plan_.key_block;
    std::fill_n(out_, kRows * plan_.v_columns, 0.0f);
    qk_all();
    softmax_all();
  }

  const cpu::Stages& stages() const { return stages_; }
  void qk_all() {
    for (std::int64_t g = 0; g < kGroups; ++g) {
      stages_.qk(qk(g));
      settle(g);
    }
  }
  void softmax_all() {
    for (std::int64_t g = 0; g < kGroups; ++g) stages_.softmax(softmax(g));
  }
  void score_and_softmax_all() {
    stages_.qk(qk(0));
    settle(0);
    for (std::int64_t g = 1; g < kGroups; ++g) {
      stages_.qk_and_softmax(qk(g), softmax(g - 1));
      settle(g);
    }
    stages_.softmax(softmax(kGroups - 1));
  }
  void pv_all() {
    for (std::int64_t g = 0; g < kGroups; ++g) stages_.pv(pv(g));
  }

 private:
  static constexpr std::int64_t kGroups = kRows / cpu::kGroupRows;

  // The reference of a row's weights: its maximum of this block.
  void settle(std::int64_t g) {
    for (int i = 0; i < cpu::kGroupRows; ++i) shift_[g][i] = row_max_[g][i];
  }
  std::int64_t weights_ld() const { return plan_.key_block / plan_.v_depth; }

  cpu::QkStage qk(std::int64_t g) {
    const cpu::QueryVectors& queries = *cpu::part<cpu::QueryVectors>(thread_, plan_.thread.row_vectors);
    const std::int64_t row = g * cpu::kGroupRows;
    return {.q = cpu::part<std::int32_t>(thread_, plan_.thread.queries) + row * plan_.q_ld,
            .q_low = cpu::part<std::int32_t>(thread_, plan_.thread.queries_low) + row * plan_.q_ld,
            .q_ld = plan_.q_ld,
            .start = queries.start + row,
            .start_low = queries.start_low + row,
            .row_factor = queries.factor + row,
            .k = cpu::part<std::int32_t>(block_, plan_.block.keys),
            .k_strip = plan_.k_strip,
            .steps = plan_.k_steps,
            .key_factor = cpu::part<float>(block_, plan_.block.key_factor),
            .key_addend = cpu::part<float>(block_, plan_.block.key_addend),
            .scores = scores_ + row * plan_.key_block,
            .ld = plan_.key_block,
            .row_max = row_max_[g],
            .full_range_s8 = false,
            .rows = cpu::kGroupRows,
            .keys = plan_.key_block};
  }

  cpu::SoftmaxStage softmax(std::int64_t g) {
    const std::int64_t row = g * cpu::kGroupRows;
    return {.scores = scores_ + row * plan_.key_block,
            .shift = shift_[g],
            .range = plan_.p_range,
            .inverse = plan_.fold ? cpu::part<float>(block_, plan_.block.inverse) : nullptr,
            .weights = cpu::part<std::int32_t>(thread_, plan_.thread.weights) + row * weights_ld(),
            .weights_low = cpu::part<std::int32_t>(thread_, plan_.thread.weights_low) + row * weights_ld(),
            .format = plan_.problem->recipe.p,
            .sum_codes = plan_.sum_codes,
            .ld = plan_.key_block,
            .row_sum = row_sum_,
            .rows = cpu::kGroupRows,
            .keys = plan_.key_block};
  }

  // No row's maximum has risen: O is added to, not rescaled, as nearly always in a long sequence.
  cpu::PvStage pv(std::int64_t g) {
    const std::int64_t row = g * cpu::kGroupRows;
    return {.weights = cpu::part<std::int32_t>(thread_, plan_.thread.weights) + row * weights_ld(),
            .weights_low = cpu::part<std::int32_t>(thread_, plan_.thread.weights_low) + row * weights_ld(),
            .p_ld = weights_ld(),
            .v = cpu::part<std::int32_t>(block_, plan_.block.values),
            .v_steps = plan_.key_block / plan_.v_depth,
            .start = cpu::part<std::int32_t>(block_, plan_.block.v_start),
            .steps = weights_ld(),
            .sum_steps = plan_.sum_keys / plan_.v_depth,
            .full_range_s8 = false,
            .columns = plan_.v_columns,
            .column_scale = plan_.v_block_scales ? cpu::part<float>(block_, plan_.block.column_scale) : nullptr,
            .rescale = false,
            .alpha = kOnes,
            .beta = kOnes,
            .out = out_ + row * plan_.v_columns,
            .rows = cpu::kGroupRows};
  }

  alignas(64) static constexpr float kOnes[cpu::kGroupRows] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

  const cpu::Plan& plan_;
  const cpu::Stages stages_;
  const cpu::TileScope tiles_;
  std::byte *thread_, *block_;
  AlignedBuffer memory_;
  float *scores_, *out_;
  alignas(64) float row_max_[kGroups][cpu::kGroupRows] = {};
  alignas(64) float shift_[kGroups][cpu::kGroupRows] = {};
  alignas(64) float row_sum_[cpu::kGroupRows] = {};
};

void count_products(benchmark::State& state, double operations, double peak) {
  using benchmark::Counter;
  state.counters["Gop/s"] = Counter(operations / 1e9, Counter::kIsIterationInvariantRate);
  if (peak > 0) state.counters["of_peak"] = Counter(operations / 1e9 / peak, Counter::kIsIterationInvariantRate);
}

void count_rows(benchmark::State& state) {
  using benchmark::Counter;
  state.counters["ns/row"] =
      Counter(1e-9 * static_cast<double>(kRows), Counter::kIsIterationInvariantRate | Counter::kInvert);
}

double peak_of(cpu::QkForm form, const Peaks& peaks) {
  return form == cpu::QkForm::s8 ? peaks.int8 : form == cpu::QkForm::bf16 ? peaks.bf16 : peaks.f32;
}
double peak_of(cpu::PvForm form, const Peaks& peaks) {
  return form == cpu::PvForm::s8 ? peaks.int8 : form == cpu::PvForm::bf16 ? peaks.bf16 : peaks.f32;
}

using Calls = std::shared_ptr<PreparedCall>;

// Made when the first benchmark of the case runs, so that --benchmark_filter does not pay for the others.
Calls& made(Calls& call, const cpu::Implementation& implementation, const Case& of, std::int64_t head_dim) {
  if (!call) call = std::make_shared<PreparedCall>(implementation, of, kRows, kKeys, head_dim);
  return call;
}

void register_case(const cpu::Implementation& implementation, const Peaks& peaks, const Case& of,
                   std::int64_t head_dim) {
  const std::string prefix = std::string(cpu::name(implementation)) + "/" + of.name + "/d" + std::to_string(head_dim);
  const auto shared = std::make_shared<Calls>();
  // A cheap look at the plan: which stages there are.
  const PreparedCall probe(implementation, of, cpu::kGroupRows, cpu::kGroupRows, head_dim);
  const bool overlaps = probe.kernels().stages(probe.plan(), false).qk_and_softmax != nullptr;
  Peaks known = peaks;
  if (probe.kernels().open_tiles != nullptr) known.int8 = 0;
  const double qk_peak = peak_of(probe.plan().qk_form, known), pv_peak = peak_of(probe.plan().pv_form, known);
  const double planes = static_cast<double>(probe.plan().weight_planes);
  const double products = 2.0 * kRows * static_cast<double>(probe.plan().key_block * head_dim);

  const auto stage = [&](const char* name, auto body, auto count) {
    benchmark::RegisterBenchmark((prefix + "/" + name).c_str(), [=, &implementation, &of](benchmark::State& state) {
      StageRun run(*made(*shared, implementation, of, head_dim));
      for (auto _ : state) body(run);
      count(state);
    });
  };
  stage(
      "qk", [](StageRun& run) { run.qk_all(); },
      [=](benchmark::State& state) { count_products(state, products, qk_peak); });
  stage("softmax", [](StageRun& run) { run.softmax_all(); }, count_rows);
  if (overlaps) {
    stage(
        "qk_and_softmax", [](StageRun& run) { run.score_and_softmax_all(); },
        [=](benchmark::State& state) { count_products(state, products, qk_peak); });
  }
  // Codes of two bytes are two products; the peak counts both, Gop/s one.
  stage(
      "pv", [](StageRun& run) { run.pv_all(); },
      [=](benchmark::State& state) { count_products(state, products, pv_peak / planes); });
  benchmark::RegisterBenchmark((prefix + "/attend").c_str(), [=, &implementation, &of](benchmark::State& state) {
    const PreparedCall& call = *made(*shared, implementation, of, head_dim);
    const cpu::Stages stages = call.kernels().stages(call.plan(), false);
    const cpu::TileScope tiles(call.kernels(), call.plan());
    for (auto _ : state) call.kernels().attend(call.call(), stages, {.rows = kRows}, call.thread());
    // Two products of equal size, each under its own peak.
    const double peak = qk_peak > 0 && pv_peak > 0 ? 2 / (1 / qk_peak + planes / pv_peak) : 0;
    count_products(state, 4.0 * kRows * static_cast<double>(kKeys * head_dim), peak);
  });
}

}  // namespace

void register_stages(const cpu::Implementation& implementation, const Peaks& peaks) {
  for (const Case& of : kCases)
    for (const std::int64_t head_dim : kHeadDims) register_case(implementation, peaks, of, head_dim);
}

}  // namespace octavo::bench
