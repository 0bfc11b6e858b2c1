// Warpgroups of an emulated block: four warps, the first a multiple of four, of which the tensor cores' asynchronous
// products and setmaxnreg require the same instructions in the same order (PTX ISA: ".aligned"); and the registers
// that they divide among themselves.
#pragma once

#include <string>
#include <vector>

namespace octavo::cuda::emulation {

constexpr int kWarpgroup = 4;  // warps

class Warpgroups {
 public:
  // Of a block of `warps`, launched with `registers` for each thread; 0: setmaxnreg is not to be used.
  Warpgroups(int warps, int registers)
      : launched_with_(registers), warps_(static_cast<std::size_t>(warps > 0 ? warps : 0)) {
    reset();
  }
  void reset();

  // Throws a Fault where another warp of the group has executed another instruction in this place.
  void in_step(int warp, const std::string& instruction);
  void check_end() const;  // all have executed as many

  void check_registers(int warp, int registers, bool more) const;
  bool has_registers(int warp, int registers) const;
  void set_registers(int warp, int registers);
  std::string describe(int warp, int registers) const;  // what a waiting warp lacks

 private:
  struct Warp {
    std::size_t said = 0;
    int registers = 0;
  };
  int left() const;  // of a thread of each warp, added up
  int launched_with_;
  std::vector<Warp> warps_;
  std::vector<std::vector<std::string>> groups_;  // instructions, each group's in order
};

}  // namespace octavo::cuda::emulation
