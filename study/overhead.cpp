// overhead: what the codes' scales cost in memory and in error, the memory of a call, and where its time goes.
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>

#include "common/failure.hpp"
#include "common/output.hpp"
#include "common/random_tensor.hpp"
#include "common/timing.hpp"
#include "octavo/kv_cache.hpp"
#include "octavo/parallel.hpp"
#include "octavo/quantize.hpp"
#include "study/distributions.hpp"
#include "study/grid.hpp"
#include "study/group_scales.hpp"
#include "study/plot.hpp"
#include "study/timed_call.hpp"

namespace octavo::study {
namespace {

using tool::format;

constexpr const char* kRecipes[] = {"int8",  "int8_block", "int4",     "int_flash", "int_flash_half",
                                    "sage1", "sage2_8b",   "sage2_4b", "fa3_fp8",   "fp8_e4m3"};

double bytes_of(const TensorView& x) {
  if (!x.given()) return 0;
  const double elements = static_cast<double>(x.elements());
  return x.dtype == DType::s4 ? elements / 2 : elements * (x.dtype == DType::f32 ? 4 : 1);
}

struct Bytes {
  double codes = 0, scales = 0;  // of a token of K and V; scales with means
};

// Of a token and KV head, K and V together; what a recipe leaves in floats counts as f16.
Bytes bytes_per_token(const std::string& recipe, std::int64_t rows, std::int64_t dim) {
  Bytes bytes;
  const io::Tensor x = tool::random_tensor("x", DType::f32, {1, 1, rows, dim}, 1);
  for (const Role role : {Role::k, Role::v}) {
    const Result<QuantizedTensor> made = quantize(x.view(), role, composed(recipe), Layout::hnd);
    if (!made.ok()) {
      bytes.codes += 2.0 * static_cast<double>(dim);
      continue;
    }
    const QuantizedView& view = made->view();
    bytes.codes += bytes_of(view.codes) / static_cast<double>(rows);
    bytes.scales += (bytes_of(view.scales) + bytes_of(view.mean)) / static_cast<double>(rows);
  }
  return bytes;
}

Table bytes_table(const Options& options) {
  const std::int64_t rows = options.quick ? 1024 : 8192;
  Table table{"bytes",
              format("Bytes of a token of K and V in one KV head, %lld tokens; scales include K's mean. f16: "
                     "256 bytes at D 64, 512 at D 128.",
                     static_cast<long long>(rows)),
              {{"scheme", "scheme"},
               {"codes_64", "codes, D 64"},
               {"scales_64", "scales"},
               {"share_64", "of f16, %", 100},
               {"codes_128", "codes, D 128"},
               {"scales_128", "scales"},
               {"share_128", "of f16, %", 100}}};
  for (const char* recipe : kRecipes) {
    options.progress(format("bytes, %s", recipe));
    std::vector<Cell> row{recipe};
    for (const std::int64_t dim : {64, 128}) {
      const Bytes bytes = bytes_per_token(recipe, rows, dim);
      row.push_back(bytes.codes), row.push_back(bytes.scales);
      row.push_back((bytes.codes + bytes.scales) / (4.0 * static_cast<double>(dim)));
    }
    table.rows.push_back(std::move(row));
  }
  return table;
}

// Formats of the scale: error of s8 Q, K and V with a scale per token or group of channels.
Table scales_table(const Options& options, const Shape& shape, const std::vector<DataSet>& data) {
  Table table{
      "scales",
      "Formats of the scale, a model in double: s8 Q, K and V, P exact. Bytes of scales of a token and head, K and "
      "V, at D " +
          std::to_string(shape.dim) + "; relative L2, %.",
      {{"group", "group of channels"}, {"scale", "scale"}, {"bytes", "bytes"}}};
  for (const DataSet& set : data) table.columns.push_back({set.name, set.name, 100});
  for (const std::int64_t channels : {std::int64_t{0}, std::int64_t{32}, std::int64_t{16}}) {
    for (const ScaleFormat scales : {ScaleFormat::f32, ScaleFormat::f16, ScaleFormat::power_of_two}) {
      GroupScales group;
      group.channels = channels, group.scales = scales, group.quantize_v = true;
      const double each = scales == ScaleFormat::f32 ? 4 : scales == ScaleFormat::f16 ? 2 : 1;
      const double groups = channels == 0 ? 1 : static_cast<double>(shape.dim / channels);
      std::vector<Cell> row{channels == 0 ? std::string("row") : std::to_string(channels), to_string(scales),
                            2 * each * groups};
      for (const DataSet& set : data) {
        options.progress(format("scales: %s on %s", to_string(scales), set.name.c_str()));
        row.push_back(measure(
                          set.problems, [&](const Problem& p) { return group_attention(p, group); }, set.by_head)
                          .mean(&Metrics::relative_l2));
      }
      table.rows.push_back(std::move(row));
    }
  }
  return table;
}

// The process's largest resident size since the last reset; 0 where the system does not tell.
double peak_resident_bytes(bool reset) {
  if (reset) std::ofstream("/proc/self/clear_refs") << "5";
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("VmHWM:")) return 1024 * std::stod(line.substr(6));
  }
  return 0;
}

// How much a call's scratch memory grows the process: fresh memory, of which only touched pages count.
double touched_bytes(const AttentionInputs& inputs, const AttentionParams& params, std::size_t bytes) {
  void* const memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) tool::fail(tool::kExitUnsupported, "no memory for a call's workspace");
  Execution execution;
  execution.workspace = memory;
  execution.workspace_bytes = bytes;
  const double before = peak_resident_bytes(true);
  const Status status = attention(inputs, params, execution);
  const double after = peak_resident_bytes(false);
  ::munmap(memory, bytes);
  tool::require(status);
  return after - before;
}

Table memory_table(const Options& options) {
  const std::int64_t most = options.quick ? 8192 : 131072;
  Table table{
      "memory",
      "Memory of a call, MiB: 1 head, 128 query rows, D 128, f16, one thread. Scratch: workspace_size(). Resident: "
      "growth of the process's largest resident size by the call. Cache: an s8 key-value cache of these keys, and "
      "one in f16.",
      {{"keys", "N"},
       {"scheme", "scheme"},
       {"inputs", "K and V in f16", 1.0 / (1 << 20)},
       {"scratch", "scratch", 1.0 / (1 << 20)},
       {"resident", "resident", 1.0 / (1 << 20)},
       {"cache_s8", "cache s8", 1.0 / (1 << 20)},
       {"cache_f16", "cache f16", 1.0 / (1 << 20)}}};
  const auto cache_bytes = [](DType dtype, std::int64_t keys) {
    KVCacheOptions cache;
    cache.batch = cache.kv_heads = 1, cache.head_dim = 128, cache.capacity = keys, cache.format = dtype;
    return static_cast<double>(tool::value_of(KVCache::create(cache)).nbytes());
  };
  for (std::int64_t keys = 8192; keys <= most; keys *= 4) {
    for (const char* recipe : {"exact", "int8", "int8_fast", "int_flash", "sage2_8b"}) {
      options.progress(format("memory, %s, N %lld", recipe, static_cast<long long>(keys)));
      const TimedCall call({1, 128, keys, 128}, DType::f16);
      AttentionParams params;
      params.recipe = composed(recipe);
      const double scratch = static_cast<double>(tool::value_of(workspace_size(call.inputs(), params)));
      table.rows.push_back({static_cast<double>(keys), recipe, 4.0 * 128 * static_cast<double>(keys), scratch,
                            touched_bytes(call.inputs(), params, static_cast<std::size_t>(scratch)),
                            cache_bytes(DType::s8, keys), cache_bytes(DType::f16, keys)});
    }
  }
  return table;
}

// t(D, Dv) = a + b D + c Dv: the time of QK, of PV, and of what depends on neither. Quantization: with and without.
Table split_table(const Options& options) {
  const std::int64_t rows = options.quick ? 256 : 2048;
  Table table{
      "split",
      format("Where the time of a call goes, %%: 1 head, %lld x %lld, D 128, f32, processor time of one thread. "
             "Quantization: the time with floats less that with codes. QK and PV: from calls with other D and Dv, "
             "linear in them. Softmax: "
             "the rest (maximum, powers, codes of P, rescaling).",
             static_cast<long long>(rows), static_cast<long long>(rows)),
      {{"scheme", "scheme"},
       {"microseconds", "us"},
       {"quantization", "quantization", 100},
       {"qk", "QK", 100},
       {"pv", "PV", 100},
       {"softmax", "softmax", 100}}};
  const int rounds = options.quick ? 2 : 9;
  std::vector<TimedCall::Entry> entries;
  for (const char* recipe : {"exact", "int8_fast", "int_flash", "int8_block", "sage2_8b", "int_flash_half"}) {
    entries.push_back({recipe, composed(recipe)});
  }
  const TimedCall usual({1, rows, rows, 128}), half_qk({1, rows, rows, 64}, DType::f32, 128);
  const TimedCall half_pv({1, rows, rows, 128}, DType::f32, 64);
  // All four in every round, so that what disturbs one disturbs the others.
  std::vector<std::array<std::vector<double>, 4>> shares(entries.size());
  std::vector<std::vector<double>> times(entries.size());
  for (int round = 0; round < rounds; ++round) {
    const auto floats = usual.ratios(entries, 1, true, options.progress);
    const auto codes = usual.ratios(entries, 1, false, options.progress);
    const auto less_qk = half_qk.ratios(entries, 1, false, options.progress);
    const auto less_pv = half_pv.ratios(entries, 1, false, options.progress);
    for (std::size_t i = 0; i < entries.size(); ++i) {
      const double all = floats[i].microseconds, product = codes[i].microseconds;
      const double qk = 2 * (product - less_qk[i].microseconds) / all,
                   pv = 2 * (product - less_pv[i].microseconds) / all;
      times[i].push_back(all);
      shares[i][0].push_back((all - product) / all);
      shares[i][1].push_back(qk);
      shares[i][2].push_back(pv);
      shares[i][3].push_back(product / all - qk - pv);
    }
  }
  for (std::size_t i = 0; i < entries.size(); ++i) {
    std::vector<Cell> row{entries[i].name, tool::median(times[i])};
    for (const std::vector<double>& share : shares[i]) row.push_back(tool::median(share));
    table.rows.push_back(std::move(row));
  }
  return table;
}

Plot bytes_plot(const Table& bytes) {
  BarPlot plot{"Bytes of a token of K and V, D 128, share of f16", "%"};
  std::vector<double> values;
  for (const auto& row : bytes.rows) plot.groups.push_back(row[0].text), values.push_back(100 * row[6].number);
  plot.series.emplace_back("share", std::move(values));
  return {"bytes", to_svg(plot)};
}

Plot split_plot(const Table& split) {
  BarPlot plot{"Where the time of a call goes, %", "%"};
  for (const auto& row : split.rows) plot.groups.push_back(row[0].text);
  for (std::size_t c = 2; c < split.columns.size(); ++c) {
    std::vector<double> values;
    for (const auto& row : split.rows) values.push_back(std::max(0.0, 100 * row[c].number));
    plot.series.emplace_back(split.columns[c].heading, std::move(values));
  }
  return {"split", to_svg(plot)};
}

}  // namespace

Report run_overhead(const Options& options) {
  const int threads = num_threads();
  set_num_threads(1);
  const Shape shape = options.quick ? Shape{1, 16, 256, 64} : Shape{2, 64, 2048, 64};
  const Table bytes = bytes_table(options),
              scales = scales_table(options, shape, data_sets(options, {"gaussian", "outliers"}, shape));
  const Table memory = memory_table(options), split = split_table(options);
  set_num_threads(threads);

  Report report;
  const auto& int8 = bytes.rows[0];
  report.answer = format(
      "Scales cost %.1f %% of the codes at D 128 and %.1f %% at D 64 with a scale per token; K and V in `int8` take "
      "%.0f %% "
      "of their bytes in f16. A scale in f16 instead of f32 costs nothing (%s %% against %s %% of error), a power of "
      "two "
      "raises the error to %s %%.",
      100 * int8[5].number / int8[4].number, 100 * int8[2].number / int8[1].number, 100 * int8[6].number,
      short_number(100 * scales.rows[1][3].number).c_str(), short_number(100 * scales.rows[0][3].number).c_str(),
      short_number(100 * scales.rows[2][3].number).c_str());
  report.method = said(options, shape);
  report.tables = {bytes, scales, memory, split};
  report.plots = {bytes_plot(bytes), split_plot(split)};
  return report;
}

}  // namespace octavo::study
