// octavo/device.hpp for C: the devices one by one, and waiting for their streams.
#include "octavo/device.hpp"

#include <atomic>
#include <memory>
#include <vector>

#include "capi/convert.hpp"
#include "capi/error.hpp"
#include "capi/sized_struct.hpp"

namespace octavo::capi {
namespace {

using Devices = std::vector<DeviceInfo>;

// Never destroyed: its strings stay valid for the life of the process. A driver that has no device now is asked again
// later.
Result<const Devices*> device_list() {
  static std::atomic<const Devices*> known{nullptr};
  if (const Devices* list = known.load(std::memory_order_acquire); list != nullptr) return list;
  Result<Devices> asked = devices();
  if (!asked.ok()) return asked.status();
  auto made = std::make_unique<const Devices>(*std::move(asked));
  const Devices* first = nullptr;
  if (known.compare_exchange_strong(first, made.get(), std::memory_order_acq_rel)) return made.release();
  return first;
}

}  // namespace
}  // namespace octavo::capi

namespace capi = octavo::capi;
using octavo::Result;
using octavo::Status;

octavo_status_t octavo_device_count(size_t* count) {
  return capi::guarded([&]() -> Status {
    if (Status status = capi::check_given(count, "count"); !status.ok()) return status;
    const Result<const capi::Devices*> list = capi::device_list();
    if (list.ok()) *count = (*list)->size();
    return list.status();
  });
}

octavo_status_t octavo_device_info(size_t index, octavo_device_t* device) {
  return capi::guarded([&]() -> Status {
    if (Status status = capi::check_given(device, "device"); !status.ok()) return status;
    const Result<const capi::Devices*> list = capi::device_list();
    if (!list.ok()) return list.status();
    const std::size_t count = (*list)->size();
    if (index >= count) return octavo::invalid_argument("index is ", index, "; there are ", count, " devices");
    const octavo::DeviceInfo& info = (**list)[index];
    octavo_device_t described = OCTAVO_DEVICE_INIT;
    described.device_type = static_cast<std::int32_t>(info.device.type);
    described.device_index = info.device.index;
    described.name = info.name.c_str();
    described.compute_capability = info.compute_capability.c_str();
    described.memory_bytes = info.memory_bytes;
    described.multiprocessors = info.multiprocessors;
    // A program with a smaller struct lacks fields, and nothing is wrong with what it has.
    return capi::write_struct(described, described, "device", "octavo_device_t", device);
  });
}

octavo_status_t octavo_synchronize(int32_t device_type, int32_t device_index, void* stream) {
  return capi::guarded([&]() -> Status {
    octavo::Device device{octavo::DeviceType::cpu, device_index};
    if (Status status = capi::read_enumerator("device_type", device_type, octavo::DeviceType::cuda, device.type);
        !status.ok()) {
      return status;
    }
    return octavo::synchronize(device, stream);
  });
}
