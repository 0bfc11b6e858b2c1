// How octavo reports errors: a code and a sentence, as a value. The library never prints or exits.
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
  kInvalidArgument = 1,     // the call can never succeed as written: shape, dtype, stride, value
  kUnimplemented = 2,       // valid, and not supported by this build or implementation
  kUnavailable = 3,         // a device, driver or instruction set is missing on this machine
  kResourceExhausted = 4,   // memory could not be had
  kFailedPrecondition = 5,  // a file or object is not in the state the call needs
  kInternal = 6,            // a defect of octavo
};

/// Lower-case name of a code, e.g. "invalid_argument".
OCTAVO_API std::string_view to_string(StatusCode code) noexcept;

/// Result of a call that returns nothing else: ok, or a code with a sentence that names the offending value and what
/// is allowed.
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

/// A value of type T, or the Status that says why there is none.
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
