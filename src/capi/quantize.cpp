// octavo_quantized_t: a QuantizedTensor with the C structs that describe it, filled once so that views need no copying.
#include "octavo/quantize.hpp"

#include <memory>

#include "capi/convert.hpp"
#include "capi/error.hpp"

using octavo::QuantizedTensor;
using octavo::QuantizedView;
using octavo::Recipe;
using octavo::Result;
using octavo::Role;
using octavo::Status;
using octavo::TensorView;
namespace capi = octavo::capi;

struct octavo_quantized_t {
  explicit octavo_quantized_t(QuantizedTensor quantized) : tensor(std::move(quantized)) {
    const QuantizedView& from = tensor.view();
    codes = capi::tensor_of(from.codes);
    scales = capi::tensor_of(from.scales);
    mean = capi::tensor_of(from.mean);
    cu_seqlens = capi::tensor_of(from.cu_seqlens);
    recipe = capi::recipe_of(from.recipe);
    view.codes = &codes;
    view.scales = from.scales.given() ? &scales : nullptr;
    view.mean = from.mean.given() ? &mean : nullptr;
    view.cu_seqlens = from.cu_seqlens.given() ? &cu_seqlens : nullptr;
    view.recipe = &recipe;
    view.role = static_cast<std::int32_t>(from.role);
    view.layout = static_cast<std::int32_t>(from.layout);
    view.rotated = from.rotated;
  }
  octavo_quantized_t(const octavo_quantized_t&) = delete;
  octavo_quantized_t& operator=(const octavo_quantized_t&) = delete;

  QuantizedTensor tensor;
  octavo_tensor_t codes, scales, mean, cu_seqlens;
  octavo_recipe_t recipe;
  octavo_quantized_view_t view = OCTAVO_QUANTIZED_VIEW_INIT;
};

static_assert(static_cast<int>(Role::k) == OCTAVO_ROLE_K && static_cast<int>(Role::v) == OCTAVO_ROLE_V);

namespace {

// Which rows of x belong together, and which exist; null: not given.
struct Rows {
  const octavo_tensor_t *cu_seqlens, *kv_lens, *key_mask;
};

Status quantize(const octavo_tensor_t* x, const Rows& rows, std::int32_t role, const octavo_recipe_t* recipe,
                std::int32_t layout, const octavo_execution_t* execution, octavo_quantized_t** result) {
  if (Status status = capi::check_given(x, "x"); !status.ok()) return status;
  TensorView view, cu_seqlens, kv_lens, key_mask;
  if (Status status = capi::read_tensor(x, "x", view); !status.ok()) return status;
  if (Status status = capi::read_tensor(rows.cu_seqlens, "cu_seqlens", cu_seqlens); !status.ok()) return status;
  if (Status status = capi::read_tensor(rows.kv_lens, "kv_lens", kv_lens); !status.ok()) return status;
  if (Status status = capi::read_tensor(rows.key_mask, "key_mask", key_mask); !status.ok()) return status;
  Role as = Role::q;
  if (Status status = capi::read_enumerator("role", role, Role::v, as); !status.ok()) return status;
  Recipe by;
  if (Status status = capi::read_recipe(recipe, by); !status.ok()) return status;
  octavo::Layout order = octavo::Layout::nhd;
  if (Status status = capi::read_enumerator("layout", layout, octavo::Layout::hnd, order); !status.ok()) {
    return status;
  }
  capi::ExecutionArgument how;
  if (Status status = capi::read_execution(execution, how); !status.ok()) return status;
  Result<QuantizedTensor> quantized =
      octavo::quantize(view, as, by, order, how.execution, cu_seqlens, kv_lens, key_mask);
  if (!quantized.ok()) return quantized.status();
  *result = std::make_unique<octavo_quantized_t>(*std::move(quantized)).release();
  return {};
}

}  // namespace

octavo_status_t octavo_quantize(const octavo_tensor_t* x, int32_t role, const octavo_recipe_t* recipe, int32_t layout,
                                const octavo_execution_t* execution, octavo_quantized_t** result) {
  return capi::guarded([&]() -> Status {
    if (Status status = capi::check_given(result, "result"); !status.ok()) return status;
    *result = nullptr;
    return quantize(x, {}, role, recipe, layout, execution, result);
  });
}

octavo_status_t octavo_quantize_varlen(const octavo_tensor_t* x, const octavo_tensor_t* cu_seqlens, int32_t role,
                                       const octavo_recipe_t* recipe, int32_t layout,
                                       const octavo_execution_t* execution, octavo_quantized_t** result) {
  return capi::guarded([&]() -> Status {
    if (Status status = capi::check_given(result, "result"); !status.ok()) return status;
    *result = nullptr;
    if (Status status = capi::check_given(cu_seqlens, "cu_seqlens"); !status.ok()) return status;
    return quantize(x, {cu_seqlens, nullptr, nullptr}, role, recipe, layout, execution, result);
  });
}

octavo_status_t octavo_quantize_padded(const octavo_tensor_t* x, const octavo_tensor_t* kv_lens,
                                       const octavo_tensor_t* key_mask, int32_t role, const octavo_recipe_t* recipe,
                                       int32_t layout, const octavo_execution_t* execution,
                                       octavo_quantized_t** result) {
  return capi::guarded([&]() -> Status {
    if (Status status = capi::check_given(result, "result"); !status.ok()) return status;
    *result = nullptr;
    return quantize(x, {nullptr, kv_lens, key_mask}, role, recipe, layout, execution, result);
  });
}

const octavo_quantized_view_t* octavo_quantized_view(const octavo_quantized_t* quantized) {
  return quantized != nullptr ? &quantized->view : nullptr;
}

void octavo_quantized_free(octavo_quantized_t* quantized) { delete quantized; }

octavo_status_t octavo_dequantize(const octavo_quantized_view_t* x, const octavo_tensor_t* out,
                                  const octavo_execution_t* execution) {
  return capi::guarded([&]() -> Status {
    if (Status status = capi::check_given(x, "x"); !status.ok()) return status;
    if (Status status = capi::check_given(out, "out"); !status.ok()) return status;
    QuantizedView from;
    if (Status status = capi::read_quantized_view(x, "x", from); !status.ok()) return status;
    TensorView to;
    if (Status status = capi::read_tensor(out, "out", to); !status.ok()) return status;
    capi::ExecutionArgument how;
    if (Status status = capi::read_execution(execution, how); !status.ok()) return status;
    return octavo::dequantize(from, to, how.execution);
  });
}
