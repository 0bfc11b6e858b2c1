// Field by field from C to C++ and back.
#include "capi/convert.hpp"

#include <atomic>

#include "capi/sized_struct.hpp"

namespace octavo::capi {
namespace {

struct RecipeFields {
  Status status;

  template <class Enum>
  void read(const ArgumentName& name, std::int32_t value, Enum last, Enum& to) {
    if (status.ok()) status = read_enumerator(name, value, last, to);
  }
  void read(const ArgumentName& name, std::int32_t value, bool& to) {
    if (status.ok()) status = check_enumerator(name, value, 1);
    to = value != 0;
  }
};

}  // namespace

Status check_given(const void* pointer, const ArgumentName& name) {
  return pointer != nullptr ? Status{} : invalid_argument(name, " is null");
}

Status check_enumerator(const ArgumentName& name, std::int32_t value, std::int32_t last) {
  return value >= 0 && value <= last ? Status{} : invalid_argument(name, " is ", value, "; allowed are 0 to ", last);
}

Status check_reserved(const ArgumentName& name, std::int32_t value) {
  return value == 0 ? Status{} : invalid_argument(name, ".reserved is ", value, "; it must be 0");
}

Status read_tensor(const octavo_tensor_t* from, const ArgumentName& name, TensorView& to) {
  if (from == nullptr) return {};
  octavo_tensor_t tensor = OCTAVO_TENSOR_INIT;
  if (Status status = read_struct(from, name, "octavo_tensor_t", tensor); !status.ok()) return status;
  if (tensor.rank < 1 || tensor.rank > 4) {
    return invalid_argument(name, " has rank ", tensor.rank, "; allowed are 1 to 4 (a null pointer to the tensor",
                            " stands for \"not given\")");
  }
  if (tensor.dtype < 0 || tensor.dtype > OCTAVO_BOOL) {
    return invalid_argument(name, " has the unknown dtype ", tensor.dtype, "; allowed are 0 to ", int{OCTAVO_BOOL});
  }
  if (tensor.device_type != OCTAVO_CPU && tensor.device_type != OCTAVO_CUDA) {
    return invalid_argument(name, " lies on the unknown device type ", tensor.device_type, "; allowed are ",
                            int{OCTAVO_CPU}, " (CPU) and ", int{OCTAVO_CUDA}, " (CUDA)");
  }
  to.data = tensor.data;
  to.dtype = static_cast<DType>(tensor.dtype);
  to.device = {static_cast<DeviceType>(tensor.device_type), tensor.device_index};
  to.rank = tensor.rank;
  for (std::size_t axis = 0; axis < 4; ++axis) {
    to.shape[axis] = tensor.shape[axis];
    to.strides[axis] = tensor.strides[axis];
  }
  return {};
}

octavo_tensor_t tensor_of(const TensorView& view) noexcept {
  octavo_tensor_t tensor = OCTAVO_TENSOR_INIT;
  tensor.data = view.data;
  tensor.dtype = static_cast<std::int32_t>(view.dtype);
  tensor.rank = view.rank;
  tensor.device_type = static_cast<std::int32_t>(view.device.type);
  tensor.device_index = view.device.index;
  for (std::size_t axis = 0; axis < 4; ++axis) {
    tensor.shape[axis] = view.shape[axis];
    tensor.strides[axis] = view.strides[axis];
  }
  return tensor;
}

Status read_recipe(const octavo_recipe_t* from, Recipe& to) {
  if (from == nullptr) return {};
  octavo_recipe_t recipe = OCTAVO_RECIPE_INIT;
  if (Status status = read_struct(from, "recipe", "octavo_recipe_t", recipe); !status.ok()) return status;
  RecipeFields fields;
  fields.read("recipe.scores", recipe.scores, Format::e5m2, to.scores);
  fields.read("recipe.q_scale", recipe.q_scale, Granularity::block_channel, to.q_scale);
  fields.read("recipe.k_scale", recipe.k_scale, Granularity::block_channel, to.k_scale);
  fields.read("recipe.hadamard", recipe.hadamard, to.hadamard);
  fields.read("recipe.smooth_q", recipe.smooth_q, to.smooth_q);
  fields.read("recipe.smooth_k", recipe.smooth_k, to.smooth_k);
  fields.read("recipe.smooth_v", recipe.smooth_v, to.smooth_v);
  fields.read("recipe.p", recipe.p, WeightFormat::e5m2, to.p);
  to.p_range = recipe.p_range;
  fields.read("recipe.p_reference", recipe.p_reference, MaximumReference::block, to.p_reference);
  fields.read("recipe.row_sum", recipe.row_sum, RowSum::codes, to.row_sum);
  fields.read("recipe.values", recipe.values, Format::e5m2, to.values);
  fields.read("recipe.v_scale", recipe.v_scale, Granularity::block_channel, to.v_scale);
  fields.read("recipe.hadamard_v", recipe.hadamard_v, to.hadamard_v);
  fields.read("recipe.channel_gains", recipe.channel_gains, to.channel_gains);
  to.key_block = recipe.key_block;
  fields.read("recipe.accumulator", recipe.accumulator, Accumulator::sm80, to.accumulator);
  fields.read("recipe.two_level", recipe.two_level, to.two_level);
  to.v_range = recipe.v_range;
  to.q_group = recipe.q_group;
  to.k_group = recipe.k_group;
  return fields.status;
}

octavo_recipe_t recipe_of(const Recipe& recipe) noexcept {
  return {.struct_size = sizeof(octavo_recipe_t),
          .scores = static_cast<std::int32_t>(recipe.scores),
          .q_scale = static_cast<std::int32_t>(recipe.q_scale),
          .k_scale = static_cast<std::int32_t>(recipe.k_scale),
          .hadamard = recipe.hadamard,
          .smooth_q = recipe.smooth_q,
          .smooth_k = recipe.smooth_k,
          .smooth_v = recipe.smooth_v,
          .p = static_cast<std::int32_t>(recipe.p),
          .p_range = recipe.p_range,
          .p_reference = static_cast<std::int32_t>(recipe.p_reference),
          .row_sum = static_cast<std::int32_t>(recipe.row_sum),
          .values = static_cast<std::int32_t>(recipe.values),
          .v_scale = static_cast<std::int32_t>(recipe.v_scale),
          .hadamard_v = recipe.hadamard_v,
          .channel_gains = recipe.channel_gains,
          .key_block = recipe.key_block,
          .accumulator = static_cast<std::int32_t>(recipe.accumulator),
          .two_level = recipe.two_level,
          .v_range = recipe.v_range,
          .q_group = recipe.q_group,
          .k_group = recipe.k_group};
}

Status write_recipe(const Recipe& recipe, octavo_recipe_t* to) {
  return write_struct(recipe_of(recipe), recipe_of(Recipe{}), "recipe", "octavo_recipe_t", to);
}

Status read_quantized_view(const octavo_quantized_view_t* from, std::string_view name, QuantizedView& to) {
  octavo_quantized_view_t view = OCTAVO_QUANTIZED_VIEW_INIT;
  if (Status status = read_struct(from, name, "octavo_quantized_view_t", view); !status.ok()) return status;
  if (Status status = check_reserved(name, view.reserved); !status.ok()) return status;
  if (Status status = check_given(view.codes, {name, ".codes"}); !status.ok()) return status;
  if (Status status = read_tensor(view.codes, {name, ".codes"}, to.codes); !status.ok()) return status;
  if (Status status = read_tensor(view.scales, {name, ".scales"}, to.scales); !status.ok()) return status;
  if (Status status = read_tensor(view.mean, {name, ".mean"}, to.mean); !status.ok()) return status;
  if (Status status = read_tensor(view.cu_seqlens, {name, ".cu_seqlens"}, to.cu_seqlens); !status.ok()) return status;
  if (Status status = read_recipe(view.recipe, to.recipe); !status.ok()) return status;
  if (Status status = read_enumerator({name, ".role"}, view.role, Role::v, to.role); !status.ok()) return status;
  if (Status status = read_enumerator({name, ".layout"}, view.layout, Layout::hnd, to.layout); !status.ok()) {
    return status;
  }
  if (Status status = check_enumerator({name, ".rotated"}, view.rotated, 1); !status.ok()) return status;
  to.rotated = view.rotated != 0;
  return {};
}

void CallbackRunner::run(std::int64_t tasks, Body body, void* context) noexcept {
  struct Job {
    std::int64_t tasks;
    Body body;
    void* context;
    std::atomic<std::int64_t> next{0};

    bool run_one() noexcept {
      const std::int64_t task = next.fetch_add(1, std::memory_order_relaxed);
      if (task >= tasks) return false;
      body(context, task);
      return true;
    }
  } job{tasks, body, context};
  runner_.run(runner_.user, tasks, [](void* of, std::int64_t) { static_cast<Job*>(of)->run_one(); }, &job);
  while (job.run_one()) continue;
}

Status read_execution(const octavo_execution_t* from, ExecutionArgument& to) {
  if (from == nullptr) return {};
  octavo_execution_t execution = OCTAVO_EXECUTION_INIT;
  if (Status status = read_struct(from, "execution", "octavo_execution_t", execution); !status.ok()) return status;
  if (execution.implementation != nullptr) to.execution.implementation = execution.implementation;
  to.execution.stream = execution.stream;
  to.execution.workspace = execution.workspace;
  to.execution.workspace_bytes = execution.workspace_bytes;
  if (execution.runner == nullptr) return {};

  octavo_runner_t runner = OCTAVO_RUNNER_INIT;
  if (Status status = read_struct(execution.runner, "runner", "octavo_runner_t", runner); !status.ok()) return status;
  if (Status status = check_reserved("runner", runner.reserved); !status.ok()) return status;
  if (runner.run == nullptr) return invalid_argument("runner.run is null; it must be a function");
  if (runner.threads < 1 || runner.threads > kMaxThreads) {
    return invalid_argument("runner.threads is ", runner.threads, "; allowed are 1 to ", kMaxThreads);
  }
  to.execution.runner = &to.runner.emplace(runner);
  return {};
}

}  // namespace octavo::capi
