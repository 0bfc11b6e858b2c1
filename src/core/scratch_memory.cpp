#include "core/scratch_memory.hpp"

#include "core/text.hpp"

namespace octavo {

ScratchMemory::ScratchMemory(const Execution& execution, std::size_t bytes)
    : own_(execution.workspace == nullptr ? bytes : 0) {
  if (execution.workspace == nullptr) {
    data_ = own_.data();
    if (data_ == nullptr && bytes > 0) {
      status_ = resource_exhausted(bytes, " bytes of scratch memory could not be allocated");
    }
    return;
  }
  if (execution.workspace_bytes < bytes) {
    status_ = invalid_argument("workspace has ", execution.workspace_bytes, " bytes; this call needs ", bytes);
  } else if (bytes > 0 && reinterpret_cast<std::uintptr_t>(execution.workspace) % AlignedBuffer::kAlignment != 0) {
    status_ =
        invalid_argument("workspace is not aligned; its address must be a multiple of ", AlignedBuffer::kAlignment);
  } else {
    data_ = static_cast<std::byte*>(execution.workspace);
  }
}

}  // namespace octavo
