// How a trace's units come from the oracle's: there scores are base 2 and relative to the row's shift, here they are
// whole, and natural where they are S or LSE. A row's state is repeated up to its last block.
#include "reference/trace.hpp"

#include <algorithm>
#include <cmath>
#include <new>
#include <numbers>

namespace octavo::reference {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kMostElements = 1u << 30;  // of one array: 8 GiB

}  // namespace

Trace::Trace(const Problem& problem) : batch(problem.batch), heads(problem.q_heads) {
  if (!problem.packed()) {
    rows = problem.q_rows;
    keys = problem.k_rows;
  }
  for (std::int64_t b = 0; problem.packed() && b < batch; ++b) {
    rows = std::max(rows, problem.sequence(b).q_rows);
    keys = std::max(keys, problem.sequence(b).k_rows);
  }
  key_block = problem.recipe.key_block;
  blocks = (keys + key_block - 1) / key_block;
  const double wanted = static_cast<double>(batch) * static_cast<double>(heads) * static_cast<double>(rows) *
                        static_cast<double>(std::max<std::int64_t>(keys, 1));
  if (wanted > kMostElements) throw std::bad_alloc();

  const auto pairs = static_cast<std::size_t>(batch * heads * rows * keys);
  scores.assign(pairs, -kInfinity);
  folded.assign(pairs, -kInfinity);
  codes.assign(pairs, 0.0);
  const auto steps = static_cast<std::size_t>(batch * heads * rows * blocks);
  references.assign(steps, -kInfinity);
  maxima.assign(steps, -kInfinity);
  row_sums.assign(steps, 0.0);
  log_sums.assign(steps, -kInfinity);
}

RowTrace Trace::row(std::int64_t b, std::int64_t head, std::int64_t row_index) {
  const std::int64_t index = (b * heads + head) * rows + row_index;
  RowTrace result;
  result.scores = scores.data() + index * keys;
  result.folded = folded.data() + index * keys;
  result.codes = codes.data() + index * keys;
  result.references = references.data() + index * blocks;
  result.maxima = maxima.data() + index * blocks;
  result.row_sums = row_sums.data() + index * blocks;
  result.log_sums = log_sums.data() + index * blocks;
  result.keys = keys;
  result.blocks = blocks;
  result.key_block = key_block;
  return result;
}

void RowTrace::record_scores(const ScoreRow& row, const PreparedV& v) {
  shift = row.shift * std::numbers::log2e;
  for (std::int64_t key = row.range.begin; key < row.range.end; ++key) {
    const double score = row.scores[static_cast<std::size_t>(key - row.range.begin)];
    if (score == -kInfinity) continue;
    const double scale = v.relative_scales.empty() ? 1.0 : v.relative_scales[static_cast<std::size_t>(key)];
    scores[key] = score * std::numbers::ln2 + row.shift;
    folded[key] = score + std::log2(scale) + shift;
  }
}

void RowTrace::record_block(std::int64_t start, const BlockWeights& weights, const RowState& state) {
  std::copy(weights.codes.begin(), weights.codes.end(), codes + start);
  const std::int64_t block = start / key_block;
  references[block] = weights.reference + shift;
  // Later blocks that the row does not see leave its state as it is.
  std::fill(maxima + block, maxima + blocks, state.maximum + shift);
  std::fill(row_sums + block, row_sums + blocks, state.sum);
  std::fill(log_sums + block, log_sums + blocks, (state.maximum + shift + std::log2(state.sum)) * std::numbers::ln2);
}

void RowTrace::record_nan() {
  std::fill(codes, codes + keys, kNan);
  for (double* values : {references, maxima, row_sums, log_sums}) std::fill(values, values + blocks, kNan);
}

}  // namespace octavo::reference
