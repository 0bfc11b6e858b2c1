// Peak of mma.sync, which every GPU from compute capability 8.0 on has: eight independent sums a warp, operands in
// registers. What a generation lacks it may emulate (s4 and FP8 on 9.0): the figure says so.
#include "device.hpp"

namespace octavo::bench {
namespace {

constexpr int kThreads = 256, kRounds = 4096, kSums = 8;

enum class Kind { s8, s4, f16, e4m3 };

template <Kind kind>
__device__ void multiply(std::uint32_t (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
#define OCTAVO_MMA(shape)                                                                         \
  asm volatile("mma.sync.aligned." shape " {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};" \
               : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])                                   \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]))
  if constexpr (kind == Kind::s8) OCTAVO_MMA("m16n8k32.row.col.s32.s8.s8.s32");
  if constexpr (kind == Kind::s4) OCTAVO_MMA("m16n8k64.row.col.s32.s4.s4.s32");
#undef OCTAVO_MMA
#define OCTAVO_MMA(shape)                                                                            \
  asm volatile(                                                                                      \
      "{\n.reg .f32 d<4>;\n mov.b32 d0, %0;\n mov.b32 d1, %1;\n mov.b32 d2, %2;\n mov.b32 d3, %3;\n" \
      "mma.sync.aligned." shape                                                                      \
      " {d0,d1,d2,d3}, {%4,%5,%6,%7}, {%8,%9}, {d0,d1,d2,d3};\n"                                     \
      "mov.b32 %0, d0;\n mov.b32 %1, d1;\n mov.b32 %2, d2;\n mov.b32 %3, d3;\n}"                     \
      : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])                                               \
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]))
  if constexpr (kind == Kind::f16) OCTAVO_MMA("m16n8k16.row.col.f32.f16.f16.f32");
#if __CUDA_ARCH__ >= 890
  if constexpr (kind == Kind::e4m3) OCTAVO_MMA("m16n8k32.row.col.f32.e4m3.e4m3.f32");
#else
  if constexpr (kind == Kind::e4m3) __trap();  // compiled for an earlier GPU than the one it runs on
#endif
#undef OCTAVO_MMA
}

// `keep`, `set`: of random words.
template <Kind kind>
__global__ void __launch_bounds__(kThreads, 2)
    peak(std::uint32_t keep, std::uint32_t set, Ticks* ticks, std::uint32_t* sink) {
  std::uint32_t a[4], b[2], d[kSums][4] = {};
  for (int i = 0; i < 4; ++i) a[i] = (scramble(threadIdx.x * 8 + i) & keep) | set;
  for (int i = 0; i < 2; ++i) b[i] = (scramble(threadIdx.x * 8 + 4 + i) & keep) | set;
  Watch watch;
  watch.start();
#pragma unroll 1
  for (int round = 0; round < kRounds; ++round) {
#pragma unroll
    for (int sum = 0; sum < kSums; ++sum) multiply<kind>(d[sum], a, b);
  }
  watch.stop(ticks);
  std::uint32_t all = 0;
  for (int sum = 0; sum < kSums; ++sum) all ^= d[sum][0] ^ d[sum][3];
  if (all == 0x12345678u) sink[threadIdx.x] = all;
}

template <Kind kind>
void measure(Bench& bench, const char* name, int k, int needs, std::uint32_t keep, std::uint32_t set) {
  if (!bench.wants(name, "Tops", needs)) return;
  const int blocks = 2 * bench.multiprocessors();
  const Sustained how = bench.sustain([&] {
    peak<kind><<<blocks, kThreads>>>(keep, set, bench.ticks(), bench.sink());
    return cudaGetLastError();
  });
  bench.add(2.0 * 16 * 8 * k * kSums * kRounds * (kThreads / 32) * blocks / how.milliseconds * 1e-9, how);
}

}  // namespace

void measure_mma_peak(Bench& bench) {
  measure<Kind::s8>(bench, "mma_s8_m16n8k32", 32, 80, 0xffffffffu, 0);
  measure<Kind::s4>(bench, "mma_s4_m16n8k64", 64, 80, 0xffffffffu, 0);
  // Halves of magnitude 0.5 to 2, of either sign.
  measure<Kind::f16>(bench, "mma_f16_m16n8k16", 16, 80, 0x87ff87ffu, 0x38003800u);
  measure<Kind::e4m3>(bench, "mma_e4m3_m16n8k32", 32, 89, 0xf7f7f7f7u, 0);
}

}  // namespace octavo::bench
