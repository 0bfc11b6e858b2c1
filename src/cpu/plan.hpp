// Makes the plan of a call (cpu/operands/call_plan.hpp).
#pragma once

#include "cpu/operands/call_plan.hpp"

namespace octavo::cpu {

Plan make_plan(const Problem& problem, const PolicyTraits& policy, int threads);

}  // namespace octavo::cpu
