// The flags that every command with an attention call shares, and what they mean to the library.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>

#include "common/output.hpp"
#include "octavo/attention.hpp"
#include "octavo/tensor_view.hpp"

namespace octavo::tool {

struct CallOptions {
  std::string recipe = "int8";
  std::string causal = "none";  // none, bottom_right, top_left
  std::string window = "-1,-1";
  std::optional<double> scale;  // none: 1 / sqrt(head_dim)
  double softcap = 0;
  std::string alibi = "causal";  // causal, symmetric
  int threads = 0;               // 0: as the environment or the machine says
  std::string device = "cpu";
  std::string implementation;
  std::string json;
};

// --recipe
void add_recipe_option(CLI::App& command, CallOptions& options);
// --causal --window --scale --softcap
void add_mask_options(CLI::App& command, CallOptions& options);
// --alibi, for commands with --alibi-slopes
void add_alibi_option(CLI::App& command, CallOptions& options);
// --threads --device --implementation --json
void add_machine_options(CLI::App& command, CallOptions& options);
void add_json_option(CLI::App& command, std::string& target);

AttentionParams params_of(const CallOptions& options);
// Sets the number of threads. Of a command on CPU tensors: another --device is an error.
Execution execution_of(const CallOptions& options);
// The same of a command that also takes tensors on a CUDA device.
Execution device_execution_of(const CallOptions& options);
// --device: cpu, cuda or cuda:INDEX; an error for a device that this build or this machine lacks.
Device device_of(const CallOptions& options);
// "none" | "bottom_right" | "top_left"
std::string causal_word(Causal causal);
// f32, f16 or bf16
DType float_dtype_of(const std::string& name);
Layout layout_of(const std::string& name);

// Pairs (query, key) that causal and window leave visible.
std::int64_t visible_pairs(std::int64_t q_rows, std::int64_t k_rows, const AttentionParams& params);

}  // namespace octavo::tool
