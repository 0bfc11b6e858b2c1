// The epilogue of a warp's 16 rows: O / l with V's scales, mean and rotation undone, the sink, the LSE, and the stores.
#pragma once

#include <cstdint>
#include <numbers>

#include "cuda/attention/pv.hpp"
#include "cuda/attention/rotate_output.hpp"
#include "cuda/attention/score_mod.hpp"
#include "cuda/attention/softmax.hpp"
#include "cuda/attention/task.hpp"
#include "cuda/tile/machine.hpp"
#include "cuda/tile/scalar_ops.hpp"
#include "spec/epilogue.hpp"

namespace octavo::cuda {

struct RowEnd {
  bool sees = false;  // some key
  float factor = 0;   // of O
  float present = 0;  // the weights' share of the softmax beside the sink
  float lse = 0;
};

// `offset` was subtracted from all scores of the row, natural units.
template <class Machine>
OCTAVO_DEVICE RowEnd end_row(float m, float l, float sink, double offset) {
  using Ops = ScalarOps<Machine>;
  const spec::RowEnd end =
      spec::end_of_row<Ops>(m, l, sink, (static_cast<double>(sink) - offset) * std::numbers::log2e);
  const double max_lse = static_cast<double>(m) * std::numbers::ln2 + offset;
  return {end.sees, end.factor / end.sum, spec::share_of_values(end, l), spec::lse_of_row<Ops>(end, sink, max_lse)};
}

// Finite values stay finite.
OCTAVO_INLINE float within(float x, float most) { return !is_finite(x) ? x : x > most ? most : x < -most ? -most : x; }

// Undoes V's prescale. A result beyond f32 saturates; non-finite numbers stay.
OCTAVO_INLINE float rescaled(float x, float by) {
  constexpr float kMost = 0x1.fffffep127f;
  if (!is_finite(x)) return x;
  const float whole = x * by;
  return whole > kMost ? kMost : whole < -kMost ? -kMost : whole;
}

// Stores two neighbouring channels of a row; `pairs`: as one store.
template <class Machine>
OCTAVO_DEVICE void store_pair(const Operand& out, std::int64_t at, bool pairs, bool second, FloatPair x) {
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

// `head`: element of `to` where the sequence's rows begin. Rows of O go through shared memory, kStagedRows (eight or
// four) at a time, so that a warp stores whole rows. Eight floats of padding behind each row avoid bank conflicts.
template <class Shape>
constexpr std::uint32_t kStagedRowBytes = 4 * (Shape::kDim + 8);
template <class Shape>
constexpr std::uint32_t kStagedBytes = Shape::kStagedRows * kStagedRowBytes<Shape>;

template <class Shape, class Machine>
OCTAVO_DEVICE void store_rows(Machine& machine, const AttentionKernelParams& p, const AttentionTask& task,
                              const Operand& to, std::int64_t head, std::int32_t warp_row,
                              Registers<Machine, float, kOutputRegisters<Shape>>& out) {
  static_assert(Shape::kStagedAt + Shape::kWarps * kStagedBytes<Shape> <= Shape::kBytes);
  const std::uint32_t staged = Shape::kStagedAt + static_cast<std::uint32_t>(machine.warp()) * kStagedBytes<Shape>;
  const std::int64_t element_bytes = to.dtype == DType::f32 ? 4 : 2;
  const auto value_dim = static_cast<std::int32_t>(p.value_dim);
  const float rescale =
      p.v.output_rescale == nullptr ? 1.0f : p.v.output_rescale[task.batch * p.keys.heads + task.kv_head];
  constexpr int kStagedRows = Shape::kStagedRows;
  // Rolled: both halves take turns in the registers of the first.
  OCTAVO_ROLLED
  for (int first_row = 0; first_row < 16; first_row += kStagedRows) {
    machine.sync_warp();
    machine.lanes(
        [&](int lane, float(&o)[kOutputRegisters<Shape>]) {
          const int own = lane / 4 - first_row % 8;  // among the rows that go now
          if (kStagedRows < 8 && (own < 0 || own >= kStagedRows)) return;
          const std::uint32_t row = staged + static_cast<std::uint32_t>(own) * kStagedRowBytes<Shape>;
          OCTAVO_UNROLL
          for (int tile = 0; tile < Shape::kDim / 8; ++tile) {
            const FloatPair x{o[4 * tile], o[4 * tile + 1]};
            machine.store_shared(row + 4 * static_cast<std::uint32_t>(8 * tile + lane % 4 * 2), x);
            o[4 * tile] = o[4 * tile + 2], o[4 * tile + 1] = o[4 * tile + 3];
          }
        },
        out);
    machine.sync_warp();
    if (p.rotate_output && value_dim != Shape::kDim) {
      rotate_back_in_shared<kStagedRows>(machine, staged, kStagedRowBytes<Shape>, value_dim);
    }
    OCTAVO_ROLLED
    for (int r = 0; r < kStagedRows; ++r) {
      const std::int32_t row = warp_row + first_row + r;
      if (row >= task.q_rows) break;
      const std::int64_t first = head + row * to.strides[2];
      const auto address =
          reinterpret_cast<std::uintptr_t>(to.data) + static_cast<std::uintptr_t>(first * element_bytes);
      const bool pairs = to.strides[3] == 1 && (address & static_cast<std::uintptr_t>(2 * element_bytes - 1)) == 0;
      OCTAVO_ROLLED
      for (int begin = 0; begin < value_dim; begin += 2 * kLanes) {
        machine.lanes([&](int lane) {
          const int channel = begin + 2 * lane;
          if (channel >= value_dim) return;
          auto x = machine.template shared<FloatPair>(staged + static_cast<std::uint32_t>(r) * kStagedRowBytes<Shape> +
                                                      4 * static_cast<std::uint32_t>(channel));
          if (rescale != 1) x = {rescaled(x.x, rescale), rescaled(x.y, rescale)};
          store_pair<Machine>(to, first + channel * to.strides[3], pairs, channel + 1 < value_dim, x);
        });
      }
    }
  }
}

// terms.lse_offset was subtracted from the rows' scores by score_mod, natural units. `keeps`, where it may be, or
// several parts: O and the rows' state stay in f32 for join_kept_keys() and merge_parts().
template <class Shape, bool may_keep, class Machine>
OCTAVO_DEVICE void store_epilogue(Machine& machine, const AttentionKernelParams& p, const AttentionTask& task,
                                  std::int32_t warp_row, bool keeps, RowState<Machine>& state, RowTerms<Machine>& terms,
                                  Registers<Machine, float, kOutputRegisters<Shape>>& out) {
  const bool kept = may_keep && keeps;
  sum_over<4>(machine, state.l);
  const bool unfinished = kept || p.unfinished.parts > 1;
  const float sink =
      unfinished || p.sinks.data == nullptr
          ? -__builtin_inff()
          : read_number<Machine>(p.sinks, task.batch * p.sinks.strides[0] + task.head * p.sinks.strides[1]);
  const std::int64_t lse_at = (p.queries.varlen() ? 0 : task.batch) * p.lse_strides[0] + task.head * p.lse_strides[1] +
                              task.q_begin * p.lse_strides[2];
  const std::int64_t channels = (task.batch * p.keys.heads + task.kv_head) * Shape::kDim;
  machine.lanes(
      [&](int lane, float(&m)[2], float(&l)[2], float(&offset)[2], float(&o)[kOutputRegisters<Shape>]) {
        RowEnd ends[2];
        OCTAVO_UNROLL
        for (int half = 0; half < 2; ++half) {
          const std::int32_t row = row_of_lane(warp_row, lane, half);
          // With softcap the offset was added before the tanh.
          const double constant = p.softcap > 0 ? 0.0 : static_cast<double>(logit_offset_of_row(p, task, row));
          ends[half] = end_row<Machine>(m[half], l[half], sink, constant + static_cast<double>(offset[half]));
          if (!unfinished && p.lse != nullptr && lane % 4 == 0 && row < task.q_rows) {
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
      state.m, state.l, terms.lse_offset, out);
  if (p.rotate_output && p.value_dim == Shape::kDim) rotate_back<Shape::kDim>(machine, out);
  Operand to = p.out;
  std::int64_t head = (p.queries.varlen() ? 0 : task.batch) * p.out.strides[0] + task.head * p.out.strides[1] +
                      task.q_begin * p.out.strides[2];
  if (unfinished) {
    const std::int64_t first = task.unfinished_row - task.first_row;
    machine.lanes(
        [&](int lane, float(&m)[2], float(&l)[2], float(&offset)[2], float(&row_max)[2]) {
          for (int half = 0; half < 2; ++half) {
            const std::int32_t row = row_of_lane(warp_row, lane, half);
            if (lane % 4 != 0 || row >= task.q_rows) continue;
            float* const at = p.unfinished.state + 4 * (first + row);
            at[0] = m[half], at[1] = l[half], at[2] = offset[half];
            if (kept) at[3] = row_max[half];
          }
        },
        state.m, state.l, terms.lse_offset, terms.row_max);
    to.data = p.unfinished.out;
    to.dtype = DType::f32;
    to.strides = {0, 0, Shape::kDim, 1};
    head = first * Shape::kDim;
  }
  store_rows<Shape>(machine, p, task, to, head, warp_row, out);
}

}  // namespace octavo::cuda
