// Which implementation serves a call: the one asked for, the one forced, or the best that can.
#pragma once

#include <string_view>

#include "core/problem.hpp"
#include "cpu/cpu.hpp"
#include "cuda/cuda.hpp"
#include "octavo/status.hpp"

namespace octavo {

struct Selection {
  const cpu::Implementation* cpu = nullptr;
  const cuda::Implementation* cuda = nullptr;  // both null: the reference
  std::string_view name;
};

// `asked` is Execution::implementation; empty leaves the choice to the forced one, else to the machine. The automatic
// choice never falls back to the reference: it is many thousand times slower, and nobody asked for it. Where the
// tensors lie decides who may be chosen; a name from the other side is refused.
Result<Selection> select_implementation(const Problem& problem, std::string_view asked);

// Quantizers give the same bits everywhere, so here the reference stands in where this build has nothing faster.
Result<Selection> select_implementation(const QuantizeProblem& problem, std::string_view asked);

// Dequantizing and merging have one way on the CPU, which no name chooses: only device tensors are asked about.
Result<Selection> select_on_device(const DequantizeProblem& problem, std::string_view asked);
Result<Selection> select_on_device(const MergeProblem& problem, std::string_view asked);

// The best on the CPU that this machine can run, for what every one of them does alike.
const cpu::Implementation& cpu_implementation();

// What last_implementation() says on this thread from now on.
void note_served_by(const Selection& selection) noexcept;

}  // namespace octavo
