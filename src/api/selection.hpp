// Which implementation runs a call: the one asked for, the one forced, or the best that can.
#pragma once

#include <string_view>

#include "core/backend.hpp"

namespace octavo {

// `asked` is Execution::implementation; empty: the forced one, else the automatic choice among the candidates of the
// back ends of the tensors' device. An implementation of another device is refused.
Result<const Implementation*> select_implementation(const Problem& problem, std::string_view asked);
Result<const Implementation*> select_implementation(const QuantizeProblem& problem, std::string_view asked);
Result<const Implementation*> select_implementation(const DequantizeProblem& problem, std::string_view asked);
Result<const Implementation*> select_implementation(const MergeProblem& problem, std::string_view asked);
// For a call on a key-value cache on `device`.
Result<const Implementation*> select_cache_implementation(std::string_view asked, Device device);

// What last_implementation() says on this thread from now on.
void note_served_by(const Implementation& implementation) noexcept;

}  // namespace octavo
