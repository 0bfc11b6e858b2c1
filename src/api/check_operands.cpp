// Checks of the shapes and dtypes of q, k, v, out and lse, batched [B, rows, H, D] or varlen [total, H, D].
#include <string>

#include "api/checks.hpp"
#include "api/quantized_operand.hpp"
#include "core/text.hpp"

namespace octavo {
namespace {

struct Varlen {
  bool given = false;
  CuSeqlens q, k;
  int rank() const { return given ? 3 : 4; }
};

struct Read {
  Role role;
  std::string_view name, quantized_name;
  const TensorView& floats;
  const QuantizedView* codes;
};

// One of q, k, v, as floats or as codes.
Status check_input(const Read& input, const AttentionInputs& inputs, const Recipe& recipe, const Varlen& varlen,
                   Pointers pointers, Operand& operand, Axes& axes, ByteRanges& ranges) {
  if (input.codes != nullptr) {
    if (input.floats.given()) {
      return invalid_argument(input.name, " and ", input.quantized_name, " are both given; only one of them may be");
    }
    QuantizedRanges touched;
    const CuSeqlens& sequences = input.role == Role::q ? varlen.q : varlen.k;
    if (Status status = check_quantized(input.quantized_name, *input.codes, input.role, recipe, sequences, pointers,
                                        operand, touched);
        !status.ok()) {
      return status;
    }
    axes = axes_of(input.codes->codes, input.codes->layout);
    ranges.reads({input.quantized_name, ".codes"}, touched.codes);
    ranges.reads({input.quantized_name, ".scales"}, touched.scales);
    ranges.reads({input.quantized_name, ".mean"}, touched.mean);
    ranges.reads({input.quantized_name, ".cu_seqlens"}, touched.cu_seqlens);
    return {};
  }
  if (!input.floats.given()) {
    return invalid_argument(input.name, " is missing: neither ", input.name, " nor ", input.quantized_name,
                            " is given");
  }
  ByteRange touched;
  if (Status status = check_view({input.name}, input.floats, pointers, &touched); !status.ok()) return status;
  if (Status status = check_float_dtype({input.name}, input.floats); !status.ok()) return status;
  if (Status status = check_operand_shape({input.name}, input.floats, inputs.layout, varlen.given, axes);
      !status.ok()) {
    return status;
  }
  operand = operand_of(input.floats, inputs.layout);
  ranges.reads({input.name}, touched);
  return {};
}

// q, k and v agree with each other.
Status check_agreement(const AttentionInputs& inputs, const Axes& q, const Axes& k, const Axes& v) {
  const TensorView* first = nullptr;
  std::string_view first_name, name;
  for (const TensorView* floats : {&inputs.q, &inputs.k, &inputs.v}) {
    name = floats == &inputs.q ? "q" : floats == &inputs.k ? "k" : "v";
    if (!floats->given()) continue;
    if (first == nullptr) {
      first = floats;
      first_name = name;
    } else if (floats->dtype != first->dtype) {
      return invalid_argument(name, " is ", to_string(floats->dtype), " and ", first_name, " is ",
                              to_string(first->dtype), "; q, k and v must have one dtype");
    }
  }
  if (k.batch != q.batch || v.batch != q.batch) {
    return invalid_argument("the batch sizes of q, k and v are ", q.batch, ", ", k.batch, " and ", v.batch,
                            "; they must be equal");
  }
  if (v.heads != k.heads) {
    return invalid_argument("k has ", k.heads, " heads and v has ", v.heads, "; they must be equal");
  }
  if (q.heads % k.heads != 0) {
    return invalid_argument("q has ", q.heads, " heads and k has ", k.heads,
                            "; q's must be a multiple of k's (query head h reads key head h / ratio)");
  }
  if (v.rows != k.rows) return invalid_argument("k has ", k.rows, " rows and v has ", v.rows, "; they must be equal");
  if (k.dim != q.dim) {
    return invalid_argument("q has head_dim ", q.dim, " and k has ", k.dim, "; they must be equal");
  }
  return {};
}

// cu_seqlens_q and cu_seqlens_k; their values are compared with the rows later.
Status read_varlen(const AttentionInputs& inputs, Pointers pointers, Varlen& varlen, ByteRanges& ranges) {
  varlen.given = inputs.cu_seqlens_q.given() || inputs.cu_seqlens_k.given();
  if (!varlen.given) return {};
  if (!(inputs.cu_seqlens_q.given() && inputs.cu_seqlens_k.given())) {
    return invalid_argument("only ", inputs.cu_seqlens_q.given() ? "cu_seqlens_q" : "cu_seqlens_k",
                            " is given; varlen sequences need cu_seqlens_q and cu_seqlens_k");
  }
  ByteRange touched;
  if (Status status =
          read_cu_seqlens("cu_seqlens_q", inputs.cu_seqlens_q, -1, "[batch + 1]", pointers, touched, varlen.q);
      !status.ok()) {
    return status;
  }
  ranges.reads({"cu_seqlens_q"}, touched);
  if (Status status = read_cu_seqlens("cu_seqlens_k", inputs.cu_seqlens_k, varlen.q.batch,
                                      "[batch + 1] like cu_seqlens_q", pointers, touched, varlen.k);
      !status.ok()) {
    return status;
  }
  ranges.reads({"cu_seqlens_k"}, touched);
  return {};
}

Status check_outputs(const AttentionInputs& inputs, const Axes& q, std::int64_t value_dim, const Varlen& varlen,
                     Pointers pointers, Problem& problem, ByteRanges& ranges) {
  const TensorView& out = inputs.out;
  if (!out.given()) return invalid_argument("out is missing");
  ByteRange touched;
  if (Status status = check_view({"out"}, out, pointers, &touched); !status.ok()) return status;
  const std::array<std::int64_t, 4> shape =
      shape_of({q.batch, q.heads, q.rows, value_dim}, inputs.layout, varlen.rank());
  if (!has_shape(out, shape, varlen.rank())) {
    return invalid_argument("out has shape ", shape_string(out), "; the result has ", shape_text(shape, varlen.rank()));
  }
  if (Status status = check_float_dtype({"out"}, out); !status.ok()) return status;
  if (!elements_are_distinct(out)) {
    return invalid_argument("out has strides that let elements share memory; its axes must not overlap");
  }
  problem.out = operand_of(out, inputs.layout);
  ranges.writes({"out"}, touched);

  const TensorView& lse = inputs.lse;
  if (!lse.given()) return {};
  if (Status status = check_view({"lse"}, lse, pointers, &touched); !status.ok()) return status;
  const std::array<std::int64_t, 4> lse_shape = varlen.given ? std::array<std::int64_t, 4>{q.heads, q.rows}
                                                             : std::array<std::int64_t, 4>{q.batch, q.heads, q.rows};
  const int lse_rank = varlen.given ? 2 : 3;
  if (!has_shape(lse, lse_shape, lse_rank)) {
    return invalid_argument("lse has shape ", shape_string(lse), "; it must be ", shape_text(lse_shape, lse_rank),
                            varlen.given ? ", [heads, total]" : ", [batch, heads, seqlen_q]");
  }
  if (lse.dtype != DType::f32) return invalid_argument("lse is ", to_string(lse.dtype), "; it must be f32");
  if (!elements_are_distinct(lse)) {
    return invalid_argument("lse has strides that let elements share memory; its axes must not overlap");
  }
  problem.lse = static_cast<float*>(data_or_placeholder(lse));
  problem.lse_strides = varlen.given ? Strides<3>{0, lse.strides[0], lse.strides[1]}
                                     : Strides<3>{lse.strides[0], lse.strides[1], lse.strides[2]};
  ranges.writes({"lse"}, touched);
  return {};
}

}  // namespace

Status check_integers(std::string_view name, const TensorView& view, std::int64_t entries,
                      std::string_view expected_shape, Pointers pointers, ByteRange& range, IntegerArray& integers) {
  // On the CPU their values are part of the problem, so the memory is needed even where only sizes are asked for.
  if (view.device.type != DeviceType::cuda) pointers = Pointers::needed;
  if (Status status = check_view({name}, view, pointers, &range); !status.ok()) return status;
  if (view.dtype != DType::s32 && view.dtype != DType::s64) {
    return invalid_argument(name, " is ", to_string(view.dtype), "; allowed are s32 and s64");
  }
  if (view.rank != 1 || (entries >= 0 && view.shape[0] != entries)) {
    return invalid_argument(name, " has shape ", shape_string(view), "; it must be ", expected_shape);
  }
  integers = {data_or_placeholder(view), view.dtype, view.strides[0]};
  return {};
}

Status check_operands(const AttentionInputs& inputs, Pointers pointers, Problem& problem, ByteRanges& ranges) {
  Varlen varlen;
  if (Status status = read_varlen(inputs, pointers, varlen, ranges); !status.ok()) return status;
  if (inputs.layout != Layout::nhd && inputs.layout != Layout::hnd) {
    return invalid_argument("layout is the unknown value ", static_cast<int>(inputs.layout),
                            "; allowed are NHD and HND");
  }

  Axes q, k, v;
  const Read reads[] = {{Role::q, "q", "quantized_q", inputs.q, inputs.quantized_q},
                        {Role::k, "k", "quantized_k", inputs.k, inputs.quantized_k},
                        {Role::v, "v", "quantized_v", inputs.v, inputs.quantized_v}};
  Operand* const operands[] = {&problem.q, &problem.k, &problem.v};
  Axes* const axes[] = {&q, &k, &v};
  for (std::size_t i = 0; i < 3; ++i) {
    if (Status status = check_input(reads[i], inputs, problem.recipe, varlen, pointers, *operands[i], *axes[i], ranges);
        !status.ok()) {
      return status;
    }
  }
  if (Status status = check_agreement(inputs, q, k, v); !status.ok()) return status;
  if (Status status = check_outputs(inputs, q, v.dim, varlen, pointers, problem, ranges); !status.ok()) return status;

  problem.batch = q.batch;
  problem.q_heads = q.heads;
  problem.kv_heads = k.heads;
  problem.q_rows = q.rows;
  problem.k_rows = k.rows;
  problem.head_dim = q.dim;
  problem.value_dim = v.dim;
  if (!varlen.given) return {};

  problem.batch = varlen.q.batch;
  problem.cu_seqlens_q = varlen.q.at;
  problem.cu_seqlens_k = varlen.k.at;
  if (Status status = check_cu_seqlens(varlen.q, q.rows, "q"); !status.ok()) return status;
  return check_cu_seqlens(varlen.k, k.rows, "k");
}

}  // namespace octavo
