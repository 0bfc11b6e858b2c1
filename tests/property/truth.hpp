// Attention of one head in double from its definition, apart from the library: the truth that errors are measured
// against. Q [M, D], K [N, D], V [N, Dv] -> O [rows, Dv] for the query rows asked for.
#pragma once

#include <cstdint>
#include <vector>

namespace octavo::test {

struct HeadView {
  const float* q;
  const float* k;
  const float* v;
  std::int64_t m, n, d, dv;
};

// Row i sees keys 0..i + n - m where causal.
std::vector<double> attention_in_double(const HeadView& head, bool causal, const std::vector<std::int64_t>& rows);

// Relative L2 of those rows of out [M, Dv].
double error_of_rows(const float* out, const std::vector<std::int64_t>& rows, const std::vector<double>& truth);

}  // namespace octavo::test
