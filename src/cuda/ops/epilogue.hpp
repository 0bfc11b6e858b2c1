// The end of a warp's 16 rows: O / l with everything that was taken out of V put back, the sink, the LSE, and the
// stores.
#pragma once

#include <cstdint>
#include <numbers>

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

// `owed`: what the row's scores lack, natural units. In double: beside a mask of -1e9 an f32 maximum would lose the
// sink.
template <class Machine>
OCTAVO_DEVICE RowEnd end_row(float m, float l, float sink, double owed) {
  RowEnd end;
  end.sees = m != -__builtin_inff() || l != l;
  if (!end.sees) {
    end.lse = sink;
    return end;
  }
  float kept = 1, sum = l;
  bool moved = false;
  if (sink != -__builtin_inff()) {
    const double limit = (static_cast<double>(sink) - owed) * std::numbers::log2e;
    moved = limit > m;
    const double next = moved ? limit : static_cast<double>(m);
    kept = Machine::exp2(static_cast<float>(m - next));
    sum = l * kept + Machine::exp2(static_cast<float>(limit - next));
  }
  end.factor = kept / sum;
  end.present = kept * l / sum;
  // Counted from the larger of the two, so that a mask of finfo.min cannot swallow the sink.
  const double base = moved ? static_cast<double>(sink) : static_cast<double>(m) * std::numbers::ln2 + owed;
  end.lse = static_cast<float>(base + static_cast<double>(Machine::log2(sum)) * std::numbers::ln2);
  return end;
}

// Finite values stay finite.
OCTAVO_INLINE float within(float x, float most) { return !is_finite(x) ? x : x > most ? most : x < -most ? -most : x; }

// What V's unit took. It may be beyond f32: that saturates, what was not finite before stays so.
OCTAVO_INLINE float given_back(float x, float by) {
  constexpr float kMost = 0x1.fffffep127f;
  if (!is_finite(x)) return x;
  const float whole = x * by;
  return whole > kMost ? kMost : whole < -kMost ? -kMost : whole;
}

// Two neighbouring channels of a row. `pairs`: as one store.
template <class Machine>
OCTAVO_DEVICE void store_pair(const DeviceOutput& out, std::int64_t at, bool pairs, bool second, FloatPair x) {
  const std::int64_t step = out.strides[3];
  if (out.dtype == DType::f32) {
    auto* to = static_cast<float*>(out.data) + at;
    if (pairs && second) {
      *reinterpret_cast<FloatPair*>(to) = x;
    } else {
      to[0] = x.x;
      if (second) to[step] = x.y;
    }
    return;
  }
  constexpr float kMostF16 = 65504.0f, kMostBf16 = 0x1.fep127f;
  const std::uint32_t bits = out.dtype == DType::f16
                                 ? Machine::pack_f16(within(x.x, kMostF16), within(x.y, kMostF16))
                                 : Machine::pack_bf16(within(x.x, kMostBf16), within(x.y, kMostBf16));
  auto* to = static_cast<std::uint16_t*>(out.data) + at;
  if (pairs && second) {
    *reinterpret_cast<std::uint32_t*>(to) = bits;
  } else {
    to[0] = static_cast<std::uint16_t>(bits);
    if (second) to[step] = static_cast<std::uint16_t>(bits >> 16);
  }
}

// Rows of O leave by way of shared memory, eight at a time, so that a warp stores whole rows. The tiles are done with
// by then; eight floats behind each row keep the lanes' stores off each other's banks.
template <class Shape>
constexpr std::uint32_t kStagedRowBytes = 4 * (Shape::kDim + 8);
template <class Shape>
constexpr std::uint32_t kStagedBytes = 8 * kStagedRowBytes<Shape>;

template <class Shape, class Machine>
OCTAVO_DEVICE void store_rows(Machine& machine, const AttentionKernelParams& p, const AttentionTask& task,
                              std::int32_t warp_row, Registers<Machine, float, kOutputRegisters<Shape>>& out) {
  static_assert(Shape::kWarps * kStagedBytes<Shape> <= Shape::kBytes);
  const std::uint32_t staged = static_cast<std::uint32_t>(machine.warp()) * kStagedBytes<Shape>;
  const std::int64_t head = (p.cu_seqlens_q.data != nullptr ? 0 : task.batch) * p.out.strides[0] +
                            task.head * p.out.strides[1] + task.q_begin * p.out.strides[2];
  const std::int64_t element_bytes = p.out.dtype == DType::f32 ? 4 : 2;
  const auto value_dim = static_cast<std::int32_t>(p.value_dim);
  const float unit = p.v.output_unit == nullptr ? 1.0f : p.v.output_unit[task.batch * p.kv_heads + task.kv_head];
  OCTAVO_UNROLL
  for (int half = 0; half < 2; ++half) {
    machine.sync_warp();
    machine.lanes(
        [&](int lane, float(&o)[kOutputRegisters<Shape>]) {
          const std::uint32_t row = staged + static_cast<std::uint32_t>(lane / 4) * kStagedRowBytes<Shape>;
          OCTAVO_UNROLL
          for (int tile = 0; tile < Shape::kDim / 8; ++tile) {
            machine.store_shared(row + 4 * static_cast<std::uint32_t>(8 * tile + lane % 4 * 2),
                                 FloatPair{o[4 * tile + 2 * half], o[4 * tile + 2 * half + 1]});
          }
        },
        out);
    machine.sync_warp();
    if (p.rotate_output && value_dim != Shape::kDim) {
      rotate_back_in_shared(machine, staged, kStagedRowBytes<Shape>, value_dim);
    }
    OCTAVO_ROLLED
    for (int r = 0; r < 8; ++r) {
      const std::int32_t row = warp_row + 8 * half + r;
      if (row >= task.q_rows) break;
      const std::int64_t first = head + row * p.out.strides[2];
      const auto address =
          reinterpret_cast<std::uintptr_t>(p.out.data) + static_cast<std::uintptr_t>(first * element_bytes);
      const bool pairs = p.out.strides[3] == 1 && (address & static_cast<std::uintptr_t>(2 * element_bytes - 1)) == 0;
      OCTAVO_ROLLED
      for (int begin = 0; begin < value_dim; begin += 2 * kLanes) {
        machine.lanes([&](int lane) {
          const int channel = begin + 2 * lane;
          if (channel >= value_dim) return;
          auto x = machine.template shared<FloatPair>(staged + static_cast<std::uint32_t>(r) * kStagedRowBytes<Shape> +
                                                      4 * static_cast<std::uint32_t>(channel));
          if (unit != 1) x = {given_back(x.x, unit), given_back(x.y, unit)};
          store_pair<Machine>(p.out, first + channel * p.out.strides[3], pairs, channel + 1 < value_dim, x);
        });
      }
    }
  }
}

// `owed_of_rows`: what the caller's options took off the rows' scores, natural units.
template <class Shape, class Machine>
OCTAVO_DEVICE void finish_rows(Machine& machine, const AttentionKernelParams& p, const AttentionTask& task,
                               std::int32_t warp_row, RowState<Machine>& state,
                               Registers<Machine, float, 2>& owed_of_rows,
                               Registers<Machine, float, kOutputRegisters<Shape>>& out) {
  sum_over_quads<Machine, 2>(machine, state.l);
  const float sink =
      p.sinks.data == nullptr
          ? -__builtin_inff()
          : read_number<Machine>(p.sinks, task.batch * p.sinks.strides[0] + task.head * p.sinks.strides[1]);
  const std::int64_t lse_at = (p.cu_seqlens_q.data != nullptr ? 0 : task.batch) * p.lse_strides[0] +
                              task.head * p.lse_strides[1] + task.q_begin * p.lse_strides[2];
  const std::int64_t channels = (task.batch * p.kv_heads + task.kv_head) * Shape::kDim;
  machine.lanes(
      [&](int lane, float(&m)[2], float(&l)[2], float(&owed)[2], float(&o)[kOutputRegisters<Shape>]) {
        RowEnd ends[2];
        OCTAVO_UNROLL
        for (int half = 0; half < 2; ++half) {
          const std::int32_t row = row_of_lane(warp_row, lane, half);
          // Softcap's tanh has used the row constant up.
          const double constant = p.softcap > 0 ? 0.0 : static_cast<double>(constant_of_row(p, task, row));
          ends[half] = end_row<Machine>(m[half], l[half], sink, constant + static_cast<double>(owed[half]));
          if (p.lse != nullptr && lane % 4 == 0 && row < task.q_rows) {
            p.lse[lse_at + row * p.lse_strides[2]] = ends[half].lse;
          }
        }
        OCTAVO_UNROLL
        for (int i = 0; i < kOutputRegisters<Shape>; i += 4) {
          const std::int64_t channel = channels + i / 4 * 8 + lane % 4 * 2;
          const auto factor = *reinterpret_cast<const FloatPair*>(p.v.output_factor + channel);
          FloatPair addend{0, 0};
          if (p.v.output_addend != nullptr) addend = *reinterpret_cast<const FloatPair*>(p.v.output_addend + channel);
          OCTAVO_UNROLL
          for (int j = 0; j < 4; ++j) {
            const RowEnd& end = ends[j / 2];
            const float x = __builtin_fmaf(j % 2 == 0 ? addend.x : addend.y, end.present,
                                           o[i + j] * end.factor * (j % 2 == 0 ? factor.x : factor.y));
            o[i + j] = end.sees ? x : 0.0f;
          }
        }
      },
      state.m, state.l, owed_of_rows, out);
  if (p.rotate_output && p.value_dim == Shape::kDim) rotate_back<Shape::kDim>(machine, out);
  store_rows<Shape>(machine, p, task, warp_row, out);
}

}  // namespace octavo::cuda
