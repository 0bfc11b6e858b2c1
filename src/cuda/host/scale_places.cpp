#include "cuda/host/scale_places.hpp"

namespace octavo::cuda {
namespace {

bool scales_in_rows(const Operand& codes, const spec::Groups& groups) {
  return codes.scales != nullptr && spec::grows_with_rows(groups.granularity);
}
bool means_in_rows(const Operand& codes, const spec::Groups& groups) {
  return codes.mean != nullptr && groups.role == Role::q;
}

}  // namespace

bool needs_places(const Operand& codes, const spec::Groups& groups) {
  return scales_in_rows(codes, groups) || means_in_rows(codes, groups);
}

ScalesOfSequences scales_of_sequences(const OperandRows& codes, const spec::Groups& groups,
                                      const DeviceSequences& sequences, spec::ScalePlace* places) {
  ScalesOfSequences to;
  to.sequences = sequences;
  to.groups = groups;
  to.dim = codes.dim;
  to.scales_in_rows = scales_in_rows(codes, groups);
  to.means_in_rows = means_in_rows(codes, groups);
  to.scales_per_head = codes.scales_per_head, to.scales_per_sequence = codes.scales_per_sequence;
  to.means_per_head = codes.means_per_head, to.means_per_sequence = codes.means_per_sequence;
  to.places = places;
  return to;
}

}  // namespace octavo::cuda
