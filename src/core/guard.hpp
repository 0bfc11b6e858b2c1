// Exceptions become errors: what is thrown inside a public function that returns a Status or a Result is returned as an
// error Status.
#pragma once

#include <new>
#include <stdexcept>

#include "core/text.hpp"

namespace octavo {

// body() -> Status or Result<T>
template <class Body>
auto guarded(Body&& body) noexcept -> decltype(body()) {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return out_of_memory();
  } catch (const std::length_error&) {  // a vector larger than any memory
    return out_of_memory();
  } catch (...) {
    return Status(StatusCode::kInternal, "internal error");  // short: putting it together must not throw
  }
}

}  // namespace octavo
