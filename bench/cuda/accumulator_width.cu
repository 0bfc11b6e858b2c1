// How many bits a tensor core's float sum keeps. Of the products of one instruction: the largest s at which 2^8 +
// 2^(8-s) is not 2^8. Of the accumulator: the largest k at which 2^k + 1 is not 2^k. And the relative error of 4096
// equal products summed by one accumulator, as P V of 4096 keys is. B is 1 throughout, so no layout but A's matters.
#include "device.hpp"

namespace octavo::bench {
namespace {

enum class Unit { mma, wgmma };
enum class Format { f16, e4m3 };

// 2^e.
template <Format format>
__device__ std::uint32_t power(int e) {
  if constexpr (format == Format::f16) return e >= -14 ? static_cast<std::uint32_t>(e + 15) << 10 : 1u << (e + 24);
  return e >= -6 ? static_cast<std::uint32_t>(e + 7) << 3 : 1u << (e + 9);
}
template <Format format>
constexpr int kSmallest = format == Format::f16 ? -24 : -9;

// One instruction on A whose row holds `first`, `second` at k = 0 and 1, else `rest`; element (0, 0) of the result.
template <Unit unit, Format format>
__device__ float multiply(std::uint32_t first, std::uint32_t second, std::uint32_t rest, float sum,
                          std::uint64_t ones) {
  constexpr int kBits = format == Format::f16 ? 16 : 8;
  const auto fill = [](std::uint32_t x) { return kBits == 16 ? x | x << 16 : x | x << 8 | x << 16 | x << 24; };
  std::uint32_t a[4] = {fill(rest), fill(rest), fill(rest), fill(rest)};
  // Register 0 of lane 4g holds k = 0, 1, ... of row g.
  constexpr std::uint32_t kPair = kBits == 16 ? 0xffffffffu : 0xffffu;
  if (threadIdx.x % 4 == 0) a[0] = (a[0] & ~kPair) | first | second << kBits;
  const std::uint32_t one = fill(power<format>(0));
  float d[4] = {sum, sum, sum, sum};
  if constexpr (unit == Unit::mma) {
#define OCTAVO_MMA(shape)                                                                         \
  asm volatile("mma.sync.aligned." shape " {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%8}, {%0,%1,%2,%3};" \
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])                                   \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(one))
    if constexpr (format == Format::f16) OCTAVO_MMA("m16n8k16.row.col.f32.f16.f16.f32");
#if __CUDA_ARCH__ >= 890
    if constexpr (format == Format::e4m3) OCTAVO_MMA("m16n8k32.row.col.f32.e4m3.e4m3.f32");
#else
    if constexpr (format == Format::e4m3) __trap();  // compiled for an earlier GPU than the one it runs on
#endif
#undef OCTAVO_MMA
  }
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  if constexpr (unit == Unit::wgmma) {
#define OCTAVO_WGMMA(shape, tail)                                                             \
  asm volatile(                                                                               \
      "{\n.reg .pred p;\n setp.eq.u32 p, 0, 0;\n wgmma.fence.sync.aligned;\n"                 \
      "wgmma.mma_async.sync.aligned." shape " {%0,%1,%2,%3}, {%4,%5,%6,%7}, %8, p, 1, 1" tail \
      ";\n"                                                                                   \
      "wgmma.commit_group.sync.aligned;\n wgmma.wait_group.sync.aligned 0;\n}"                \
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])                                        \
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(ones))
    if constexpr (format == Format::f16) OCTAVO_WGMMA("m64n8k16.f32.f16.f16", ", 0");
    if constexpr (format == Format::e4m3) OCTAVO_WGMMA("m64n8k32.f32.e4m3.e4m3", "");
#undef OCTAVO_WGMMA
  }
#endif
  return d[0];
}

struct Width {
  int product_bits, sum_bits;
  float error;
};

template <Unit unit, Format format>
__global__ void __launch_bounds__(128, 1) width(Width* to) {
  // [8 columns][32 bytes] of ones, and as much again: any descriptor finds nothing else.
  __shared__ alignas(1024) std::uint32_t ones[512];
  const std::uint32_t one = power<format>(0);
  for (int i = static_cast<int>(threadIdx.x); i < 512; i += 128) {
    ones[i] = format == Format::f16 ? one | one << 16 : one | one << 8 | one << 16 | one << 24;
  }
  std::uint64_t descriptor = 0;
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(ones));
  descriptor = static_cast<std::uint64_t>((address & 0x3ffffu) >> 4) | std::uint64_t{8} << 16 | std::uint64_t{16} << 32;
#endif
  __syncthreads();
  const auto run = [&](std::uint32_t first, std::uint32_t second, std::uint32_t rest, float sum) {
    return multiply<unit, format>(first, second, rest, sum, descriptor);
  };
  Width found{0, 0, 0};
  for (int s = 1; 8 - s >= kSmallest<format>; ++s) {
    if (run(power<format>(8), power<format>(8 - s), 0, 0.0f) != 256.0f) found.product_bits = s;
  }
  for (int k = 1; k < 32; ++k) {
    const float sum = exp2f(static_cast<float>(k));
    if (run(one, 0, 0, sum) != sum) found.sum_bits = k;
  }
  constexpr int kTerms = format == Format::f16 ? 16 : 32;
  // 1.125 has four bits: the sum is exact in f32.
  const std::uint32_t term = format == Format::f16 ? 0x3c80u : 0x39u;
  float sum = 0;
  for (int key = 0; key < 4096; key += kTerms) sum = run(term, term, term, sum);
  found.error = (4608.0f - sum) / 4608.0f;
  if (threadIdx.x == 0) *to = found;
}

template <Unit unit, Format format>
void measure(Bench& bench, const std::string& name, int needs, bool exactly) {
  Width* const found = reinterpret_cast<Width*>(bench.sink());
  const auto run = [&] {
    (void)bench.once([&] {
      width<unit, format><<<1, unit == Unit::wgmma ? 128 : 32>>>(found);
      return cudaGetLastError();
    });
  };
  if (bench.wants(name + "_product_bits", "bits", needs, exactly)) run(), bench.add(found->product_bits);
  if (bench.wants(name + "_sum_bits", "bits", needs, exactly)) run(), bench.add(found->sum_bits);
  if (bench.wants(name + "_error_of_4096", "relative", needs, exactly)) run(), bench.add(found->error);
}

}  // namespace

void measure_accumulator_width(Bench& bench) {
  measure<Unit::mma, Format::f16>(bench, "mma_f16", 80, false);
  measure<Unit::mma, Format::e4m3>(bench, "mma_e4m3", 89, false);
  measure<Unit::wgmma, Format::f16>(bench, "wgmma_f16", 90, true);
  measure<Unit::wgmma, Format::e4m3>(bench, "wgmma_e4m3", 90, true);
}

}  // namespace octavo::bench
