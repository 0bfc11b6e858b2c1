// The mbarriers of one emulated block: counts of arrivals, bytes announced and come, phases; and the bulk copies that
// they wait for. A warp that has waited for a phase knows what all who arrived in it knew, and that its copies have
// come; to the vector clocks each mbarrier is one more agent, whose time is the number of its completed phases.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "cuda_emulation/shared_memory.hpp"

namespace octavo::cuda::emulation {

// A bulk copy of one box into shared memory that has not completed, in chunks of 16 bytes.
struct BulkCopy {
  std::vector<std::uint32_t> to;
  std::vector<std::byte> bytes;
};

class Mbarriers {
 public:
  explicit Mbarriers(SharedMemory& shared) : shared_(shared) {}
  void reset() { all_.clear(); }  // for the next block

  // Primitives of a warp, whose clock they advance; throw a Fault.
  void init(int warp, const Clock& clock, std::uint32_t at, std::uint32_t count);
  void arrive(int warp, Clock& clock, std::uint32_t at, std::uint32_t bytes);
  void copy(int warp, const Clock& clock, std::uint32_t at, BulkCopy copy, bool now);

  // Before waiting for the phase of `parity`; whether it is complete; after that.
  void check_wait(int warp, const Clock& clock, const char* name, std::uint32_t at, std::uint32_t parity);
  bool is_complete(std::uint32_t at, std::uint32_t parity) const;
  void pass(int warp, Clock& clock, std::uint32_t at);

  // Throws a Fault where a warp writes over an mbarrier.
  void check_outside(int warp, std::uint32_t at, std::size_t count) const;

  // Lets the copies arrive without which the phase at `at` is not complete; false where that does not help.
  bool deliver(std::uint32_t at);
  std::string describe(std::uint32_t at) const;  // what a phase lacks
  void check_end() const;                        // of the block

 private:
  struct Mbarrier {
    std::uint32_t at = 0, count = 0, pending = 0;
    std::int64_t phase = 0;                            // that is not complete
    std::int64_t announced = 0, issued = 0, come = 0;  // bytes, of this phase
    std::int64_t last_with_copies = -1;                // phase
    Clock joined{}, completed{};                       // of this phase's arrivals, of the last phase
    std::array<std::int64_t, kMostWarps> waited_for{};
    std::vector<BulkCopy> under_way;
  };
  Mbarrier& find(int warp, const Clock& clock, std::uint32_t at, const char* what);
  const Mbarrier* look(std::uint32_t at) const;
  int agent(const Mbarrier& barrier) const { return kMostWarps + static_cast<int>(&barrier - all_.data()); }
  void land(Mbarrier& barrier, const BulkCopy& copy);
  void complete_if_all_have_come(Mbarrier& barrier);

  SharedMemory& shared_;
  std::vector<Mbarrier> all_;
};

}  // namespace octavo::cuda::emulation
