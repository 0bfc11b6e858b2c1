// dequantize(): x = R^-1 (code * scale + mean) in f32, R the recipe's rotation; then the output's dtype.
#include <array>

#include "api/checks.hpp"
#include "api/execution.hpp"
#include "api/placement.hpp"
#include "api/quantized_operand.hpp"
#include "api/selection.hpp"
#include "core/float_types.hpp"
#include "core/guard.hpp"
#include "cuda/workspace.hpp"
#include "octavo/quantize.hpp"
#include "spec/rotation.hpp"
#include "spec/side_arrays.hpp"

namespace octavo {
namespace {

struct Task {
  DequantizeProblem problem;
  spec::Groups groups;
  Borders borders;
};

float code_value(const Operand& codes, std::int64_t offset) {
  const auto* bytes = static_cast<const std::uint8_t*>(codes.data);
  switch (codes.dtype) {
    case DType::s8:
      return static_cast<float>(static_cast<std::int8_t>(bytes[offset]));
    case DType::s4: {
      // Offsets of rows are even, so the shift floors correctly below the data pointer too.
      const int nibble = bytes[offset >> 1] >> (offset & 1 ? 4 : 0) & 0xf;
      return static_cast<float>(nibble < 8 ? nibble : nibble - 16);
    }
    case DType::e4m3:
      return e4m3_to_f32(bytes[offset]);
    default:
      return e5m2_to_f32(bytes[offset]);
  }
}

void store(const Operand& out, std::int64_t offset, float value) {
  if (out.dtype == DType::f32) {
    static_cast<float*>(out.data)[offset] = value;
  } else {
    static_cast<std::uint16_t*>(out.data)[offset] =
        out.dtype == DType::f16 ? f32_to_f16_saturating(value) : f32_to_bf16_saturating(value);
  }
}

// All rows of one head of one sequence, whose first row is `begin`.
void dequantize_head(const Task& task, std::int64_t b, std::int64_t h, const spec::SidePlace& place, std::int64_t begin,
                     std::int64_t rows) {
  const DequantizeProblem& problem = task.problem;
  const Operand &codes = problem.codes, &out = problem.out;
  const std::int64_t dim = problem.dim;
  const float* const scales = spec::scales_at(codes, place, h);
  const float* const means = spec::means_at(codes, place, h);
  const bool by_channel = spec::per_channel(task.groups.granularity);
  std::array<float, kMostHeadDim> x;
  for (std::int64_t row = 0; row < rows; ++row) {
    const std::int64_t group = spec::group_of_row(task.groups, row);
    const float* const mean =
        means == nullptr ? nullptr : means + (problem.role == Role::q ? row / spec::kQueryBlock * dim : 0);
    const std::int64_t from = codes.offset(b, h, begin + row), to = out.offset(b, h, begin + row);
    for (std::int64_t c = 0; c < dim; ++c) {
      float value = code_value(codes, from + c * codes.strides[3]);
      if (scales != nullptr) value *= scales[by_channel ? group * dim + c : group];
      if (mean != nullptr) value += mean[c];
      x[static_cast<std::size_t>(c)] = value;
    }
    if (codes.rotated) spec::rotate_row_back(x.data(), dim);
    for (std::int64_t c = 0; c < dim; ++c) store(out, to + c * out.strides[3], x[static_cast<std::size_t>(c)]);
  }
}

// Head h of the codes' batch entry b: a sequence, or all the packed ones.
void dequantize_entry(const Task& task, std::int64_t b, std::int64_t h) {
  const DequantizeProblem& problem = task.problem;
  const Operand& codes = problem.codes;
  if (!task.borders.packed()) {
    return dequantize_head(task, b, h, {b * codes.scales_per_sequence, b * codes.means_per_sequence}, 0, problem.rows);
  }
  spec::SideWalk walk(codes, task.groups, problem.dim, true);
  for (std::int64_t s = 0; s < task.borders.batch; ++s) {
    const std::int64_t rows = task.borders.rows(s);
    dequantize_head(task, b, h, walk.place(), task.borders.at[s], rows);
    walk.pass(rows);
  }
}

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
  Task task;
  DequantizeProblem& problem = task.problem;
  if (Status status = check_placement(tensors, problem.device); !status.ok()) return status;
  if (Status status = check_stream(execution, problem.device); !status.ok()) return status;
  QuantizedRanges read;
  if (x.cu_seqlens.given()) {
    if (Status status =
            read_host_borders("x.cu_seqlens", x.cu_seqlens, -1, "[batch + 1]", read.cu_seqlens, task.borders);
        !status.ok()) {
      return status;
    }
  }
  if (Status status = check_quantized("x", x, x.role, x.recipe, task.borders, Pointers::needed, problem.codes, read);
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
  task.groups = spec::groups_of(x.role, x.recipe);
  if (problem.device.type == DeviceType::cuda) return run_on_device(problem, execution);
  runner_of(execution).run(
      axes.batch * axes.heads,
      [](void* context, std::int64_t head) {
        const Task& whole = *static_cast<const Task*>(context);
        dequantize_entry(whole, head / whole.problem.heads, head % whole.problem.heads);
      },
      &task);
  return {};
}

}  // namespace

Status dequantize(const QuantizedView& x, const TensorView& out, const Execution& execution) noexcept {
  return guarded([&] { return run(x, out, execution); });
}

}  // namespace octavo
