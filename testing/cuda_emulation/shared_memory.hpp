// Shared memory of one emulated block. Every byte knows whether it was ever written and whether a copy into it is under
// way; every four bytes know which warps touched them last and when. A time is a warp's own count, from 1, of the
// barriers it has passed, and a warp knows how far it has seen each other one (a vector clock): an access that is not
// ordered after the other warps' by barriers is a race, whatever order the warps happened to run in. Beside the warps
// stand the mbarriers, on whose behalf bulk copies write: their time is the number of their completed phases.
//
// Copy engine and tensor cores see shared memory through a proxy of their own, the asynchronous one. What a warp has
// written by plain stores or cp.async is theirs to touch only after the warp's fence_async(), which must come before
// the barrier that orders the two.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace octavo::cuda::emulation {

constexpr int kMostWarps = 16, kMostMbarriers = 32;
using Clock = std::array<std::uint32_t, kMostWarps + kMostMbarriers>;  // what a warp has seen of each
constexpr std::size_t kChunk = 16;                                     // bytes of an asynchronous copy's smallest part

class SharedMemory {
 public:
  explicit SharedMemory(std::size_t bytes);
  void reset();  // for the next block: all poison
  std::size_t bytes() const { return bytes_.size(); }

  // `clock` is that of `warp`; throw a Fault when the access is out of range, misaligned, of poison, or a race.
  void read(int warp, const Clock& clock, std::uint32_t at, void* to, std::size_t count);
  void write(int warp, const Clock& clock, std::uint32_t at, const void* from, std::size_t count);

  // An asynchronous copy: from issue until the writer has waited for it nobody may touch the bytes. `now`: they arrive
  // at once (and are still nobody's to read); else they are poison in between. They are written by `agent`, a warp or
  // kMostWarps + an mbarrier, at its `time`.
  void begin_copy(int warp, const Clock& clock, std::uint32_t at, const void* from, std::size_t count, bool now);
  void end_copy(int agent, std::uint32_t time, std::uint32_t at, const void* from, std::size_t count);

  // What the warp has written until now may be touched through the asynchronous proxy by who is ordered after this.
  void fence_proxy(int warp, const Clock& clock);
  // Throws a Fault for bytes that were written and not fenced, or fenced only behind the barrier by which the warp
  // knows of them; `what` the warp does through the proxy.
  void check_proxy(int warp, const Clock& clock, const char* what, std::uint32_t at, std::size_t count) const;

 private:
  struct Cell {                 // of four bytes
    int writer = -1;            // agent
    std::uint32_t written = 0;  // the writer's time
    int copier = -1;            // whose copy is under way
    std::uint64_t plain = 0;    // which of the block's writes, counted from 1; 0: not through the generic proxy
    std::array<std::uint32_t, kMostWarps> read{};  // each reader's time; 0: never
  };
  struct Fence {
    std::uint64_t writes;  // of the block until then
    std::uint32_t time;    // the warp's
  };
  void check_place(int warp, const char* what, std::uint32_t at, std::size_t count) const;
  void check_order(int warp, const Clock& clock, std::uint32_t at, std::size_t count, bool writes);

  std::vector<std::byte> bytes_;
  std::vector<bool> written_;
  std::vector<Cell> cells_;
  std::uint64_t writes_ = 0;                           // through the generic proxy
  std::array<std::vector<Fence>, kMostWarps> fences_;  // each warp's, oldest first
};

}  // namespace octavo::cuda::emulation
