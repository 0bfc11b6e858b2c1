// How a C call ends: the code goes back, the sentence waits in octavo_last_error(), and no exception passes.
#pragma once

#include <utility>

#include "core/guard.hpp"
#include "octavo/octavo.h"

namespace octavo::capi {

// Remembers the sentence for the calling thread and returns the code.
octavo_status_t answer(const Status& status) noexcept;

// body() -> Status
template <class Body>
octavo_status_t guarded(Body&& body) noexcept {
  return answer(octavo::guarded(std::forward<Body>(body)));
}

}  // namespace octavo::capi
