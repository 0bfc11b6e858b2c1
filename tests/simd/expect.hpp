// Expectations of primitives that work lane by lane: the same C++ expression for every lane.
#pragma once

#include "policies.hpp"

namespace octavo::cpu {

// Every pair of `values` goes through every lane.
template <class T, class Expected, class Same>
void expect_of_pairs(const SimdPrimitives& w, const char* name, SimdPrimitives::Binary primitive,
                     const std::vector<T>& values, const Expected& expected, const Same& same) {
  T a[kMostLanes], b[kMostLanes], out[kMostLanes];
  for (std::size_t shift = 0; shift < values.size(); ++shift) {
    for (std::size_t first = 0; first < values.size(); ++first) {
      for (int i = 0; i < w.lanes; ++i) {
        a[i] = values[(first + static_cast<std::size_t>(i)) % values.size()];
        b[i] = values[(first + shift + static_cast<std::size_t>(i)) % values.size()];
      }
      primitive(a, b, out);
      for (int i = 0; i < w.lanes; ++i)
        ASSERT_TRUE(same(out[i], expected(a[i], b[i])))
            << name << "(" << a[i] << ", " << b[i] << ") is " << out[i] << " in lane " << i;
    }
  }
}

template <class In, class Out, class Expected, class Same>
void expect_of_each(const SimdPrimitives& w, const char* name, SimdPrimitives::Unary primitive,
                    const std::vector<In>& values, const Expected& expected, const Same& same) {
  In a[kMostLanes];
  Out out[kMostLanes];
  for (std::size_t first = 0; first < values.size(); first += static_cast<std::size_t>(w.lanes)) {
    for (int i = 0; i < w.lanes; ++i) a[i] = values[(first + static_cast<std::size_t>(i)) % values.size()];
    primitive(a, out);
    for (int i = 0; i < w.lanes; ++i)
      ASSERT_TRUE(same(out[i], expected(a[i]))) << name << "(" << a[i] << ") is " << out[i] << " in lane " << i;
  }
}

inline bool same_int(std::int32_t got, std::int32_t expected) { return got == expected; }

}  // namespace octavo::cpu
