// dequantize(): x = R^-1 (code * scale + mean), R the recipe's rotation.
#pragma once

#include "cuda/operands/row_scales.hpp"

namespace octavo::cuda {

OCTAVO_DEVICE void store_number(void* to, DType dtype, std::int64_t at, float x) {
  if (dtype == DType::f32) {
    static_cast<float*>(to)[at] = x;
  } else {
    static_cast<std::uint16_t*>(to)[at] = dtype == DType::f16 ? f32_to_f16_saturating(x) : f32_to_bf16_saturating(x);
  }
}

// 128 rows of a head by kCodeWarps warps.
template <int per_lane, class Machine>
OCTAVO_DEVICE void dequantize_rows(Machine& machine, const DequantizeParams& p) {
  begin_kernel(machine);
  const BlockOfRows at = own_block(machine, p.sequences);
  if (!at.live) return;
  const std::int64_t dim = p.x.dim;
  const float *const scales = scales_of(p.x, at.b, at.head), *const means = means_of(p.x, at.b, at.head);
  const bool by_channel = spec::per_channel(p.groups.granularity);
  for (std::int64_t r = machine.warp() * kRowsAtOnce<per_lane>; r < kPackedRows && at.row + r < at.rows;
       r += kCodeWarps * kRowsAtOnce<per_lane>) {
    const std::int64_t valid = at.rows - at.row - r;
    const std::int64_t from = p.x.offset(at.b, at.head, at.begin + at.row + r);
    const std::int64_t to = p.out.offset(at.b, at.head, at.begin + at.row + r);
    Registers<Machine, float, per_lane * kRowsAtOnce<per_lane>> x;
    load_rows<per_lane, kRowsAtOnce<per_lane>>(machine, x, p.x, from, valid);
    machine.lanes(
        [&](int lane, float(&v)[per_lane * kRowsAtOnce<per_lane>]) {
          OCTAVO_UNROLL
          for (int i = 0; i < kRowsAtOnce<per_lane>; ++i) {
            if (i >= valid) continue;
            const std::int64_t row = at.row + r + i, group = spec::group_of_row(p.groups, row);
            const float* const mean = means == nullptr  ? nullptr
                                      : p.mean_of_block ? means + row / spec::kQueryBlock * dim
                                                        : means;
            OCTAVO_UNROLL
            for (int s = 0; s < per_lane; ++s) {
              const int c = channel_of(lane, s);
              float& value = v[i * per_lane + s];
              if (c >= dim) continue;
              if (scales != nullptr) value = value * scales[by_channel ? group * dim + c : group];
              if (mean != nullptr) value = value + mean[c];
            }
          }
        },
        x);
    if (p.rotated) rotate_rows_back<per_lane, kRowsAtOnce<per_lane>>(machine, x, dim);
    machine.lanes(
        [&](int lane, float(&v)[per_lane * kRowsAtOnce<per_lane>]) {
          OCTAVO_UNROLL
          for (int i = 0; i < kRowsAtOnce<per_lane>; ++i) {
            OCTAVO_UNROLL
            for (int s = 0; s < per_lane; ++s) {
              const int c = channel_of(lane, s);
              if (i >= valid || c >= dim) continue;
              store_number(p.out.data, p.out.dtype, to + i * p.out.strides[2] + c * p.out.strides[3],
                           v[i * per_lane + s]);
            }
          }
        },
        x);
  }
}

}  // namespace octavo::cuda
