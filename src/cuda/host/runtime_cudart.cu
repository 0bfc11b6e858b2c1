// host/runtime.hpp over the CUDA runtime, with messages for its errors. It is linked statically and looks for the
// driver at the first call; a machine without one gets a message.
#include <cuda.h>
#include <cuda_runtime_api.h>

#include <array>
#include <atomic>
#include <cstring>
#include <mutex>

#include "core/text.hpp"
#include "cuda/host/kernel_table.hpp"
#include "cuda/host/runtime.hpp"

namespace octavo::cuda {
namespace {

constexpr int kMostDevices = 64;
// Bytes that a device's pool keeps for later calls; beyond them memory goes back to the driver at the next
// synchronization.
constexpr std::uint64_t kKeptBytes = std::uint64_t{256} << 20;

// The thread's current device while a function works on another one.
class OnDevice {
 public:
  explicit OnDevice(int device) noexcept {
    error_ = cudaGetDevice(&before_);
    if (error_ == cudaSuccess && before_ != device) {
      error_ = cudaSetDevice(device);
      changed_ = error_ == cudaSuccess;
    }
  }
  ~OnDevice() {
    if (changed_) (void)cudaSetDevice(before_);
  }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;
  cudaError_t error() const noexcept { return error_; }

 private:
  int before_ = 0;
  bool changed_ = false;
  cudaError_t error_ = cudaSuccess;
};

Status failed(cudaError_t error, const std::string& what) {
  (void)cudaGetLastError();  // clears it, so that the caller's next check does not report it again
  const auto because = [&](const char* reason) { return text(what, ": ", reason, " (", cudaGetErrorName(error), ")"); };
  switch (error) {
    case cudaErrorMemoryAllocation:
      return Status(StatusCode::kResourceExhausted, because("the device is out of memory"));
    case cudaErrorStreamCaptureUnsupported:
    case cudaErrorStreamCaptureImplicit:
    case cudaErrorStreamCaptureInvalidated:
    case cudaErrorStreamCaptureIsolation:
    case cudaErrorStreamCaptureWrongThread:
      return Status(
          StatusCode::kFailedPrecondition,
          because("not allowed while a stream is being captured into a graph; pass the captured stream itself "
                  "and a workspace"));
    case cudaErrorInvalidResourceHandle:
      return invalid_argument(because("the stream belongs to another device, or no longer exists"));
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorUnsupportedPtxVersion:
      return unavailable(because("this build has no kernels for the device"));
    case cudaErrorInitializationError:
      return unavailable(
          because("CUDA could not be initialized; a process that was forked from one that used CUDA cannot use it"));
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchFailure:
    case cudaErrorMisalignedAddress:
    case cudaErrorIllegalInstruction:
    case cudaErrorHardwareStackError:
      return Status(StatusCode::kInternal,
                    because("earlier work on the device has failed, and this process cannot use it any more"));
    case cudaErrorInsufficientDriver:
    case cudaErrorNoDevice:
    case cudaErrorDevicesUnavailable:
    case cudaErrorSystemDriverMismatch:
    case cudaErrorSystemNotReady:
      return unavailable(because(cudaGetErrorString(error)));
    default:
      return Status(StatusCode::kInternal, because(cudaGetErrorString(error)));
  }
}

std::string version_text(int version) { return text(version / 1000, ".", version % 1000 / 10); }

class CudaRuntime final : public Runtime {
 public:
  Result<int> device_count() override {
    int count = 0;
    const cudaError_t error = cudaGetDeviceCount(&count);
    if (error == cudaSuccess && count > 0) return count < kMostDevices ? count : kMostDevices;
    (void)cudaGetLastError();
    int driver = 0;
    (void)cudaDriverGetVersion(&driver);
    if (driver == 0) return unavailable("no NVIDIA driver is installed");
    if (error == cudaErrorInsufficientDriver) {
      return unavailable("the NVIDIA driver supports CUDA ", version_text(driver), " and this build needs ",
                         version_text(CUDART_VERSION), "; install a newer driver");
    }
    if (error == cudaSuccess || error == cudaErrorNoDevice) {
      return unavailable("no CUDA device is visible to this process");
    }
    return failed(error, "CUDA devices could not be counted");
  }

  Result<DeviceProperties> properties(int device) override {
    if (device < 0 || device >= kMostDevices) return invalid_argument("CUDA device ", device, " does not exist");
    Known& known = known_[static_cast<std::size_t>(device)];
    const std::lock_guard lock(known.mutex);
    if (known.asked) return known.properties;
    cudaDeviceProp from;
    if (const cudaError_t error = cudaGetDeviceProperties(&from, device); error != cudaSuccess) {
      return failed(error, text("CUDA device ", device, " could not be asked for its properties"));
    }
    DeviceProperties& to = known.properties;
    to.index = device;
    to.name = from.name;
    to.major = from.major;
    to.minor = from.minor;
    to.multiprocessors = from.multiProcessorCount;
    to.memory_bytes = from.totalGlobalMem;
    to.shared_bytes = from.sharedMemPerBlockOptin;
    to.memory_pools = from.memoryPoolsSupported != 0;
    to.pageable_memory = from.pageableMemoryAccess != 0;
    to.wgmma_kernels = !sm90_kernels().empty() && to.capability() == 90;
    known.asked = true;
    return to;
  }

  Result<Location> locate(const void* pointer) override {
    cudaPointerAttributes attributes;
    if (const cudaError_t error = cudaPointerGetAttributes(&attributes, pointer); error != cudaSuccess) {
      if (error != cudaErrorInvalidValue) return failed(error, "a pointer could not be looked up");
      (void)cudaGetLastError();
      return Location{};
    }
    Location location;
    location.known = attributes.type != cudaMemoryTypeUnregistered;
    location.on_device = attributes.type == cudaMemoryTypeDevice;
    location.device = attributes.device;
    return location;
  }

  Result<bool> is_capturing(int device, void* stream) override {
    const OnDevice on(device);
    if (on.error() != cudaSuccess) return failed(on.error(), text("CUDA device ", device, " cannot be used"));
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    if (const cudaError_t error = cudaStreamIsCapturing(static_cast<cudaStream_t>(stream), &status);
        error != cudaSuccess) {
      return failed(error,
                    stream == nullptr ? "the legacy default stream cannot be used" : "the stream cannot be used");
    }
    if (status == cudaStreamCaptureStatusInvalidated) {
      return Status(StatusCode::kFailedPrecondition, "the stream's capture into a graph has already failed");
    }
    return status == cudaStreamCaptureStatusActive;
  }

  Result<void*> allocate(int device, std::size_t bytes) override {
    const OnDevice on(device);
    cudaError_t error = on.error();
    void* memory = nullptr;
    if (error == cudaSuccess) error = cudaMalloc(&memory, bytes);
    if (error != cudaSuccess) return failed(error, text(bytes, " bytes on CUDA device ", device));
    return memory;
  }

  void release(int device, void* memory) noexcept override {
    const OnDevice on(device);
    if (on.error() == cudaSuccess) (void)cudaFree(memory);
    (void)cudaGetLastError();
  }

  Result<void*> allocate_on(int device, void* stream, std::size_t bytes) override {
    const OnDevice on(device);
    cudaError_t error = on.error();
    cudaMemPool_t pool = nullptr;
    if (error == cudaSuccess) error = pool_of(device, pool);
    void* memory = nullptr;
    if (error == cudaSuccess) error = cudaMallocFromPoolAsync(&memory, bytes, pool, static_cast<cudaStream_t>(stream));
    if (error != cudaSuccess) return failed(error, text(bytes, " bytes of scratch memory on CUDA device ", device));
    return memory;
  }

  void release_on(int device, void* stream, void* memory) noexcept override {
    const OnDevice on(device);
    if (on.error() == cudaSuccess) (void)cudaFreeAsync(memory, static_cast<cudaStream_t>(stream));
    (void)cudaGetLastError();
  }

  Status clear_on(int device, void* stream, void* memory, std::size_t bytes) override {
    const OnDevice on(device);
    cudaError_t error = on.error();
    if (error == cudaSuccess) error = cudaMemsetAsync(memory, 0, bytes, static_cast<cudaStream_t>(stream));
    return error == cudaSuccess ? Status{} : failed(error, "memory could not be cleared");
  }

  Status copy(int device, void* to, const void* from, std::size_t bytes, CopyKind kind) override {
    const OnDevice on(device);
    cudaError_t error = on.error();
    if (error == cudaSuccess) {
      error =
          cudaMemcpy(to, from, bytes, kind == CopyKind::to_device ? cudaMemcpyHostToDevice : cudaMemcpyDeviceToHost);
    }
    return error == cudaSuccess ? Status{} : failed(error, text("a copy of ", bytes, " bytes"));
  }

  Status synchronize(int device, void* stream) override {
    const OnDevice on(device);
    cudaError_t error = on.error();
    if (error == cudaSuccess) error = cudaStreamSynchronize(static_cast<cudaStream_t>(stream));
    return error == cudaSuccess ? Status{} : failed(error, text("work on CUDA device ", device));
  }

  Result<TensorMapBytes> tensor_map(int device, const TensorBox& box) override {
    if (const char* fault = fault_of_box(box); fault != nullptr) {
      return Status(StatusCode::kInternal, text("a tensor map that cannot be: ", fault));
    }
    const OnDevice on(device);
    // From the driver that the runtime has found, so that nothing links to libcuda.
    void* entry = nullptr;
    cudaDriverEntryPointQueryResult found;
    cudaError_t error = on.error();
    if (error == cudaSuccess) {
      error = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &entry, 12000, cudaEnableDefault, &found);
    }
    if (error != cudaSuccess) return failed(error, "the driver's cuTensorMapEncodeTiled");
    if (entry == nullptr) return unavailable("the NVIDIA driver has no cuTensorMapEncodeTiled; install a newer driver");
    const auto encode = reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(entry);
    constexpr CUtensorMapSwizzle kSwizzles[] = {CU_TENSOR_MAP_SWIZZLE_NONE, CU_TENSOR_MAP_SWIZZLE_32B,
                                                CU_TENSOR_MAP_SWIZZLE_64B, CU_TENSOR_MAP_SWIZZLE_128B};
    const CUtensorMapDataType type = box.element_bytes == 1   ? CU_TENSOR_MAP_DATA_TYPE_UINT8
                                     : box.element_bytes == 2 ? CU_TENSOR_MAP_DATA_TYPE_UINT16
                                                              : CU_TENSOR_MAP_DATA_TYPE_UINT32;
    cuuint64_t sizes[kMostBoxAxes], strides[kMostBoxAxes];
    cuuint32_t extents[kMostBoxAxes], steps[kMostBoxAxes];
    for (int axis = 0; axis < box.rank; ++axis) {
      sizes[axis] = box.sizes[axis], extents[axis] = box.box[axis], steps[axis] = 1;
      if (axis > 0) strides[axis - 1] = box.strides[axis];
    }
    CUtensorMap map;
    const CUresult result =
        encode(&map, type, static_cast<cuuint32_t>(box.rank), const_cast<void*>(box.base), sizes, strides, extents,
               steps, CU_TENSOR_MAP_INTERLEAVE_NONE, kSwizzles[static_cast<int>(box.swizzle)],
               CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    if (result != CUDA_SUCCESS) {
      return Status(StatusCode::kInternal, text("cuTensorMapEncodeTiled: error ", static_cast<int>(result)));
    }
    TensorMapBytes bytes;
    static_assert(sizeof bytes == sizeof map);
    std::memcpy(&bytes, &map, sizeof map);
    return bytes;
  }

  Status launch(int device, void* stream, const Launch& launch) override {
    const DeviceKernel* const kernel = device_kernel(static_cast<KernelId>(launch.kernel));
    if (kernel == nullptr) return Status(StatusCode::kInternal, text("this build has no kernel ", launch.kernel));
    const OnDevice on(device);
    cudaError_t error = on.error();
    if (error == cudaSuccess && launch.shared_bytes > kPlainSharedBytes) {
      error = allow_shared(device, launch, kernel->entry);
    }
    if (error == cudaSuccess) {
      void* arguments[] = {const_cast<void*>(launch.params)};
      cudaLaunchAttribute overlap{};
      overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
      overlap.val.programmaticStreamSerializationAllowed = 1;
      cudaLaunchConfig_t config{};
      config.gridDim = dim3(launch.grid[0], launch.grid[1], launch.grid[2]);
      config.blockDim = dim3(launch.threads);
      config.dynamicSmemBytes = launch.shared_bytes;
      config.stream = static_cast<cudaStream_t>(stream);
      config.attrs = &overlap;
      config.numAttrs = launch.overlaps && waits_by_itself(device, launch, kernel->entry) ? 1 : 0;
      error = cudaLaunchKernelExC(&config, kernel->entry, arguments);
    }
    return error == cudaSuccess ? Status{} : failed(error, text("kernel ", kernel->name, " on CUDA device ", device));
  }

 private:
  static constexpr std::size_t kPlainSharedBytes = 48 << 10;  // more must be asked for, per kernel and device

  struct Known {
    std::mutex mutex;
    bool asked = false;
    DeviceProperties properties;
    cudaMemPool_t pool = nullptr;
  };

  // octavo's own pool, so that its release threshold affects no one else and the default pool's does not affect octavo.
  cudaError_t pool_of(int device, cudaMemPool_t& pool) {
    Known& known = known_[static_cast<std::size_t>(device)];
    const std::lock_guard lock(known.mutex);
    if (known.pool == nullptr) {
      cudaMemPoolProps props{};
      props.allocType = cudaMemAllocationTypePinned;
      props.location.type = cudaMemLocationTypeDevice;
      props.location.id = device;
      cudaMemPool_t made = nullptr;
      if (const cudaError_t error = cudaMemPoolCreate(&made, &props); error != cudaSuccess) return error;
      std::uint64_t threshold = kKeptBytes;
      (void)cudaMemPoolSetAttribute(made, cudaMemPoolAttrReleaseThreshold, &threshold);
      known.pool = made;
    }
    pool = known.pool;
    return cudaSuccess;
  }

  cudaError_t allow_shared(int device, const Launch& launch, const void* entry) {
    std::atomic<std::size_t>& allowed =
        shared_[static_cast<std::size_t>(device)][static_cast<std::size_t>(launch.kernel)];
    if (allowed.load(std::memory_order_relaxed) >= launch.shared_bytes) return cudaSuccess;
    const cudaError_t error =
        cudaFuncSetAttribute(entry, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(launch.shared_bytes));
    if (error == cudaSuccess) allowed.store(launch.shared_bytes, std::memory_order_relaxed);
    return error;
  }

  // Whether the kernel's code, as the device has it, waits for the one before it: PTX before 9.0 has no such
  // instruction (Ptx::wait_for_earlier_kernels()). Drivers before 12.3 do not capture such launches into graphs.
  bool waits_by_itself(int device, const Launch& launch, const void* entry) {
    enum : std::uint8_t { unknown, no, yes };
    std::atomic<std::uint8_t>& known =
        waits_[static_cast<std::size_t>(device)][static_cast<std::size_t>(launch.kernel)];
    if (const std::uint8_t found = known.load(std::memory_order_relaxed); found != unknown) return found == yes;
    cudaFuncAttributes attributes{};
    int driver = 0;
    if (cudaFuncGetAttributes(&attributes, entry) != cudaSuccess || cudaDriverGetVersion(&driver) != cudaSuccess) {
      (void)cudaGetLastError();
      return false;  // for this launch
    }
    const bool waits = attributes.ptxVersion >= 90 && driver >= 12030;
    known.store(waits ? yes : no, std::memory_order_relaxed);
    return waits;
  }

  std::array<Known, kMostDevices> known_;
  std::array<std::array<std::atomic<std::size_t>, kKernels>, kMostDevices> shared_{};
  std::array<std::array<std::atomic<std::uint8_t>, kKernels>, kMostDevices> waits_{};
};

}  // namespace

Runtime* built_in_runtime() noexcept {
  // Never destroyed: other threads may be in a call while the process ends.
  alignas(CudaRuntime) static std::byte storage[sizeof(CudaRuntime)];
  static CudaRuntime* const kRuntime = new (storage) CudaRuntime;
  return kRuntime;
}

}  // namespace octavo::cuda
