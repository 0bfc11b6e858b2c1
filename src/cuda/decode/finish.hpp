// The end of attention over a key-value cache on a device, one warp a query row: the states of the splits in ascending
// order, then that of the kept keys,
//   m' = max(m, m_s),  l = l 2^(m - m') + l_s 2^(m_s - m'),  O likewise,
// then the sink, O / l rotated back, and the LSE.
#pragma once

#include "cuda/attention/epilogue.hpp"
#include "cuda/decode/tile.hpp"
#include "cuda/operands/dequantize.hpp"
#include "cuda/operands/rotate.hpp"

namespace octavo::cuda {

template <int per_lane, class Machine>
OCTAVO_DEVICE void finish_decode_rows(Machine& machine, const DecodeParams& p) {
  begin_kernel(machine);
  const std::int64_t of_head = machine.block(0) * machine.warps() + machine.warp();
  DecodeTask task;
  task.head = static_cast<std::int32_t>(machine.block(1));
  task.entry = static_cast<std::int32_t>(machine.block(2));
  find_entry(p, task);
  if (of_head >= p.group * task.q_rows) return;
  task.tile = static_cast<std::int32_t>(of_head) / kDecodeRows;
  const std::int32_t r = static_cast<std::int32_t>(of_head) % kDecodeRows;
  const auto splits = static_cast<std::int32_t>((task.keys + kDecodeSplit - 1) / kDecodeSplit);
  const std::int64_t columns = p.cache.v_columns;
  float m = -__builtin_inff(), l = 0;
  Registers<Machine, float, per_lane> out;
  machine.lanes(
      [](int, float(&o)[per_lane]) {
        for (int i = 0; i < per_lane; ++i) o[i] = 0;
      },
      out);
  const auto fold = [&](std::int32_t split) {
    const float* const state = p.state_of(task.entry, task.head, task.tile, split);
    const float of_state = state[4 * r], sum = state[4 * r + 1];
    if (of_state == -__builtin_inff()) {  // no key, or nothing but NaN
      if (sum != sum) l = sum;
      return;
    }
    const float next = of_state > m ? of_state : m;
    const float a = m == -__builtin_inff() ? 0.0f : Machine::exp2(m - next), b = Machine::exp2(of_state - next);
    m = next;
    l = l * a + sum * b;
    const float* const from = state + p.state_rows * 4 + r * columns;
    machine.lanes(
        [&](int lane, float(&o)[per_lane]) {
          OCTAVO_UNROLL
          for (int i = 0; i < per_lane; ++i) {
            const int c = channel_of(lane, i);
            if (c < columns) o[i] = __builtin_fmaf(b, from[c], a * o[i]);
          }
        },
        out);
  };
  OCTAVO_ROLLED
  for (std::int32_t split = 0; split < splits && split < p.splits; ++split) fold(split);
  if (p.keeps() && task.keys > 0) fold(p.splits);

  const DecodeRow row = decode_row(p, task, r);
  const std::int64_t entry = p.first_entry + task.entry;
  const float sink = p.sinks.data == nullptr
                         ? -__builtin_inff()
                         : read_number<Machine>(p.sinks, entry * p.sinks.strides[0] + row.head * p.sinks.strides[1]);
  // With softcap it was added before the tanh.
  const float* const of_row = p.state_of(task.entry, task.head, task.tile, 0) + 4 * r;
  const double constant = p.softcap > 0 ? 0.0 : static_cast<double>(of_row[2]);
  const RowEnd end = end_row<Machine>(m, l, sink, constant + static_cast<double>(of_row[3]));
  machine.lanes(
      [&](int, float(&o)[per_lane]) {
        // In two steps: 1 / unit beside a small factor must not lose the sums' digits.
        OCTAVO_UNROLL
        for (int i = 0; i < per_lane; ++i) o[i] = end.sees ? o[i] * end.factor * (1.0f / spec::kCacheOutputUnit) : 0.0f;
      },
      out);
  if (p.cache.rotated()) rotate_rows_back<per_lane, 1>(machine, out, p.cache.value_dim);
  const std::int64_t out_row = task.q_begin + row.query, to = p.out.offset(entry, row.head, out_row);
  machine.lanes(
      [&](int lane, float(&o)[per_lane]) {
        OCTAVO_UNROLL
        for (int i = 0; i < per_lane; ++i) {
          const int c = channel_of(lane, i);
          if (c < p.cache.value_dim) store_number(p.out.data, p.out.dtype, to + c * p.out.strides[3], o[i]);
        }
        if (lane == 0 && p.lse != nullptr) {
          p.lse[entry * p.lse_strides[0] + row.head * p.lse_strides[1] + out_row * p.lse_strides[2]] = end.lse;
        }
      },
      out);
}

}  // namespace octavo::cuda
