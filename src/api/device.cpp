// octavo/device.hpp over the back end's runtime; the host's memory counts as a device of its own.
#include "octavo/device.hpp"

#include <cstring>

#include "core/aligned_buffer.hpp"
#include "core/guard.hpp"
#include "core/text.hpp"
#include "cuda/host/cuda.hpp"

namespace octavo {
namespace {

Status check_device(std::string_view what, Device device) {
  if (device.type == DeviceType::cuda) return cuda::check_device(what, device.index);
  if (device.type == DeviceType::cpu) return {};
  return invalid_argument("device type ", static_cast<int>(device.type), " is unknown; allowed are cpu and cuda");
}

Status copy(Device device, void* to, const void* from, std::size_t bytes, cuda::CopyKind kind) {
  if (bytes == 0) return {};
  if (device.type == DeviceType::cuda) return cuda::runtime()->copy(device.index, to, from, bytes, kind);
  std::memcpy(to, from, bytes);
  return {};
}

Status check_range(std::size_t offset, std::size_t bytes, std::size_t size) {
  if (offset <= size && bytes <= size - offset) return {};
  return invalid_argument("bytes ", offset, " to ", offset + bytes, " are outside the memory's ", size, " bytes");
}

}  // namespace

Result<std::vector<DeviceInfo>> devices() noexcept {
  return guarded([]() -> Result<std::vector<DeviceInfo>> {
    cuda::Runtime* const runtime = cuda::runtime();
    if (runtime == nullptr) return unavailable("this build of octavo has no CUDA");
    const Result<int> count = runtime->device_count();
    if (!count.ok()) return count.status();
    std::vector<DeviceInfo> list;
    for (int index = 0; index < *count; ++index) {
      const Result<cuda::DeviceProperties> properties = runtime->properties(index);
      if (!properties.ok()) return properties.status();
      list.push_back({{DeviceType::cuda, index},
                      properties->name,
                      text(properties->major, ".", properties->minor),
                      properties->memory_bytes,
                      properties->multiprocessors});
    }
    return list;
  });
}

Status synchronize(Device device, void* stream) noexcept {
  return guarded([&]() -> Status {
    if (Status status = check_device("stream", device); !status.ok()) return status;
    return device.type == DeviceType::cuda ? cuda::runtime()->synchronize(device.index, stream) : Status{};
  });
}

Result<DeviceMemory> DeviceMemory::allocate(Device device, std::size_t bytes) noexcept {
  DeviceMemory result;
  Status status = guarded([&]() -> Status {
    if (Status bad = check_device("memory", device); !bad.ok()) return bad;
    result.device_ = device;
    result.bytes_ = bytes;
    if (bytes == 0) return {};
    if (device.type == DeviceType::cpu) {
      auto buffer = std::make_shared<AlignedBuffer>(bytes);
      if (buffer->data() == nullptr) return resource_exhausted(bytes, " bytes could not be allocated");
      void* const data = buffer->data();
      result.memory_ = std::shared_ptr<void>(std::move(buffer), data);
      return {};
    }
    const Result<void*> memory = cuda::runtime()->allocate(device.index, bytes);
    if (!memory.ok()) return memory.status();
    const int index = device.index;
    result.memory_.reset(*memory, [index](void* p) { cuda::runtime()->release(index, p); });
    return {};
  });
  if (!status.ok()) return status;
  return result;
}

Status DeviceMemory::copy_from(const void* host, std::size_t bytes, std::size_t offset) const noexcept {
  return guarded([&]() -> Status {
    if (Status status = check_range(offset, bytes, bytes_); !status.ok()) return status;
    return copy(device_, static_cast<std::byte*>(data()) + offset, host, bytes, cuda::CopyKind::to_device);
  });
}

Status DeviceMemory::copy_to(void* host, std::size_t bytes, std::size_t offset) const noexcept {
  return guarded([&]() -> Status {
    if (Status status = check_range(offset, bytes, bytes_); !status.ok()) return status;
    return copy(device_, host, static_cast<const std::byte*>(data()) + offset, bytes, cuda::CopyKind::to_host);
  });
}

}  // namespace octavo
