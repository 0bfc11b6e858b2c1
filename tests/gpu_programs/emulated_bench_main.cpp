// gpu_attention_bench on the emulated GPU: what make gpu-check does with its output is rehearsed without a GPU.
#include "attention_bench.hpp"
#include "emulated_runtime.hpp"

int main(int count, char** arguments) {
  const octavo::test::EmulatedRuntime gpu;
  return octavo::bench::attention_bench(count, arguments);
}
