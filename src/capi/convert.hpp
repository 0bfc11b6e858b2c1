// C structs to C++ ones: sizes, null pointers and enumerations are checked here, everything else by the C++ call.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "capi/argument_name.hpp"
#include "octavo/execution.hpp"
#include "octavo/octavo.h"
#include "octavo/quantize.hpp"
#include "octavo/recipe.hpp"
#include "octavo/status.hpp"
#include "octavo/tensor_view.hpp"

namespace octavo::capi {

// An argument that must be there; null otherwise gives "<name> is null".
Status check_given(const void* pointer, const ArgumentName& name);

// `value` as one of the enumerators 0..last.
Status check_enumerator(const ArgumentName& name, std::int32_t value, std::int32_t last);
Status check_reserved(const ArgumentName& name, std::int32_t value);

template <class Enum>
Status read_enumerator(const ArgumentName& name, std::int32_t value, Enum last, Enum& to) {
  Status status = check_enumerator(name, value, static_cast<std::int32_t>(last));
  if (status.ok()) to = static_cast<Enum>(value);
  return status;
}

// Null stands for "not given": the view stays as it is.
Status read_tensor(const octavo_tensor_t* from, const ArgumentName& name, TensorView& to);
octavo_tensor_t tensor_of(const TensorView& view) noexcept;

// Null stands for the default.
Status read_recipe(const octavo_recipe_t* from, Recipe& to);
octavo_recipe_t recipe_of(const Recipe& recipe) noexcept;
Status write_recipe(const Recipe& recipe, octavo_recipe_t* to);

// `from` is given.
Status read_quantized_view(const octavo_quantized_view_t* from, std::string_view name, QuantizedView& to);

// The program's callback as a runner. It may call back too often, with wrong numbers or not at all: each call runs the
// next task, whatever its number, and the caller's thread runs the tasks that are left.
class CallbackRunner final : public ParallelRunner {
 public:
  explicit CallbackRunner(const octavo_runner_t& runner) noexcept : runner_(runner) {}
  void run(std::int64_t tasks, Body body, void* context) noexcept override;
  int threads() const noexcept override { return runner_.threads; }

 private:
  octavo_runner_t runner_;
};

// An Execution and the runner it may point to.
struct ExecutionArgument {
  Execution execution;
  std::optional<CallbackRunner> runner;

  ExecutionArgument() = default;
  ExecutionArgument(const ExecutionArgument&) = delete;
  ExecutionArgument& operator=(const ExecutionArgument&) = delete;
};
// Null stands for the defaults.
Status read_execution(const octavo_execution_t* from, ExecutionArgument& to);

}  // namespace octavo::capi
