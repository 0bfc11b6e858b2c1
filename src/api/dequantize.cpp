// dequantize(): its checks.
#include "api/checks.hpp"
#include "api/execution.hpp"
#include "api/placement.hpp"
#include "api/quantized_operand.hpp"
#include "api/selection.hpp"
#include "core/guard.hpp"
#include "cuda/workspace.hpp"
#include "octavo/quantize.hpp"

namespace octavo {
namespace {

Status run_on_device(const DequantizeProblem& problem, const Execution& execution) {
  const Result<Selection> selection = select_on_device(problem, execution.implementation);
  if (!selection.ok()) return selection.status();
  const cuda::DeviceWorkspace none(execution, problem.device.index, 0);  // looks the stream over
  if (!none.status().ok()) return none.status();
  return cuda::dequantize(*selection->cuda, problem, {problem.device.index, execution.stream, nullptr});
}

Status run(const QuantizedView& x, const TensorView& out, const Execution& execution) {
  if (Status status = check_execution(execution); !status.ok()) return status;
  if (Status status = check_recipe_once(x.recipe); !status.ok()) return status;
  const Placed tensors[] = {
      {{"x", ".codes"}, &x.codes}, {{"x", ".scales"}, &x.scales}, {{"x", ".mean"}, &x.mean}, {{"out"}, &out}};
  DequantizeProblem problem;
  Borders borders;
  if (Status status = check_placement(tensors, problem.device); !status.ok()) return status;
  if (Status status = check_stream(execution, problem.device); !status.ok()) return status;
  QuantizedRanges read;
  if (x.cu_seqlens.given()) {
    if (Status status = read_host_borders("x.cu_seqlens", x.cu_seqlens, -1, "[batch + 1]", read.cu_seqlens, borders);
        !status.ok()) {
      return status;
    }
  }
  if (Status status = check_quantized("x", x, x.role, x.recipe, borders, Pointers::needed, problem.codes, read);
      !status.ok()) {
    return status;
  }
  ByteRange written;
  if (Status status = check_view({"out"}, out, Pointers::needed, &written); !status.ok()) return status;
  if (!has_shape(out, x.codes.shape, x.codes.rank)) {
    return invalid_argument("out has shape ", shape_string(out), "; the codes have ", shape_string(x.codes));
  }
  if (Status status = check_float_dtype({"out"}, out); !status.ok()) return status;
  if (!elements_are_apart(out)) {
    return invalid_argument("out has strides that let elements share memory; its axes must not overlap");
  }
  ByteRanges ranges;
  ranges.reads({"x", ".codes"}, read.codes);
  ranges.reads({"x", ".scales"}, read.scales);
  ranges.reads({"x", ".mean"}, read.mean);
  ranges.reads({"x", ".cu_seqlens"}, read.cu_seqlens);
  ranges.writes({"out"}, written);
  if (Status status = ranges.check(); !status.ok()) return status;

  if (Status status = check_pointers(tensors, problem.device); !status.ok()) return status;

  const Axes axes = axes_of(x.codes, x.layout);
  problem.batch = axes.batch;
  problem.heads = axes.heads;
  problem.rows = axes.rows;
  problem.dim = axes.dim;
  problem.out = operand_of(out, x.layout);
  problem.role = x.role;
  problem.recipe = x.recipe;
  if (problem.device.type == DeviceType::cuda) return run_on_device(problem, execution);
  problem.cu_seqlens = borders.at;
  problem.sequences = borders.batch;
  cpu::dequantize(cpu_implementation(), problem, runner_of(execution));
  return {};
}

}  // namespace

Status dequantize(const QuantizedView& x, const TensorView& out, const Execution& execution) noexcept {
  return guarded([&] { return run(x, out, execution); });
}

}  // namespace octavo
