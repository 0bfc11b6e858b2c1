// setmaxnreg: what it costs to hand a producer's registers to two consumer warpgroups, 24 / 240 or 40 / 232, and
// whether wgmma with 128 accumulators a thread runs as fast beside an idle producer.
#include "device.hpp"
#include "wgmma.hpp"

namespace octavo::bench {
namespace {

constexpr int kThreads = 384, kRounds = 1024;
constexpr int kSharedBytes = 1024 + kWgmmaRowBytes * (128 + 256);

template <int producer, int consumer>
__global__ void __launch_bounds__(kThreads, 1) split(Ticks* ticks, std::uint32_t* sink, bool only_split) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ std::uint8_t raw[];
  const auto base = (static_cast<std::uint32_t>(__cvta_generic_to_shared(raw)) + 1023u) & ~1023u;
  auto* words = reinterpret_cast<std::uint32_t*>(raw);
  for (int i = static_cast<int>(threadIdx.x); i < kSharedBytes / 4; i += kThreads) {
    words[i] = scramble(static_cast<std::uint32_t>(i));
  }
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  __syncthreads();
  // Consumers come first: thread 0 keeps the time.
  if (threadIdx.x >= 256) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(producer));
    return;
  }
  Watch watch;
  watch.start();
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(consumer));
  if (only_split) {
    watch.stop(ticks);
    return;
  }
  std::uint32_t regs[4];
  for (int i = 0; i < 4; ++i) regs[i] = scramble(threadIdx.x * 4u + i);
  const std::uint64_t from_b = wgmma_descriptor(base + 128 * kWgmmaRowBytes);
  std::uint32_t result;
  OCTAVO_WGMMA_LOOP("m64n256k32.s32.s8.s8", "b32", OCTAVO_D128, OCTAVO_A_REGISTERS, "", result, kRounds, from_b, from_b,
                    regs);
  watch.stop(ticks);
  if (result == 0x12345678u) sink[threadIdx.x] = result;
#endif
}

using Kernel = void (*)(Ticks*, std::uint32_t*, bool);

cudaError_t start(const Bench& bench, Kernel kernel, bool only_split) {
  const cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes);
  if (error != cudaSuccess) return error;
  kernel<<<bench.multiprocessors(), kThreads, kSharedBytes>>>(bench.ticks(), bench.sink(), only_split);
  return cudaGetLastError();
}

void measure(Bench& bench, const std::string& name, Kernel kernel) {
  if (bench.wants("setmaxnreg_" + name + "_cycles", "cycles", 90, true)) {
    bench.add(static_cast<double>(bench.once([&] { return start(bench, kernel, true); }).cycles));
  }
  if (bench.wants("setmaxnreg_" + name + "_wgmma_s8_rs_n256", "Tops", 90, true)) {
    const Sustained how = bench.sustain([&] { return start(bench, kernel, false); });
    bench.add(2.0 * 64 * 256 * 32 * kWgmmaSteps * kRounds * 2 * bench.multiprocessors() / how.milliseconds * 1e-9, how);
  }
}

}  // namespace

void measure_register_split(Bench& bench) {
  measure(bench, "24_240", split<24, 240>);
  measure(bench, "40_232", split<40, 232>);
}

}  // namespace octavo::bench
