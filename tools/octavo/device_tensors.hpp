// The tensors of a call where --device says: the host's own, or copies on a CUDA device.
#pragma once

#include <deque>

#include "octavo/attention.hpp"
#include "octavo/device.hpp"
#include "octavo/quantize.hpp"

namespace octavo::tool {

class DeviceTensors {
 public:
  explicit DeviceTensors(Device device) : device_(device) {}
  DeviceTensors(const DeviceTensors&) = delete;
  DeviceTensors& operator=(const DeviceTensors&) = delete;

  // The same call with every tensor on the device. Views of the host's memory, whose strides are not negative.
  AttentionInputs moved(const AttentionInputs& inputs);
  TensorView moved(const TensorView& host);
  // Waits for the call's work.
  void wait() const;
  // Copies what the device holds of `host`, which was moved before, back to it.
  void fetch(const TensorView& host) const;

 private:
  struct Copy {
    const void* host;
    DeviceMemory memory;
  };
  Device device_;
  std::deque<Copy> copies_;
  std::deque<QuantizedView> quantized_;
};

}  // namespace octavo::tool
