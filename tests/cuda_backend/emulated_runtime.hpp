// A CUDA device without CUDA: the back end's runtime on the host, with kernels run by the emulation. Its memory is the
// host's, but only what it has handed out counts as a device's; what can go wrong on a machine with GPUs can be asked
// for by setting a member.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "cuda/host/runtime.hpp"
#include "cuda_emulation/block.hpp"

namespace octavo::test {

class EmulatedRuntime final : public cuda::Runtime {
 public:
  EmulatedRuntime();
  ~EmulatedRuntime() override;

  std::vector<cuda::DeviceProperties> gpus;  // one H100-like GPU at first, wgmma_kernels not set
  Status no_devices;                         // what device_count() says instead of a count
  void* captured_stream = nullptr;           // being recorded into a graph, unless null
  bool records = false;                      // launches on it wait for replay()
  void* broken_stream = nullptr;             // may not be used, unless null
  std::size_t memory_left = std::size_t{4} << 30;
  int failing_launch = -1;            // the launch (counted from the first) that fails
  void (*before_launch)() = nullptr;  // called then
  bool runs_kernels = true;           // false: launches are only noted
  cuda::emulation::Options options;

  // The GPU has that compute capability, 89 for 8.9.
  void pretend(int capability) { gpus.at(0).major = capability / 10, gpus.at(0).minor = capability % 10; }
  // Blocks of persistent kernels take several tasks of a small call.
  void share_multiprocessors(int count) { gpus.at(0).multiprocessors = count; }

  int counted = 0;  // questions after the devices
  int launches = 0;
  std::vector<std::string> launched;                             // names of kernels
  std::vector<std::int64_t> blocks;                              // of their grids
  std::vector<bool> overlapping;                                 // which of them may begin before the last has ended
  int held() const { return static_cast<int>(blocks_.size()); }  // allocations not given back

  // Runs what was recorded, once more.
  Status replay();

  Result<int> device_count() override;
  Result<cuda::DeviceProperties> properties(int device) override;
  Result<cuda::Location> locate(const void* pointer) override;
  Result<bool> is_capturing(int device, void* stream) override;
  Result<void*> allocate(int device, std::size_t bytes) override;
  void release(int device, void* memory) noexcept override;
  Result<void*> allocate_on(int device, void* stream, std::size_t bytes) override;
  void release_on(int device, void* stream, void* memory) noexcept override;
  Status clear_on(int device, void* stream, void* memory, std::size_t bytes) override;
  Status copy(int device, void* to, const void* from, std::size_t bytes, cuda::CopyKind kind) override;
  Status synchronize(int device, void* stream) override;
  Result<cuda::TensorMapBytes> tensor_map(int device, const cuda::TensorBox& box) override;
  Status launch(int device, void* stream, const cuda::Launch& launch) override;

 private:
  struct Memory {
    std::size_t bytes;
    int device;
  };
  struct Recorded {
    int device;
    cuda::Launch launch;
    std::vector<std::byte> params;
  };
  std::map<const char*, Memory> blocks_;
  std::vector<Recorded> graph_;
};

}  // namespace octavo::test
