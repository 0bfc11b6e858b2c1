// quantize(): checks, one allocation for codes, scales and mean, and the quantizer that fills them.
#include "octavo/quantize.hpp"

#include <cstring>
#include <memory>

#include "api/byte_ranges.hpp"
#include "api/check_keys.hpp"
#include "api/checks.hpp"
#include "api/device_check.hpp"
#include "api/execution.hpp"
#include "api/quantized_operand.hpp"
#include "api/selection.hpp"
#include "core/aligned_buffer.hpp"
#include "core/guard.hpp"
#include "core/log.hpp"
#include "core/text.hpp"
#include "cuda/host/cuda.hpp"
#include "octavo/device.hpp"
#include "spec/scale_layout.hpp"

namespace octavo {
namespace {

// The arguments, and what the checks read from them.
struct Call {
  const TensorView& x;
  Role role;
  const Recipe& recipe;
  Layout layout;
  Device device{};
  Axes axes{};
  CuSeqlens sequences{};
};

Status check_x(const TensorView& cu_seqlens, Call& call, ByteRanges& ranges) {
  const TensorView& x = call.x;
  const Role role = call.role;
  const Layout layout = call.layout;
  CuSeqlens& sequences = call.sequences;
  Axes& axes = call.axes;
  if (role != Role::q && role != Role::k && role != Role::v) {
    return invalid_argument("role is the unknown value ", static_cast<int>(role), "; allowed are q, k and v");
  }
  if (layout != Layout::nhd && layout != Layout::hnd) {
    return invalid_argument("layout is the unknown value ", static_cast<int>(layout), "; allowed are NHD and HND");
  }
  if (Status status = check_recipe_once(call.recipe); !status.ok()) return status;
  if (Status status = check_quantizable(call.recipe, role); !status.ok()) return status;
  if (!x.given()) return invalid_argument("x is missing");
  ByteRange touched;
  if (Status status = check_view({"x"}, x, Pointers::needed, &touched); !status.ok()) return status;
  ranges.reads({"x"}, touched);
  if (cu_seqlens.given()) {
    if (Status status =
            read_cu_seqlens("cu_seqlens", cu_seqlens, -1, "[batch + 1]", Pointers::needed, touched, sequences);
        !status.ok()) {
      return status;
    }
    ranges.reads({"cu_seqlens"}, touched);
  }
  if (Status status = check_float_dtype({"x"}, x); !status.ok()) return status;
  if (Status status = check_operand_shape({"x"}, x, layout, sequences.varlen(), axes); !status.ok()) return status;
  if (sequences.varlen()) {
    if (Status status = check_cu_seqlens(sequences, axes.rows, "x"); !status.ok()) return status;
  }
  return ranges.check();
}

// Dense row-major; s4 rows begin on a byte, so their strides count an odd head_dim's padding nibble too.
TensorView dense_view(DType dtype, const std::array<std::int64_t, 4>& shape, int rank) {
  TensorView view;
  view.dtype = dtype;
  view.rank = rank;
  view.shape = shape;
  std::int64_t stride = 1;
  for (int axis = rank; axis-- > 0;) {
    const auto i = static_cast<std::size_t>(axis);
    view.strides[i] = stride;
    stride *= dtype == DType::s4 && axis == rank - 1 ? shape[i] + shape[i] % 2 : shape[i];
  }
  return view;
}

std::size_t bytes_of(const TensorView& view) {
  if (!view.given()) return 0;
  const std::int64_t elements = view.shape[0] * view.strides[0];
  const auto bytes = static_cast<std::size_t>((elements * bits_of(view.dtype) + 7) / 8);
  return (bytes + AlignedBuffer::kAlignment - 1) / AlignedBuffer::kAlignment * AlignedBuffer::kAlignment;
}

TensorView scale_view(const ScaleShape& side) { return dense_view(DType::f32, side.shape, side.rank); }

// Codes, scales and mean of one tensor, freed together.
Result<std::shared_ptr<void>> allocate(Device device, std::size_t bytes, const Execution& execution) {
  if (device.type == DeviceType::cuda) {
    const Result<bool> capturing = cuda::runtime()->is_capturing(device.index, execution.stream);
    if (!capturing.ok()) return capturing.status();
    if (*capturing) {
      return Status(StatusCode::kFailedPrecondition,
                    "the stream is being captured into a graph, and quantize() allocates its result; call it before");
    }
  }
  const Result<DeviceMemory> memory = DeviceMemory::allocate(device, bytes);
  if (!memory.ok()) return memory.status();
  auto held = std::make_shared<DeviceMemory>(*memory);
  void* const data = held->data();
  return std::shared_ptr<void>(std::move(held), data);
}

// The same operand from row `rows` on.
Operand moved_by(const Operand& operand, std::int64_t rows) {
  Operand moved = operand;
  // Codes of 4 bits: strides of rows are even.
  moved.data = static_cast<std::byte*>(operand.data) + rows * operand.strides[2] * bits_of(operand.dtype) / 8;
  return moved;
}

// Calls one(problem) for each sequence of a varlen `all`; sequences do not depend on each other.
template <class One>
Status for_each_sequence(const QuantizeProblem& all, const CuSeqlens& sequences, One one) {
  Operand sides;
  sides.scales_per_sequence = all.heads * all.scales_per_head;
  sides.means_per_sequence = all.heads * all.means_per_head;
  spec::ScaleCursor walk(sides, spec::groups_of(all.role, all.recipe), all.dim, true);
  for (std::int64_t b = 0; b < sequences.batch; ++b) {
    QuantizeProblem sequence = all;
    sequence.cu_seqlens = {};
    sequence.rows = sequences.rows(b);
    if (all.rows > 0) {
      sequence.x = moved_by(all.x, sequences.at[b]);
      sequence.codes = moved_by(all.codes, sequences.at[b]);
    }
    if (all.scales != nullptr) sequence.scales = all.scales + walk.place().scales;
    if (all.mean != nullptr) sequence.mean = all.mean + walk.place().means;
    if (Status status = one(sequence); !status.ok()) return status;
    walk.pass(sequence.rows);
  }
  return {};
}

// Which keys exist.
Status check_keys(const TensorView& kv_lens, const TensorView& key_mask, const Call& call, QuantizeProblem& problem,
                  ByteRanges& ranges) {
  if (!kv_lens.given() && !key_mask.given()) return {};
  if (call.role == Role::q) {
    return invalid_argument(kv_lens.given() ? "kv_lens" : "key_mask",
                            " is given for role q; it says which keys exist, for roles k and v");
  }
  const KeyExtents keys{call.device, call.sequences.varlen(), call.axes.batch, call.axes.rows, "x"};
  if (Status status = check_kv_lens(kv_lens, keys, Pointers::needed, problem.kv_lens, ranges); !status.ok()) {
    return status;
  }
  return check_key_mask(key_mask, keys, Pointers::needed, problem.key_mask, ranges);
}

// Runs `problem`: at once, or a varlen batch on the CPU sequence by sequence.
Status fill(const QuantizeProblem& problem, const CuSeqlens& sequences, const Execution& execution) {
  const Result<const Implementation*> selected = select_implementation(problem, execution.implementation);
  if (!selected.ok()) return selected.status();
  const Implementation& implementation = **selected;
  const auto run = [&](const QuantizeProblem& part) {
    return implementation.backend().quantize(implementation, part, execution);
  };
  const bool one_by_one = sequences.varlen() && sequences.readable;
  Status status = one_by_one ? for_each_sequence(problem, sequences, run) : run(problem);
  if (!status.ok()) return status;
  note_served_by(implementation);
  if (log_enabled(LogLevel::dispatch)) {
    log_line(LogLevel::dispatch, text("quantize ", to_string(problem.role), " ", to_string(problem.recipe), " batch ",
                                      problem.batch, " heads ", problem.heads, " rows ", problem.rows, " head_dim ",
                                      problem.dim, " -> ", implementation.name));
  }
  return {};
}

Status check(const TensorView& cu_seqlens, const TensorView& kv_lens, const TensorView& key_mask,
             const Execution& execution, Call& call, QuantizeProblem& problem) {
  if (Status status = check_execution(execution); !status.ok()) return status;
  const NamedTensor tensors[] = {
      {{"x"}, &call.x}, {{"cu_seqlens"}, &cu_seqlens}, {{"kv_lens"}, &kv_lens}, {{"key_mask"}, &key_mask}};
  if (Status status = check_devices(tensors, call.device); !status.ok()) return status;
  if (Status status = check_stream(execution, call.device); !status.ok()) return status;
  ByteRanges ranges;
  ranges.writes({"workspace"}, workspace_range(execution));
  if (Status status = check_x(cu_seqlens, call, ranges); !status.ok()) return status;
  if (Status status = check_keys(kv_lens, key_mask, call, problem, ranges); !status.ok()) return status;
  if (Status status = ranges.check(); !status.ok()) return status;
  return check_pointers(tensors, call.device);
}

// The result's shapes; its memory comes later.
QuantizedView describe(const Call& call, const ScaleLayout& sides) {
  QuantizedView view;
  view.role = call.role;
  view.layout = call.layout;
  view.rotated = spec::is_rotated(call.recipe, call.role);
  view.recipe = call.recipe;
  view.codes = dense_view(*code_dtype(call.recipe, call.role), call.x.shape, call.x.rank);
  view.scales = scale_view(sides.scales);
  view.mean = scale_view(sides.mean);
  if (call.sequences.varlen()) view.cu_seqlens = dense_view(DType::s64, {call.sequences.batch + 1}, 1);
  return view;
}

Status allocate_contents(const Call& call, const Execution& execution, QuantizedView& view,
                         std::shared_ptr<void>& memory) {
  const std::size_t code_bytes = bytes_of(view.codes), scale_bytes = bytes_of(view.scales);
  const std::size_t mean_bytes = bytes_of(view.mean);
  const std::size_t bytes = code_bytes + scale_bytes + mean_bytes + bytes_of(view.cu_seqlens);
  Result<std::shared_ptr<void>> allocated = allocate(call.device, bytes, execution);
  if (!allocated.ok()) return allocated.status();
  if (bytes > 0) {
    auto* const start = static_cast<std::byte*>(allocated->get());
    view.codes.data = start;
    if (view.scales.given()) view.scales.data = start + code_bytes;
    if (view.mean.given()) view.mean.data = start + code_bytes + scale_bytes;
    if (view.cu_seqlens.given()) {
      auto* const entries = reinterpret_cast<std::int64_t*>(start + code_bytes + scale_bytes + mean_bytes);
      view.cu_seqlens.data = entries;
      if (call.sequences.readable) {
        for (std::int64_t b = 0; b <= call.sequences.batch; ++b) entries[b] = call.sequences.at[b];
      }
    }
    // The padding nibble behind an odd head_dim is 0. (Kernels on a device write whole bytes.)
    if (view.codes.dtype == DType::s4 && call.axes.dim % 2 != 0 && call.device.type == DeviceType::cpu) {
      std::memset(start, 0, code_bytes);
    }
  }
  for (TensorView* made : {&view.codes, &view.scales, &view.mean, &view.cu_seqlens}) made->device = call.device;
  memory = *std::move(allocated);
  return {};
}

// What `problem` does not yet have: the operands.
void set_operands(const Call& call, const QuantizedView& view, const ScaleLayout& sides, QuantizeProblem& problem) {
  problem.device = call.device;
  problem.batch = call.axes.batch;
  problem.heads = call.axes.heads;
  problem.rows = call.axes.rows;
  problem.dim = call.axes.dim;
  problem.x = operand_of(call.x, call.layout);
  problem.codes = operand_of(view.codes, call.layout);
  problem.scales = static_cast<float*>(view.scales.data);
  problem.scales_per_head = sides.of_scales.head;
  problem.mean = static_cast<float*>(view.mean.data);
  problem.means_per_head = sides.of_mean.head;
  problem.role = call.role;
  problem.recipe = spec::recipe_of_codes(call.recipe);
  problem.cu_seqlens = call.sequences.at;
  problem.sequences = call.sequences.batch;
  if (!call.sequences.readable) problem.cu_seqlens_copy = static_cast<std::int64_t*>(view.cu_seqlens.data);
}

}  // namespace

std::string_view to_string(Role role) noexcept { return role == Role::q ? "q" : role == Role::k ? "k" : "v"; }

Result<QuantizedTensor> quantize(const TensorView& x, Role role, const Recipe& recipe, Layout layout,
                                 const Execution& execution, const TensorView& cu_seqlens, const TensorView& kv_lens,
                                 const TensorView& key_mask) noexcept {
  QuantizedTensor result;
  Status status = guarded([&]() -> Status {
    Call call{x, role, recipe, layout};
    QuantizeProblem problem;
    if (Status bad = check(cu_seqlens, kv_lens, key_mask, execution, call, problem); !bad.ok()) return bad;
    const ScaleLayout sides = scale_layout(spec::recipe_of_codes(recipe), role, call.axes, call.sequences);
    result.view_ = describe(call, sides);
    if (Status bad = allocate_contents(call, execution, result.view_, result.memory_); !bad.ok()) return bad;
    if (call.axes.batch == 0) return {};
    set_operands(call, result.view_, sides, problem);
    return fill(problem, call.sequences, execution);
  });
  if (!status.ok()) return status;
  return result;
}

}  // namespace octavo
