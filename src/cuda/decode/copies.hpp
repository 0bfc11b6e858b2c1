// Copies within a cache on a device, of what the host's calls have noted:
//   copy_cache_bytes     bytes of fork(), reorder() and of shared pages       any number of blocks a copy
//   move_cache_strips    strips that evict() moves to the front               any number of blocks an array of a head
#pragma once

#include "cuda/decode/params.hpp"
#include "cuda/tile/machine.hpp"

namespace octavo::cuda {

// f(i) for 0 <= i < count, spread over the lanes of the grid.
template <class Machine, class F>
OCTAVO_DEVICE void for_each_index(Machine& machine, std::int64_t count, const F& f) {
  const std::int64_t threads = machine.blocks(0) * machine.warps() * kLanes;
  const std::int64_t first = (machine.block(0) * machine.warps() + machine.warp()) * kLanes;
  machine.lanes([&](int lane) {
    for (std::int64_t i = first + lane; i < count; i += threads) f(i);
  });
}

struct alignas(16) SixteenBytes {
  std::uint32_t words[4];
};

template <class Unit, class Machine>
OCTAVO_DEVICE void copy_units(Machine& machine, const CacheCopy& copy) {
  const Unit* const from = reinterpret_cast<const Unit*>(copy.from);
  Unit* const to = reinterpret_cast<Unit*>(copy.to);
  for_each_index(machine, copy.bytes / static_cast<std::int64_t>(sizeof(Unit)),
                 [&](std::int64_t i) { to[i] = from[i]; });
}

template <class Machine>
OCTAVO_DEVICE void copy_cache_bytes(Machine& machine, const CacheCopyParams& p) {
  begin_kernel(machine);
  const CacheCopy& copy = p.copies[machine.block(1)];
  const auto together = reinterpret_cast<std::uintptr_t>(copy.from) | reinterpret_cast<std::uintptr_t>(copy.to) |
                        static_cast<std::uintptr_t>(copy.bytes);
  if (together % sizeof(SixteenBytes) == 0) {
    copy_units<SixteenBytes>(machine, copy);
  } else {  // units of kept rows
    copy_units<std::uint32_t>(machine, copy);
  }
}

// Strip s goes where strip s - distance was read, of head y and array z. One lane moves its 16 bytes of strips s,
// s + distance, s + 2 distance and so on in this order, so no lane waits for another; of each step it reads some strips
// ahead.
template <class Machine>
OCTAVO_DEVICE void move_cache_strips(Machine& machine, const CacheMoveParams& p) {
  begin_kernel(machine);
  const CacheMove& move = p.move;
  const std::int64_t head = machine.block(1), units = p.arrays[machine.block(2)].units;
  auto* const array = reinterpret_cast<SixteenBytes*>(p.arrays[machine.block(2)].data);
  const auto strip_at = [&](const std::int32_t* pages, std::int64_t strip) {
    const auto page_strips = static_cast<std::uint32_t>(p.page_strips), index = static_cast<std::uint32_t>(strip);
    const std::int64_t page = pages[index / page_strips];
    return array + ((page * p.kv_heads + head) * p.page_strips + index % page_strips) * units;
  };
  constexpr std::int64_t kAhead = 8;
  const std::int64_t chains = move.distance < move.count ? move.distance : move.count;
  for_each_index(machine, chains * units, [&](std::int64_t i) {
    const std::int64_t unit = i % units;
    OCTAVO_ROLLED
    for (std::int64_t first = i / units; first < move.count; first += kAhead * move.distance) {
      SixteenBytes held[kAhead];
      OCTAVO_UNROLL
      for (std::int64_t k = 0; k < kAhead; ++k) {
        const std::int64_t s = first + k * move.distance;
        if (s < move.count) held[k] = strip_at(move.from, move.first_from + s)[unit];
      }
      OCTAVO_UNROLL
      for (std::int64_t k = 0; k < kAhead; ++k) {
        const std::int64_t s = first + k * move.distance;
        if (s < move.count) strip_at(move.to, move.first_to + s)[unit] = held[k];
      }
    }
  });
}

}  // namespace octavo::cuda
