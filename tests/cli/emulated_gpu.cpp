// The command over an emulated GPU, on which --device cuda computes.
#include "emulated_runtime.hpp"

namespace {
const octavo::test::EmulatedRuntime gpu;
}
