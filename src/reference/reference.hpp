// The oracle's interface to the api: the arithmetic of docs/the_algorithm.md in double, one thread, step by step.
// The steps themselves are declared in the headers beside this one and can be called alone.
#pragma once

#include "core/backend.hpp"
#include "core/cache_problem.hpp"
#include "core/problem.hpp"
#include "octavo/status.hpp"

namespace octavo::reference {

struct Trace;

// Ok, or unimplemented for a recipe the oracle does not know yet.
Status supports(const Problem&);
// May throw std::bad_alloc. With a trace (made for this problem) the steps in between are kept in it.
void attention(const Problem&, Trace* trace = nullptr);
void quantize(const QuantizeProblem&);
void dequantize(const DequantizeProblem&);
void merge(const MergeProblem&);
void append(const CacheAppendProblem&);
void attention(const CacheAttentionProblem&);

// The oracle as a back end (core/backend.hpp).
const Backend& backend() noexcept;

}  // namespace octavo::reference
