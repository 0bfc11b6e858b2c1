// The launches of an attention call once its operands are packed, for each chunk of query blocks:
//   smooth_q's bias and offsets of K's block means | heavy keys | attention | kept keys
// and the fold's vectors with V's factors, which need the codes of all keys, with the first chunk.
#pragma once

#include "cuda/host/launch.hpp"
#include "cuda/host/plan.hpp"

namespace octavo::cuda {

// Q, K and V as the caller gave them, with what was found out about them.
struct OperandSteps {
  const RowSteps &queries, &keys, &values;
  FoldParams fold;
  ValueFactorParams factors;  // of a recipe with the fold
};

// `smooths_k`: a mean was subtracted from K, or the caller's codes of K have one. Returns the launches' status.
Status attend_chunks(Launches& launches, const AttentionPlan& plan, const AttentionScratch& scratch,
                     const OperandSteps& operands, bool smooths_k);

}  // namespace octavo::cuda
