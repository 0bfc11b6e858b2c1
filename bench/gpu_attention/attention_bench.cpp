// gpu_attention_bench [--batch B] [--heads H] [--kv-heads H] [--rows N] [--head-dim D] [--causal] [--seconds S]
//                     [RECIPE...]
// One line of JSON for each recipe, with the members that bench/gpu_baselines gives its own entries: ms is the median
// of a call, quantization included, timed by the host's clock over stretches of calls.
#include "attention_bench.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <string>
#include <vector>

#include "problem.hpp"

namespace octavo::bench {
namespace {

using Clock = std::chrono::steady_clock;
constexpr Device kDevice{DeviceType::cuda, 0};
constexpr double kStretchMs = 20;

struct Options {
  Shape shape;
  double seconds = 1;
  std::vector<std::string> recipes;
};

double milliseconds_since(Clock::time_point began) {
  return std::chrono::duration<double, std::milli>(Clock::now() - began).count();
}

void must(const Status& status) {
  if (!status.ok()) throw std::runtime_error(std::string(status.message()));
}

std::string quoted(std::string text) {
  for (char& c : text) {
    if (c == '"' || c == '\\') c = '\'';
    if (static_cast<unsigned char>(c) < 32) c = ' ';
  }
  return "\"" + text + "\"";
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

/// The members of a recipe's line; throws where octavo returns an error.
std::string measured(const DeviceProblem& problem, const Options& options, const std::string& recipe) {
  AttentionParams params;
  const Result<Recipe> parsed = parse_recipe(recipe);
  must(parsed.status());
  params.recipe = *parsed;
  params.causal = options.shape.causal ? Causal::bottom_right : Causal::none;
  const Result<std::size_t> bytes = workspace_size(problem.inputs(), params);
  must(bytes.status());
  const Result<DeviceMemory> workspace = DeviceMemory::allocate(kDevice, std::max<std::size_t>(*bytes, 256));
  must(workspace.status());
  Execution execution;
  execution.workspace = workspace->data();
  execution.workspace_bytes = workspace->bytes();

  const auto stretch = [&](int calls) {
    const Clock::time_point began = Clock::now();
    for (int i = 0; i < calls; ++i) must(attention(problem.inputs(), params, execution));
    must(synchronize(kDevice));
    return milliseconds_since(began) / calls;
  };
  stretch(1);
  const double error = problem.error();
  const int calls = static_cast<int>(std::clamp(std::ceil(kStretchMs / std::max(stretch(2), 1e-3)), 1.0, 1e4));
  std::vector<double> times;
  const Clock::time_point began = Clock::now();
  while (times.size() < 3 || milliseconds_since(began) < 1e3 * options.seconds) times.push_back(stretch(calls));
  const double ms = median(times);
  char text[256];
  if (!std::isfinite(error)) return "\"refused\": \"its result is not finite\"";
  std::snprintf(text, sizeof text,
                "\"relative_l2\": %.4e, \"ms\": %.6g, \"ms_min\": %.6g, \"rounds\": %zu, \"tflops\": %.6g", error, ms,
                *std::min_element(times.begin(), times.end()), times.size(), options.shape.operations() / ms * 1e-9);
  return text;
}

int usage(const std::string& problem) {
  std::fprintf(stderr,
               "gpu_attention_bench: %s\nusage: gpu_attention_bench [--batch B] [--heads H] [--kv-heads H] [--rows N] "
               "[--head-dim D] [--causal] [--seconds S] [RECIPE...]\n",
               problem.c_str());
  return 2;
}

/// What is wrong with the arguments; empty: nothing.
std::string parse(int count, char** arguments, Options& options) {
  const struct {
    const char* name;
    std::int64_t* value;
    std::int64_t most;
  } numbers[] = {{"--batch", &options.shape.batch, 4096},
                 {"--heads", &options.shape.heads, 4096},
                 {"--kv-heads", &options.shape.kv_heads, 4096},
                 {"--rows", &options.shape.rows, 1 << 22},
                 {"--head-dim", &options.shape.head_dim, 576}};
  for (int i = 1; i < count; ++i) {
    const std::string name = arguments[i];
    if (name == "--causal") {
      options.shape.causal = true;
      continue;
    }
    if (name.compare(0, 2, "--") != 0) {
      options.recipes.push_back(name);
      continue;
    }
    if (i + 1 == count) return "a value is missing after " + name;
    char* end = nullptr;
    const double value = std::strtod(arguments[++i], &end);
    const bool is_number = end != arguments[i] && *end == '\0';
    const auto* const found =
        std::find_if(std::begin(numbers), std::end(numbers), [&](const auto& number) { return name == number.name; });
    if (name == "--seconds") {
      if (!is_number || !(value > 0 && value <= 60)) return "--seconds takes a number above 0, up to 60";
      options.seconds = value;
    } else if (found == std::end(numbers)) {
      return "unknown argument " + name;
    } else if (!is_number || !(value >= 1 && value <= static_cast<double>(found->most)) || value != std::floor(value)) {
      return name + " takes a whole number from 1 to " + std::to_string(found->most) + ", not " + arguments[i];
    } else {
      *found->value = static_cast<std::int64_t>(value);
    }
  }
  if (options.shape.heads % options.shape.kv_heads != 0) return "--heads must be a multiple of --kv-heads";
  if (options.recipes.empty())
    options.recipes = {"int8", "int8_fast", "int8_block", "int_flash", "int_flash_half", "exact"};
  return {};
}

}  // namespace

int attention_bench(int count, char** arguments) {
  Options options;
  if (const std::string problem = parse(count, arguments, options); !problem.empty()) return usage(problem);
  const Result<std::vector<DeviceInfo>> found = devices();
  if (!found.ok() || found->empty()) {
    std::fprintf(stderr, "gpu_attention_bench: no GPU can be used: %s\n",
                 found.ok() ? "the driver lists none" : std::string(found.status().message()).c_str());
    return 3;
  }
  bool failed = false;
  try {
    const DeviceProblem problem(options.shape);
    for (const std::string& recipe : options.recipes) {
      std::string members;
      try {
        members = measured(problem, options, recipe);
      } catch (const std::exception& error) {
        members = "\"refused\": " + quoted(error.what());
      }
      failed = failed || members.find("\"refused\"") == 0;
      std::printf("{\"name\": %s, %s}\n", quoted("octavo " + recipe).c_str(), members.c_str());
      std::fflush(stdout);
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "gpu_attention_bench: %s\n", error.what());
    return 1;
  }
  return failed ? 1 : 0;
}

}  // namespace octavo::bench
