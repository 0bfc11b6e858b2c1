// What a format of codes is: integers or 8-bit floats, and its largest code, R of the quantizer (spec/scale.hpp).
#pragma once

#include "core/inline.hpp"
#include "octavo/recipe.hpp"
#include "octavo/tensor_view.hpp"
#include "spec/scale.hpp"

namespace octavo::spec {

OCTAVO_INLINE constexpr bool is_integer(Format format) { return format == Format::s8 || format == Format::s4; }
OCTAVO_INLINE constexpr bool is_float8(Format format) { return format == Format::e4m3 || format == Format::e5m2; }
OCTAVO_INLINE constexpr bool is_integer(WeightFormat format) {
  return format == WeightFormat::s8 || format == WeightFormat::u8 || format == WeightFormat::u16;
}
OCTAVO_INLINE constexpr bool is_float8(WeightFormat format) {
  return format == WeightFormat::e4m3 || format == WeightFormat::e5m2;
}

// 1 for formats without codes.
OCTAVO_INLINE constexpr float range_of(Format format) {
  switch (format) {
    case Format::s8:
      return kRangeS8;
    case Format::s4:
      return kRangeS4;
    case Format::e4m3:
      return kRangeE4m3;
    case Format::e5m2:
      return kRangeE5m2;
    default:
      return 1.0f;
  }
}
OCTAVO_INLINE constexpr float range_of(DType codes) {
  return range_of(codes == DType::s8     ? Format::s8
                  : codes == DType::s4   ? Format::s4
                  : codes == DType::e4m3 ? Format::e4m3
                  : codes == DType::e5m2 ? Format::e5m2
                                         : Format::input);
}

}  // namespace octavo::spec
