// Intermediate values of a call on the oracle, by row and key block: the numbers that its result is computed from are
// recorded as they arise.
#pragma once

#include <cstdint>
#include <vector>

#include "core/problem.hpp"
#include "octavo/status.hpp"
#include "reference/score_steps.hpp"
#include "reference/softmax_steps.hpp"

namespace octavo::reference {

// One row's part of a Trace.
struct RowTrace {
  double *scores = nullptr, *folded = nullptr, *codes = nullptr;                              // [keys]
  double *references = nullptr, *maxima = nullptr, *row_sums = nullptr, *log_sums = nullptr;  // [blocks]
  std::int64_t keys = 0, blocks = 0, key_block = 1;
  double shift = 0;  // of the row's scores, in base 2: what is recorded is whole again

  void record_scores(const ScoreRow& row, const PreparedV& v);
  // The block that starts at key `start`, after it has joined the state.
  void record_block(std::int64_t start, const BlockWeights& weights, const RowState& state);
  // A row that a NaN reached has no codes and no state.
  void record_nan();
};

// M and N are the tensors', for varlen sequences those of the longest. Rows and keys that do not exist, and keys that
// the row may not attend to, have the score -infinity and the code 0.
struct Trace {
  std::int64_t batch = 0, heads = 0, rows = 0, keys = 0, blocks = 0, key_block = 1;

  // [B, Hq, M, N]
  std::vector<double> scores;  // S after scale, smoothing's correction, softcap and additive terms; natural units
  std::vector<double> folded;  // T = S log2 e + log2 s~, base 2; s~ is 1 without the fold
  std::vector<double> codes;   // of P

  // [B, Hq, M, blocks]
  std::vector<double> references;  // what the block's codes are relative to, base 2; -infinity: sees no key of it
  std::vector<double> maxima;      // running maximum of T after the block, base 2
  std::vector<double> row_sums;    // l after the block, relative to 2^maximum
  std::vector<double> log_sums;    // LSE after the block, natural; without the sink

  // For a problem's shapes. Error: resource_exhausted, with the bytes that it would take.
  static Result<Trace> of(const Problem& problem);
  RowTrace row(std::int64_t b, std::int64_t head, std::int64_t row);
};

}  // namespace octavo::reference
