// The free list is a stack: the page released last, whose lines may still be cached, is taken first.
#include "kv_cache/pages.hpp"

namespace octavo::kv_cache {

Pages::Pages(std::int64_t count) : users_(static_cast<std::size_t>(count), 0) {
  free_.reserve(static_cast<std::size_t>(count));
  for (std::int64_t page = count; page-- > 0;) free_.push_back(static_cast<std::int32_t>(page));
}

std::int32_t Pages::take() noexcept {
  const std::int32_t page = free_.back();
  free_.pop_back();
  users_[static_cast<std::size_t>(page)] = 1;
  return page;
}

void Pages::release(std::int32_t page) noexcept {
  if (--users_[static_cast<std::size_t>(page)] == 0) free_.push_back(page);
}

}  // namespace octavo::kv_cache
