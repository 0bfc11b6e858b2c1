// The launches of an attention call once its operands are packed, for each chunk of query blocks:
//   smooth_q's bias | offsets of K's block means | heavy keys | attention | kept keys
#pragma once

#include "cuda/host/launch.hpp"
#include "cuda/host/plan.hpp"

namespace octavo::cuda {

// Q, K and V as the caller gave them, with what was found out about them.
struct OperandSteps {
  const RowSteps &queries, &keys, &values;
};

// `smooths_k`: a mean was subtracted from K, or the caller's codes of K have one. Returns the launches' status.
Status attend_chunks(Launches& launches, const AttentionPlan& plan, const AttentionScratch& scratch,
                     const OperandSteps& operands, bool smooths_k);

}  // namespace octavo::cuda
