// The end of a query row: the sink joins the softmax, then the factor of O and the LSE. Ops: exp2() and log2() of
// float.
#pragma once

#include <numbers>

#include "core/inline.hpp"

namespace octavo::spec {

struct RowEnd {
  bool sees = false;  // some key
  bool sink_is_max = false;
  float sum = 1;     // the softmax's denominator, the sink included
  float factor = 0;  // O is its sums times factor / sum
};

// The sink is one more logit without a value. `m` and `l` are the state of the online softmax, `sink_logit` is the sink
// on m's scale (base 2), in double: beside a mask of -1e9 an f32 maximum would lose it. A sink of -infinity: none.
template <class Ops>
OCTAVO_INLINE RowEnd end_of_row(float m, float l, float sink, double sink_logit) {
  RowEnd end;
  end.sees = m != -__builtin_inff() || l != l;
  if (!end.sees) return end;
  end.sum = l;
  end.factor = 1;
  if (sink == -__builtin_inff()) return end;
  end.sink_is_max = sink_logit > static_cast<double>(m);
  const double next = end.sink_is_max ? sink_logit : static_cast<double>(m);
  end.factor = Ops::exp2(static_cast<float>(static_cast<double>(m) - next));
  end.sum = l * end.factor + Ops::exp2(static_cast<float>(sink_logit - next));
  return end;
}

// The share of the softmax that O's values have beside the sink.
OCTAVO_INLINE float share_of_values(const RowEnd& end, float l) { return end.factor * l / end.sum; }

// `max_lse`: m in natural units with everything that was subtracted from the row's scores. Counted from the larger of
// it and the sink, so that a mask of finfo.min cannot swallow the sink.
template <class Ops>
OCTAVO_INLINE float lse_of_row(const RowEnd& end, float sink, double max_lse) {
  if (!end.sees) return sink;
  const double base = end.sink_is_max ? static_cast<double>(sink) : max_lse;
  return static_cast<float>(base + static_cast<double>(Ops::log2(end.sum)) * std::numbers::ln2);
}

}  // namespace octavo::spec
