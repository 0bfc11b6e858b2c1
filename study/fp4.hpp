// Attention in FP4 as SageAttention3 (arXiv 2505.11594, section 3) describes it: E2M1 numbers in groups of 16 along the
// summed axis, each group with an E4M3 scale. The recipes have no such format; this is a model of it in double.
#pragma once

#include "study/measure.hpp"

namespace octavo::study {

// To nearest, ties to even: 0, 0.5, 1, 1.5, 2, 3, 4, 6.
double round_e2m1(double x);
// To nearest, ties to even, saturating at 448.
double round_e4m3(double x);
// A group of numbers as E2M1 times one E4M3 scale, largest magnitude / 6; in place, `stride` apart.
void round_group(double* x, std::int64_t count, std::int64_t stride);

// K without its mean, Q without the mean of each 128 rows (added back to the scores), P relative to the running maximum
// of blocks of 128 keys times 6 * 448 (two levels), V grouped along tokens. rotate: Q and K rotated first.
Output fp4_attention(const Problem& problem, bool rotate);

}  // namespace octavo::study
