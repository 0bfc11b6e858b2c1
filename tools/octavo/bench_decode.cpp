// octavo bench decode: time of attention of the newest tokens over a key-value cache filled with N(0, 1) data.
// Q [B, M, Hq, D] over K [B, N, Hkv, D], V [B, N, Hkv, Dv] -> O [B, M, Hq, Dv]; and of appending a token.
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "bench_shape.hpp"
#include "commands.hpp"
#include "common/failure.hpp"
#include "common/machine.hpp"
#include "common/number_option.hpp"
#include "common/random_tensor.hpp"
#include "common/timing.hpp"
#include "device_tensors.hpp"
#include "octavo/implementation.hpp"
#include "octavo/kv_cache.hpp"
#include "octavo/parallel.hpp"

namespace octavo::tool {
namespace {

constexpr int kWarmUp = 2;
constexpr std::int64_t kChunk = 1024;  // tokens of an append that fills the cache
constexpr int kCallsOnDevice = 20;     // of one time there, or it would be that of waiting for the device

struct Options {
  BenchShape shape{.heads = 32, .kv_heads = 8, .seqlen_q = 1, .seqlen_k = 4096, .repeat = 50};
  CallOptions call;
  std::string cache = "s8";
  bool kept_keys = true;
  std::int64_t page_size = 0;
};

DType cache_format_of(const std::string& name) {
  for (const DType format : {DType::s8, DType::f32, DType::f16, DType::bf16, DType::s4, DType::e4m3}) {
    if (name == to_string(format)) return format;
  }
  fail(kExitUsage, "--cache " + name + "; allowed are s8, s4, e4m3, f32, f16 and bf16");
}

void run(Options& options) {
  BenchShape& shape = options.shape;
  resolve(shape);
  const Execution execution = device_execution_of(options.call);
  const Device place = device_of(options.call);
  const int calls = place.type == DeviceType::cpu ? 1 : kCallsOnDevice;
  DeviceTensors device(place);
  const DType dtype = float_dtype_of(shape.dtype);
  KVCache cache = value_of(KVCache::create({.batch = shape.batch,
                                            .kv_heads = shape.kv_heads,
                                            .head_dim = shape.head_dim,
                                            .value_head_dim = shape.value_head_dim,
                                            .capacity = shape.seqlen_k,
                                            .format = cache_format_of(options.cache),
                                            .kept_keys = options.kept_keys,
                                            .page_size = options.page_size,
                                            .device = place}));
  const std::int64_t chunk = std::min(kChunk, shape.seqlen_k);
  const io::Tensor q = random_tensor("q", dtype, {shape.batch, shape.seqlen_q, shape.heads, shape.head_dim}, 1);
  const io::Tensor out = touched_tensor("o", dtype, {shape.batch, shape.seqlen_q, shape.heads, shape.value_head_dim});
  for (std::int64_t first = 0; first < shape.seqlen_k; first += chunk) {
    const std::int64_t rows = std::min(chunk, shape.seqlen_k - first);
    const auto seed = static_cast<std::uint64_t>(2 + 2 * first);
    const io::Tensor k = random_tensor("k", dtype, {shape.batch, rows, shape.kv_heads, shape.head_dim}, seed);
    const io::Tensor v = random_tensor("v", dtype, {shape.batch, rows, shape.kv_heads, shape.value_head_dim}, seed + 1);
    DeviceTensors rows_there(place);
    require(cache.append(rows_there.moved(k.view()), rows_there.moved(v.view()), Layout::nhd, {}, {}, execution));
    rows_there.wait();
  }
  CacheQuery query;
  query.q = device.moved(q.view());
  query.out = device.moved(out.view());
  const auto call = [&] {
    for (int i = 0; i < calls; ++i) require(cache.attend(query, {}, execution));
    device.wait();
  };
  for (int i = 0; i < kWarmUp; ++i) call();
  Times measured = repeat(shape.repeat, num_threads(), call);
  for (double& time : measured.microseconds) time /= calls;
  const std::string implementation(last_implementation());

  const io::Tensor k = random_tensor("k", dtype, {shape.batch, 1, shape.kv_heads, shape.head_dim}, 5);
  const io::Tensor v = random_tensor("v", dtype, {shape.batch, 1, shape.kv_heads, shape.value_head_dim}, 6);
  const TensorView k_there = device.moved(k.view()), v_there = device.moved(v.view());
  std::vector<double> appends;
  for (int i = 0; i < shape.repeat; ++i) {
    for (std::int64_t b = 0; b < shape.batch; ++b) require(cache.trim(b, shape.seqlen_k - 1));
    appends.push_back(microseconds([&] {
      require(cache.append(k_there, v_there, Layout::nhd, {}, {}, execution));
      device.wait();
    }));
  }

  const std::vector<double>& times = measured.microseconds;
  const double gbs = static_cast<double>(cache.nbytes()) / median(times) / 1e3;
  Json parameters = parameters_json(shape, options.call);
  for (const char* name : {"recipe", "causal", "window"}) parameters.erase(name);
  parameters["cache"] = options.cache;
  parameters["kept_keys"] = options.kept_keys;
  parameters["page_size"] = options.page_size;
  write_json(options.call.json, {{"schema_version", kSchemaVersion},
                                 {"kind", "decode"},
                                 {"machine", machine()},
                                 {"parameters", parameters},
                                 {"time_us", time_json(times)},
                                 {"append_us", time_json(appends)},
                                 {"cpu_share", measured.cpu_share},
                                 {"cache_bytes", cache.nbytes()},
                                 {"cache_gbs", gbs},
                                 {"implementation", implementation}});
  std::fprintf(text_stream(options.call.json),
               "%s cache  %s  median %.1f us (min %.1f, max %.1f)  %.1f GB/s of the cache  append %.1f us\n",
               options.cache.c_str(), implementation.c_str(), median(times),
               *std::min_element(times.begin(), times.end()), *std::max_element(times.begin(), times.end()), gbs,
               median(appends));
}

}  // namespace

void add_bench_decode(CLI::App& bench) {
  auto options = std::make_shared<Options>();
  CLI::App* command = bench.add_subcommand("decode", "Time of the newest tokens' attention over a key-value cache");
  command->add_option("--cache", options->cache, "Format: s8, s4, e4m3, f32, f16 or bf16")->capture_default_str();
  command->add_option("--kept-keys", options->kept_keys, "s8, s4: keep the first token and the last 64 in 16 bits")
      ->type_name("true|false")
      ->capture_default_str();
  command->add_option("--page-size", options->page_size, "Tokens of a page, a multiple of 16; 0: contiguous")
      ->check(whole_number(0, std::int64_t{1} << 40))
      ->capture_default_str();
  add_shape_options(*command, options->shape);
  add_machine_options(*command, options->call);
  command->footer(
      "Examples:\n"
      "  octavo bench decode --cache s8 --seqlen-k 32768 --threads 2\n"
      "  octavo bench decode --cache f16 --heads 9 --kv-heads 3 --head-dim 64 --json -");
  command->callback([options] { run(*options); });
}

}  // namespace octavo::tool
