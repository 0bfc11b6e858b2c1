// Where the tensors of a call are: the first one given decides the device, and the CPU's index is ignored. The driver
// is asked about each pointer but those of tensors without elements.
#include "api/device_check.hpp"

#include <string>

#include "core/text.hpp"
#include "cuda/host/cuda.hpp"

namespace octavo {
namespace {

std::string device_text(Device device) {
  return device.type == DeviceType::cuda ? text("CUDA device ", device.index) : std::string("the CPU");
}

}  // namespace

Status check_devices(std::span<const NamedTensor> tensors, Device& device) {
  device = {};
  const NamedTensor* first = nullptr;
  for (const NamedTensor& tensor : tensors) {
    if (tensor.view == nullptr || !tensor.view->given()) continue;
    const Device of = tensor.view->device;
    if (of.type == DeviceType::cuda) {
      if (Status status = cuda::check_device(text(tensor.name.tensor, tensor.name.part), of.index); !status.ok()) {
        return status;
      }
    } else if (of.type != DeviceType::cpu) {
      return invalid_argument(tensor.name, " is on the unknown device type ", static_cast<int>(of.type));
    }
    // The CPU has no index.
    const bool same = first == nullptr || (of.type == device.type && (of.type == DeviceType::cpu || of == device));
    if (!same) {
      return invalid_argument(tensor.name, " is on ", device_text(of), " and ", first->name, " on ",
                              device_text(device), "; all tensors of a call must be on one device");
    }
    if (first == nullptr) {
      first = &tensor;
      device = of;
    }
  }
  return {};
}

Status check_pointers(std::span<const NamedTensor> tensors, Device device) {
  if (device.type != DeviceType::cuda) return {};
  for (const NamedTensor& tensor : tensors) {
    if (tensor.view == nullptr || !tensor.view->given() || tensor.view->data == nullptr) continue;
    if (tensor.view->elements() == 0) continue;
    if (Status status = cuda::check_pointer(tensor.name.tensor, tensor.name.part, device.index, tensor.view->data);
        !status.ok()) {
      return status;
    }
  }
  return {};
}

}  // namespace octavo
