// When two tensors lie on different devices: the first one given decides, and the CPU's index says nothing. Whether a
// pointer is the device's is asked of the driver, and not for tensors without elements.
#include "api/placement.hpp"

#include <string>

#include "core/text.hpp"
#include "cuda/cuda.hpp"

namespace octavo {
namespace {

std::string device_words(Device device) {
  return device.type == DeviceType::cuda ? text("CUDA device ", device.index) : std::string("the CPU");
}

}  // namespace

Status check_placement(std::span<const Placed> tensors, Device& device) {
  device = {};
  const Placed* first = nullptr;
  for (const Placed& tensor : tensors) {
    if (tensor.view == nullptr || !tensor.view->given()) continue;
    const Device of = tensor.view->device;
    if (of.type == DeviceType::cuda) {
      if (Status status = cuda::check_device(text(tensor.name.tensor, tensor.name.part), of.index); !status.ok()) {
        return status;
      }
    } else if (of.type != DeviceType::cpu) {
      return invalid_argument(tensor.name, " lies on the unknown device type ", static_cast<int>(of.type));
    }
    // The index of the one CPU says nothing.
    const bool same = first == nullptr || (of.type == device.type && (of.type == DeviceType::cpu || of == device));
    if (!same) {
      return invalid_argument(tensor.name, " lies on ", device_words(of), " and ", first->name, " on ",
                              device_words(device), "; all tensors of a call must lie on one device");
    }
    if (first == nullptr) {
      first = &tensor;
      device = of;
    }
  }
  return {};
}

Status check_pointers(std::span<const Placed> tensors, Device device) {
  if (device.type != DeviceType::cuda) return {};
  for (const Placed& tensor : tensors) {
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
