// Rows whose keys several tasks shared (host/split.hpp): their parts become one, as in spec/merge.hpp, by m and l,
//   m = max m_s,   w_s = l_s 2^(m_s - m),   O = sum of w_s O_s / (sum of w_s, and the sink)
// One warp a row. Parts that see no key have m = -infinity.
#pragma once

#include "cuda/attention/epilogue.hpp"
#include "cuda/operands/load.hpp"

namespace octavo::cuda {

inline constexpr int kMergeRows = 16;  // of a thread block

// The parts' common state. A NaN in any of them is one of the row.
struct MergedState {
  float m = -__builtin_inff(), l = 0;
};
template <class Machine>
OCTAVO_DEVICE float weight_of_part(const float* state, float m) {
  return state[0] == -__builtin_inff() ? state[1] * 0.0f : state[1] * Machine::exp2(state[0] - m);
}
template <class Machine>
OCTAVO_DEVICE MergedState merge_states(const float* state, std::int64_t step, std::int32_t parts) {
  MergedState merged;
  for (std::int32_t s = 0; s < parts; ++s) merged.m = __builtin_fmaxf(merged.m, state[s * step]);
  for (std::int32_t s = 0; s < parts; ++s) merged.l += weight_of_part<Machine>(state + s * step, merged.m);
  return merged;
}

template <class Machine>
OCTAVO_DEVICE void merge_parts(Machine& machine, const MergePartsParams& all) {
  begin_kernel(machine);
  const AttentionKernelParams& p = all.attention;
  const AttentionTask task = task_of_tile(p, kMergeRows, machine.block(0), machine.block(1), machine.block(2));
  if (!task.present) return;
  const std::int64_t rows = p.chunk.batches * p.chunk.heads * p.chunk.blocks * kPackedRows;  // of a part
  const std::int64_t dim = all.dim, b = p.queries.varlen() ? 0 : task.batch;
  const float sink =
      all.keeps || p.sinks.data == nullptr
          ? -__builtin_inff()
          : read_number<Machine>(p.sinks, task.batch * p.sinks.strides[0] + task.head * p.sinks.strides[1]);
  for (std::int32_t r = machine.warp(); r < kMergeRows && task.first_row + r < task.q_rows; r += machine.warps()) {
    const std::int32_t row = task.first_row + r;
    float* const state = p.unfinished.state + 4 * (task.chunk_row + r);
    float* const parts = p.unfinished.out + dim * (task.chunk_row + r);
    const MergedState merged = merge_states<Machine>(state, 4 * rows, p.unfinished.parts);
    // With softcap the offset was added before the tanh.
    const double constant =
        (p.softcap > 0 ? 0.0 : static_cast<double>(logit_offset_of_row(p, task, row))) + static_cast<double>(state[2]);
    const spec::RowEnd end = spec::end_of_row<ScalarOps<Machine>>(
        merged.m, merged.l, sink, (static_cast<double>(sink) - constant) * std::numbers::log2e);
    Operand to = p.out;
    std::int64_t first = b * to.strides[0] + task.head * to.strides[1] + (task.q_begin + row) * to.strides[2];
    if (all.keeps) {
      to.data = p.unfinished.out;
      to.dtype = DType::f32;
      to.strides = {0, 0, dim, 1};
      first = dim * (task.chunk_row + r);
    }
    const std::int64_t element_bytes = to.dtype == DType::f32 ? 4 : 2;
    const auto address = reinterpret_cast<std::uintptr_t>(to.data) + static_cast<std::uintptr_t>(first * element_bytes);
    const bool pairs = to.strides[3] == 1 && (address & static_cast<std::uintptr_t>(2 * element_bytes - 1)) == 0;
    machine.lanes([&](int lane) {
      for (std::int64_t c = 2 * lane; c < p.value_dim; c += 2 * kLanes) {
        FloatPair sum{0, 0};
        bool finite[2] = {true, true};
        for (std::int32_t s = 0; s < p.unfinished.parts && end.sees; ++s) {
          const float weight = weight_of_part<Machine>(state + 4 * rows * s, merged.m);
          if (weight == 0) continue;
          const float share = spec::share_of_values(end, weight);
          auto x = *reinterpret_cast<const FloatPair*>(parts + dim * rows * s + c);
          if (c + 1 >= p.value_dim) x.y = 0;  // nobody has written it
          finite[0] = finite[0] && is_finite(x.x) && share == share;
          finite[1] = finite[1] && is_finite(x.y) && share == share;
          sum.x += share * x.x, sum.y += share * x.y;
        }
        // Finite parts stay finite.
        if (finite[0]) sum.x = spec::bounded(sum.x);
        if (finite[1]) sum.y = spec::bounded(sum.y);
        store_pair<Machine>(to, first + c * to.strides[3], pairs, c + 1 < p.value_dim, sum);
      }
    });
    machine.sync_warp();  // all lanes have read the states
    machine.lanes([&](int lane) {
      if (lane != 0) return;
      if (all.keeps) {
        state[0] = merged.m, state[1] = merged.l;
      } else if (p.lse != nullptr) {
        p.lse[b * p.lse_strides[0] + task.head * p.lse_strides[1] + (task.q_begin + row) * p.lse_strides[2]] =
            spec::lse_of_row<ScalarOps<Machine>>(end, sink,
                                                 static_cast<double>(merged.m) * std::numbers::ln2 + constant);
      }
    });
  }
}

}  // namespace octavo::cuda
