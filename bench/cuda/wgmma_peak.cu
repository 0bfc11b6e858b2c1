// Peak of Hopper's wgmma: s8, e4m3 and bf16, A from shared memory (ss) and from registers (rs), N 128, 224 and 256; two
// warpgroups of 64 rows on every multiprocessor, no loads, no softmax.
#include "device.hpp"
#include "wgmma.hpp"

namespace octavo::bench {
namespace {

constexpr int kWarpgroups = 2, kThreads = 128 * kWarpgroups, kRounds = 1024;
constexpr int kSharedBytes = 1024 + kWgmmaRowBytes * (64 * kWarpgroups + 256);

struct Operands {
  std::uint32_t keep, set;  // of random words: no NaN, nothing that grows
  int rounds;
};

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define OCTAVO_ON_HOPPER(body) body
#else
#define OCTAVO_ON_HOPPER(body)
#endif

#define OCTAVO_PEAK(name, shape, type, d, a, tail)                                                                 \
  __global__ void __launch_bounds__(kThreads, 1) name(Operands operands, Ticks* ticks, std::uint32_t* sink) {      \
    OCTAVO_ON_HOPPER({                                                                                             \
      extern __shared__ std::uint8_t raw[];                                                                        \
      const auto base = (static_cast<std::uint32_t>(__cvta_generic_to_shared(raw)) + 1023u) & ~1023u;              \
      auto* words = reinterpret_cast<std::uint32_t*>(raw);                                                         \
      for (int i = static_cast<int>(threadIdx.x); i < kSharedBytes / 4; i += kThreads) {                           \
        words[i] = (scramble(blockIdx.x * 65536u + static_cast<std::uint32_t>(i)) & operands.keep) | operands.set; \
      }                                                                                                            \
      std::uint32_t regs[4];                                                                                       \
      for (int i = 0; i < 4; ++i) regs[i] = (scramble(threadIdx.x * 4u + i) & operands.keep) | operands.set;       \
      asm volatile("fence.proxy.async.shared::cta;" ::: "memory");                                                 \
      __syncthreads();                                                                                             \
      const std::uint64_t from_a = wgmma_descriptor(base + threadIdx.x / 128 * 64 * kWgmmaRowBytes);               \
      const std::uint64_t from_b = wgmma_descriptor(base + kWarpgroups * 64 * kWgmmaRowBytes);                     \
      Watch watch;                                                                                                 \
      watch.start();                                                                                               \
      std::uint32_t result;                                                                                        \
      OCTAVO_WGMMA_LOOP(shape, type, d, a, tail, result, operands.rounds, from_a, from_b, regs);                   \
      watch.stop(ticks);                                                                                           \
      if (result == 0x12345678u) sink[threadIdx.x] = result;                                                       \
    })                                                                                                             \
  }

OCTAVO_PEAK(s8_ss_128, "m64n128k32.s32.s8.s8", "b32", OCTAVO_D64, OCTAVO_A_SHARED, "")
OCTAVO_PEAK(s8_ss_224, "m64n224k32.s32.s8.s8", "b32", OCTAVO_D112, OCTAVO_A_SHARED, "")
OCTAVO_PEAK(s8_ss_256, "m64n256k32.s32.s8.s8", "b32", OCTAVO_D128, OCTAVO_A_SHARED, "")
OCTAVO_PEAK(s8_rs_128, "m64n128k32.s32.s8.s8", "b32", OCTAVO_D64, OCTAVO_A_REGISTERS, "")
OCTAVO_PEAK(s8_rs_224, "m64n224k32.s32.s8.s8", "b32", OCTAVO_D112, OCTAVO_A_REGISTERS, "")
OCTAVO_PEAK(s8_rs_256, "m64n256k32.s32.s8.s8", "b32", OCTAVO_D128, OCTAVO_A_REGISTERS, "")
OCTAVO_PEAK(u8s8_rs_128, "m64n128k32.s32.u8.s8", "b32", OCTAVO_D64, OCTAVO_A_REGISTERS, "")
OCTAVO_PEAK(e4m3_ss_128, "m64n128k32.f32.e4m3.e4m3", "f32", OCTAVO_D64, OCTAVO_A_SHARED, ", 1, 1")
OCTAVO_PEAK(e4m3_ss_224, "m64n224k32.f32.e4m3.e4m3", "f32", OCTAVO_D112, OCTAVO_A_SHARED, ", 1, 1")
OCTAVO_PEAK(e4m3_ss_256, "m64n256k32.f32.e4m3.e4m3", "f32", OCTAVO_D128, OCTAVO_A_SHARED, ", 1, 1")
OCTAVO_PEAK(e4m3_rs_128, "m64n128k32.f32.e4m3.e4m3", "f32", OCTAVO_D64, OCTAVO_A_REGISTERS, ", 1, 1")
OCTAVO_PEAK(e4m3_rs_224, "m64n224k32.f32.e4m3.e4m3", "f32", OCTAVO_D112, OCTAVO_A_REGISTERS, ", 1, 1")
OCTAVO_PEAK(e4m3_rs_256, "m64n256k32.f32.e4m3.e4m3", "f32", OCTAVO_D128, OCTAVO_A_REGISTERS, ", 1, 1")
OCTAVO_PEAK(bf16_ss_128, "m64n128k16.f32.bf16.bf16", "f32", OCTAVO_D64, OCTAVO_A_SHARED, ", 1, 1, 0, 0")
OCTAVO_PEAK(bf16_ss_256, "m64n256k16.f32.bf16.bf16", "f32", OCTAVO_D128, OCTAVO_A_SHARED, ", 1, 1, 0, 0")
OCTAVO_PEAK(bf16_rs_128, "m64n128k16.f32.bf16.bf16", "f32", OCTAVO_D64, OCTAVO_A_REGISTERS, ", 1, 1, 0")
OCTAVO_PEAK(bf16_rs_256, "m64n256k16.f32.bf16.bf16", "f32", OCTAVO_D128, OCTAVO_A_REGISTERS, ", 1, 1, 0")

// Any byte; bytes that are no NaN of E4M3; pairs of bf16 of magnitude 0.5 to 2.
constexpr Operands kAnything{0xffffffffu, 0, kRounds}, kE4m3{0xf7f7f7f7u, 0, kRounds},
    kBf16{0x80ff80ffu, 0x3f003f00u, kRounds};

struct Entry {
  const char* name;
  void (*kernel)(Operands, Ticks*, std::uint32_t*);
  int n, k;
  Operands operands;
};
constexpr Entry kEntries[] = {
    {"wgmma_s8_ss_n128", s8_ss_128, 128, 32, kAnything},     {"wgmma_s8_ss_n224", s8_ss_224, 224, 32, kAnything},
    {"wgmma_s8_ss_n256", s8_ss_256, 256, 32, kAnything},     {"wgmma_s8_rs_n128", s8_rs_128, 128, 32, kAnything},
    {"wgmma_s8_rs_n224", s8_rs_224, 224, 32, kAnything},     {"wgmma_s8_rs_n256", s8_rs_256, 256, 32, kAnything},
    {"wgmma_u8s8_rs_n128", u8s8_rs_128, 128, 32, kAnything}, {"wgmma_e4m3_ss_n128", e4m3_ss_128, 128, 32, kE4m3},
    {"wgmma_e4m3_ss_n224", e4m3_ss_224, 224, 32, kE4m3},     {"wgmma_e4m3_ss_n256", e4m3_ss_256, 256, 32, kE4m3},
    {"wgmma_e4m3_rs_n128", e4m3_rs_128, 128, 32, kE4m3},     {"wgmma_e4m3_rs_n224", e4m3_rs_224, 224, 32, kE4m3},
    {"wgmma_e4m3_rs_n256", e4m3_rs_256, 256, 32, kE4m3},     {"wgmma_bf16_ss_n128", bf16_ss_128, 128, 16, kBf16},
    {"wgmma_bf16_ss_n256", bf16_ss_256, 256, 16, kBf16},     {"wgmma_bf16_rs_n128", bf16_rs_128, 128, 16, kBf16},
    {"wgmma_bf16_rs_n256", bf16_rs_256, 256, 16, kBf16},
};

}  // namespace

void measure_wgmma_peak(Bench& bench) {
  for (const Entry& entry : kEntries) {
    if (!bench.wants(entry.name, "Tops", 90, true)) continue;
    const Sustained how = bench.sustain([&] {
      const cudaError_t error =
          cudaFuncSetAttribute(entry.kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes);
      if (error != cudaSuccess) return error;
      entry.kernel<<<bench.multiprocessors(), kThreads, kSharedBytes>>>(entry.operands, bench.ticks(), bench.sink());
      return cudaGetLastError();
    });
    const double operations =
        2.0 * 64 * entry.n * entry.k * kWgmmaSteps * kRounds * kWarpgroups * bench.multiprocessors();
    bench.add(operations / how.milliseconds * 1e-9, how);
  }
}

}  // namespace octavo::bench
