// The errors of a recipe on problems: every metric, one sample for each seed or head, mean and spread.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "octavo/recipe.hpp"
#include "study/problem.hpp"
#include "study/report.hpp"

namespace octavo::study {

// Of an output against the exact one.
struct Metrics {
  double relative_l2 = 0;  // |O' - O| / |O|
  double cosine = 1;
  double relative_l1 = 0;  // sum |O' - O| / sum |O|
  double max_abs = 0;
  double bias = 0;       // <O', O> / <O, O> - 1: the relative error of the output's size
  double mre = 0;        // mean of |O' - O| / (|O| + 1e-5): INT-FlashAttention's metric, over all elements
  double lse = 0;        // mean |LSE' - LSE|, nats; NaN where there is none
  double lse_worst = 0;  // the same of the worst row
};

struct Output {
  std::vector<double> out, lse;  // [Hq, M, Dv]; [Hq, M] or empty
  std::string implementation;
};

// One call. Kernels of this machine where they support the recipe, else the reference; an implementation can be named.
Output run(const Problem& problem, const Recipe& recipe, const std::string& implementation = "");
// heads first..last-1 of the problem
Metrics metrics_of(const Problem& problem, const Output& output, std::int64_t first, std::int64_t last);

struct Summary {
  std::vector<Metrics> samples;
  std::string implementation;
  double mean(double Metrics::* metric) const;
  double spread(double Metrics::* metric) const;  // standard deviation of the samples
  double median(double Metrics::* metric) const;
  double worst(double Metrics::* metric) const;  // the largest
};

using Scheme = std::function<Output(const Problem&)>;
Scheme scheme_of(const std::string& recipe);  // a Failure names what is wrong with the text
// One sample for each problem, or for each head of each problem.
Summary measure(const std::vector<Problem>& problems, const Scheme& scheme, bool by_head = false);

// The recipe with everything but one source of error in full precision.
enum class Part { all, qk, p, v };
const char* to_string(Part part);
Recipe only(Recipe recipe, Part part);
// A recipe from text, with fields that may stand in it already.
Recipe composed(const std::string& preset, const std::string& fields = "");

// Share of P's codes that are zero, and the share of the softmax's mass that they had, of up to 64 rows of each
// problem: from exact scores, by the definition of the recipe's P. Keys that a recipe keeps are counted, too.
struct ZeroCodes {
  double share = 0, mass = 0;
};
ZeroCodes zero_codes(const std::vector<Problem>& problems, const Recipe& recipe);

// The columns of a summary: relative_l2 and its spread, then the other metrics, and their cells.
std::vector<Column> metric_columns();
std::vector<Cell> metric_cells(const Summary& summary);

}  // namespace octavo::study
