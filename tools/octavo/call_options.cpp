// Text of flags to AttentionParams and Execution.
#include "call_options.hpp"

#include <algorithm>

#include "common/failure.hpp"
#include "common/number_option.hpp"
#include "octavo/device.hpp"
#include "octavo/parallel.hpp"
#include "octavo/recipe.hpp"

namespace octavo::tool {

void add_recipe_option(CLI::App& command, CallOptions& options) {
  command.add_option("--recipe", options.recipe, "A preset, or a preset with changed fields: int8,smooth_q=off")
      ->capture_default_str();
}

void add_mask_options(CLI::App& command, CallOptions& options) {
  command.add_flag("--causal{bottom_right}", options.causal,
                   "Causal mask; --causal=top_left: the diagonal starts at the first key");
  command.add_option("--window", options.window, "L,R: keys visible left and right of the diagonal; -1 = unlimited")
      ->capture_default_str();
  command.add_option("--scale", options.scale, "Factor of q.k; default 1 / sqrt(head_dim)")->check(finite_number());
  command.add_option("--softcap", options.softcap, "c > 0: scores become c * tanh(s / c)")->check(finite_number());
}

void add_alibi_option(CLI::App& command, CallOptions& options) {
  command
      .add_option("--alibi", options.alibi,
                  "causal: slope * (j - d), d the diagonal key of a query; symmetric: -slope * |j - d|")
      ->capture_default_str();
}

void add_json_option(CLI::App& command, std::string& target) {
  command.add_option("--json", target, "Write one JSON object to FILE, or to stdout for -")->type_name("FILE|-");
}

void add_machine_options(CLI::App& command, CallOptions& options) {
  command.add_option("--threads", options.threads, "Threads; 0 = OCTAVO_NUM_THREADS or all")
      ->check(whole_number(0, kMaxThreads));
  command.add_option("--device", options.device, "cpu, cuda or cuda:INDEX")->capture_default_str();
  command.add_option("--implementation", options.implementation, "Exact name; 'octavo info' lists them");
  add_json_option(command, options.json);
}

AttentionParams params_of(const CallOptions& options) {
  AttentionParams params;
  params.recipe = value_of(parse_recipe(options.recipe));
  require(check_recipe(params.recipe));
  if (options.causal == "bottom_right" || options.causal == "true") {
    params.causal = Causal::bottom_right;
  } else if (options.causal == "top_left") {
    params.causal = Causal::top_left;
  } else if (options.causal != "none" && options.causal != "false") {
    fail(kExitUsage, "--causal=" + options.causal + "; allowed are none, bottom_right (--causal alone) and top_left");
  }
  const std::size_t comma = options.window.find(',');
  const std::string_view window = options.window;
  if (comma == std::string::npos || !read_number(window.substr(0, comma), params.window_left) ||
      !read_number(window.substr(comma + 1), params.window_right)) {
    fail(kExitUsage, "--window " + options.window + "; allowed are two integers L,R, -1 = unlimited");
  }
  if (options.alibi == "symmetric") {
    params.alibi = Alibi::symmetric;
  } else if (options.alibi != "causal") {
    fail(kExitUsage, "--alibi " + options.alibi + "; allowed are causal and symmetric");
  }
  if (options.scale) params.softmax_scale = *options.scale;
  params.softcap = options.softcap;
  return params;
}

Device device_of(const CallOptions& options) {
  if (options.device == "cpu") return {};
  Device device{DeviceType::cuda, 0};
  std::string_view rest = options.device;
  const bool named = rest.starts_with("cuda");
  if (named) rest.remove_prefix(4);
  std::int64_t index = 0;
  if (!named || (!rest.empty() && (rest[0] != ':' || !read_number(rest.substr(1), index) || index < 0))) {
    fail(kExitUsage, "--device " + options.device + "; allowed are cpu, cuda and cuda:INDEX");
  }
  const Result<std::vector<DeviceInfo>> found = devices();
  if (!found.ok()) fail(kExitUnsupported, "--device " + options.device + ": " + found.status().message());
  if (index >= static_cast<std::int64_t>(found->size())) {
    fail(kExitUsage, "--device " + options.device + "; this process sees " + std::to_string(found->size()) +
                         " CUDA devices, counted from 0");
  }
  device.index = static_cast<std::int32_t>(index);
  return device;
}

Execution device_execution_of(const CallOptions& options) {
  if (options.threads > 0) set_num_threads(options.threads);
  Execution execution;
  execution.implementation = options.implementation;
  return execution;
}

Execution execution_of(const CallOptions& options) {
  if (device_of(options).type != DeviceType::cpu) {
    fail(kExitUnsupported, "--device " + options.device +
                               ": this command supports CPU tensors only; octavo run and bench attention, quantize "
                               "and decode take CUDA devices");
  }
  return device_execution_of(options);
}

std::string causal_word(Causal causal) {
  return causal == Causal::none ? "none" : causal == Causal::top_left ? "top_left" : "bottom_right";
}

DType float_dtype_of(const std::string& name) {
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    if (name == to_string(dtype)) return dtype;
  }
  fail(kExitUsage, "dtype " + name + "; allowed are f32, f16 and bf16");
}

Layout layout_of(const std::string& name) {
  if (name == "NHD" || name == "nhd") return Layout::nhd;
  if (name == "HND" || name == "hnd") return Layout::hnd;
  fail(kExitUsage, "layout " + name + "; allowed are NHD [batch, seqlen, heads, dim] and HND");
}

std::int64_t visible_pairs(std::int64_t q_rows, std::int64_t k_rows, const AttentionParams& params) {
  const std::int64_t most = q_rows + k_rows;  // a window beyond this hides nothing
  std::int64_t pairs = 0;
  for (std::int64_t i = 0; i < q_rows; ++i) {
    const std::int64_t diagonal = params.causal == Causal::top_left ? i : i + k_rows - q_rows;
    std::int64_t first = 0, last = k_rows - 1;
    if (params.causal != Causal::none) last = std::min(last, diagonal);
    if (params.window_right >= 0) last = std::min(last, diagonal + std::min(params.window_right, most));
    if (params.window_left >= 0) first = std::max(first, diagonal - std::min(params.window_left, most));
    pairs += std::max<std::int64_t>(0, last - first + 1);
  }
  return pairs;
}

}  // namespace octavo::tool
