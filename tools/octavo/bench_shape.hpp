// The shapes that the benches measure, as flags and as JSON.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>

#include "call_options.hpp"
#include "io/tensor.hpp"
#include "octavo/attention.hpp"

namespace octavo::tool {

struct BenchShape {
  std::int64_t batch = 1, heads = 8, kv_heads = 0, seqlen_q = 4096, seqlen_k = 0, head_dim = 128, value_head_dim = 0;
  std::string dtype = "f16";
  int repeat = 10;
};

// kv_heads, seqlen_k and value_head_dim follow heads, seqlen_q and head_dim where they are not given.
void add_shape_options(CLI::App& command, BenchShape& shape);
void resolve(BenchShape& shape);

// N(0, 1) operands of a shape that was resolved, and memory for the output. Q [B, M, Hq, D], K [B, N, Hkv, D],
// V [B, N, Hkv, Dv] -> O [B, M, Hq, Dv].
struct BenchTensors {
  io::Tensor q, k, v, out;
  explicit BenchTensors(const BenchShape& shape);
  AttentionInputs inputs() const;
};

Json parameters_json(const BenchShape& shape, const CallOptions& options);

}  // namespace octavo::tool
