// C structs to C++ ones, field by field, and back.
#include "capi/convert.hpp"

#include <atomic>

#include "capi/sized_struct.hpp"

namespace octavo::capi {
namespace {

constexpr Format last(Format) { return Format::e5m2; }
constexpr Granularity last(Granularity) { return Granularity::block_channel; }
constexpr WeightFormat last(WeightFormat) { return WeightFormat::e5m2; }
constexpr MaximumReference last(MaximumReference) { return MaximumReference::block; }
constexpr RowSum last(RowSum) { return RowSum::codes; }
constexpr Accumulator last(Accumulator) { return Accumulator::sm80; }

// A recipe's field; numbers are checked where the recipe is.
template <class Enum>
Status read_field(std::string_view name, std::int32_t value, Enum& to) {
  return read_enumerator({"recipe.", name}, value, last(Enum{}), to);
}
Status read_field(std::string_view name, std::int32_t value, bool& to) {
  to = value != 0;
  return check_enumerator({"recipe.", name}, value, 1);
}
Status read_field(std::string_view, std::int32_t value, std::int32_t& to) {
  to = value;
  return {};
}
Status read_field(std::string_view, double value, double& to) {
  to = value;
  return {};
}

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
    return invalid_argument(name, " is on the unknown device type ", tensor.device_type, "; allowed are ",
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

namespace {

// What a program's recipe means that ends before these fields: they are off.
octavo_recipe_t recipe_of_older_programs() noexcept {
  octavo_recipe_t recipe = OCTAVO_RECIPE_INIT;
  recipe.qk_gains = recipe.robust = recipe.keep_first = recipe.keep_near = recipe.keep_heavy = 0;
  return recipe;
}

}  // namespace

Status read_recipe(const octavo_recipe_t* from, Recipe& to) {
  if (from == nullptr) return {};
  octavo_recipe_t recipe = recipe_of_older_programs();
  if (Status status = read_struct(from, "recipe", "octavo_recipe_t", recipe); !status.ok()) return status;
  if (Status status = check_reserved("recipe", recipe.reserved); !status.ok()) return status;
#define OCTAVO_RECIPE_FIELD(name, numbers) \
  if (Status status = read_field(#name, recipe.name, to.name); !status.ok()) return status;
#include "recipes/recipe_fields.inc"
#undef OCTAVO_RECIPE_FIELD
  return {};
}

octavo_recipe_t recipe_of(const Recipe& recipe) noexcept {
  octavo_recipe_t to = OCTAVO_RECIPE_INIT;
#define OCTAVO_RECIPE_FIELD(name, numbers) to.name = static_cast<decltype(to.name)>(recipe.name);
#include "recipes/recipe_fields.inc"
#undef OCTAVO_RECIPE_FIELD
  return to;
}

Status write_recipe(const Recipe& recipe, octavo_recipe_t* to) {
  return write_struct(recipe_of(recipe), recipe_of_older_programs(), "recipe", "octavo_recipe_t", to);
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
