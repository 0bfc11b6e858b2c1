#include "failing_new.hpp"

#include <cstdlib>
#include <limits>
#include <new>

static long allowed = std::numeric_limits<long>::max();

void* operator new(std::size_t bytes) {
  if (--allowed < 0) throw std::bad_alloc();
  if (void* memory = std::malloc(bytes > 0 ? bytes : 1)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace octavo::test {

FailingNew::FailingNew(long count) { allowed = count; }
void FailingNew::stop() { allowed = std::numeric_limits<long>::max(); }

}  // namespace octavo::test
