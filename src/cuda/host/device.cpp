// Which GPUs there are and why one cannot be used: checks of devices and pointers.
#include "core/text.hpp"
#include "cuda/host/implementation.hpp"

namespace octavo::cuda {
namespace {

std::string capability_text(int capability) { return text(capability / 10, ".", capability % 10); }

}  // namespace

std::string missing(const Implementation& implementation, const DeviceProperties& device) {
  if (device.capability() < implementation.capability) {
    return text(device.name, " has compute capability ", capability_text(device.capability()), "; ",
                implementation.name, " needs ", capability_text(implementation.capability));
  }
  if (implementation.wgmma && device.capability() != implementation.capability) {
    return text(device.name, " has compute capability ", capability_text(device.capability()), ", which has no wgmma; ",
                implementation.name, " needs ", capability_text(implementation.capability));
  }
  if (implementation.wgmma && !device.wgmma_kernels) return "this build has no kernels by wgmma";
  return {};
}

std::string missing(const Implementation& implementation) {
  Runtime* const cuda = runtime();
  if (cuda == nullptr) return "this build has no CUDA";
  const Result<int> count = cuda->device_count();
  if (!count.ok()) return count.status().message();
  std::string reasons;
  for (int device = 0; device < *count; ++device) {
    const Result<DeviceProperties> properties = cuda->properties(device);
    std::string reason = properties.ok() ? missing(implementation, *properties) : properties.status().message();
    if (reason.empty()) return {};
    reasons += text(reasons.empty() ? "" : "; ", reason);
  }
  return reasons;
}

Status check_device(std::string_view name, int index) {
  Runtime* const cuda = runtime();
  if (cuda == nullptr) {
    return unavailable(name, " is on CUDA device ", index, "; this build of octavo runs on the CPU only");
  }
  const Result<int> count = cuda->device_count();
  if (!count.ok()) {
    return Status(count.status().code(),
                  text(name, " is on CUDA device ", index, ", which cannot be used: ", count.status().message()));
  }
  if (index < 0 || index >= *count) {
    return invalid_argument(name, " is on CUDA device ", index, "; this process sees ", *count,
                            *count == 1 ? " device, number 0" : text(" devices, numbers 0 to ", *count - 1));
  }
  return {};
}

Status check_pointer(std::string_view name, std::string_view part, int index, const void* data) {
  Runtime* const cuda = runtime();
  if (cuda == nullptr) return check_device(name, index);
  const Result<Location> location = cuda->locate(data);
  if (!location.ok()) return location.status();
  if (location->on_device && location->device != index) {
    return invalid_argument(name, part, " is declared to be on CUDA device ", index, "; its memory is device ",
                            location->device, "'s");
  }
  if (!location->known) {
    const Result<DeviceProperties> device = cuda->properties(index);
    if (!device.ok()) return device.status();
    if (!device->pageable_memory) {
      return invalid_argument(name, part, " is declared to be on CUDA device ", index,
                              "; its pointer is to the host's memory");
    }
  }
  return {};
}

}  // namespace octavo::cuda
