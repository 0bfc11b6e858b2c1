// Which access is a race: each cell of four bytes keeps its last writer's time and every warp's last read, to be held
// against the clock of the warp that comes now; a copy under way owns its cells until it has come.
#include "cuda_emulation/shared_memory.hpp"

#include <algorithm>
#include <cstring>

#include "core/text.hpp"
#include "cuda_emulation/fault.hpp"
#include "cuda_emulation/poison.hpp"

namespace octavo::cuda::emulation {
namespace {

constexpr std::size_t kCell = 4;

}  // namespace

SharedMemory::SharedMemory(std::size_t bytes) : bytes_(bytes), written_(bytes), cells_((bytes + kCell - 1) / kCell) {
  reset();
}

void SharedMemory::reset() {
  std::fill(bytes_.begin(), bytes_.end(), kPoison);
  std::fill(written_.begin(), written_.end(), false);
  std::fill(cells_.begin(), cells_.end(), Cell{});
  writes_ = 0;
  fences_ = {};
}

void SharedMemory::check_place(int warp, const char* what, std::uint32_t at, std::size_t count) const {
  if (at + count > bytes_.size()) {
    throw Fault(text("warp ", warp, " ", what, " ", count, " bytes at byte ", at, " of shared memory, which has ",
                     bytes_.size()));
  }
  if (at % count != 0) {
    throw Fault(text("warp ", warp, " ", what, " ", count, " bytes at byte ", at,
                     " of shared memory, which is not a multiple of them"));
  }
}

void SharedMemory::check_order(int warp, const Clock& clock, std::uint32_t at, std::size_t count, bool writes) {
  const auto me = static_cast<std::size_t>(warp);
  for (std::size_t i = at / kCell; i <= (at + count - 1) / kCell; ++i) {
    Cell& cell = cells_[i];
    const char* what = writes ? "writes" : "reads";
    if (cell.copier >= 0) {
      throw Fault(text("warp ", warp, " ", what, " byte ", i * kCell, " of shared memory while a copy of warp ",
                       cell.copier, " into it is under way: a wait is missing"));
    }
    if (cell.writer >= kMostWarps && cell.written > clock[static_cast<std::size_t>(cell.writer)]) {
      throw Fault(text("warp ", warp, " ", what, " byte ", i * kCell,
                       " of shared memory, into which a bulk copy went, ",
                       "and knows nothing of its mbarrier's phase: a wait is missing"));
    }
    if (cell.writer >= 0 && cell.written > clock[static_cast<std::size_t>(cell.writer)]) {
      throw Fault(text("race: warp ", warp, " ", what, " byte ", i * kCell, " of shared memory, which warp ",
                       cell.writer, " has written, without a barrier in between"));
    }
    for (std::size_t other = 0; writes && other < kMostWarps; ++other) {
      if (other != me && cell.read[other] > clock[other]) {
        throw Fault(text("race: warp ", warp, " writes byte ", i * kCell, " of shared memory, which warp ", other,
                         " has read, without a barrier in between"));
      }
    }
    if (!writes) cell.read[me] = clock[me];
  }
}

void SharedMemory::read(int warp, const Clock& clock, std::uint32_t at, void* to, std::size_t count) {
  check_place(warp, "reads", at, count);
  check_order(warp, clock, at, count, false);
  for (std::size_t i = at; i < at + count; ++i) {
    if (!written_[i])
      throw Fault(text("warp ", warp, " reads byte ", i, " of shared memory, which nobody has written"));
  }
  std::memcpy(to, bytes_.data() + at, count);
}

void SharedMemory::write(int warp, const Clock& clock, std::uint32_t at, const void* from, std::size_t count) {
  check_place(warp, "writes", at, count);
  check_order(warp, clock, at, count, true);
  for (std::size_t i = at / kCell; i <= (at + count - 1) / kCell; ++i) {
    cells_[i].writer = warp;
    cells_[i].written = clock[static_cast<std::size_t>(warp)];
    cells_[i].plain = writes_ + 1;
  }
  ++writes_;
  std::fill_n(written_.begin() + at, count, true);
  std::memcpy(bytes_.data() + at, from, count);
}

void SharedMemory::begin_copy(int warp, const Clock& clock, std::uint32_t at, const void* from, std::size_t count,
                              bool now) {
  check_place(warp, "copies", at, count);
  check_order(warp, clock, at, count, true);
  for (std::size_t i = at / kCell; i < (at + count) / kCell; ++i) cells_[i].copier = warp;
  std::fill_n(written_.begin() + at, count, now);
  if (now) {
    std::memcpy(bytes_.data() + at, from, count);
  } else {
    std::fill_n(bytes_.begin() + at, count, kPoison);
  }
}

void SharedMemory::end_copy(int agent, std::uint32_t time, std::uint32_t at, const void* from, std::size_t count) {
  if (agent < kMostWarps) ++writes_;  // cp.async goes through the generic proxy, bulk copies do not
  for (std::size_t i = at / kCell; i < (at + count) / kCell; ++i) {
    cells_[i].copier = -1;
    cells_[i].writer = agent;
    cells_[i].written = time;
    cells_[i].plain = agent < kMostWarps ? writes_ : 0;
  }
  std::fill_n(written_.begin() + at, count, true);
  std::memcpy(bytes_.data() + at, from, count);
}

void SharedMemory::fence_proxy(int warp, const Clock& clock) {
  std::vector<Fence>& fences = fences_[static_cast<std::size_t>(warp)];
  // One that covers no more than the last one comes later and helps nobody.
  if (fences.empty() || fences.back().writes < writes_) {
    fences.push_back({writes_, clock[static_cast<std::size_t>(warp)]});
  }
}

void SharedMemory::check_proxy(int warp, const Clock& clock, const char* what, std::uint32_t at,
                               std::size_t count) const {
  check_place(warp, what, at, count);
  for (std::size_t i = at / kCell; i <= (at + count - 1) / kCell; ++i) {
    const Cell& cell = cells_[i];
    if (cell.plain == 0) continue;
    const auto writer = static_cast<std::size_t>(cell.writer);
    const auto fence = std::find_if(fences_[writer].begin(), fences_[writer].end(),
                                    [&](const Fence& f) { return f.writes >= cell.plain; });
    const bool fenced = fence != fences_[writer].end();
    // Who does not know of the bytes themselves is told so by the order of accesses.
    if (fenced && (fence->time <= clock[writer] || cell.written > clock[writer])) continue;
    throw Fault(text("missing fence.proxy.async: warp ", warp, " ", what, " byte ", i * kCell,
                     " of shared memory through the asynchronous proxy; warp ", cell.writer, " has written it and ",
                     fenced ? "fenced only behind the barrier between the two" : "not fenced since"));
  }
}

}  // namespace octavo::cuda::emulation
