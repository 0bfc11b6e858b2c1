#include "tensor.hpp"

#include <cstring>

#include "core/float_types.hpp"

namespace octavo::test {

void store_element(void* data, DType dtype, std::int64_t index, float value) {
  switch (dtype) {
    case DType::f64:
      static_cast<double*>(data)[index] = value;
      break;
    case DType::f16:
      static_cast<std::uint16_t*>(data)[index] = f32_to_f16(value);
      break;
    case DType::bf16:
      static_cast<std::uint16_t*>(data)[index] = f32_to_bf16(value);
      break;
    case DType::boolean:
      static_cast<unsigned char*>(data)[index] = value != 0;
      break;
    default:
      static_cast<float*>(data)[index] = value;
  }
}

float load_element(const void* data, DType dtype, std::int64_t index) {
  switch (dtype) {
    case DType::f16:
      return f16_to_f32(static_cast<const std::uint16_t*>(data)[index]);
    case DType::bf16:
      return bf16_to_f32(static_cast<const std::uint16_t*>(data)[index]);
    default:
      return static_cast<const float*>(data)[index];
  }
}

float rounded_to(DType dtype, float value) {
  return dtype == DType::f16    ? f16_to_f32(f32_to_f16_saturating(value))
         : dtype == DType::bf16 ? bf16_to_f32(f32_to_bf16_saturating(value))
                                : value;
}

std::string describe(const Placement& p) {
  std::string text(p.layout == Layout::nhd ? "nhd" : "hnd");
  if (p.channel_step != 1) text += " channel stride " + std::to_string(p.channel_step);
  if (p.padding != 0) text += " padding " + std::to_string(p.padding);
  if (p.offset != 0) text += " offset " + std::to_string(p.offset);
  if (p.rows_backwards) text += " rows backwards";
  if (p.heads_backwards) text += " heads backwards";
  return text;
}

Tensor::Tensor(DType dtype, Extents extents, const Placement& placement, bool packed) : extents_(extents) {
  c_ = placement.channel_step;
  const std::int64_t row = extents.dim * c_ + placement.padding;
  std::int64_t batch_items = 0;
  if (placement.layout == Layout::nhd) {
    h_ = row;
    r_ = extents.heads * h_ + placement.padding;
    batch_items = extents.rows * r_;
  } else {
    r_ = row;
    h_ = extents.rows * r_ + placement.padding;
    batch_items = extents.heads * h_;
  }
  b_ = batch_items + placement.padding;
  first_ = placement.offset;
  const std::int64_t elements = placement.offset + extents.batch * b_ + placement.padding + 1;
  bytes_.assign(static_cast<std::size_t>(elements * bits_of(dtype) / 8), 0xff);
  if (placement.rows_backwards && extents.rows > 0) {
    first_ += (extents.rows - 1) * r_;
    r_ = -r_;
  }
  if (placement.heads_backwards && extents.heads > 0) {
    first_ += (extents.heads - 1) * h_;
    h_ = -h_;
  }
  view_.data = bytes_.data() + first_ * bits_of(dtype) / 8;
  view_.dtype = dtype;
  view_.rank = 4;
  const bool nhd = placement.layout == Layout::nhd;
  view_.shape = {extents.batch, nhd ? extents.rows : extents.heads, nhd ? extents.heads : extents.rows, extents.dim};
  view_.strides = {b_, nhd ? r_ : h_, nhd ? h_ : r_, c_};
  if (packed) {
    view_.rank = 3;
    view_.shape = {view_.shape[1], view_.shape[2], view_.shape[3], 0};
    view_.strides = {view_.strides[1], view_.strides[2], view_.strides[3], 0};
  }
}

template <class Visit>
void Tensor::for_each_element(const Visit& visit) const {
  std::size_t i = 0;
  for (std::int64_t b = 0; b < extents_.batch; ++b)
    for (std::int64_t h = 0; h < extents_.heads; ++h)
      for (std::int64_t r = 0; r < extents_.rows; ++r)
        for (std::int64_t c = 0; c < extents_.dim; ++c) visit(i++, b * b_ + h * h_ + r * r_ + c * c_);
}

void Tensor::fill(const std::vector<float>& values) {
  for_each_element([&](std::size_t i, std::int64_t at) { store_element(view_.data, view_.dtype, at, values[i]); });
}

std::vector<float> Tensor::values() const {
  std::vector<float> result(static_cast<std::size_t>(extents_.elements()));
  for_each_element([&](std::size_t i, std::int64_t at) { result[i] = load_element(view_.data, view_.dtype, at); });
  return result;
}

bool Tensor::poison_is_untouched() const {
  std::vector<unsigned char> copy = bytes_;
  const auto size = static_cast<std::size_t>(bits_of(view_.dtype) / 8);
  for_each_element([&](std::size_t, std::int64_t at) {
    std::memset(copy.data() + static_cast<std::size_t>(first_ + at) * size, 0xff, size);
  });
  for (unsigned char byte : copy)
    if (byte != 0xff) return false;
  return true;
}

}  // namespace octavo::test
