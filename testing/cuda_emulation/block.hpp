// One emulated block: its warps as fibers, their barriers, their copies under way, the order in which they run. Bulk
// copies that complete as late as allowed do so when no warp can continue without them. A deadlock is reported with
// the barrier of each warp.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "cuda_emulation/fiber.hpp"
#include "cuda_emulation/mbarrier.hpp"
#include "cuda_emulation/shared_memory.hpp"
#include "cuda_emulation/warpgroup.hpp"

namespace octavo::cuda::emulation {

// When an asynchronous copy arrives: as soon as it may, or as late as it may.
enum class Completion : std::uint8_t { at_issue, at_wait };

struct Options {
  Completion completion = Completion::at_wait;
  std::uint32_t shuffle = 0;  // 0: warps take turns in order; else the seed of the order
  bool overlaps = false;      // the kernel may begin before the one before it has ended: it must wait
};

struct Grid {
  std::array<std::int64_t, 3> blocks{1, 1, 1};
  int warps = 1;
  std::size_t shared_bytes = 0;
  int registers = 0;  // of a thread, that the block is launched with; setmaxnreg moves them between warpgroups
};

class Block {
 public:
  Block(const Grid& grid, const Options& options);

  // Runs `body(warp)` in every warp of the block at `place`; throws the first Fault.
  void run(const std::array<std::int64_t, 3>& place, const std::function<void(int warp)>& body);

  const Grid& grid() const { return grid_; }
  bool overlaps() const { return options_.overlaps; }
  const std::array<std::int64_t, 3>& place() const { return place_; }

  // Primitives of a warp, called inside its fiber.
  void read(int warp, std::uint32_t at, void* to, std::size_t count);
  void write(int warp, std::uint32_t at, const void* from, std::size_t count);
  void copy(int warp, std::uint32_t at, const void* from, bool zeros);
  void commit_copies(int warp);
  void wait_copies(int warp, std::size_t left);
  // id 0: all warps of the block.
  void barrier(int warp, const char* name, int id, int warps, bool waits);

  // Hopper's.
  void init_mbarrier(int warp, std::uint32_t at, std::uint32_t count);
  void arrive_mbarrier(int warp, std::uint32_t at, std::uint32_t bytes);
  void wait_mbarrier(int warp, const char* name, std::uint32_t at, std::uint32_t parity);
  void copy_bulk(int warp, std::uint32_t mbarrier, BulkCopy copy);
  void fence_proxy(int warp) { shared_.fence_proxy(warp, at(warp).clock); }
  bool completes_at_issue() const { return options_.completion == Completion::at_issue; }
  void read_by_tensor_core(int warp, std::uint32_t at, void* to, std::size_t count);
  void set_registers(int warp, int registers, bool more);
  void in_step(int warp, const std::string& instruction) { warpgroups_.in_step(warp, instruction); }

 private:
  static constexpr int kBarriers = 16;
  struct Copy {
    std::uint32_t at;
    const void* from;  // null: zeros
  };
  struct Warp {
    Fiber fiber;
    Clock clock{};
    std::vector<Copy> open;                 // issued, in no group yet
    std::vector<std::vector<Copy>> groups;  // oldest first
    // Nothing: it can go on. Else whether it can by now, what it waits for, what may be done for it.
    std::function<bool()> may_go;
    std::function<std::string()> waits_for;
    std::function<bool()> deliver;
  };
  struct Barrier {
    int arrived = 0, expected = 0;
    Clock joined{};
    std::vector<int> waiting;
    std::int64_t round = 0;  // how often it was complete
  };
  void complete(int warp, const std::vector<Copy>& group);
  void finish(int warp);
  void wait(int warp, std::function<bool()> may_go, std::function<std::string()> reason, std::function<bool()> deliver);
  std::string deadlock() const;
  Warp& at(int warp) { return *warps_[static_cast<std::size_t>(warp)]; }

  Grid grid_;
  Options options_;
  std::array<std::int64_t, 3> place_{};
  SharedMemory shared_;
  std::vector<std::unique_ptr<Warp>> warps_;
  std::array<Barrier, kBarriers> barriers_;
  Mbarriers mbarriers_;
  Warpgroups warpgroups_;
  std::mt19937 random_;
  bool abandoned_ = false;  // a warp has failed: the others leave at their next step
};

}  // namespace octavo::cuda::emulation
