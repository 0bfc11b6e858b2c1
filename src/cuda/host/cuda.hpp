// The CUDA back end's interface to the api: the back end, and checks of devices and pointers. No CUDA type appears
// here; in a build without CUDA every device is rejected with an error message.
#pragma once

#include <string_view>

#include "core/backend.hpp"
#include "cuda/host/runtime.hpp"
#include "octavo/status.hpp"

namespace octavo::cuda {

// Enqueues all work of a call on the Execution's stream; it may be unfinished when the call returns.
const Backend& backend() noexcept;

// Ok when tensors on the device can be used; `name` is the tensor's, for the message.
Status check_device(std::string_view name, int index);
// Whether kernels on the device may access what `data` points to.
Status check_pointer(std::string_view name, std::string_view part, int index, const void* data);

}  // namespace octavo::cuda
