// A pool of pages with reference counts: sequences that were forked share pages until one of them writes.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace octavo::kv_cache {

class Pages {
 public:
  explicit Pages(std::int64_t count);

  std::int64_t free() const noexcept { return static_cast<std::int64_t>(free_.size()); }
  bool shared(std::int32_t page) const noexcept { return users_[static_cast<std::size_t>(page)] > 1; }
  std::int32_t users(std::int32_t page) const noexcept { return users_[static_cast<std::size_t>(page)]; }
  // Of a pool that has a free page.
  std::int32_t take() noexcept;
  void share(std::int32_t page) noexcept { ++users_[static_cast<std::size_t>(page)]; }
  void release(std::int32_t page) noexcept;

  // Of a caller's pool, where no page is taken: only its users are counted.
  void leave(std::int32_t page) noexcept { --users_[static_cast<std::size_t>(page)]; }
  std::int64_t unused() const noexcept { return std::count(users_.begin(), users_.end(), 0); }

 private:
  std::vector<std::int32_t> free_;  // capacity for all pages, so release() never allocates
  std::vector<std::int32_t> users_;
};

}  // namespace octavo::kv_cache
