// The three stages an attention kernel is composed of, as function types over one group of query rows and one key
// block. A recipe chooses one of each; granularity, smoothing and the fold only fill the vectors they read.
//   qk       Q, K block            -> T [rows][keys] f32 (base-2 logits) and the row maxima
//   softmax  T, reference maximum  -> P [rows][keys] (codes or floats) and the row sums
//   pv       P, V block            -> O = alpha * O + beta * (P V)
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/inline.hpp"
#include "cpu/operands/packed_block.hpp"
#include "octavo/recipe.hpp"

namespace octavo::cpu {

struct QkStage {
  const std::int32_t* q;      // [rows][steps] words; two-plane scores: the high plane
  const std::int32_t* q_low;  // two-plane scores only
  std::ptrdiff_t q_ld;        // words
  const std::int32_t* start;  // [rows]: where integer accumulators start (-kKeyBias * sum of the row's codes)
  const std::int32_t* start_low;
  const float* row_factor;  // [rows]; NaN makes the row NaN
  const std::int32_t* k;    // strips of kStrip keys: [key_block / kStrip][steps][kStrip] words
  std::ptrdiff_t k_strip;   // words from strip to strip
  std::int64_t steps;
  const float* key_factor;  // [keys]
  const float* key_addend;  // [keys]; -infinity masks a key, NaN makes rows that see it NaN
  float* scores;            // [kGroupRows][ld]
  std::ptrdiff_t ld;        // key block
  float* row_max;           // [kGroupRows] out
  bool full_range_s8;       // among the key codes
  int rows;                 // used ones, 1..kGroupRows
  std::int64_t keys;        // used ones, 1..key_block
};

struct SoftmaxStage {
  const float* scores;   // [kGroupRows][ld]
  const float* shift;    // [kGroupRows]: weight = R 2^(T - shift), exactly 0 below R 2^-126; no T exceeds it.
                         // Integer codes: within kFarthestShift of 0 (row_group.hpp)
  float range;           // R
  const float* inverse;  // [keys]: what a weight counts in the row sum (the fold's 1 / s~; null: 1)
  void* weights;         // [kGroupRows][ld] u8, or f32, bf16 words
  void* weights_low;     // 16-bit codes: their low bytes, `weights` the high ones
  WeightFormat format;   // of float words
  bool sum_codes;        // whether the row sum is that of the rounded weights
  std::ptrdiff_t ld;     // key block
  float* row_sum;        // [kGroupRows] out
  int rows;
  std::int64_t keys;
};

struct PvStage {
  const std::int32_t* weights;      // [kGroupRows][p_ld] words
  const std::int32_t* weights_low;  // two-plane weights only
  std::ptrdiff_t p_ld;
  const std::int32_t* v;  // strips of kStrip columns, the last one narrower: [v_steps][width of the strip] words each
  std::int64_t v_steps;   // of the whole block
  const std::int32_t* start;  // [columns]: where integer accumulators start
  std::int64_t first_step = 0;
  std::int64_t steps;
  std::int64_t sum_steps;     // f16 accumulators: steps of V after which the sum is rounded
  bool full_range_s8;         // among the value codes
  std::int64_t columns;       // a multiple of the lanes
  const float* column_scale;  // [columns] of this block; null: 1
  bool rescale;               // false: every alpha is 1
  const float* alpha;         // [kGroupRows]
  const float* beta;          // [kGroupRows]
  float* out;                 // [kGroupRows][columns] f32
  int rows;
};

struct Stages {
  void (*qk)(const QkStage&);
  void (*softmax)(const SoftmaxStage&);
  // qk of a group and softmax of the group before it, interleaved; null where that is not faster.
  void (*qk_and_softmax)(const QkStage&, const SoftmaxStage& previous);
  void (*pv)(const PvStage&);
};

}  // namespace octavo::cpu
