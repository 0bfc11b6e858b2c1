// Codes of varlen sequences: which of their scales and means lie in row order, and the launch that finds where those of
// each sequence begin (operands/scale_places.hpp).
#pragma once

#include "cuda/host/launch.hpp"
#include "spec/granularity.hpp"

namespace octavo::cuda {

// Whether kernels need the places of `codes`, which belong to varlen sequences.
bool needs_places(const Operand& codes, const spec::Groups& groups);

// The job of find_scale_places for `codes`, whose `places` it fills.
ScalesOfSequences scales_of_sequences(const OperandRows& codes, const spec::Groups& groups,
                                      const DeviceSequences& sequences, spec::ScalePlace* places);

}  // namespace octavo::cuda
