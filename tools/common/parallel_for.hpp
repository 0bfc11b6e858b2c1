// A loop over independent tasks on octavo's own pool.
#pragma once

#include <cstdint>

#include "octavo/parallel.hpp"

namespace octavo::tool {

// body(task) for 0..tasks-1; it must not throw.
template <class Body>
void parallel_for(std::int64_t tasks, Body body) {
  default_runner().run(tasks, [](void* context, std::int64_t task) { (*static_cast<Body*>(context))(task); }, &body);
}

}  // namespace octavo::tool
