// Rows of Q, K and V as the recipe transforms them: floats, rotated and less a mean, or codes of the caller.
#pragma once

#include "cpu/operands/float8.hpp"
#include "cpu/operands/quantize.hpp"
#include "cpu/operands/register_rows.hpp"
#include "cpu/operands/row_source.hpp"
#include "cpu/operands/scratch.hpp"

namespace octavo::cpu {
namespace {

// One row of an operand before smoothing. `unit`: a factor for V (spec/v_prescale.hpp). `gain` [padded D]: factors of
// the channels of Q or K (spec/qk_gain.hpp); null: none.
template <class S>
OCTAVO_INLINE void load_transformed(const Operand& x, std::int64_t at, std::int64_t dim, const std::int32_t* signs,
                                    float* to, float unit = 1.0f, const float* gain = nullptr) {
  load_row<S>(x, at, dim, to);
  for (std::int64_t d = 0; gain != nullptr && d < padded(dim); d += S::kLanes)
    S::store(to + d, S::mul(S::load(to + d), S::load(gain + d)));
  for (std::int64_t d = 0; unit != 1 && d < padded(dim); d += S::kLanes)
    S::store(to + d, S::mul(S::load(to + d), S::set1(unit)));
  if (signs != nullptr) rotate_row<S>(to, signs, dim);
}

// Rows from..last-1: rotated (signs not null), less `mean` (not null), into [last - from][width]; their ranges.
template <class S>
OCTAVO_INLINE void load_transform_rows(const RowSource& rows, std::int64_t from, std::int64_t last, std::int64_t dim,
                                       std::int64_t width, const std::int32_t* signs, const float* mean, float* to,
                                       RowRange* ranges, float unit = 1.0f, const float* gain = nullptr) {
  const Operand& x = rows.tensor();
  const std::int64_t in_registers = unit == 1 ? dim : 0;
  const bool done = with_register_rows<S>(x, in_registers, [&](auto vectors) __attribute__((always_inline)) {
    constexpr int kVectors = decltype(vectors)::value;
    rows.for_each_span(from, last,
                       [&](std::int64_t row, std::int64_t at, std::int64_t count) __attribute__((always_inline)) {
                         for (std::int64_t first = 0; first < count; first += S::kLanes) {
                           RangesOfRows<S> batch;
                           const std::int64_t end = first + S::kLanes < count ? first + S::kLanes : count;
                           float* const out = to + (row - from) * width;
                           RowRange* const of_rows = ranges + (row - from);
                           for (std::int64_t r = first; r < end; ++r) {
                             typename S::f32 v[kVectors];
                             load_rotated<S, kVectors>(x, at + r * x.strides[2], signs, v, gain);
                             auto most = S::set1(0);
#pragma GCC unroll 64
                             for (int i = 0; i < kVectors; ++i) {
                               if (mean != nullptr) v[i] = S::sub(v[i], S::load(mean + i * S::kLanes));
                               most = S::max_s32(most, magnitude<S>(v[i]));
                             }
                             store_vectors<S, kVectors>(v, out + r * width);
                             batch.add(most);
                           }
                           if (!batch.finish(of_rows + first))
                             for (std::int64_t r = first; r < end; ++r) of_rows[r] = row_range<S>(out + r * width, dim);
                         }
                       });
  });
  if (done) return;
  for (std::int64_t r = from; r < last; ++r)
    load_transformed<S>(x, rows.at(r), dim, signs, to + (r - from) * width, unit, gain);
  centre_rows<S>(to, last - from, width, dim, mean, ranges);
}

// Integer codes of one row that the caller quantized, as bytes; returns their sum. Padding is zero.
OCTAVO_INLINE std::int32_t load_codes(const Operand& x, std::int64_t at, std::int64_t dim, std::int8_t* to) {
  std::int32_t sum = 0;
  const auto* bytes = static_cast<const std::uint8_t*>(x.data);
  for (std::int64_t d = 0; d < dim; ++d) {
    const std::int64_t index = at + d * x.strides[3];
    std::int8_t code;
    if (x.dtype == DType::s4) {
      const int nibble = (bytes[index >> 1] >> ((index & 1) * 4)) & 15;
      code = static_cast<std::int8_t>((nibble ^ 8) - 8);
    } else {
      code = static_cast<std::int8_t>(bytes[index]);
    }
    to[d] = code;
    sum += code;
  }
  for (std::int64_t d = dim; d % 64 != 0; ++d) to[d] = 0;
  return sum;
}

// The numbers of one row of the caller's codes, integers or FP8. Padding is zero.
template <class S>
OCTAVO_INLINE void load_code_values(const Operand& x, std::int64_t at, std::int64_t dim, float* to) {
  if (x.dtype == DType::s8 || x.dtype == DType::s4) {
    alignas(64) std::int8_t codes[kMaxPadded];
    load_codes(x, at, dim, codes);
    for (std::int64_t d = 0; d < padded(dim); d += S::kLanes) S::store(to + d, S::to_f32(S::load_s8(codes + d)));
    return;
  }
  const Float8Values& values = x.dtype == DType::e4m3 ? kE4m3Values : kE5m2Values;
  const auto* bytes = static_cast<const std::uint8_t*>(x.data);
  for (std::int64_t d = 0; d < dim; ++d) to[d] = values.of[bytes[at + d * x.strides[3]]];
  for (std::int64_t d = dim; d < padded(dim); ++d) to[d] = 0;
}

// Scale of a row of caller's codes, from those of its head; NaN for any that is not finite.
OCTAVO_INLINE float caller_scale(const float* scales, const spec::Groups& groups, std::int64_t row) {
  if (scales == nullptr) return 1.0f;
  const float scale = scales[spec::group_of_row(groups, row)];
  return octavo::is_finite(scale) ? scale : __builtin_nanf("");
}

// -128 among the codes of a row: the one that some policies' products cannot take (kFullRangeS8).
OCTAVO_INLINE bool holds_full_range_s8(const std::int8_t* codes, std::int64_t dim) {
  bool found = false;
  for (std::int64_t d = 0; d < dim; ++d) found = found || codes[d] == -128;
  return found;
}

// x in a format: the number of its code (x / scale rounded, `range` the largest integer), or x rounded to a float.
template <class S>
OCTAVO_INLINE typename S::f32 number_in(Format format, typename S::f32 x, typename S::f32 inverse, float range) {
  switch (format) {
    case Format::s8:
    case Format::s4:
      return S::to_f32(codes_of<S>(x, inverse, S::set1(range)));
    case Format::e4m3:
      return round_e4m3<S>(S::mul(x, inverse));
    case Format::e5m2:
      return round_e5m2<S>(S::mul(x, inverse));
    case Format::f16:
      return S::round_f16(S::mul(x, inverse));
    case Format::input:
      break;
  }
  return x;
}

// Words of a finite row of Q or K for the first product, from transformed floats; returns the sum of integer codes.
template <class S>
OCTAVO_INLINE std::int32_t write_words(const Plan& plan, Format format, const float* x, std::int64_t dim, float inverse,
                                       std::int32_t* to) {
  if (plan.qk_form == QkForm::s8) return quantize_row<S>(x, dim, inverse, reinterpret_cast<std::int8_t*>(to));
  for (std::int64_t d = 0; d < padded(dim); d += S::kLanes) {
    const auto number = number_in<S>(format, S::load(x + d), S::set1(inverse), plan.qk_range);
    if (plan.qk_form == QkForm::bf16)
      S::store_bf16(reinterpret_cast<std::uint16_t*>(to) + d, number);
    else
      S::store(to + d, S::bits(number));
  }
  return 0;
}

// The same from the caller's codes; sets `finite` to whether all of them stand for numbers, and where they do not
// leaves zeros.
template <class S>
OCTAVO_INLINE std::int32_t write_caller_words(const Plan& plan, const Operand& x, std::int64_t at, std::int64_t dim,
                                              std::int32_t* to, bool& finite) {
  finite = true;
  if (plan.qk_form == QkForm::s8) return load_codes(x, at, dim, reinterpret_cast<std::int8_t*>(to));
  alignas(64) float row[kMaxPadded];
  load_code_values<S>(x, at, dim, row);
  finite = row_range<S>(row, dim).finite;
  if (!finite) std::memset(row, 0, sizeof(row));
  return write_words<S>(plan, Format::input, row, dim, 1.0f, to);
}

}  // namespace
}  // namespace octavo::cpu
