// Q and K with a scale for each row and group of channels: granularities and scale formats that the recipes do not
// have. A model in double: codes are rounded, scores and everything after them are exact.
#pragma once

#include "study/measure.hpp"

namespace octavo::study {

enum class ScaleFormat { f32, f16, power_of_two };
const char* to_string(ScaleFormat format);

struct GroupScales {
  std::int64_t channels = 0;  // of a group; 0: the whole row
  int range = 127;            // the largest code
  ScaleFormat scales = ScaleFormat::f32;
  bool rotate = false, smooth_q = false, smooth_k = false;  // as the recipes' hadamard, smooth_q, smooth_k
  bool quantize_v = false;                                  // V too, with the same groups and scales
};

// A row of codes times scales; power_of_two: the scale is rounded up, so that no code saturates.
void quantize_row(double* row, std::int64_t dim, const GroupScales& options);

Output group_attention(const Problem& problem, const GroupScales& options);

// Rows of x [rows, D] times a Walsh-Hadamard matrix over sqrt(D) after fixed signs; D is a power of two.
void rotate_rows(std::vector<double>& x, std::int64_t dim);
// Subtracts the mean of every `block` rows; returns each row's mean [rows, D].
std::vector<double> smooth_rows(std::vector<double>& x, std::int64_t rows, std::int64_t dim, std::int64_t block);

}  // namespace octavo::study
