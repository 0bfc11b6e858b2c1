#include "emulated_runtime.hpp"

#include <cstdlib>
#include <cstring>

#include "core/text.hpp"
#include "cuda_emulation/tensor_map.hpp"
#include "emulated_kernels.hpp"

namespace octavo::test {

EmulatedRuntime::EmulatedRuntime() {
  cuda::DeviceProperties gpu;
  gpu.name = "Emulated GPU";
  gpu.major = 9;
  gpu.multiprocessors = 132;
  gpu.memory_bytes = std::size_t{4} << 30;
  gpu.shared_bytes = 227 << 10;
  gpus.push_back(gpu);
  cuda::replace_runtime(this);
}

EmulatedRuntime::~EmulatedRuntime() {
  cuda::replace_runtime(nullptr);
  for (const auto& [start, memory] : blocks_) std::free(const_cast<char*>(start));
}

Result<int> EmulatedRuntime::device_count() {
  ++counted;
  if (!no_devices.ok()) return no_devices;
  return static_cast<int>(gpus.size());
}

Result<cuda::DeviceProperties> EmulatedRuntime::properties(int device) {
  cuda::DeviceProperties properties = gpus.at(static_cast<std::size_t>(device));
  properties.index = device;
  return properties;
}

Result<cuda::Location> EmulatedRuntime::locate(const void* pointer) {
  const auto* const at = static_cast<const char*>(pointer);
  auto block = blocks_.upper_bound(at);
  if (block == blocks_.begin()) return cuda::Location{};
  --block;
  if (at >= block->first + block->second.bytes) return cuda::Location{};
  return cuda::Location{true, true, block->second.device};
}

Result<bool> EmulatedRuntime::is_capturing(int, void* stream) {
  if (broken_stream != nullptr && stream == broken_stream) return invalid_argument("the stream cannot be used");
  return captured_stream != nullptr && stream == captured_stream;
}

Result<void*> EmulatedRuntime::allocate(int device, std::size_t bytes) {
  if (bytes > memory_left) return resource_exhausted(bytes, " bytes on CUDA device ", device, ": out of memory");
  // What nobody has written is found if it is read.
  auto* const memory = static_cast<char*>(std::aligned_alloc(256, (bytes + 255) / 256 * 256));
  std::memset(memory, 0xfb, (bytes + 255) / 256 * 256);
  blocks_[memory] = {bytes, device};
  return static_cast<void*>(memory);
}

void EmulatedRuntime::release(int, void* memory) noexcept {
  blocks_.erase(static_cast<const char*>(memory));
  std::free(memory);
}

Result<void*> EmulatedRuntime::allocate_on(int device, void* stream, std::size_t bytes) {
  if (*is_capturing(device, stream)) return Status(StatusCode::kInternal, "memory was taken in a captured stream");
  return allocate(device, bytes);
}
void EmulatedRuntime::release_on(int device, void*, void* memory) noexcept { release(device, memory); }

Status EmulatedRuntime::clear_on(int, void*, void* memory, std::size_t bytes) {
  std::memset(memory, 0, bytes);
  return {};
}

Status EmulatedRuntime::copy(int, void* to, const void* from, std::size_t bytes, cuda::CopyKind) {
  if (bytes > 0) std::memcpy(to, from, bytes);  // memcpy takes no null, not even for nothing
  return {};
}

Status EmulatedRuntime::synchronize(int, void*) { return {}; }

Result<cuda::TensorMapBytes> EmulatedRuntime::tensor_map(int, const cuda::TensorBox& box) {
  if (const char* fault = cuda::fault_of_box(box); fault != nullptr) return Status(StatusCode::kInternal, fault);
  const cuda::emulation::TensorMap map{box};
  cuda::TensorMapBytes bytes;
  static_assert(sizeof bytes == sizeof map);
  std::memcpy(&bytes, &map, sizeof map);
  return bytes;
}

Status EmulatedRuntime::replay() {
  for (const Recorded& recorded : graph_) {
    cuda::Launch launch = recorded.launch;
    launch.params = recorded.params.data();
    if (Status status = this->launch(recorded.device, nullptr, launch); !status.ok()) return status;
  }
  return {};
}

Status EmulatedRuntime::launch(int device, void* stream, const cuda::Launch& launch) {
  if (records && captured_stream != nullptr && stream == captured_stream) {
    const auto* const params = static_cast<const std::byte*>(launch.params);
    graph_.push_back({device, launch, {params, params + launch.params_bytes}});
    return {};
  }
  if (before_launch != nullptr) before_launch();
  const EmulatedKernel& kernel = emulated_kernel(launch.kernel);
  if (launches == failing_launch)
    return Status(StatusCode::kInternal, text("kernel ", kernel.name, " was not launched"));
  ++launches;
  launched.emplace_back(kernel.name);
  blocks.push_back(std::int64_t{launch.grid[0]} * launch.grid[1] * launch.grid[2]);
  overlapping.push_back(launch.overlaps);
  if (launch.params_bytes != kernel.params_bytes || launch.shared_bytes > gpus.at(0).shared_bytes ||
      launch.grid[1] > 65535 || launch.grid[2] > 65535 || launch.threads % 32 != 0 || launch.threads > 1024 ||
      device >= static_cast<int>(gpus.size())) {
    return Status(StatusCode::kInternal, text("a wrong launch of kernel ", kernel.name));
  }
  if (!runs_kernels) return {};
  cuda::emulation::Grid grid;
  for (std::size_t axis = 0; axis < 3; ++axis) grid.blocks[axis] = launch.grid[axis];
  grid.warps = static_cast<int>(launch.threads / 32);
  grid.shared_bytes = launch.shared_bytes;
  try {
    cuda::emulation::Options as_launched = options;
    as_launched.overlaps = launch.overlaps;
    kernel.run(grid, as_launched, launch.params);
  } catch (const std::exception& fault) {
    return Status(StatusCode::kInternal, text("kernel ", kernel.name, ": ", fault.what()));
  }
  return {};
}

}  // namespace octavo::test
