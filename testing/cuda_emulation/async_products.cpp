// By which uses of registers wgmma's rules are broken: sums and left operands under way are nobody's until a wait has
// named them, and what the warp has touched is no operand until a fence has.
#include "cuda_emulation/async_products.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/text.hpp"
#include "cuda_emulation/fault.hpp"
#include "cuda_emulation/poison.hpp"

namespace octavo::cuda::emulation {
namespace {

bool overlap(const RegisterRange& a, const RegisterRange& b) {
  const auto* first = static_cast<const std::byte*>(a.at);
  const auto* second = static_cast<const std::byte*>(b.at);
  return first < second + b.bytes && second < first + a.bytes;
}
std::vector<std::byte> copy_of(const RegisterRange& registers) {
  const auto* first = static_cast<const std::byte*>(registers.at);
  return {first, first + registers.bytes};
}
bool holds(const RegisterRange& registers, const std::vector<std::byte>& value) {
  return value.empty() || std::memcmp(registers.at, value.data(), value.size()) == 0;
}

}  // namespace

AsyncProducts::Sums* AsyncProducts::find(const void* at) {
  const auto found = std::find_if(sums_.begin(), sums_.end(), [&](const Sums& s) { return s.registers.at == at; });
  return found == sums_.end() ? nullptr : &*found;
}

void AsyncProducts::touch(const RegisterRange& registers) {
  for (const Sums& sums : sums_) {
    if (!overlap(registers, sums.registers)) continue;
    throw Fault(text("missing wgmma wait: warp ", warp_, " touches registers into which ", sums.in_flight,
                     " wgmma are under way", sums.in_flight == 0 ? ": no wait has named them since" : ""));
  }
  const auto check = [&](const Product& product) {
    if (product.a.bytes == 0 || !overlap(registers, product.a)) return;
    throw Fault(text("missing wgmma wait: warp ", warp_, " touches registers that a wgmma under way reads"));
  };
  for (const Product& product : open_) check(product);
  for (const auto& group : groups_) {
    for (const Product& product : group) check(product);
  }
  const auto same = [&](const RegisterRange& r) { return r.at == registers.at && r.bytes == registers.bytes; };
  if (std::none_of(touched_.begin(), touched_.end(), same)) touched_.push_back(registers);
}

void AsyncProducts::fence(const std::vector<RegisterRange>& registers) {
  has_fenced_ = true;
  for (const RegisterRange& fenced : registers) {
    touched_.erase(
        std::remove_if(touched_.begin(), touched_.end(), [&](const RegisterRange& r) { return overlap(r, fenced); }),
        touched_.end());
  }
}

void AsyncProducts::check_fenced(const RegisterRange& registers, const char* what) const {
  const auto overlaps = [&](const RegisterRange& touched) { return overlap(registers, touched); };
  if (has_fenced_ && std::none_of(touched_.begin(), touched_.end(), overlaps)) return;
  throw Fault(text("missing wgmma.fence: warp ", warp_, " multiplies with ", what,
                   " in registers that it has touched since a fence has named them"));
}

void AsyncProducts::issue(const RegisterRange& registers, const RegisterRange& a, Multiply multiply, bool now) {
  Sums* sums = find(registers.at);
  if (sums == nullptr) {
    check_fenced(registers, "sums");
    sums_.push_back({registers, copy_of(registers), {}, 0});
    sums = &sums_.back();
  } else if (sums->registers.bytes != registers.bytes) {
    throw Fault(text("warp ", warp_, " multiplies in two shapes into the same registers without a wait in between"));
  }
  if (a.bytes != 0) check_fenced(a, "its left operand");
  Product product{registers.at, a, copy_of(a), std::move(multiply), now};
  std::vector<std::byte> result = sums->value;
  product.multiply(result.data(), product.a_value.data());
  if (now) {
    sums->value = std::move(result);
    std::memcpy(registers.at, sums->value.data(), registers.bytes);
  } else {
    std::memset(registers.at, static_cast<int>(kPoison), registers.bytes);
  }
  sums->shown = copy_of(registers);
  ++sums->in_flight;
  open_.push_back(std::move(product));
}

void AsyncProducts::commit() {
  groups_.push_back(std::move(open_));
  open_.clear();
}

void AsyncProducts::complete(const Product& product) {
  if (!holds(product.a, product.a_value)) {
    throw Fault(text("missing wgmma wait: warp ", warp_, " has changed registers that a wgmma under way reads"));
  }
  Sums& sums = *find(product.sums);
  std::vector<std::byte> result = sums.value;
  product.multiply(result.data(), product.a_value.data());
  if (!product.now) sums.value = std::move(result);
  if (--sums.in_flight > 0) return;
  if (!holds(sums.registers, sums.shown)) {
    throw Fault(text("missing wgmma wait: warp ", warp_, " has changed registers into which a wgmma is under way"));
  }
  std::memcpy(sums.registers.at, sums.value.data(), sums.registers.bytes);
  sums.shown = sums.value;
}

void AsyncProducts::wait(std::size_t left, const std::vector<RegisterRange>& registers) {
  while (groups_.size() > left) {
    for (const Product& product : groups_.front()) complete(product);
    groups_.erase(groups_.begin());
  }
  for (const RegisterRange& named : registers) {
    for (auto sums = sums_.begin(); sums != sums_.end();) {
      if (!overlap(named, sums->registers)) {
        ++sums;
      } else if (sums->in_flight == 0) {
        sums = sums_.erase(sums);
      } else {
        throw Fault(text("missing wgmma wait: warp ", warp_, " waits until ", left, " groups are left, and ",
                         sums->in_flight, " wgmma into registers that it names are under way still"));
      }
    }
  }
}

void AsyncProducts::check_end() const {
  if (open_.empty() && groups_.empty()) return;
  throw Fault(text("missing wgmma wait: warp ", warp_, " ends with wgmma under way"));
}

}  // namespace octavo::cuda::emulation
