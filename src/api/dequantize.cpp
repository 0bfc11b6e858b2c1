// dequantize(): its checks, and the implementation that runs it.
#include "api/checks.hpp"
#include "api/device_check.hpp"
#include "api/execution.hpp"
#include "api/quantized_operand.hpp"
#include "api/selection.hpp"
#include "core/guard.hpp"
#include "octavo/quantize.hpp"

namespace octavo {
namespace {

Status run(const QuantizedView& x, const TensorView& out, const Execution& execution) {
  if (Status status = check_execution(execution); !status.ok()) return status;
  if (Status status = check_recipe_once(x.recipe); !status.ok()) return status;
  const NamedTensor tensors[] = {{{"x", ".codes"}, &x.codes},
                                 {{"x", ".scales"}, &x.scales},
                                 {{"x", ".mean"}, &x.mean},
                                 {{"x", ".cu_seqlens"}, &x.cu_seqlens},
                                 {{"out"}, &out}};
  DequantizeProblem problem;
  CuSeqlens sequences;
  if (Status status = check_devices(tensors, problem.device); !status.ok()) return status;
  if (Status status = check_stream(execution, problem.device); !status.ok()) return status;
  QuantizedRanges read;
  if (x.cu_seqlens.given()) {
    if (Status status = read_cu_seqlens("x.cu_seqlens", x.cu_seqlens, -1, "[batch + 1]", Pointers::needed,
                                        read.cu_seqlens, sequences);
        !status.ok()) {
      return status;
    }
  }
  if (Status status = check_quantized("x", x, x.role, x.recipe, sequences, Pointers::needed, problem.codes, read);
      !status.ok()) {
    return status;
  }
  ByteRange written;
  if (Status status = check_view({"out"}, out, Pointers::needed, &written); !status.ok()) return status;
  if (!has_shape(out, x.codes.shape, x.codes.rank)) {
    return invalid_argument("out has shape ", shape_string(out), "; the codes have ", shape_string(x.codes));
  }
  if (Status status = check_float_dtype({"out"}, out); !status.ok()) return status;
  if (!elements_are_distinct(out)) {
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
  problem.cu_seqlens = sequences.at;
  problem.sequences = sequences.batch;
  const Result<const Implementation*> selected = select_implementation(problem, execution.implementation);
  if (!selected.ok()) return selected.status();
  if (Status status = (*selected)->backend().dequantize(**selected, problem, execution); !status.ok()) return status;
  note_served_by(**selected);
  return {};
}

}  // namespace

Status dequantize(const QuantizedView& x, const TensorView& out, const Execution& execution) noexcept {
  return guarded([&] { return run(x, out, execution); });
}

}  // namespace octavo
