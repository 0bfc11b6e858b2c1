#include "power.hpp"

#include <dlfcn.h>

namespace octavo::bench {

PowerMeter::~PowerMeter() {
  if (library_ != nullptr) dlclose(library_);
}

void PowerMeter::open(const std::string& bus) {
  library_ = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library_ == nullptr) return;
  const auto find = [&](const char* name) { return dlsym(library_, name); };
  const auto init = reinterpret_cast<int (*)()>(find("nvmlInit_v2"));
  const auto by_bus = reinterpret_cast<int (*)(const char*, void**)>(find("nvmlDeviceGetHandleByPciBusId_v2"));
  const auto power = reinterpret_cast<int (*)(void*, unsigned*)>(find("nvmlDeviceGetPowerUsage"));
  if (init == nullptr || by_bus == nullptr || power == nullptr) return;
  if (init() == 0 && by_bus(bus.c_str(), &device_) == 0) power_ = power;
}

double PowerMeter::watts() const {
  unsigned milliwatts = 0;
  return power_ != nullptr && power_(device_, &milliwatts) == 0 ? milliwatts * 1e-3 : 0;
}

}  // namespace octavo::bench
