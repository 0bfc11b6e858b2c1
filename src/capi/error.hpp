// How a C call ends: it returns the code, octavo_last_error() has the message, and no exception leaves.
#pragma once

#include <utility>

#include "core/guard.hpp"
#include "octavo/octavo.h"

namespace octavo::capi {

// Stores the message for the calling thread and returns the code.
octavo_status_t answer(const Status& status) noexcept;

// body() -> Status
template <class Body>
octavo_status_t guarded(Body&& body) noexcept {
  return answer(octavo::guarded(std::forward<Body>(body)));
}

}  // namespace octavo::capi
