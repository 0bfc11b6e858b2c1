// The four warps of a warpgroup must execute the same instructions in the same order: the n-th of each is compared with
// that of the first warp to get there. Registers that setmaxnreg moves are counted over the whole block.
#include "cuda_emulation/warpgroup.hpp"

#include "core/text.hpp"
#include "cuda_emulation/fault.hpp"

namespace octavo::cuda::emulation {

void Warpgroups::reset() {
  for (Warp& warp : warps_) warp = {0, launched_with_};
  groups_.assign(warps_.size() / kWarpgroup, {});
}

void Warpgroups::in_step(int warp, const std::string& instruction) {
  const auto group = static_cast<std::size_t>(warp / kWarpgroup);
  if (group >= groups_.size()) {
    throw Fault(text("warp ", warp, " executes ", instruction, " and is in no warpgroup: the block has ", warps_.size(),
                     " warps"));
  }
  std::vector<std::string>& said = groups_[group];
  const std::size_t place = warps_[static_cast<std::size_t>(warp)].said++;
  if (place == said.size()) said.push_back(instruction);
  if (said[place] != instruction) {
    throw Fault(text("warpgroup ", group, " is out of step: warp ", warp, " executes ", instruction,
                     " where another warp said ", said[place]));
  }
}

void Warpgroups::check_end() const {
  for (std::size_t warp = 0; warp < kWarpgroup * groups_.size(); ++warp) {
    const std::vector<std::string>& said = groups_[warp / kWarpgroup];
    if (warps_[warp].said != said.size()) {
      throw Fault(text("warpgroup ", warp / kWarpgroup, " is out of step: warp ", warp, " ends without having said ",
                       said[warps_[warp].said]));
    }
  }
}

int Warpgroups::left() const {
  int left = launched_with_ * static_cast<int>(warps_.size());
  for (const Warp& warp : warps_) left -= warp.registers;
  return left;
}

void Warpgroups::check_registers(int warp, int registers, bool more) const {
  if (registers < 24 || registers > 256 || registers % 8 != 0) {
    throw Fault(text("warp ", warp, " asks for ", registers, " registers; there are 24 to 256, in steps of 8"));
  }
  if (launched_with_ == 0) {
    throw Fault(text("warp ", warp, " changes its registers in a block whose launch does not say how many there are"));
  }
  const int has = warps_[static_cast<std::size_t>(warp)].registers;
  if (more ? registers < has : registers > has) {
    throw Fault(
        text("warp ", warp, " asks for ", more ? "more" : "fewer", " registers, ", registers, ", and has ", has));
  }
}

bool Warpgroups::has_registers(int warp, int registers) const {
  return registers - warps_[static_cast<std::size_t>(warp)].registers <= left();
}

void Warpgroups::set_registers(int warp, int registers) {
  warps_[static_cast<std::size_t>(warp)].registers = registers;
}

std::string Warpgroups::describe(int warp, int registers) const {
  return text("for ", registers, " registers: it has ", warps_[static_cast<std::size_t>(warp)].registers, ", ", left(),
              " are free");
}

}  // namespace octavo::cuda::emulation
