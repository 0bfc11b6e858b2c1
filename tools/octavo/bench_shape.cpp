// Flags of the benches' shapes.
#include "bench_shape.hpp"

#include "common/number_option.hpp"
#include "common/random_tensor.hpp"
#include "octavo/parallel.hpp"

namespace octavo::tool {

void add_shape_options(CLI::App& command, BenchShape& shape) {
  const auto extent = [&](const char* flag, std::int64_t& value, const char* help, const char* otherwise = "") {
    const std::string fallback = value == 0 ? otherwise : std::to_string(value);
    command.add_option(flag, value, help + (" [" + fallback + "]"))->check(whole_number(1, std::int64_t{1} << 40));
  };
  extent("--batch", shape.batch, "Sequences");
  extent("--heads", shape.heads, "Query heads");
  extent("--kv-heads", shape.kv_heads, "Key and value heads", "as --heads");
  extent("--seqlen-q", shape.seqlen_q, "Queries per sequence");
  extent("--seqlen-k", shape.seqlen_k, "Keys per sequence", "as --seqlen-q");
  extent("--head-dim", shape.head_dim, "Channels of Q and K");
  extent("--value-head-dim", shape.value_head_dim, "Channels of V", "as --head-dim");
  command.add_option("--dtype", shape.dtype, "f32, f16 or bf16")->capture_default_str();
  command.add_option("--repeat", shape.repeat, "Measured calls, after two warm-up calls")
      ->check(whole_number(1, 1000000))
      ->capture_default_str();
}

void resolve(BenchShape& shape) {
  if (shape.kv_heads == 0) shape.kv_heads = shape.heads;
  if (shape.seqlen_k == 0) shape.seqlen_k = shape.seqlen_q;
  if (shape.value_head_dim == 0) shape.value_head_dim = shape.head_dim;
}

BenchTensors::BenchTensors(const BenchShape& s)
    : q(random_tensor("q", float_dtype_of(s.dtype), {s.batch, s.seqlen_q, s.heads, s.head_dim}, 1)),
      k(random_tensor("k", float_dtype_of(s.dtype), {s.batch, s.seqlen_k, s.kv_heads, s.head_dim}, 2)),
      v(random_tensor("v", float_dtype_of(s.dtype), {s.batch, s.seqlen_k, s.kv_heads, s.value_head_dim}, 3)),
      out(touched_tensor("o", float_dtype_of(s.dtype), {s.batch, s.seqlen_q, s.heads, s.value_head_dim})) {}

AttentionInputs BenchTensors::inputs() const {
  AttentionInputs inputs;
  inputs.q = q.view();
  inputs.k = k.view();
  inputs.v = v.view();
  inputs.out = out.view();
  return inputs;
}

Json parameters_json(const BenchShape& shape, const CallOptions& options) {
  const AttentionParams params = params_of(options);
  return {{"recipe", to_string(params.recipe)},
          {"batch", shape.batch},
          {"heads", shape.heads},
          {"kv_heads", shape.kv_heads},
          {"seqlen_q", shape.seqlen_q},
          {"seqlen_k", shape.seqlen_k},
          {"head_dim", shape.head_dim},
          {"value_head_dim", shape.value_head_dim},
          {"causal", causal_word(params.causal)},
          {"window", {params.window_left, params.window_right}},
          {"dtype", shape.dtype},
          {"device", options.device},
          {"threads", num_threads()},
          {"repeat", shape.repeat}};
}

}  // namespace octavo::tool
