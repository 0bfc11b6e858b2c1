// Which implementation serves a call: the one asked for, the one forced, or the best that can.
#pragma once

#include <string_view>

#include "core/problem.hpp"
#include "cpu/cpu.hpp"
#include "octavo/status.hpp"

namespace octavo {

struct Selection {
  const cpu::Implementation* cpu = nullptr;  // null: the reference
  std::string_view name;
};

// `asked` is Execution::implementation; empty leaves the choice to the forced one, else to the machine. The automatic
// choice never falls back to the reference: it is many thousand times slower, and nobody asked for it.
Result<Selection> select_implementation(const Problem& problem, std::string_view asked);

// Quantizers give the same bits everywhere, so here the reference stands in where this build has nothing faster.
Result<Selection> select_implementation(const QuantizeProblem& problem, std::string_view asked);

// What last_implementation() says on this thread from now on.
void note_served_by(const Selection& selection) noexcept;

}  // namespace octavo
