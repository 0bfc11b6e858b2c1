// gpu_conformance [--list] [PATTERN...]: the device tests (tests/cuda_backend) without GoogleTest, a line of JSON for
// each. Exit code: 0, 1 where a test failed, 2 where no test has such a name, 3 without a GPU.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstring>
#include <string>

#include "card.hpp"
#include "octavo/device.hpp"

int main(int count, char** arguments) {
  if (count < 2 || std::strcmp(arguments[1], "--list") != 0) {
    [[maybe_unused]] const octavo::test::Card gpu;
    const auto memory = octavo::DeviceMemory::allocate({octavo::DeviceType::cuda, 0}, 256);
    if (!memory.ok()) {
      std::fprintf(stderr, "gpu_conformance: no GPU can be used: %s\n", std::string(memory.status().message()).c_str());
      return 3;
    }
  }
  return testing::run_tests(count, arguments);
}
