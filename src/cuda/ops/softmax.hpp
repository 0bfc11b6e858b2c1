// The running state of a warp's 16 rows, two to a lane (g and g + 8; the four lanes of a quad hold the same rows): m
// the running maximum (base 2), l this lane's part of the row sum, and what one tile's maxima make of them.
//   m' = max(m, t),   alpha = 2^(m - m'),   reference = t (codes relative to the tile's own maximum) or m'
//   weights are R 2^(T - reference),   beta = 2^(reference - m') / R
//   l = alpha l + beta sum,   O = alpha O + beta P V
#pragma once

#include <cstdint>

#include "cuda/tile/machine.hpp"

namespace octavo::cuda {

// How far (base 2) a tile may rise above m before O and l are rescaled, where codes do not depend on m: then O is
// hardly ever rescaled, and 2^8 keeps f32 sums far from overflow.
constexpr float kStaleLogits = 8.0f;

template <class Machine>
struct RowState {
  Registers<Machine, float, 2> m, l;
};

template <class Machine>
struct TileStep {
  Registers<Machine, float, 2> shift;  // a weight is R 2^(T - shift); no T exceeds it
  Registers<Machine, float, 2> alpha, beta;
  Registers<Machine, std::uint32_t, 1> rescale;  // some alpha of the lane is not 1
};

template <class Machine>
OCTAVO_DEVICE void start_rows(Machine& machine, RowState<Machine>& state) {
  machine.lanes(
      [](int, float(&m)[2], float(&l)[2]) {
        for (int i = 0; i < 2; ++i) m[i] = -__builtin_inff(), l[i] = 0;
      },
      state.m, state.l);
}

// The largest of each row of C [16, 8 tiles], in all lanes that share it.
template <int n, class Machine>
OCTAVO_DEVICE void row_maxima(Machine& machine, Registers<Machine, float, n>& scores,
                              Registers<Machine, float, 2>& maxima) {
  machine.lanes(
      [](int, float(&s)[n], float(&max)[2]) {
        max[0] = max[1] = -__builtin_inff();
        OCTAVO_UNROLL
        for (int i = 0; i < n; ++i) {
          float& best = max[i / 2 % 2];
          best = __builtin_fmaxf(best, s[i]);  // a NaN is no maximum: it shows in the row sum
        }
      },
      scores, maxima);
  max_over_quads<Machine, 2>(machine, maxima);
}

// `maxima` are of T - offset.
template <class Machine>
OCTAVO_DEVICE void advance(Machine& machine, RowState<Machine>& state, Registers<Machine, float, 2>& maxima,
                           Registers<Machine, float, 2>& offset, bool running, float log2_range,
                           TileStep<Machine>& step) {
  const float slack = running ? 0.0f : kStaleLogits;
  machine.lanes(
      [&](int, float(&m)[2], float(&max)[2], float(&apart)[2], float(&shift)[2], float(&alpha)[2], float(&beta)[2],
          std::uint32_t(&rescale)[1]) {
        rescale[0] = 0;
        OCTAVO_UNROLL
        for (int i = 0; i < 2; ++i) {
          const float t = max[i] + apart[i];
          const float next = m[i] + slack < t ? t : m[i];
          // A row that has seen nothing yet: any finite reference will do, its sums are zero.
          const float kept = next == -__builtin_inff() ? 0.0f : next;
          const float reference = running ? kept : t == -__builtin_inff() ? 0.0f : t;
          // The shift is in terms of the scores at hand, the largest of which it meets exactly: t may have lost digits
          // to `apart`. What it differs by from t's own shift goes into beta.
          const float of_t = reference - apart[i], own = max[i] == -__builtin_inff() ? 0.0f : max[i];
          shift[i] = running && next != t ? __builtin_fmaxf(of_t, own) : own;
          alpha[i] = m[i] == next ? 1.0f : Machine::exp2(m[i] - kept);
          // What a row gathers in a tile of which it sees nothing is nothing.
          beta[i] = t == -__builtin_inff() ? 0.0f : Machine::exp2((reference - kept) + (shift[i] - of_t) - log2_range);
          if (alpha[i] != 1.0f) rescale[0] = 1;
          m[i] = next;
        }
      },
      state.m, maxima, offset, step.shift, step.alpha, step.beta, step.rescale);
}

template <class Machine>
OCTAVO_DEVICE void add_row_sums(Machine& machine, RowState<Machine>& state, Registers<Machine, float, 2>& sums,
                                TileStep<Machine>& step) {
  machine.lanes(
      [](int, float(&l)[2], float(&sum)[2], float(&alpha)[2], float(&beta)[2]) {
        OCTAVO_UNROLL
        for (int i = 0; i < 2; ++i) l[i] = __builtin_fmaf(sum[i], beta[i], l[i] * alpha[i]);
      },
      state.l, sums, step.alpha, step.beta);
}

}  // namespace octavo::cuda
