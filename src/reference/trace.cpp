// How a trace's units come from the oracle's: there scores are base 2 and relative to the row's shift, here they are
// whole, and natural where they are S or LSE. A row's state is repeated up to its last block.
#include "reference/trace.hpp"

#include <algorithm>
#include <cmath>
#include <new>
#include <numbers>
#include <utility>

#include "core/text.hpp"

namespace octavo::reference {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kMostElements = 1u << 30;  // of one array: 8 GiB

}  // namespace

Result<Trace> Trace::of(const Problem& problem) {
  Trace trace;
  trace.batch = problem.batch;
  trace.heads = problem.q_heads;
  if (!problem.varlen()) {
    trace.rows = problem.q_rows;
    trace.keys = problem.k_rows;
  }
  for (std::int64_t b = 0; problem.varlen() && b < trace.batch; ++b) {
    trace.rows = std::max(trace.rows, problem.sequence(b).q_rows);
    trace.keys = std::max(trace.keys, problem.sequence(b).k_rows);
  }
  trace.key_block = problem.recipe.key_block;
  trace.blocks = (trace.keys + trace.key_block - 1) / trace.key_block;

  const double all_rows =
      static_cast<double>(trace.batch) * static_cast<double>(trace.heads) * static_cast<double>(trace.rows);
  const double elements = all_rows * (3 * static_cast<double>(trace.keys) + 4 * static_cast<double>(trace.blocks));
  const auto refused = [&] {
    const auto bytes = static_cast<std::uint64_t>(std::min(elements * sizeof(double), 0x1p63));
    return resource_exhausted("the trace of ", trace.batch, " x ", trace.heads, " x ", trace.rows, " rows and ",
                              trace.keys, " keys takes ", bytes,
                              " bytes; allowed are the machine's memory and 8 GiB of scores");
  };
  if (all_rows * static_cast<double>(std::max<std::int64_t>(trace.keys, 1)) > kMostElements) return refused();

  const auto pairs = static_cast<std::size_t>(trace.batch * trace.heads * trace.rows * trace.keys);
  const auto steps = static_cast<std::size_t>(trace.batch * trace.heads * trace.rows * trace.blocks);
  try {
    trace.scores.assign(pairs, -kInfinity);
    trace.folded.assign(pairs, -kInfinity);
    trace.codes.assign(pairs, 0.0);
    trace.references.assign(steps, -kInfinity);
    trace.maxima.assign(steps, -kInfinity);
    trace.row_sums.assign(steps, 0.0);
    trace.log_sums.assign(steps, -kInfinity);
  } catch (const std::bad_alloc&) {
    return refused();
  }
  return trace;
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
  shift = row.shift() * std::numbers::log2e;
  for (std::int64_t key = row.range.begin; key < row.range.end; ++key) {
    const double score = row.scores[static_cast<std::size_t>(key - row.range.begin)];
    if (score == -kInfinity) continue;
    const double scale = v.relative_scales.empty() ? 1.0 : v.relative_scales[static_cast<std::size_t>(key)];
    scores[key] = score * std::numbers::ln2 + row.shift();
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
