// octavo_micro: every kernel of every implementation that this processor can run, one thread.
//   octavo_micro --benchmark_filter=avx512_vnni_bf16/int8/d128
// Names are implementation/recipe/head size/kernel. Peaks are measured first, in this process, and stand in the
// context.
#include <time.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <string>

#include "benches.hpp"
#include "common/peak_loops.hpp"

namespace octavo::bench {
namespace {

double thread_seconds() {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// The best of twenty rounds of about ten milliseconds, in processor time as the benches: others can only make one
// slower.
double measured(const tool::PeakLoop& loop) {
  if (loop.instruction == nullptr) return 0;
  const auto seconds = [&](std::uint64_t iterations) {
    const double start = thread_seconds();
    loop.run(iterations);
    return thread_seconds() - start;
  };
  std::uint64_t iterations = 1 << 14;
  while (seconds(iterations) < 0.01) iterations *= 2;
  double best = seconds(iterations);
  for (int round = 1; round < 20; ++round) best = std::min(best, seconds(iterations));
  return static_cast<double>(iterations) * loop.operations_per_iteration / best / 1e9;
}

void describe(const char* name, const tool::PeakLoop& loop, double value) {
  char text[64];
  std::snprintf(text, sizeof text, "%.1f Gop/s (%s)", value, loop.instruction);
  if (value > 0) benchmark::AddCustomContext(std::string("peak_") + name, text);
}

void register_all() {
  const Peaks peaks{measured(tool::int8_loop()), measured(tool::bf16_loop()), measured(tool::f32_loop())};
  describe("int8", tool::int8_loop(), peaks.int8);
  describe("bf16", tool::bf16_loop(), peaks.bf16);
  describe("f32", tool::f32_loop(), peaks.f32);
  for (const cpu::Implementation* implementation : cpu::implementations()) {
    std::string missing = cpu::missing(*implementation);
    if (missing.empty()) missing = cpu::os_permission_error(*implementation);
    if (!missing.empty()) {
      benchmark::AddCustomContext(std::string("skipped_") + cpu::name(*implementation), missing);
      continue;
    }
    register_stages(*implementation, peaks);
    register_operands(*implementation);
  }
}

}  // namespace
}  // namespace octavo::bench

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  octavo::bench::register_all();
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
