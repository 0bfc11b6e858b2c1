// Shared memory of one emulated block. Every byte knows whether it was ever written and whether a copy into it is under
// way; every four bytes know which warps touched them last and when. A time is a warp's own count, from 1, of the
// barriers it has passed, and a warp knows how far it has seen each other one (a vector clock): an access that is not
// ordered after the other warps' by barriers is a race, whatever order the warps happened to run in.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace octavo::cuda::emulation {

constexpr int kMostWarps = 16;
using Clock = std::array<std::uint32_t, kMostWarps>;  // what a warp has seen of each

class SharedMemory {
 public:
  explicit SharedMemory(std::size_t bytes);
  void reset();  // for the next block: all poison
  std::size_t bytes() const { return bytes_.size(); }

  // `clock` is that of `warp`; throw a Fault when the access is out of range, misaligned, of poison, or a race.
  void read(int warp, const Clock& clock, std::uint32_t at, void* to, std::size_t count);
  void write(int warp, const Clock& clock, std::uint32_t at, const void* from, std::size_t count);

  // An asynchronous copy: from issue until the writer has waited for it nobody may touch the bytes. `now`: they arrive
  // at once (and are still nobody's to read); else they are poison in between.
  void begin_copy(int warp, const Clock& clock, std::uint32_t at, const void* from, std::size_t count, bool now);
  void end_copy(int warp, const Clock& clock, std::uint32_t at, const void* from, std::size_t count);

 private:
  struct Cell {  // of four bytes
    int writer = -1;
    std::uint32_t written = 0;  // the writer's time
    int copier = -1;            // whose copy is under way
    Clock read{};               // each reader's time; 0: never
  };
  void check_place(int warp, const char* what, std::uint32_t at, std::size_t count) const;
  void check_order(int warp, const Clock& clock, std::uint32_t at, std::size_t count, bool writes);

  std::vector<std::byte> bytes_;
  std::vector<bool> written_;
  std::vector<Cell> cells_;
};

}  // namespace octavo::cuda::emulation
