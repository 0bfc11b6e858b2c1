// merge_state(): its checks, and the implementation that runs it.
#include "octavo/merge.hpp"

#include "api/device_check.hpp"
#include "api/execution.hpp"
#include "api/selection.hpp"
#include "core/guard.hpp"
#include "core/text.hpp"

namespace octavo {
namespace {

using Part = MergeProblem::Part;

Part part_of(const TensorView& o, const TensorView& lse, Layout layout) {
  return {operand_of(o, layout), static_cast<float*>(lse.data), {lse.strides[0], lse.strides[1], lse.strides[2]}};
}

struct Given {
  std::string_view name;
  const TensorView& view;
  ByteRange range{};
};

bool same_memory(const TensorView& a, const TensorView& b) {
  if (a.data != b.data) return false;
  for (std::size_t axis = 0; axis < static_cast<std::size_t>(a.rank); ++axis) {
    if (a.shape[axis] > 1 && a.strides[axis] != b.strides[axis]) return false;
  }
  return true;
}

// `out` may be the very tensor `input`, element for element; any other overlap would be read after it is written.
Status check_overlap(const Given& out, const Given& input, bool may_be_same) {
  if (!out.range.overlaps(input.range)) return {};
  if (may_be_same && same_memory(out.view, input.view)) return {};
  return invalid_argument(out.name, " overlaps ", input.name,
                          may_be_same ? " without being the same view of it" : "; outputs need memory of their own");
}

Status run(const TensorView& o_a, const TensorView& lse_a, const TensorView& o_b, const TensorView& lse_b,
           const TensorView& out, const TensorView& lse, Layout layout, const Execution& execution) {
  if (Status status = check_execution(execution); !status.ok()) return status;
  if (layout != Layout::nhd && layout != Layout::hnd) {
    return invalid_argument("layout is the unknown value ", static_cast<int>(layout), "; allowed are NHD and HND");
  }
  const NamedTensor tensors[] = {{{"o_a"}, &o_a},     {{"o_b"}, &o_b},     {{"out"}, &out},
                                 {{"lse_a"}, &lse_a}, {{"lse_b"}, &lse_b}, {{"lse"}, &lse}};
  MergeProblem merge;
  if (Status status = check_devices(tensors, merge.device); !status.ok()) return status;
  if (Status status = check_stream(execution, merge.device); !status.ok()) return status;
  Given outputs[] = {{"o_a", o_a}, {"o_b", o_b}, {"out", out}};
  Given logs[] = {{"lse_a", lse_a}, {"lse_b", lse_b}, {"lse", lse}};
  for (Given* list : {outputs, logs}) {
    for (int i = 0; i < 3; ++i) {
      Given& given = list[i];
      if (!given.view.given()) return invalid_argument(given.name, " is missing");
      if (Status status = check_view({given.name}, given.view, Pointers::needed, &given.range); !status.ok()) {
        return status;
      }
      if (given.view.dtype != DType::f32) {
        return invalid_argument(given.name, " is ", to_string(given.view.dtype), "; states are merged in f32");
      }
    }
  }
  if (o_a.rank != 4) {
    return invalid_argument("o_a has shape ", shape_string(o_a), "; 4 axes are needed, ", axes_text(layout, 4));
  }
  const Axes axes = axes_of(o_a, layout);
  const std::array<std::int64_t, 4> lse_shape{axes.batch, axes.heads, axes.rows};
  for (const Given& given : outputs) {
    if (has_shape(given.view, o_a.shape, 4)) continue;
    return invalid_argument(given.name, " has shape ", shape_string(given.view), "; o_a has ", shape_string(o_a));
  }
  for (const Given& given : logs) {
    if (has_shape(given.view, lse_shape, 3)) continue;
    return invalid_argument(given.name, " has shape ", shape_string(given.view), "; it must be ",
                            shape_text(lse_shape, 3), ", [batch, heads, rows] of o_a");
  }
  for (const Given* given : {&outputs[2], &logs[2]}) {
    if (elements_are_distinct(given->view)) continue;
    return invalid_argument(given->name, " has strides that let elements share memory; its axes must not overlap");
  }
  for (int i = 0; i < 3; ++i) {
    if (Status status = check_overlap(outputs[2], logs[i], false); !status.ok()) return status;
    if (i == 2) break;
    if (Status status = check_overlap(logs[2], outputs[i], false); !status.ok()) return status;
    if (Status status = check_overlap(outputs[2], outputs[i], true); !status.ok()) return status;
    if (Status status = check_overlap(logs[2], logs[i], true); !status.ok()) return status;
  }

  if (Status status = check_pointers(tensors, merge.device); !status.ok()) return status;

  merge.batch = axes.batch;
  merge.heads = axes.heads;
  merge.rows = axes.rows;
  merge.dim = axes.dim;
  merge.a = part_of(o_a, lse_a, layout);
  merge.b = part_of(o_b, lse_b, layout);
  merge.out = part_of(out, lse, layout);
  const Result<const Implementation*> selected = select_implementation(merge, execution.implementation);
  if (!selected.ok()) return selected.status();
  if (Status status = (*selected)->backend().merge(**selected, merge, execution); !status.ok()) return status;
  note_served_by(**selected);
  return {};
}

}  // namespace

Status merge_state(const TensorView& o_a, const TensorView& lse_a, const TensorView& o_b, const TensorView& lse_b,
                   const TensorView& out, const TensorView& lse, Layout layout, const Execution& execution) noexcept {
  return guarded([&] { return run(o_a, lse_a, o_b, lse_b, out, lse, layout, execution); });
}

}  // namespace octavo
