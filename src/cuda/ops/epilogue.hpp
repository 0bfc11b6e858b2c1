// The end of a warp's 16 rows: O / l with everything that was taken out of V put back, the sink, the LSE, and the
// stores.
#pragma once

#include <cstdint>

#include "cuda/ops/modify.hpp"
#include "cuda/ops/rotate.hpp"
#include "cuda/ops/softmax.hpp"
#include "cuda/ops/task.hpp"
#include "cuda/ops/value.hpp"
#include "cuda/tile/machine.hpp"

namespace octavo::cuda {

struct RowEnd {
  float factor = 0;   // of O; 0: the row sees no key
  float present = 0;  // the weights' share beside the sink's
  float lse = 0;
  bool sees = false;
};

// In double: beside a mask of -1e9 an f32 maximum would lose the sink.
template <class Machine>
OCTAVO_DEVICE RowEnd end_row(float m, float l, float sink, double constant, float owed) {
  RowEnd end;
  end.sees = m != -__builtin_inff() || l != l;
  if (!end.sees) {
    end.lse = sink;
    return end;
  }
  float kept = 1, sum = l;
  bool moved = false;
  if (sink != -__builtin_inff()) {
    const double limit = (static_cast<double>(sink) - constant) * 1.4426950408889634 - owed;
    moved = limit > m;
    const double next = moved ? limit : static_cast<double>(m);
    kept = Machine::exp2(static_cast<float>(m - next));
    sum = l * kept + Machine::exp2(static_cast<float>(limit - next));
  }
  end.factor = kept / sum;
  end.present = kept * l / sum;
  // Counted from the larger of the two, so that a mask of finfo.min cannot swallow the sink.
  const double base = moved ? static_cast<double>(sink)
                            : (static_cast<double>(m) + static_cast<double>(owed)) * 0.6931471805599453 + constant;
  end.lse = static_cast<float>(base + static_cast<double>(Machine::log2(sum)) * 0.6931471805599453);
  return end;
}

// Finite values stay finite.
OCTAVO_INLINE float within(float x, float most) { return !is_finite(x) ? x : x > most ? most : x < -most ? -most : x; }

template <class Machine>
OCTAVO_DEVICE void store_pair(const DeviceOutput& out, std::int64_t at, bool second, float x, float y) {
  const std::int64_t step = out.strides[3];
  if (out.dtype == DType::f32) {
    auto* to = static_cast<float*>(out.data) + at;
    to[0] = x;
    if (second) to[step] = y;
    return;
  }
  constexpr float kMostF16 = 65504.0f, kMostBf16 = 0x1.fep127f;
  const std::uint32_t bits = out.dtype == DType::f16 ? Machine::pack_f16(within(x, kMostF16), within(y, kMostF16))
                                                     : Machine::pack_bf16(within(x, kMostBf16), within(y, kMostBf16));
  auto* to = static_cast<std::uint16_t*>(out.data) + at;
  if (second && step == 1 && reinterpret_cast<std::uintptr_t>(to) % 4 == 0) {
    *reinterpret_cast<std::uint32_t*>(to) = bits;
    return;
  }
  to[0] = static_cast<std::uint16_t>(bits);
  if (second) to[step] = static_cast<std::uint16_t>(bits >> 16);
}

template <class Shape, class Machine>
OCTAVO_DEVICE void finish_rows(Machine& machine, const AttentionKernelParams& p, const AttentionTask& task,
                               std::int64_t warp_row, RowState<Machine>& state, RowTerms<Machine>& terms,
                               Registers<Machine, float, kOutputRegisters<Shape>>& out) {
  sum_over_quads<Machine, 2>(machine, state.l);
  const float sink = p.sinks.data == nullptr
                         ? -__builtin_inff()
                         : read_number(p.sinks, task.batch * p.sinks.strides[0] + task.head * p.sinks.strides[1]);
  const std::int64_t out_batch = p.cu_seqlens_q.data != nullptr ? 0 : task.batch;
  const std::int64_t channels = (task.batch * p.kv_heads + task.kv_head) * Shape::kDim;
  machine.lanes(
      [&](int lane, float(&m)[2], float(&l)[2], float(&owed)[2], float(&constants)[2],
          float(&o)[kOutputRegisters<Shape>]) {
        OCTAVO_UNROLL
        for (int half = 0; half < 2; ++half) {
          const std::int64_t row = row_of_lane(warp_row, lane, half);
          // Softcap's tanh has used the row constant up.
          const double constant = p.softcap > 0 ? 0.0 : static_cast<double>(constants[half]);
          const RowEnd end = end_row<Machine>(m[half], l[half], sink, constant, owed[half]);
          OCTAVO_UNROLL
          for (int i = 2 * half; i < kOutputRegisters<Shape>; i += 4) {
            OCTAVO_UNROLL
            for (int j = 0; j < 2; ++j) {
              const std::int64_t channel = channels + i / 4 * 8 + lane % 4 * 2 + j;
              float x = o[i + j] * end.factor * p.v.output_factor[channel];
              if (p.v.output_addend != nullptr) x = __builtin_fmaf(p.v.output_addend[channel], end.present, x);
              o[i + j] = end.sees ? x : 0.0f;
            }
          }
          if (p.lse != nullptr && lane % 4 == 0 && row < task.q_rows) {
            p.lse[out_batch * p.lse_strides[0] + task.head * p.lse_strides[1] +
                  (task.q_begin + row) * p.lse_strides[2]] = end.lse;
          }
        }
      },
      state.m, state.l, terms.owed, terms.constant, out);
  if (p.rotate_output) rotate_back<Shape::kDim>(machine, static_cast<int>(p.value_dim), out);
  machine.lanes(
      [&](int lane, float(&o)[kOutputRegisters<Shape>]) {
        OCTAVO_UNROLL
        for (int half = 0; half < 2; ++half) {
          const std::int64_t row = row_of_lane(warp_row, lane, half);
          if (row >= task.q_rows) continue;
          const std::int64_t first =
              out_batch * p.out.strides[0] + task.head * p.out.strides[1] + (task.q_begin + row) * p.out.strides[2];
          OCTAVO_UNROLL
          for (int i = 2 * half; i < kOutputRegisters<Shape>; i += 4) {
            const std::int64_t channel = i / 4 * 8 + lane % 4 * 2;
            if (channel >= p.value_dim) continue;
            store_pair<Machine>(p.out, first + channel * p.out.strides[3], channel + 1 < p.value_dim, o[i], o[i + 1]);
          }
        }
      },
      out);
}

}  // namespace octavo::cuda
