// The checks of an Execution.
#include "api/execution.hpp"

#include "core/env.hpp"
#include "core/text.hpp"
#include "core/thread_pool.hpp"

namespace octavo {

Status check_execution(const Execution& execution) {
  if (execution.runner == nullptr) {
    if (Status status = thread_count_status(); !status.ok()) return status;
  }
  if (const Status& status = environment().log_status; !status.ok()) return status;
  if (const Status& status = environment().interleave_softmax_status; !status.ok()) return status;
  if (const Status& status = environment().cuda_ping_pong_status; !status.ok()) return status;
  if (execution.workspace == nullptr && execution.workspace_bytes != 0) {
    return invalid_argument("workspace_bytes is ", execution.workspace_bytes, " and workspace is null");
  }
  return {};
}

Status check_stream(const Execution& execution, Device device) {
  if (execution.stream == nullptr || device.type == DeviceType::cuda) return {};
  return invalid_argument("stream is given; tensors on the CPU have none, it must be null");
}

ByteRange workspace_range(const Execution& execution) noexcept {
  const auto begin = reinterpret_cast<std::uintptr_t>(execution.workspace);
  std::uintptr_t end = 0;
  if (begin == 0 || __builtin_add_overflow(begin, execution.workspace_bytes, &end)) return {};
  return {begin, end};
}

}  // namespace octavo
