// The scheduler: warps are resumed in rounds, in order or shuffled, until none can go on; then a late bulk copy
// arrives, and where none is left it is a deadlock. The first fault ends all other warps, too.
#include "cuda_emulation/block.hpp"

#include <algorithm>

#include "core/text.hpp"
#include "cuda_emulation/fault.hpp"

namespace octavo::cuda::emulation {
namespace {

constexpr std::size_t kCopyBytes = 16;
alignas(16) constexpr std::byte kZeros[kCopyBytes]{};

struct Abandoned {};  // thrown into warps whose block has failed elsewhere

}  // namespace

Block::Block(const Grid& grid, const Options& options)
    : grid_(grid),
      options_(options),
      shared_(grid.shared_bytes),
      mbarriers_(shared_),
      warpgroups_(grid.warps, grid.registers),
      random_(options.shuffle) {
  if (grid.warps < 1 || grid.warps > kMostWarps) {
    throw Fault(text("a block of ", grid.warps, " warps; the emulation has 1 to ", kMostWarps));
  }
  for (int warp = 0; warp < grid.warps; ++warp) warps_.push_back(std::make_unique<Warp>());
}

void Block::run(const std::array<std::int64_t, 3>& place, const std::function<void(int)>& body) {
  place_ = place;
  shared_.reset();
  barriers_.fill({});
  mbarriers_.reset();
  warpgroups_.reset();
  abandoned_ = false;
  std::vector<int> order;
  for (int warp = 0; warp < grid_.warps; ++warp) {
    Warp& w = at(warp);
    w.clock = {};
    w.clock[static_cast<std::size_t>(warp)] = 1;
    w.open.clear();
    w.groups.clear();
    w.may_go = nullptr;
    w.fiber.start([this, warp, &body] {
      body(warp);
      finish(warp);
    });
    order.push_back(warp);
  }
  std::exception_ptr error;
  for (bool moved = true; moved;) {
    moved = false;
    if (options_.shuffle != 0) std::shuffle(order.begin(), order.end(), random_);
    for (int warp : order) {
      Warp& w = at(warp);
      if (w.fiber.done() || (w.may_go && !w.may_go() && !abandoned_)) continue;
      w.fiber.resume();
      moved = true;
      if (w.fiber.done() && w.fiber.error() && !abandoned_) {
        error = w.fiber.error();
        abandoned_ = true;
      }
    }
    if (!moved && !abandoned_ && std::any_of(order.begin(), order.end(), [&](int w) { return !at(w).fiber.done(); })) {
      moved = std::any_of(order.begin(), order.end(), [&](int warp) {
        const Warp& w = at(warp);
        return !w.fiber.done() && w.deliver && w.deliver();
      });
      if (moved) continue;
      error = std::make_exception_ptr(Fault(deadlock()));
      abandoned_ = moved = true;
    }
  }
  if (error) std::rethrow_exception(error);
  mbarriers_.check_end();
  warpgroups_.check_end();
}

void Block::wait(int warp, std::function<bool()> may_go, std::function<std::string()> reason,
                 std::function<bool()> deliver) {
  Warp& w = at(warp);
  w.may_go = std::move(may_go);
  w.waits_for = std::move(reason);
  w.deliver = std::move(deliver);
  w.fiber.yield();
  if (abandoned_) throw Abandoned{};
  w.may_go = nullptr;
  w.deliver = nullptr;
}

void Block::finish(int warp) {
  Warp& w = at(warp);
  if (!w.open.empty() || !w.groups.empty()) {
    throw Fault(text("warp ", warp, " ends with ", w.groups.size() + (w.open.empty() ? 0u : 1u),
                     " groups of copies that it has not waited for"));
  }
}

std::string Block::deadlock() const {
  std::string message = "deadlock:";
  for (std::size_t warp = 0; warp < warps_.size(); ++warp) {
    const Warp& w = *warps_[warp];
    if (w.fiber.done()) {
      message += text(" warp ", warp, " has ended;");
    } else {
      message += text(" warp ", warp, " waits ", w.waits_for(), ";");
    }
  }
  message.back() = '.';
  return message;
}

void Block::read(int warp, std::uint32_t at_, void* to, std::size_t count) {
  shared_.read(warp, at(warp).clock, at_, to, count);
}
void Block::write(int warp, std::uint32_t at_, const void* from, std::size_t count) {
  mbarriers_.check_outside(warp, at_, count);
  shared_.write(warp, at(warp).clock, at_, from, count);
}

void Block::copy(int warp, std::uint32_t at_, const void* from, bool zeros) {
  if (reinterpret_cast<std::uintptr_t>(from) % kCopyBytes != 0) {
    throw Fault(text("warp ", warp, " copies from an address that is not a multiple of 16"));
  }
  mbarriers_.check_outside(warp, at_, kCopyBytes);
  const void* source = zeros ? kZeros : from;
  shared_.begin_copy(warp, at(warp).clock, at_, source, kCopyBytes, options_.completion == Completion::at_issue);
  at(warp).open.push_back({at_, source});
}

void Block::commit_copies(int warp) {
  Warp& w = at(warp);
  w.groups.push_back(std::move(w.open));
  w.open.clear();
}

void Block::complete(int warp, const std::vector<Copy>& group) {
  for (const Copy& copy : group) {
    shared_.end_copy(warp, at(warp).clock[static_cast<std::size_t>(warp)], copy.at, copy.from, kCopyBytes);
  }
}

void Block::wait_copies(int warp, std::size_t left) {
  Warp& w = at(warp);
  if (w.groups.size() <= left) return;
  const auto done = static_cast<std::ptrdiff_t>(w.groups.size() - left);
  for (std::ptrdiff_t i = 0; i < done; ++i) complete(warp, w.groups[static_cast<std::size_t>(i)]);
  w.groups.erase(w.groups.begin(), w.groups.begin() + done);
}

void Block::barrier(int warp, const char* name, int id, int warps, bool waits) {
  if (id < 0 || id >= kBarriers)
    throw Fault(text("warp ", warp, ": barrier ", id, " at \"", name, "\"; there are 0 to 15"));
  Warp& w = at(warp);
  Barrier& barrier = barriers_[static_cast<std::size_t>(id)];
  if (barrier.arrived != 0 && barrier.expected != warps) {
    throw Fault(text("warp ", warp, " comes to barrier ", id, " at \"", name, "\" for ", warps,
                     " warps, another one came for ", barrier.expected));
  }
  barrier.expected = warps;
  ++barrier.arrived;
  for (std::size_t i = 0; i < w.clock.size(); ++i) barrier.joined[i] = std::max(barrier.joined[i], w.clock[i]);
  // What this warp does from here on is not covered by the arrival.
  ++w.clock[static_cast<std::size_t>(warp)];
  const std::int64_t round = barrier.round;
  if (waits) barrier.waiting.push_back(warp);
  if (barrier.arrived == barrier.expected) {
    for (int other : barrier.waiting) {
      Warp& o = at(other);
      for (std::size_t i = 0; i < o.clock.size(); ++i) o.clock[i] = std::max(o.clock[i], barrier.joined[i]);
    }
    barrier = {};
    barrier.round = round + 1;
  }
  if (!waits) return;
  // Also who came last lets others go first.
  wait(
      warp, [&barrier, round] { return barrier.round > round; },
      [&barrier, name, id] {
        return text("at \"", name, "\" (barrier ", id, ", ", barrier.arrived, " of ", barrier.expected,
                    " warps have come)");
      },
      nullptr);
}

void Block::init_mbarrier(int warp, std::uint32_t at_, std::uint32_t count) {
  mbarriers_.init(warp, at(warp).clock, at_, count);
}
void Block::arrive_mbarrier(int warp, std::uint32_t at_, std::uint32_t bytes) {
  mbarriers_.arrive(warp, at(warp).clock, at_, bytes);
}
void Block::copy_bulk(int warp, std::uint32_t mbarrier, BulkCopy copy) {
  mbarriers_.copy(warp, at(warp).clock, mbarrier, std::move(copy), options_.completion == Completion::at_issue);
}

void Block::wait_mbarrier(int warp, const char* name, std::uint32_t at_, std::uint32_t parity) {
  mbarriers_.check_wait(warp, at(warp).clock, name, at_, parity);
  if (!mbarriers_.is_complete(at_, parity)) {
    wait(
        warp, [this, at_, parity] { return mbarriers_.is_complete(at_, parity); },
        [this, name, at_, parity] {
          return text("at \"", name, "\" for parity ", parity, " (", mbarriers_.describe(at_), ")");
        },
        [this, at_] { return mbarriers_.deliver(at_); });
  }
  mbarriers_.pass(warp, at(warp).clock, at_);
}

void Block::read_by_tensor_core(int warp, std::uint32_t at_, void* to, std::size_t count) {
  shared_.check_proxy(warp, at(warp).clock, "multiplies", at_, count);
  shared_.read(warp, at(warp).clock, at_, to, count);
}

void Block::set_registers(int warp, int registers, bool more) {
  warpgroups_.check_registers(warp, registers, more);
  if (!warpgroups_.has_registers(warp, registers)) {
    wait(
        warp, [this, warp, registers] { return warpgroups_.has_registers(warp, registers); },
        [this, warp, registers] { return warpgroups_.describe(warp, registers); }, nullptr);
  }
  warpgroups_.set_registers(warp, registers);
}

}  // namespace octavo::cuda::emulation
