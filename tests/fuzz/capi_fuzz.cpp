// Bytes as a call of the C interface, right or wrong in any argument: it never crashes, an error comes with a sentence
// and leaves the outputs alone, a success writes the outputs' elements and nothing else; inputs are never written.
#include <memory>

#include "arena.hpp"
#include "fuzz.hpp"
#include "octavo/octavo.h"

using octavo::fuzz::Arena;
using octavo::fuzz::Bytes;
using octavo::fuzz::make_tensor;
using octavo::fuzz::Roomy;

namespace {

Arena inputs_memory(1 << 16), outputs_memory(1 << 15);

void check(octavo_status_t status) {
  FUZZ_CHECK(status >= OCTAVO_OK && status < OCTAVO_INTERNAL, "status %d: %s", status, octavo_last_error());
  FUZZ_CHECK((status == OCTAVO_OK) == (octavo_last_error()[0] == '\0'), "status %d: \"%s\"", status,
             octavo_last_error());
}

// After a call that writes `written`.
void check(octavo_status_t status, std::initializer_list<const octavo_tensor_t*> written) {
  check(status);
  FUZZ_CHECK(inputs_memory.unchanged(), "an input was written (status %d)", status);
  if (status == OCTAVO_OK) {
    FUZZ_CHECK(outputs_memory.unchanged_but_for(written), "something beside the outputs was written");
  } else {
    FUZZ_CHECK(outputs_memory.unchanged(), "a refused call wrote: %s", octavo_last_error());
  }
}

std::int64_t extent(Bytes& bytes, std::int64_t most) { return bytes.chance(3) ? 0 : 1 + bytes.below(most); }

octavo_recipe_t make_recipe(Bytes& bytes) {
  octavo_recipe_t recipe = OCTAVO_RECIPE_INIT;
  const auto preset = static_cast<std::size_t>(bytes.below(static_cast<std::int64_t>(octavo_recipe_count())));
  check(octavo_recipe_parse(octavo_recipe_name(preset), &recipe));
  if (bytes.chance(16)) {
    const std::size_t field = offsetof(octavo_recipe_t, scores) + static_cast<std::size_t>(bytes.below(18)) * 4;
    const std::int32_t value =
        bytes.chance(32) ? bytes.draw<std::int32_t>() : static_cast<std::int32_t>(bytes.below(10)) - 1;
    std::memcpy(reinterpret_cast<unsigned char*>(&recipe) + field, &value, sizeof value);
  }
  if (bytes.chance(4)) recipe.key_block = 64 << bytes.below(4);
  if (bytes.chance(4)) recipe.v_range = bytes.draw<double>();
  return recipe;
}

void run_forward(void*, std::int64_t tasks, octavo_task_t task, void* context) {
  for (std::int64_t i = 0; i < tasks; ++i) task(context, i);
}
void run_backward(void*, std::int64_t tasks, octavo_task_t task, void* context) {
  for (std::int64_t i = tasks; i-- > 0;) task(context, i);
}
void run_never(void*, std::int64_t, octavo_task_t, void*) {}

struct Call {
  octavo_recipe_t recipe;
  octavo_runner_t runner = OCTAVO_RUNNER_INIT;
  octavo_execution_t execution = OCTAVO_EXECUTION_INIT;

  explicit Call(Bytes& bytes) : recipe(make_recipe(bytes)) {
    static const char* const kNoNames[] = {"", "abacus", "avx", "referenc"};
    const auto count = static_cast<std::int64_t>(octavo_implementation_count());
    const std::int64_t which = bytes.below(count + 2);
    if (which > 0) execution.implementation = octavo_implementation_name(static_cast<std::size_t>(which - 1));
    if (which == count + 1) execution.implementation = kNoNames[bytes.below(4)];
    if (bytes.chance(64)) {
      execution.runner = &runner;
      runner.run = bytes.chance(8)    ? nullptr
                   : bytes.chance(80) ? run_forward
                   : bytes.chance(80) ? run_never
                                      : run_backward;
      runner.threads = static_cast<std::int32_t>(bytes.below(5));
    }
    if (bytes.chance(2)) execution.stream = this;
  }
};

// A tensor of integers that mostly make sense: steps from 0 on (borders) or values up to `most`.
void make_integers(Bytes& bytes, octavo_tensor_t& tensor, std::int64_t count, std::int64_t most, bool borders) {
  make_tensor(bytes, inputs_memory, bytes.chance(100) ? OCTAVO_S64 : OCTAVO_S32, {count}, tensor);
  const bool wide = tensor.dtype == OCTAVO_S64;
  if (tensor.data == nullptr || tensor.rank != 1 || (!wide && tensor.dtype != OCTAVO_S32)) return;
  for (std::int64_t i = 0, value = 0; i < tensor.shape[0]; ++i) {
    value = bytes.chance(2) ? bytes.draw<std::int64_t>()
            : borders       ? most * i / std::max<std::int64_t>(count - 1, 1)
                            : bytes.below(most + 1);
    auto* at = static_cast<unsigned char*>(tensor.data) + i * tensor.strides[0] * (wide ? 8 : 4);
    const auto narrow = static_cast<std::int32_t>(value);
    std::memcpy(at, wide ? static_cast<const void*>(&value) : &narrow, wide ? 8 : 4);
  }
}

// A quantized operand: octavo's own, or a copy of it in the arena that may be bent.
struct Codes {
  octavo_quantized_t* made = nullptr;
  octavo_tensor_t tensors[4] = {OCTAVO_TENSOR_INIT, OCTAVO_TENSOR_INIT, OCTAVO_TENSOR_INIT, OCTAVO_TENSOR_INIT};
  octavo_quantized_view_t copy = OCTAVO_QUANTIZED_VIEW_INIT;
  const octavo_quantized_view_t* view = nullptr;

  Codes() = default;
  Codes(const Codes&) = delete;
  Codes& operator=(const Codes&) = delete;
  ~Codes() { octavo_quantized_free(made); }

  // cu_seqlens: of packed sequences, else null.
  void make(Bytes& bytes, const octavo_tensor_t& x, int role, int layout, const Call& call,
            const octavo_tensor_t* cu_seqlens) {
    inputs_memory.remember();
    const octavo_status_t status =
        cu_seqlens != nullptr
            ? octavo_quantize_varlen(&x, cu_seqlens, role, &call.recipe, layout, &call.execution, &made)
            : octavo_quantize(&x, role, &call.recipe, layout, &call.execution, &made);
    check(status, {});
    FUZZ_CHECK((status == OCTAVO_OK) == (made != nullptr), "status %d", status);
    view = octavo_quantized_view(made);
    if (view == nullptr || !bytes.chance(48)) return;
    copy = *view;
    const octavo_tensor_t** parts[] = {&copy.codes, &copy.scales, &copy.mean};
    for (int i = 0; i < 3; ++i) {
      if (*parts[i] == nullptr) continue;
      const std::int64_t* s = (*parts[i])->shape;
      const std::int32_t dtype = (*parts[i])->dtype;
      switch ((*parts[i])->rank) {
        case 2:
          make_tensor(bytes, inputs_memory, dtype, {s[0], s[1]}, tensors[i]);
          break;
        case 3:
          make_tensor(bytes, inputs_memory, dtype, {s[0], s[1], s[2]}, tensors[i]);
          break;
        default:
          make_tensor(bytes, inputs_memory, dtype, {s[0], s[1], s[2], s[3]}, tensors[i]);
          break;
      }
      *parts[i] = bytes.chance(4) ? nullptr : &tensors[i];
    }
    if (bytes.chance(8)) {
      std::int32_t* const fields[] = {&copy.role, &copy.layout, &copy.rotated, &copy.reserved};
      *fields[bytes.below(4)] = static_cast<std::int32_t>(bytes.below(5)) - 1;
    }
    if (bytes.chance(4)) copy.recipe = nullptr;
    // The borders, or their absence, need not be those of the codes.
    if (bytes.chance(32)) {
      make_integers(bytes, tensors[3], 1 + bytes.below(4), octavo_quantized_view(made)->codes->shape[0], true);
      copy.cu_seqlens = bytes.chance(64) ? nullptr : &tensors[3];
    }
    view = &copy;
  }
};

void fuzz_attention(Bytes& bytes, bool size_only) {
  const Call call(bytes);
  const bool hnd = bytes.chance(100), packed = bytes.chance(32);
  const int dtype = static_cast<int>(bytes.below(3));
  const std::int64_t b = extent(bytes, 3), m = extent(bytes, bytes.chance(20) ? 140 : 20);
  const std::int64_t n = extent(bytes, bytes.chance(20) ? 300 : 24), hkv = extent(bytes, 2),
                     hq = hkv * (1 + bytes.below(2));
  const std::int64_t d = extent(bytes, bytes.chance(20) ? 80 : 20), dv = extent(bytes, bytes.chance(20) ? 80 : 20);

  octavo_tensor_t q, k, v, out, lse, mask, alibi, sinks, lens, cu_q, cu_k;
  const auto operand = [&](octavo_tensor_t& tensor, Arena& arena, int type, std::int64_t rows, std::int64_t heads,
                           std::int64_t dim) {
    if (packed && hnd) make_tensor(bytes, arena, type, {heads, b * rows, dim}, tensor);
    if (packed && !hnd) make_tensor(bytes, arena, type, {b * rows, heads, dim}, tensor);
    if (!packed && hnd) make_tensor(bytes, arena, type, {b, heads, rows, dim}, tensor);
    if (!packed && !hnd) make_tensor(bytes, arena, type, {b, rows, heads, dim}, tensor);
  };
  operand(q, inputs_memory, dtype, m, hq, d);
  operand(k, inputs_memory, dtype, n, hkv, d);
  operand(v, inputs_memory, dtype, n, hkv, dv);
  operand(out, outputs_memory, static_cast<int>(bytes.below(3)), m, hq, dv);
  if (packed) {
    make_tensor(bytes, outputs_memory, OCTAVO_F32, {hq, b * m}, lse);
  } else {
    make_tensor(bytes, outputs_memory, OCTAVO_F32, {b, hq, m}, lse);
  }

  Roomy<octavo_attention_inputs_t> inputs(OCTAVO_ATTENTION_INPUTS_INIT);
  Roomy<octavo_attention_params_t> params(OCTAVO_ATTENTION_PARAMS_INIT);
  Roomy<octavo_execution_t> execution(call.execution);
  octavo_attention_inputs_t& in = inputs.known;
  in.q = &q, in.k = &k, in.v = &v, in.out = &out;
  in.layout = bytes.chance(2) ? bytes.draw<std::int32_t>() : hnd ? OCTAVO_HND : OCTAVO_NHD;
  if (bytes.chance(128)) in.lse = &lse;
  if (packed || bytes.chance(2)) make_integers(bytes, cu_q, b + 1, b * m, true), in.cu_seqlens_q = &cu_q;
  if (packed || bytes.chance(2)) make_integers(bytes, cu_k, b + 1, b * n, true), in.cu_seqlens_k = &cu_k;
  Codes codes[3];
  for (int role = 0; role < 3; ++role) {
    if (!bytes.chance(40)) continue;
    const octavo_tensor_t** const floats = role == 0 ? &in.q : role == 1 ? &in.k : &in.v;
    const octavo_tensor_t* const borders = role == 0 ? in.cu_seqlens_q : in.cu_seqlens_k;
    codes[role].make(bytes, **floats, role, in.layout, call, packed ? borders : nullptr);
    if (codes[role].view == nullptr) continue;
    (role == 0 ? in.quantized_q : role == 1 ? in.quantized_k : in.quantized_v) = codes[role].view;
    if (!bytes.chance(4)) *floats = nullptr;
  }
  if (bytes.chance(48)) {
    const int type = bytes.chance(128) ? OCTAVO_BOOL : static_cast<int>(bytes.below(4));
    const std::int64_t shape[4] = {bytes.chance(128) ? b : 1, bytes.chance(128) ? hq : 1, m, bytes.chance(24) ? 1 : n};
    switch (bytes.below(4)) {
      case 0:
        make_tensor(bytes, inputs_memory, type, {shape[2], shape[3]}, mask);
        break;
      case 1:
        make_tensor(bytes, inputs_memory, type, {shape[3]}, mask);
        break;
      case 2:
        make_tensor(bytes, inputs_memory, type, {shape[1], shape[2], shape[3]}, mask);
        break;
      default:
        make_tensor(bytes, inputs_memory, type, {shape[0], shape[1], shape[2], shape[3]}, mask);
        break;
    }
    in.mask = &mask;
  }
  if (bytes.chance(32)) {
    if (bytes.chance(128)) {
      make_tensor(bytes, inputs_memory, static_cast<int>(bytes.below(4)), {b, hq}, alibi);
    } else {
      make_tensor(bytes, inputs_memory, static_cast<int>(bytes.below(4)), {hq}, alibi);
    }
    in.alibi_slopes = &alibi;
  }
  if (bytes.chance(32))
    make_tensor(bytes, inputs_memory, static_cast<int>(bytes.below(4)), {hq}, sinks), in.sinks = &sinks;
  if (bytes.chance(packed ? 2 : 32)) make_integers(bytes, lens, b, n, false), in.kv_lens = &lens;
  if (bytes.chance(3)) {
    const octavo_tensor_t** const given[] = {&in.q, &in.k, &in.v, &in.out};
    *given[bytes.below(4)] = nullptr;
  }

  if (bytes.chance(3)) in.out = &q;

  params.known.recipe = bytes.chance(16) ? nullptr : &call.recipe;
  params.known.causal = bytes.chance(2) ? bytes.draw<std::int32_t>() : static_cast<std::int32_t>(bytes.below(3));
  if (in.alibi_slopes != nullptr && alibi.rank == 1) params.known.alibi = OCTAVO_ALIBI_SYMMETRIC;
  if (bytes.chance(24)) params.known.window_left = bytes.chance(16) ? bytes.draw<std::int64_t>() : bytes.below(20) - 1;
  if (bytes.chance(24)) params.known.window_right = bytes.chance(16) ? bytes.draw<std::int64_t>() : bytes.below(20) - 1;
  if (bytes.chance(24)) params.known.softmax_scale = bytes.chance(64) ? bytes.draw<double>() : 0.125;
  if (bytes.chance(24)) params.known.softcap = bytes.chance(64) ? bytes.draw<double>() : 5.0;
  inputs_memory.remember();
  outputs_memory.remember();

  const octavo_attention_inputs_t* const c_inputs = inputs.sized(bytes);
  const octavo_attention_params_t* const c_params = bytes.chance(8) ? nullptr : params.sized(bytes);
  std::size_t size = 0;
  const octavo_status_t measured = octavo_workspace_size(c_inputs, c_params, &execution.known, &size);
  check(measured, {});
  if (size_only) return;
  alignas(64) static unsigned char workspace[1 << 20];
  const bool with_workspace = measured == OCTAVO_OK && bytes.chance(64) && size < sizeof workspace;
  if (with_workspace) {
    execution.known.workspace = workspace + bytes.below(2) * bytes.below(2);
    execution.known.workspace_bytes = size - (bytes.chance(16) ? 1 : 0);
  }
  const octavo_status_t status =
      octavo_attention(c_inputs, c_params, bytes.chance(8) ? nullptr : execution.sized(bytes));
  if (in.out == &q && status == OCTAVO_OK) return;  // in place: Q is given as codes
  check(status, {&out, c_inputs->struct_size >= offsetof(octavo_attention_inputs_t, quantized_q) ? in.lse : nullptr});
  FUZZ_CHECK(measured == OCTAVO_OK || status != OCTAVO_OK || !with_workspace, "what ran could not be measured");
}

void fuzz_merge(Bytes& bytes) {
  const std::int64_t b = extent(bytes, 3), h = extent(bytes, 3), m = extent(bytes, 9), d = extent(bytes, 20);
  const bool hnd = bytes.chance(128);
  octavo_tensor_t tensors[6];
  const octavo_tensor_t* pointers[6];
  for (int i = 0; i < 6; ++i) {
    Arena& memory = i < 4 ? inputs_memory : outputs_memory;
    if (i % 2 != 0) {
      make_tensor(bytes, memory, OCTAVO_F32, {b, h, m}, tensors[i]);
    } else {
      make_tensor(bytes, memory, OCTAVO_F32, {b, hnd ? h : m, hnd ? m : h, d}, tensors[i]);
    }
    pointers[i] = bytes.chance(2) ? nullptr : &tensors[i];
  }
  // The outputs may be the very inputs, both or one of them.
  if (bytes.chance(32)) tensors[0] = tensors[4];
  if (bytes.chance(32)) tensors[1] = tensors[5];
  inputs_memory.remember();
  outputs_memory.remember();
  const std::int32_t layout = bytes.chance(2) ? bytes.draw<std::int32_t>() : hnd ? OCTAVO_HND : OCTAVO_NHD;
  check(
      octavo_merge_state(pointers[0], pointers[1], pointers[2], pointers[3], pointers[4], pointers[5], layout, nullptr),
      {&tensors[4], &tensors[5]});
}

void fuzz_quantize(Bytes& bytes) {
  const Call call(bytes);
  const int layout = bytes.chance(128) ? OCTAVO_HND : OCTAVO_NHD, role = static_cast<int>(bytes.below(3));
  const std::int64_t b = extent(bytes, 3), n = extent(bytes, bytes.chance(64) ? 300 : 20), h = extent(bytes, 3),
                     d = extent(bytes, 40);
  const bool packed = bytes.chance(64);
  octavo_tensor_t x, out, borders;
  const auto place = [&](Arena& memory, octavo_tensor_t& tensor) {
    const int dtype = static_cast<int>(bytes.below(3));
    if (!packed) return make_tensor(bytes, memory, dtype, {b, n, h, d}, tensor);
    if (layout == OCTAVO_HND) return make_tensor(bytes, memory, dtype, {h, b * n, d}, tensor);
    make_tensor(bytes, memory, dtype, {b * n, h, d}, tensor);
  };
  place(inputs_memory, x);
  place(outputs_memory, out);
  if (packed) make_integers(bytes, borders, b + 1, b * n, true);
  Codes codes;
  codes.make(bytes, x, bytes.chance(4) ? bytes.draw<std::int32_t>() : role,
             bytes.chance(4) ? bytes.draw<std::int32_t>() : layout, call, packed ? &borders : nullptr);
  if (codes.view == nullptr) return;
  inputs_memory.remember();
  check(octavo_dequantize(codes.view, &out, &call.execution), {&out});
}

// Text of recipes, and the fields one by one.
void fuzz_recipe(Bytes& bytes) {
  octavo_recipe_t recipe = make_recipe(bytes), again = OCTAVO_RECIPE_INIT;
  check(octavo_recipe_check(&recipe));
  char text[512];
  std::size_t length = 0;
  const auto capacity = static_cast<std::size_t>(bytes.below(sizeof text));
  const std::string words(reinterpret_cast<const char*>(bytes.rest()), bytes.left());
  check(octavo_recipe_get(&recipe, words.c_str(), text, capacity, &length));
  check(octavo_recipe_set(&recipe, octavo_recipe_field_name(capacity % 20), words.c_str()));
  if (octavo_recipe_parse(words.c_str(), &recipe) != OCTAVO_OK)
    return check(octavo_recipe_parse(words.c_str(), &recipe));
  if (octavo_recipe_check(&recipe) != OCTAVO_OK) return;
  check(octavo_recipe_text(&recipe, text, sizeof text, &length));
  FUZZ_CHECK(length < sizeof text && std::strlen(text) == length, "%zu", length);
  FUZZ_CHECK(octavo_recipe_parse(text, &again) == OCTAVO_OK, "%s: %s", text, octavo_last_error());
  FUZZ_CHECK(std::memcmp(&recipe, &again, sizeof recipe) == 0, "%s", text);
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Bytes bytes(data, size);
  const std::int64_t kind = bytes.below(16);
  inputs_memory.fill(bytes.draw<std::uint16_t>(), bytes.below(3));
  outputs_memory.fill(0, 2);
  inputs_memory.remember();
  outputs_memory.remember();
  if (kind < 10) {
    fuzz_attention(bytes, kind == 9);
  } else if (kind < 12) {
    fuzz_merge(bytes);
  } else if (kind < 15) {
    fuzz_quantize(bytes);
  } else {
    fuzz_recipe(bytes);
  }
  return 0;
}
