// dequantize(): x = R^-1 (code * scale + mean) in f32, R the recipe's rotation; then the output's dtype.
#include <array>

#include "core/float_types.hpp"
#include "cpu/cpu.hpp"
#include "spec/rotation.hpp"
#include "spec/side_arrays.hpp"

namespace octavo::cpu {
namespace {

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
void dequantize_head(const DequantizeProblem& problem, const spec::Groups& groups, std::int64_t b, std::int64_t h, const spec::SidePlace& place, std::int64_t begin,
                     std::int64_t rows) {
  const Operand &codes = problem.codes, &out = problem.out;
  const std::int64_t dim = problem.dim;
  const float* const scales = spec::scales_at(codes, place, h);
  const float* const means = spec::means_at(codes, place, h);
  const bool by_channel = spec::per_channel(groups.granularity);
  std::array<float, kMostHeadDim> x;
  for (std::int64_t row = 0; row < rows; ++row) {
    const std::int64_t group = spec::group_of_row(groups, row);
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

// Head h of the codes' batch entry b: a sequence, or all the varlen ones.
void dequantize_entry(const DequantizeProblem& problem, std::int64_t b, std::int64_t h) {
  const spec::Groups groups = spec::groups_of(problem.role, problem.recipe);
  const Operand& codes = problem.codes;
  const IntegerArray& begins = problem.cu_seqlens;
  if (begins.data == nullptr) {
    const spec::SidePlace place{b * codes.scales_per_sequence, b * codes.means_per_sequence};
    return dequantize_head(problem, groups, b, h, place, 0, problem.rows);
  }
  spec::SideWalk walk(codes, groups, problem.dim, true);
  for (std::int64_t s = 0; s < problem.sequences; ++s) {
    const std::int64_t rows = begins[s + 1] - begins[s];
    dequantize_head(problem, groups, b, h, walk.place(), begins[s], rows);
    walk.pass(rows);
  }
}

}  // namespace

void dequantize(const Implementation&, const DequantizeProblem& problem, ParallelRunner& runner) noexcept {
  runner.run(
      problem.batch * problem.heads,
      [](void* context, std::int64_t head) {
        const auto& whole = *static_cast<const DequantizeProblem*>(context);
        dequantize_entry(whole, head / whole.heads, head % whole.heads);
      },
      const_cast<DequantizeProblem*>(&problem));
}

}  // namespace octavo::cpu
