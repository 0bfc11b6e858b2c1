// How many of an instruction a multiprocessor finishes in a clock: what the softmax between the products is made of.
// 1024 threads, eight chains each; and exp2 beside a number of FMAs, which says whether the two units work at once.
// No two steps of a chain may be one instruction to the translator, which folds maxima of maxima and permutations of
// permutations: there are kChains * kUnroll = 128 of the instruction in the loop (cuobjdump -sass).
#include "device.hpp"

namespace octavo::bench {
namespace {

constexpr int kThreads = 1024, kChains = 8, kUnroll = 16, kRounds = 256;

enum class Op { ffma, fadd, fmax, ex2, f32_of_s32, s32_of_f32, pack_f16x2, pack_e4m3x2, prmt, dp4a };

// `turn`: of the chain.
template <Op op>
__device__ void step(std::uint32_t& x, std::uint32_t a, std::uint32_t b, int turn = 0) {
  if constexpr (op == Op::ffma)
    asm volatile(
        "{.reg .f32 t, u, v;\n mov.b32 t, %0;\n mov.b32 u, %1;\n mov.b32 v, %2;\n"
        "fma.rn.f32 t, t, u, v;\n mov.b32 %0, t;}"
        : "+r"(x)
        : "r"(a), "r"(b));
  if constexpr (op == Op::fadd)
    asm volatile(
        "{.reg .f32 t, u;\n mov.b32 t, %0;\n mov.b32 u, %1;\n"
        "add.rn.f32 t, t, u;\n mov.b32 %0, t;}"
        : "+r"(x)
        : "r"(a));
  // The same unit's minimum with another number in between.
  if constexpr (op == Op::fmax) {
    if (turn % 2 == 0) {
      asm volatile(
          "{.reg .f32 t, u;\n mov.b32 t, %0;\n mov.b32 u, %1;\n"
          "max.f32 t, t, u;\n mov.b32 %0, t;}"
          : "+r"(x)
          : "r"(b));
    } else {
      asm volatile(
          "{.reg .f32 t, u;\n mov.b32 t, %0;\n mov.b32 u, %1;\n"
          "min.f32 t, t, u;\n mov.b32 %0, t;}"
          : "+r"(x)
          : "r"(a));
    }
  }
  // Of -x, for which the instruction has a bit: 2^-x of itself settles at 0.64, 2^x at infinity.
  if constexpr (op == Op::ex2)
    asm volatile(
        "{.reg .f32 t;\n mov.b32 t, %0;\n neg.f32 t, t;\n ex2.approx.ftz.f32 t, t;\n"
        "mov.b32 %0, t;}"
        : "+r"(x));
  if constexpr (op == Op::f32_of_s32) asm volatile("{.reg .f32 t;\n cvt.rn.f32.s32 t, %0;\n mov.b32 %0, t;}" : "+r"(x));
  if constexpr (op == Op::s32_of_f32)
    asm volatile("{.reg .f32 t;\n mov.b32 t, %0;\n cvt.rni.s32.f32 %0, t;}" : "+r"(x));
  if constexpr (op == Op::pack_f16x2)
    asm volatile(
        "{.reg .f32 t, u;\n mov.b32 t, %0;\n mov.b32 u, %1;\n"
        "cvt.rn.f16x2.f32 %0, t, u;}"
        : "+r"(x)
        : "r"(a));
#if __CUDA_ARCH__ >= 890
  // Two, the second of which packs both; a few moves stand between them, which are not counted.
  if constexpr (op == Op::pack_e4m3x2)
    asm volatile(
        "{.reg .f32 t, u;\n.reg .b16 h, i;\n mov.b32 t, %0;\n mov.b32 u, %1;\n"
        "cvt.rn.satfinite.e4m3x2.f32 h, t, u;\n"
        "cvt.rn.satfinite.e4m3x2.f32 i, u, t;\n mov.b32 %0, {h, i};}"
        : "+r"(x)
        : "r"(a));
#else
  if constexpr (op == Op::pack_e4m3x2) __trap();  // compiled for an earlier GPU than the one it runs on
#endif
  // A selector that only the run knows.
  if constexpr (op == Op::prmt) asm volatile("prmt.b32 %0, %0, %1, %2;" : "+r"(x) : "r"(a), "r"(b));
  if constexpr (op == Op::dp4a) asm volatile("dp4a.s32.s32 %0, %1, %2, %0;" : "+r"(x) : "r"(a), "r"(b));
}

// `fmas` beside each of the instruction, in chains of their own.
template <Op op, int fmas>
__global__ void __launch_bounds__(kThreads, 1)
    rate(std::uint32_t a, std::uint32_t b, Ticks* ticks, std::uint32_t* sink) {
  std::uint32_t x[kChains], y[kChains];
  for (int i = 0; i < kChains; ++i) x[i] = scramble(threadIdx.x * 16 + i) & 0x3fffffffu, y[i] = x[i] ^ 0x155u;
  __syncthreads();
  Watch watch;
  watch.start();
#pragma unroll 1
  for (int round = 0; round < kRounds; ++round) {
#pragma unroll
    for (int turn = 0; turn < kUnroll; ++turn) {
#pragma unroll
      for (int i = 0; i < kChains; ++i) {
        step<op>(x[i], a, b, turn);
#pragma unroll
        for (int f = 0; f < fmas; ++f) step<Op::ffma>(y[(i * fmas + f) % kChains], a, b);
      }
    }
  }
  __syncthreads();
  watch.stop(ticks);
  std::uint32_t all = 0;
  for (int i = 0; i < kChains; ++i) all ^= x[i] ^ y[i];
  if (all == 0x12345678u) sink[threadIdx.x] = all;
}

template <Op op, int fmas = 0>
void measure(Bench& bench, const char* name, int needs = 80) {
  if (!bench.wants(name, "/clk/SM", needs)) return;
  const Ticks ticks = bench.once([&] {
    // As f32 just below 1 and a two-thousandth, as codes some, the second one's lower half as a selector three bytes of
    // the chain's and one other.
    rate<op, fmas><<<bench.multiprocessors(), kThreads>>>(0x3f7ffff0u, 0x3a002541u, bench.ticks(), bench.sink());
    return cudaGetLastError();
  });
  constexpr int kEach = op == Op::pack_e4m3x2 ? 2 : 1;
  bench.add(double{kThreads} * kEach * kChains * kUnroll * kRounds / static_cast<double>(ticks.cycles));
}

}  // namespace

void measure_instruction_rates(Bench& bench) {
  measure<Op::ffma>(bench, "rate_ffma");
  measure<Op::fadd>(bench, "rate_fadd");
  measure<Op::fmax>(bench, "rate_fmax");
  measure<Op::ex2>(bench, "rate_ex2");
  measure<Op::f32_of_s32>(bench, "rate_f32_of_s32");
  measure<Op::s32_of_f32>(bench, "rate_s32_of_f32");
  measure<Op::pack_f16x2>(bench, "rate_pack_f16x2");
  measure<Op::pack_e4m3x2>(bench, "rate_pack_e4m3x2", 89);
  measure<Op::prmt>(bench, "rate_prmt");
  measure<Op::dp4a>(bench, "rate_dp4a");
  measure<Op::ex2, 1>(bench, "rate_ex2_beside_1_ffma");
  measure<Op::ex2, 2>(bench, "rate_ex2_beside_2_ffma");
  measure<Op::ex2, 4>(bench, "rate_ex2_beside_4_ffma");
  measure<Op::ex2, 6>(bench, "rate_ex2_beside_6_ffma");
  measure<Op::ex2, 8>(bench, "rate_ex2_beside_8_ffma");
}

}  // namespace octavo::bench
