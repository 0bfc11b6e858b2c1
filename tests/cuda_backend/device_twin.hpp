// Tensors of the host's moved to a device and back, whatever their strides: the bytes that a view spans are copied as
// they lie, so that what stands between its elements comes along and can be looked at afterwards.
#pragma once

#include <deque>

#include "octavo/device.hpp"
#include "octavo/octavo.hpp"

namespace octavo::test {

class DeviceTwins {
 public:
  explicit DeviceTwins(Device device) : device_(device) {}

  /// The view's twin on the device; "not given" and empty tensors stay what they are, but for the device.
  TensorView to_device(const TensorView& host);
  QuantizedView to_device(const QuantizedView& host);
  /// Copies every twin's bytes back to the host's.
  void to_host();

 private:
  struct Twin {
    DeviceMemory memory;
    char* host;
  };
  Device device_;
  std::deque<Twin> twins_;
};

/// octavo::attention() with every tensor on CUDA device 0 in place of the host's.
Status attention_on_device(const AttentionInputs& inputs, const AttentionParams& params, const Execution& execution);

}  // namespace octavo::test
