// octavo bench peak: the ceilings that every other figure is read against.
#include <algorithm>
#include <memory>

#include "call_options.hpp"
#include "commands.hpp"
#include "common/machine.hpp"
#include "common/number_option.hpp"
#include "common/peak.hpp"
#include "octavo/parallel.hpp"

namespace octavo::tool {
namespace {

// Less of the processors than this, and the figures are called too low.
constexpr double kUndisturbed = 0.95;

Json value_or_null(const Peak& peak) { return peak.instruction == nullptr ? Json(nullptr) : Json(peak.value); }

Json instruction_or_null(const Peak& peak) {
  return peak.instruction == nullptr ? Json(nullptr) : Json(peak.instruction);
}

void run(int threads, const std::string& json) {
  if (threads == 0) threads = num_threads();
  const Peaks peaks = measure_peaks(threads);
  Table table({Table::Align::left, Table::Align::right, Table::Align::left, Table::Align::left});
  table.add({"peak", "value", "unit", "measured with"});
  double cpu_share = 1;
  const auto row = [&](const char* name, const Peak& peak, const char* unit) {
    const bool missing = peak.instruction == nullptr;
    table.add({name, missing ? "-" : format("%.1f", peak.value), unit,
               missing ? "no such instruction here" : peak.instruction});
    cpu_share = std::min(cpu_share, peak.cpu_share);
  };
  row("vnni_gops", peaks.vnni, "10^9 int8 operations/s");
  row("bf16_gflops", peaks.bf16, "10^9 operations/s");
  row("f32_gflops", peaks.f32, "10^9 operations/s");
  row("dram_gbs", peaks.dram, "10^9 bytes read/s");
  std::FILE* stream = text_stream(json);
  std::fprintf(stream, "%s, %d thread%s (a product and an addition are two operations)\n", processor_name().c_str(),
               threads, threads == 1 ? "" : "s");
  table.print(stream);
  if (cpu_share < kUndisturbed) {
    std::fprintf(stderr, "octavo: other processes used up to %.0f %% of the processor time: these peaks are too low\n",
                 100 * (1 - cpu_share));
  }
  write_json(json, {{"schema_version", kSchemaVersion},
                    {"kind", "peak"},
                    {"machine", machine()},
                    {"parameters", {{"threads", threads}, {"dram_bytes", peaks.dram_bytes}}},
                    {"vnni_gops", value_or_null(peaks.vnni)},
                    {"bf16_gflops", value_or_null(peaks.bf16)},
                    {"f32_gflops", value_or_null(peaks.f32)},
                    {"dram_gbs", value_or_null(peaks.dram)},
                    {"instructions",
                     {{"vnni", instruction_or_null(peaks.vnni)},
                      {"bf16", instruction_or_null(peaks.bf16)},
                      {"f32", instruction_or_null(peaks.f32)},
                      {"dram", instruction_or_null(peaks.dram)}}},
                    {"cpu_share",
                     {{"vnni", peaks.vnni.cpu_share},
                      {"bf16", peaks.bf16.cpu_share},
                      {"f32", peaks.f32.cpu_share},
                      {"dram", peaks.dram.cpu_share}}}});
}

}  // namespace

void add_bench_peak(CLI::App& bench) {
  struct Options {
    int threads = 0;
    std::string json;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = bench.add_subcommand("peak", "Instruction peaks and memory bandwidth of this machine");
  command->add_option("--threads", options->threads, "Threads; 0 = OCTAVO_NUM_THREADS or all")
      ->check(whole_number(0, kMaxThreads));
  add_json_option(*command, options->json);
  command->footer("Example:\n  octavo bench peak --threads 2 --json -");
  command->callback([options] { run(options->threads, options->json); });
}

}  // namespace octavo::tool
