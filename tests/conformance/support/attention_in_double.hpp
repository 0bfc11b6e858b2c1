// Attention of one head in double precision, written from its definition without the library: the expected value of
// accuracy tests. Q [M, D], K [N, D], V [N, Dv] -> O [rows, Dv], LSE [rows] for the requested query rows.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "octavo/attention.hpp"

namespace octavo::test {

struct HeadView {
  const float* q;
  const float* k;
  const float* v;
  std::int64_t m, n, d, dv;
};

struct HeadOptions {
  Causal causal = Causal::none;
  std::int64_t window_left = -1, window_right = -1;  // -1: unlimited
  double softcap = 0;
  double alibi_slope = 0;
  bool symmetric_alibi = false;
  std::optional<double> sink{};
  const std::uint8_t* bool_mask = nullptr;  // [M, mask_stride]; 0 hides the key
  const float* float_mask = nullptr;        // [M, mask_stride]; added to the scaled score
  std::int64_t mask_stride = 0;
};

struct HeadResult {
  std::vector<double> out, lse;
};

// 0, 1, ..., count - 1.
std::vector<std::int64_t> all_rows(std::int64_t count);

HeadResult attention_in_double(const HeadView& head, const HeadOptions& options, const std::vector<std::int64_t>& rows);

// Relative L2 error of those rows of out [M, Dv].
double error_of_rows(const float* out, const std::vector<std::int64_t>& rows, const std::vector<double>& expected);

}  // namespace octavo::test
