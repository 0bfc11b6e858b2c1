// When a phase completes (all have arrived, all announced bytes have come) and what an arrival, a wait and a bulk copy
// tell the vector clocks. Where the hardware would let a mistake pass for a while, a comment says so.
#include "cuda_emulation/mbarrier.hpp"

#include <algorithm>

#include "core/text.hpp"
#include "cuda_emulation/fault.hpp"

namespace octavo::cuda::emulation {
namespace {

constexpr std::uint32_t kMost =
    (1u << 20) - 1;  // of arrivals, and of bytes: PTX ISA, "Contents of the mbarrier object"
constexpr std::size_t kObjectBytes = 8;

void join(Clock& to, const Clock& from) {
  for (std::size_t i = 0; i < to.size(); ++i) to[i] = std::max(to[i], from[i]);
}

}  // namespace

const Mbarriers::Mbarrier* Mbarriers::look(std::uint32_t at) const {
  const auto found = std::find_if(all_.begin(), all_.end(), [&](const Mbarrier& b) { return b.at == at; });
  return found == all_.end() ? nullptr : &*found;
}

Mbarriers::Mbarrier& Mbarriers::find(int warp, const Clock& clock, std::uint32_t at, const char* what) {
  const Mbarrier* found = look(at);
  if (found == nullptr) {
    throw Fault(text("warp ", warp, " ", what, " the mbarrier at byte ", at, " of shared memory; none was made there"));
  }
  std::byte object[kObjectBytes];
  shared_.read(warp, clock, at, object, sizeof object);  // made before this, by way of a barrier
  return all_[static_cast<std::size_t>(found - all_.data())];
}

void Mbarriers::init(int warp, const Clock& clock, std::uint32_t at, std::uint32_t count) {
  if (count < 1 || count > kMost) {
    throw Fault(text("warp ", warp, " makes an mbarrier for ", count, " arrivals; there are 1 to ", kMost));
  }
  if (look(at) != nullptr) throw Fault(text("warp ", warp, " makes the mbarrier at byte ", at, " a second time"));
  if (all_.size() == kMostMbarriers) {
    throw Fault(text("warp ", warp, " makes one mbarrier more than the ", kMostMbarriers, " that the emulation has"));
  }
  constexpr std::byte kObject[kObjectBytes]{};
  shared_.write(warp, clock, at, kObject, sizeof kObject);
  Mbarrier barrier;
  barrier.at = at;
  barrier.count = barrier.pending = count;
  barrier.waited_for.fill(-2);
  all_.push_back(std::move(barrier));
}

void Mbarriers::arrive(int warp, Clock& clock, std::uint32_t at, std::uint32_t bytes) {
  Mbarrier& barrier = find(warp, clock, at, "arrives at");
  if (barrier.pending == 0) {
    throw Fault(text("overflow: warp ", warp, " arrives at the mbarrier at byte ", at, ", where all ", barrier.count,
                     " arrivals of phase ", barrier.phase, " have been: ", describe(at)));
  }
  barrier.announced += bytes;
  if (barrier.announced - barrier.come > kMost) {
    throw Fault(text("overflow: warp ", warp, " announces ", bytes, " bytes at the mbarrier at byte ", at, ", so that ",
                     barrier.announced - barrier.come, " are expected; it counts to ", kMost));
  }
  --barrier.pending;
  join(barrier.joined, clock);
  // What this warp does from here on is not covered by the arrival.
  ++clock[static_cast<std::size_t>(warp)];
  complete_if_all_have_come(barrier);
}

void Mbarriers::copy(int warp, const Clock& clock, std::uint32_t at, BulkCopy copy, bool now) {
  Mbarrier& barrier = find(warp, clock, at, "copies by");
  shared_.check_proxy(warp, clock, "counts bytes at", at, kObjectBytes);
  const auto bytes = static_cast<std::int64_t>(copy.bytes.size());
  // The hardware would count below zero for a while. Here bytes are announced first: who announces too few is found.
  if (barrier.issued + bytes > barrier.announced) {
    throw Fault(text("wrong expected bytes: warp ", warp, " copies ", bytes, " bytes by the mbarrier at byte ", at,
                     ", where ", barrier.announced, " are announced for phase ", barrier.phase, " and ", barrier.issued,
                     " are taken"));
  }
  barrier.issued += bytes;
  barrier.last_with_copies = barrier.phase;
  for (std::size_t i = 0; i < copy.to.size(); ++i) {
    shared_.check_proxy(warp, clock, "copies over", copy.to[i], kChunk);
    check_outside(warp, copy.to[i], kChunk);
    shared_.begin_copy(warp, clock, copy.to[i], copy.bytes.data() + i * kChunk, kChunk, now);
  }
  if (now) {
    land(barrier, copy);
    complete_if_all_have_come(barrier);
  } else {
    barrier.under_way.push_back(std::move(copy));
  }
}

void Mbarriers::land(Mbarrier& barrier, const BulkCopy& copy) {
  for (std::size_t i = 0; i < copy.to.size(); ++i) {
    shared_.end_copy(agent(barrier), static_cast<std::uint32_t>(barrier.phase + 1), copy.to[i],
                     copy.bytes.data() + i * kChunk, kChunk);
  }
  barrier.come += static_cast<std::int64_t>(copy.bytes.size());
}

bool Mbarriers::deliver(std::uint32_t at) {
  Mbarrier& barrier = all_[static_cast<std::size_t>(look(at) - all_.data())];
  if (barrier.pending != 0 || barrier.issued != barrier.announced) return false;
  const std::vector<BulkCopy> copies = std::move(barrier.under_way);
  barrier.under_way.clear();
  for (const BulkCopy& copy : copies) land(barrier, copy);
  complete_if_all_have_come(barrier);
  return !copies.empty();
}

void Mbarriers::complete_if_all_have_come(Mbarrier& barrier) {
  if (barrier.pending != 0 || barrier.come != barrier.announced) return;
  ++barrier.phase;
  barrier.pending = barrier.count;
  barrier.announced = barrier.issued = barrier.come = 0;
  barrier.completed = barrier.joined;
  barrier.completed[static_cast<std::size_t>(agent(barrier))] = static_cast<std::uint32_t>(barrier.phase);
  barrier.joined = {};
}

void Mbarriers::check_wait(int warp, const Clock& clock, const char* name, std::uint32_t at, std::uint32_t parity) {
  const Mbarrier& barrier = find(warp, clock, at, "waits for");
  if (parity > 1)
    throw Fault(text("warp ", warp, " waits at \"", name, "\" for parity ", parity, "; there are 0 and 1"));
  // The hardware lets pass who asks for the phase before the one under way, however often.
  if (is_complete(at, parity) && barrier.waited_for[static_cast<std::size_t>(warp)] == barrier.phase - 1) {
    throw Fault(text("wrong phase: warp ", warp, " waits at \"", name, "\" (mbarrier at byte ", at, ") for parity ",
                     parity, " once more, which is that of phase ", barrier.phase - 1, "; it has passed that one"));
  }
}

bool Mbarriers::is_complete(std::uint32_t at, std::uint32_t parity) const {
  return static_cast<std::uint32_t>(look(at)->phase & 1) != parity;
}

void Mbarriers::pass(int warp, Clock& clock, std::uint32_t at) {
  Mbarrier& barrier = find(warp, clock, at, "waits for");
  barrier.waited_for[static_cast<std::size_t>(warp)] = barrier.phase - 1;
  join(clock, barrier.completed);
}

std::string Mbarriers::describe(std::uint32_t at) const {
  const Mbarrier& barrier = *look(at);
  return text("mbarrier at byte ", at, ": phase ", barrier.phase, ", of parity ", barrier.phase & 1, ", lacks ",
              barrier.pending, " of ", barrier.count, " arrivals, has ", barrier.announced, " bytes announced and ",
              barrier.issued, " copied");
}

void Mbarriers::check_outside(int warp, std::uint32_t at, std::size_t count) const {
  for (const Mbarrier& barrier : all_) {
    if (at < barrier.at + kObjectBytes && barrier.at < at + count) {
      throw Fault(
          text("warp ", warp, " writes byte ", at, " of shared memory, over the mbarrier at byte ", barrier.at));
    }
  }
}

void Mbarriers::check_end() const {
  for (const Mbarrier& barrier : all_) {
    if (barrier.last_with_copies >= 0 &&
        barrier.last_with_copies > *std::max_element(barrier.waited_for.begin(), barrier.waited_for.end())) {
      throw Fault(text("the block ends with bulk copies that nobody has waited for: ", describe(barrier.at)));
    }
  }
}

}  // namespace octavo::cuda::emulation
