// octavo bench peak: the ceilings that every other figure is read against.
#include <memory>

#include "call_options.hpp"
#include "commands.hpp"
#include "machine.hpp"
#include "octavo/parallel.hpp"
#include "peak.hpp"

namespace octavo::tool {
namespace {

Json peak_or_null(const char* instruction, double value) {
  return instruction == nullptr ? Json(nullptr) : Json(value);
}

Json instruction_or_null(const char* instruction) { return instruction == nullptr ? Json(nullptr) : Json(instruction); }

void run(int threads, const std::string& json) {
  if (threads == 0) threads = num_threads();
  const Peaks peaks = measure_peaks(threads);
  Table table({Table::Align::left, Table::Align::right, Table::Align::left, Table::Align::left});
  table.add({"peak", "value", "unit", "measured with"});
  const auto row = [&](const char* name, double value, const char* unit, const char* instruction) {
    table.add({name, instruction == nullptr ? "-" : format("%.1f", value), unit,
               instruction == nullptr ? "no such instruction here" : instruction});
  };
  row("vnni_gops", peaks.vnni_gops, "10^9 int8 operations/s", peaks.vnni_instruction);
  row("bf16_gflops", peaks.bf16_gflops, "10^9 operations/s", peaks.bf16_instruction);
  row("f32_gflops", peaks.f32_gflops, "10^9 operations/s", peaks.f32_instruction);
  row("dram_gbs", peaks.dram_gbs, "10^9 bytes read/s", peaks.dram_instruction);
  std::FILE* stream = text_stream(json);
  std::fprintf(stream, "%s, %d thread%s (a product and an addition are two operations)\n", processor_name().c_str(),
               threads, threads == 1 ? "" : "s");
  table.print(stream);
  write_json(json, {{"schema_version", kSchemaVersion},
                    {"kind", "peak"},
                    {"machine", machine()},
                    {"parameters", {{"threads", threads}, {"dram_bytes", peaks.dram_bytes}}},
                    {"vnni_gops", peak_or_null(peaks.vnni_instruction, peaks.vnni_gops)},
                    {"bf16_gflops", peak_or_null(peaks.bf16_instruction, peaks.bf16_gflops)},
                    {"f32_gflops", peak_or_null(peaks.f32_instruction, peaks.f32_gflops)},
                    {"dram_gbs", peaks.dram_gbs},
                    {"instructions",
                     {{"vnni", instruction_or_null(peaks.vnni_instruction)},
                      {"bf16", instruction_or_null(peaks.bf16_instruction)},
                      {"f32", instruction_or_null(peaks.f32_instruction)},
                      {"dram", peaks.dram_instruction}}}});
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
      ->check(CLI::Range(0, 1024));
  add_json_option(*command, options->json);
  command->footer("Example:\n  octavo bench peak --threads 2 --json -");
  command->callback([options] { run(options->threads, options->json); });
}

}  // namespace octavo::tool
