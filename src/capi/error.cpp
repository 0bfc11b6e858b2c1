// The calling thread's last error message. A call may fail for lack of memory, so one message needs none.
#include "capi/error.hpp"

#include <string>

namespace octavo::capi {
namespace {

thread_local std::string last_message;
thread_local const char* last_error = "";

static_assert(static_cast<int>(StatusCode::kOk) == OCTAVO_OK);
static_assert(static_cast<int>(StatusCode::kInvalidArgument) == OCTAVO_INVALID_ARGUMENT);
static_assert(static_cast<int>(StatusCode::kUnimplemented) == OCTAVO_UNIMPLEMENTED);
static_assert(static_cast<int>(StatusCode::kUnavailable) == OCTAVO_UNAVAILABLE);
static_assert(static_cast<int>(StatusCode::kResourceExhausted) == OCTAVO_RESOURCE_EXHAUSTED);
static_assert(static_cast<int>(StatusCode::kFailedPrecondition) == OCTAVO_FAILED_PRECONDITION);
static_assert(static_cast<int>(StatusCode::kInternal) == OCTAVO_INTERNAL);

}  // namespace

octavo_status_t answer(const Status& status) noexcept {
  if (status.ok()) {
    last_error = "";
    return OCTAVO_OK;
  }
  try {
    last_message = status.message();
    last_error = last_message.c_str();
  } catch (...) {
    last_error = "out of memory, also for the error message";
  }
  return static_cast<octavo_status_t>(status.code());
}

}  // namespace octavo::capi

using octavo::capi::last_error;

const char* octavo_last_error() { return last_error; }

// The views of to_string() are made of literals, which end with a zero.
const char* octavo_status_name(octavo_status_t status) {
  return octavo::to_string(static_cast<octavo::StatusCode>(status)).data();
}
