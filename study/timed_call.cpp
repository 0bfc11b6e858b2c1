// Layout HND with a batch of one; outputs have the inputs' dtype.
#include "study/timed_call.hpp"

#include <array>
#include <cmath>
#include <optional>

#include "common/failure.hpp"
#include "common/output.hpp"
#include "common/random_tensor.hpp"
#include "common/timing.hpp"
#include "octavo/implementation.hpp"

namespace octavo::study {
namespace {

TensorView batch_of_one(const TensorView& x) {
  return TensorView(x.data, x.dtype, {1, x.shape[0], x.shape[1], x.shape[2]});
}

bool does_not_run(const Status& status) {
  return status.code() == StatusCode::kUnimplemented || status.code() == StatusCode::kUnavailable;
}

// An entry's inputs: floats, or codes where the recipe has them.
class Inputs {
 public:
  Inputs(const AttentionInputs& floats, const TimedCall::Entry& entry, bool quantized) : call(floats) {
    if (!quantized) return;
    Execution execution;
    execution.implementation = entry.implementation;
    const auto replace = [&](std::size_t i, TensorView& x, Role role, const QuantizedView*& view) {
      Result<QuantizedTensor> made = quantize(x, role, entry.recipe, Layout::hnd, execution);
      if (!made.ok()) return;  // an operand that the recipe leaves in floats
      codes_[i] = *std::move(made);
      view = &codes_[i]->view();
      x = {};
    };
    replace(0, call.q, Role::q, call.quantized_q);
    replace(1, call.k, Role::k, call.quantized_k);
    replace(2, call.v, Role::v, call.quantized_v);
  }
  AttentionInputs call;

 private:
  std::array<std::optional<QuantizedTensor>, 3> codes_;
};

}  // namespace

TimedCall::TimedCall(const Shape& shape, DType dtype, std::int64_t value_dim)
    : shape_(shape), value_dim_(value_dim == 0 ? shape.dim : value_dim) {
  if (shape_.kv_heads == 0) shape_.kv_heads = shape_.heads;
  q_ = tool::random_tensor("q", dtype, {shape_.heads, shape_.q_rows, shape_.dim}, 1);
  k_ = tool::random_tensor("k", dtype, {shape_.kv_heads, shape_.k_rows, shape_.dim}, 2);
  v_ = tool::random_tensor("v", dtype, {shape_.kv_heads, shape_.k_rows, value_dim_}, 3);
  out_ = tool::touched_tensor("o", dtype, {shape_.heads, shape_.q_rows, value_dim_});
}

double TimedCall::operations() const {
  return 2.0 * static_cast<double>(shape_.heads * shape_.q_rows) * static_cast<double>(shape_.k_rows) *
         static_cast<double>(shape_.dim + value_dim_);
}

AttentionInputs TimedCall::inputs() const {
  AttentionInputs inputs;
  inputs.layout = Layout::hnd;
  inputs.q = batch_of_one(q_.view());
  inputs.k = batch_of_one(k_.view());
  inputs.v = batch_of_one(v_.view());
  inputs.out = batch_of_one(out_.view());
  return inputs;
}

std::vector<TimedCall::Ratio> TimedCall::ratios(const std::vector<Entry>& entries, int rounds, bool with_quantization,
                                                const std::function<void(const std::string&)>& progress) const {
  std::vector<Ratio> results(entries.size());
  std::vector<Inputs> prepared;
  prepared.reserve(entries.size());
  std::vector<std::vector<double>> times(entries.size()), relative(entries.size());
  std::vector<bool> runs(entries.size(), true);
  const auto call = [&](std::size_t i) {
    AttentionParams params;
    params.recipe = entries[i].recipe;
    Execution execution;
    execution.implementation = entries[i].implementation;
    return attention(prepared[i].call, params, execution);
  };
  for (std::size_t i = 0; i < entries.size(); ++i) {
    prepared.emplace_back(inputs(), entries[i], !with_quantization);
    const Status status = call(i);  // warm
    runs[i] = status.ok();
    if (!status.ok() && !does_not_run(status)) tool::require(status);
    if (runs[i]) results[i].implementation = last_implementation();
  }
  const auto time_of = [&](std::size_t i) {
    const double before = tool::process_seconds();
    tool::require(call(i));
    return 1e6 * (tool::process_seconds() - before);
  };
  for (int round = 0; round < rounds; ++round) {
    progress(tool::format("times, round %d of %d", round + 1, rounds));
    for (std::size_t i = 0; i < entries.size(); ++i) {
      if (!runs[i]) continue;
      // The first entry next to each other one: the machine's speed changes within a round.
      const double base = runs[0] ? time_of(0) : 1;
      times[i].push_back(i == 0 ? base : time_of(i));
      relative[i].push_back(times[i].back() / base);
    }
  }
  for (std::size_t i = 0; i < entries.size(); ++i) {
    results[i].ratio = runs[i] && runs[0] ? tool::median(relative[i]) : std::nan("");
    results[i].microseconds = runs[i] ? tool::median(times[i]) : std::nan("");
  }
  return results;
}

}  // namespace octavo::study
