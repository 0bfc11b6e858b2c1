// A GPU's power as the driver's management library tells it. The library comes with the driver, not with the compiler,
// so it is opened at run time, and without it watts are not known (0).
#pragma once

#include <string>

namespace octavo::bench {

class PowerMeter {
 public:
  PowerMeter() = default;
  ~PowerMeter();
  PowerMeter(const PowerMeter&) = delete;
  PowerMeter& operator=(const PowerMeter&) = delete;

  // `bus`: the GPU's PCI address, "0000:1b:00.0".
  void open(const std::string& bus);
  // The driver's own average, over up to a second.
  double watts() const;

 private:
  void* library_ = nullptr;
  void* device_ = nullptr;
  int (*power_)(void*, unsigned*) = nullptr;
};

}  // namespace octavo::bench
