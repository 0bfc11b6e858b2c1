// A subcommand that fails ends with an exit code and a message that main() prints on stderr.
#pragma once

#include <string>
#include <utility>

#include "octavo/status.hpp"

namespace octavo::tool {

enum ExitCode : int {
  kExitOk = 0,
  kExitCheckFailed = 1,  // a comparison or a self-check did not hold
  kExitUsage = 2,        // the command line, or what it names, has no meaning
  kExitUnsupported = 3,  // legal, and not possible in this build or on this machine: a defect of octavo too
  kExitIo = 4,           // a file could not be read, understood or written
};

struct Failure {
  int exit_code;
  std::string message;
};

[[noreturn]] inline void fail(int exit_code, std::string message) { throw Failure{exit_code, std::move(message)}; }

inline int exit_code_of(StatusCode code) {
  switch (code) {
    case StatusCode::kOk:
      return kExitOk;
    case StatusCode::kInvalidArgument:
      return kExitUsage;
    case StatusCode::kUnimplemented:
    case StatusCode::kUnavailable:
    case StatusCode::kResourceExhausted:
      return kExitUnsupported;
    case StatusCode::kFailedPrecondition:
      return kExitIo;
    case StatusCode::kInternal:
      return kExitUnsupported;
  }
  return kExitUnsupported;
}

inline void require(const Status& status) {
  if (!status.ok()) fail(exit_code_of(status.code()), status.message());
}

template <class T>
T value_of(Result<T> result) {
  require(result.status());
  return *std::move(result);
}

// For everything that touches files: whatever went wrong, it is an I/O error.
inline void require_file(const Status& status) {
  if (!status.ok()) fail(kExitIo, status.message());
}

template <class T>
T value_of_file(Result<T> result) {
  require_file(result.status());
  return *std::move(result);
}

}  // namespace octavo::tool
