// Errors are values: a code and a message. The library never exits, and prints only the log lines of OCTAVO_LOG.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "octavo/export.hpp"

namespace octavo {

enum class StatusCode : std::int32_t {
  kOk = 0,
  kInvalidArgument = 1,     // the call is invalid: shape, dtype, stride, value
  kUnimplemented = 2,       // valid, but not supported by this build or implementation
  kUnavailable = 3,         // a device, driver or instruction set is missing on this machine
  kResourceExhausted = 4,   // out of memory
  kFailedPrecondition = 5,  // a file or object is not in the required state
  kInternal = 6,            // a bug in octavo
};

/// Lower-case name of a code, e.g. "invalid_argument".
OCTAVO_API std::string_view to_string(StatusCode code) noexcept;

/// Result of a call without a return value: ok, or a code with a message that names the offending value and what is
/// allowed.
class [[nodiscard]] Status {
 public:
  Status() noexcept = default;
  Status(StatusCode code, std::string message) noexcept : code_(code), message_(std::move(message)) {}

  bool ok() const noexcept { return code_ == StatusCode::kOk; }
  StatusCode code() const noexcept { return code_; }
  const std::string& message() const noexcept { return message_; }

 private:
  StatusCode code_ = StatusCode::kOk;
  std::string message_;
};

/// A value of type T, or an error Status.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}
  Result(Status status) : status_(std::move(status)) {}

  bool ok() const noexcept { return value_.has_value(); }
  const Status& status() const noexcept { return status_; }
  T& operator*() & { return *value_; }
  const T& operator*() const& { return *value_; }
  T&& operator*() && { return *std::move(value_); }
  T* operator->() { return &*value_; }
  const T* operator->() const { return &*value_; }

 private:
  std::optional<T> value_;
  Status status_;
};

}  // namespace octavo
