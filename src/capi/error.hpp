// How a C call ends: the code goes back, the sentence waits in octavo_last_error(), and no exception passes.
#pragma once

#include <new>
#include <stdexcept>

#include "core/text.hpp"
#include "octavo/octavo.h"

namespace octavo::capi {

// Remembers the sentence for the calling thread and returns the code.
octavo_status_t answer(const Status& status) noexcept;

// body() -> Status
template <class Body>
octavo_status_t guarded(Body&& body) noexcept {
  try {
    return answer(body());
  } catch (const std::bad_alloc&) {
    return answer(out_of_memory());
  } catch (const std::length_error&) {
    return answer(out_of_memory());
  } catch (...) {
    return answer(Status(StatusCode::kInternal, "internal error"));
  }
}

}  // namespace octavo::capi
