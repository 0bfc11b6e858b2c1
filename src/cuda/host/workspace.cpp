// The order of the checks: a stream that cannot be used; a given workspace that is too small, not aligned or elsewhere;
// a captured stream without a workspace; a pool without memory.
#include "cuda/host/workspace.hpp"

#include <cstdint>

#include "core/text.hpp"
#include "cuda/host/cuda.hpp"

namespace octavo::cuda {
namespace {

Status check_given(const Execution& execution, int device, std::size_t bytes) {
  if (execution.workspace_bytes < bytes) {
    return invalid_argument("workspace has ", execution.workspace_bytes, " bytes; this call needs ", bytes);
  }
  if (bytes == 0) return {};
  if (reinterpret_cast<std::uintptr_t>(execution.workspace) % DeviceWorkspace::kAlignment != 0) {
    return invalid_argument("workspace is not aligned; on a device its address must be a multiple of ",
                            DeviceWorkspace::kAlignment);
  }
  return check_pointer("workspace", {}, device, execution.workspace);
}

}  // namespace

DeviceWorkspace::DeviceWorkspace(const Execution& execution, int device, std::size_t bytes)
    : device_(device), stream_(execution.stream) {
  Runtime* const cuda = runtime();
  // Asked even where no memory is needed: an unusable stream is refused before any kernel is launched.
  const Result<bool> capturing = cuda->is_capturing(device, execution.stream);
  if (!capturing.ok()) {
    status_ = capturing.status();
    return;
  }
  if (execution.workspace != nullptr) {
    status_ = check_given(execution, device, bytes);
    if (status_.ok()) data_ = static_cast<std::byte*>(execution.workspace);
    return;
  }
  if (bytes == 0) return;
  if (*capturing) {
    status_ = Status(StatusCode::kFailedPrecondition,
                     text("the stream is being captured into a graph and no workspace is given; this call needs ",
                          bytes, " bytes (workspace_size()) that live as long as the graph"));
    return;
  }
  Result<void*> memory = cuda->allocate_on(device, execution.stream, bytes);
  if (!memory.ok()) {
    status_ = memory.status();
    return;
  }
  own_ = *memory;
  data_ = static_cast<std::byte*>(own_);
}

DeviceWorkspace::~DeviceWorkspace() {
  if (own_ != nullptr) runtime()->release_on(device_, stream_, own_);
}

}  // namespace octavo::cuda
