// octavo bench peak: instruction peaks and memory bandwidth, to compare other figures with.
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

void run(int threads, const std::string& json) {
  if (threads == 0) threads = num_threads();
  const Peaks peaks = measure_peaks(threads);
  struct Row {
    const char *name, *field;
    const Peak& peak;
    const char* unit;
  };
  const Row rows[] = {
      {"vnni", "vnni_gops", peaks.vnni, "10^9 int8 operations/s"},
      {"bf16", "bf16_gflops", peaks.bf16, "10^9 operations/s"},
      {"f16", "f16_gflops", peaks.f16, "10^9 operations/s"},
      {"f32", "f32_gflops", peaks.f32, "10^9 operations/s"},
      {"amx_int8", "amx_int8_gops", peaks.amx_int8, "10^9 int8 operations/s"},
      {"amx_bf16", "amx_bf16_gflops", peaks.amx_bf16, "10^9 operations/s"},
      {"dram", "dram_gbs", peaks.dram, "10^9 bytes read/s"},
  };
  Table table({Table::Align::left, Table::Align::right, Table::Align::left, Table::Align::left});
  table.add({"peak", "value", "unit", "measured with"});
  double cpu_share = 1;
  Json json_of_all = {{"schema_version", kSchemaVersion},
                      {"kind", "peak"},
                      {"machine", machine()},
                      {"parameters", {{"threads", threads}, {"dram_bytes", peaks.dram_bytes}}}};
  for (const Row& row : rows) {
    const bool missing = row.peak.instruction == nullptr;
    table.add({row.field, missing ? "-" : format("%.1f", row.peak.value), row.unit,
               missing ? "no such instruction here" : row.peak.instruction});
    cpu_share = std::min(cpu_share, row.peak.cpu_share);
    json_of_all[row.field] = missing ? Json(nullptr) : Json(row.peak.value);
    json_of_all["instructions"][row.name] = missing ? Json(nullptr) : Json(row.peak.instruction);
    json_of_all["cpu_share"][row.name] = row.peak.cpu_share;
  }
  std::FILE* stream = text_stream(json);
  std::fprintf(stream, "%s, %d thread%s (a product and an addition are two operations)\n", processor_name().c_str(),
               threads, threads == 1 ? "" : "s");
  table.print(stream);
  if (cpu_share < kUndisturbed) {
    std::fprintf(stderr, "octavo: other processes used up to %.0f %% of the processor time: these peaks are too low\n",
                 100 * (1 - cpu_share));
  }
  write_json(json, json_of_all);
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
