// The loops are assembly, so that the tool itself is compiled for the baseline and nothing is optimised away. Fourteen
// independent accumulators hide a latency of up to seven cycles on two ports; registers 14 and 15 hold the operands.
// Operands are ordinary numbers: zeros would draw less power and let the clock rise above what real data allow.
#include "common/peak_loops.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

namespace octavo::tool {
namespace {

#if defined(__x86_64__)

#define OCTAVO_CLOBBERS                                                                                            \
  "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", \
      "xmm13", "xmm14", "xmm15"

// OP(n) for the accumulators.
#define OCTAVO_TIMES_12(OP) OP(0) OP(1) OP(2) OP(3) OP(4) OP(5) OP(6) OP(7) OP(8) OP(9) OP(10) OP(11)
#define OCTAVO_TIMES_14(OP) OCTAVO_TIMES_12(OP) OP(12) OP(13)

// A 32-bit pattern in every lane of both operands, zero accumulators, then BODY `n` times.
#define OCTAVO_ZMM_ZERO(n) "vpxord %%zmm" #n ", %%zmm" #n ", %%zmm" #n "\n"
#define OCTAVO_YMM_ZERO(n) "vpxor %%ymm" #n ", %%ymm" #n ", %%ymm" #n "\n"
#define OCTAVO_ZMM_LOOP(BODY, a, b)                                                                 \
  asm volatile("vpbroadcastd %[first], %%zmm14\nvpbroadcastd %[second], %%zmm15\n" OCTAVO_TIMES_14( \
                   OCTAVO_ZMM_ZERO) ".p2align 5\n1:\n" BODY "dec %[n]\njnz 1b\nvzeroupper\n"        \
               : [n] "+r"(n)                                                                        \
               : [first] "r"(a), [second] "r"(b)                                                    \
               : OCTAVO_CLOBBERS)
#define OCTAVO_YMM_LOOP(BODY, a, b)                                                                       \
  asm volatile(                                                                                           \
      "vmovd %[first], %%xmm14\nvpbroadcastd %%xmm14, %%ymm14\nvmovd %[second], %%xmm15\n"                \
      "vpbroadcastd %%xmm15, %%ymm15\n" OCTAVO_TIMES_14(OCTAVO_YMM_ZERO) ".p2align 5\n1:\n" BODY          \
                                                                         "dec %[n]\njnz 1b\nvzeroupper\n" \
      : [n] "+r"(n)                                                                                       \
      : [first] "r"(a), [second] "r"(b)                                                                   \
      : OCTAVO_CLOBBERS)

constexpr std::uint32_t kBytesA = 0x6B3D5217, kBytesB = 0x31F70BC5;    // u8 and s8 of both signs
constexpr std::uint32_t kFloatA = 0x3F9A3D71, kFloatB = 0x3A83126F;    // 1.205, 0.001
constexpr std::uint32_t kBrainsA = 0x3F9A3F85, kBrainsB = 0x3A83BA91;  // pairs of bf16, products that nearly cancel
constexpr std::uint32_t kHalvesA = 0x3CD23C11, kHalvesB = 0x14199419;  // pairs of f16: about 1, 0.001 and -0.001
constexpr std::uint32_t kOnes = 0x00010001;                            // pairs of s16

#define OCTAVO_VPDPBUSD_ZMM(n) "vpdpbusd %%zmm15, %%zmm14, %%zmm" #n "\n"
void vpdpbusd_zmm(std::uint64_t n) { OCTAVO_ZMM_LOOP(OCTAVO_TIMES_14(OCTAVO_VPDPBUSD_ZMM), kBytesA, kBytesB); }

#define OCTAVO_VPDPBUSD_YMM(n) "%{vex%} vpdpbusd %%ymm15, %%ymm14, %%ymm" #n "\n"
void vpdpbusd_ymm(std::uint64_t n) { OCTAVO_YMM_LOOP(OCTAVO_TIMES_14(OCTAVO_VPDPBUSD_YMM), kBytesA, kBytesB); }

// Without a dot-product instruction: products of bytes summed in pairs to s16, those in pairs to s32, then added.
#define OCTAVO_MADD_YMM(n)                 \
  "vpmaddubsw %%ymm14, %%ymm14, %%ymm12\n" \
  "vpmaddwd %%ymm15, %%ymm12, %%ymm12\n"   \
  "vpaddd %%ymm12, %%ymm" #n ", %%ymm" #n "\n"
void vpmaddubsw_ymm(std::uint64_t n) { OCTAVO_YMM_LOOP(OCTAVO_TIMES_12(OCTAVO_MADD_YMM), kBytesA, kOnes); }

#define OCTAVO_VDPBF16PS_ZMM(n) "vdpbf16ps %%zmm15, %%zmm14, %%zmm" #n "\n"
void vdpbf16ps_zmm(std::uint64_t n) { OCTAVO_ZMM_LOOP(OCTAVO_TIMES_14(OCTAVO_VDPBF16PS_ZMM), kBrainsA, kBrainsB); }

#define OCTAVO_FMA_ZMM(n) "vfmadd231ps %%zmm15, %%zmm14, %%zmm" #n "\n"
void vfmadd231ps_zmm(std::uint64_t n) { OCTAVO_ZMM_LOOP(OCTAVO_TIMES_14(OCTAVO_FMA_ZMM), kFloatA, kFloatB); }

#define OCTAVO_FMA_PH_ZMM(n) "vfmadd231ph %%zmm15, %%zmm14, %%zmm" #n "\n"
void vfmadd231ph_zmm(std::uint64_t n) { OCTAVO_ZMM_LOOP(OCTAVO_TIMES_14(OCTAVO_FMA_PH_ZMM), kHalvesA, kHalvesB); }

#define OCTAVO_FMA_YMM(n) "vfmadd231ps %%ymm15, %%ymm14, %%ymm" #n "\n"
void vfmadd231ps_ymm(std::uint64_t n) { OCTAVO_YMM_LOOP(OCTAVO_TIMES_14(OCTAVO_FMA_YMM), kFloatA, kFloatB); }

#if defined(__linux__)
// AMX's products of tiles. Six tiles are sums, which hides a latency of 52 cycles at one product in 16; two hold the
// operands. A process must ask the system for tiles first.
constexpr std::uint32_t kTiles = 1u << 24, kInt8 = 1u << 25, kBf16 = 1u << 22;  // of EDX, leaf 7

// CPUID's bits, if the system saves tiles and grants them to this process.
std::uint32_t granted_tiles() {
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // asm/prctl.h, XFEATURE_XTILE_DATA
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & bit_OSXSAVE) == 0) return 0;
  std::uint32_t saved = 0, high = 0;
  asm("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
  if ((saved & 0x60000) != 0x60000 || __get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (d & kTiles) == 0) return 0;
  return ::syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0 ? d : 0;
}
bool has(std::uint32_t bit) {
  static const std::uint32_t kGranted = granted_tiles();
  return (kGranted & bit) != 0;
}

// Eight tiles of 16 rows by 64 bytes, palette 1.
struct alignas(64) TileShapes {
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(TileShapes) == 64);

struct alignas(64) Tile {
  std::uint32_t words[256];
  explicit Tile(std::uint32_t word) {
    for (std::uint32_t& each : words) each = word;
  }
};

#define OCTAVO_TILE_ZERO(n) "tilezero %%tmm" #n "\n"
#define OCTAVO_TIMES_6(OP) OP(0) OP(1) OP(2) OP(3) OP(4) OP(5)
#define OCTAVO_TILE_LOOP(BODY, first, second)                                                               \
  const TileShapes shapes;                                                                                  \
  const Tile a(first), b(second);                                                                           \
  const std::int64_t stride = 64;                                                                           \
  asm volatile(                                                                                             \
      "ldtilecfg %[shapes]\ntileloadd (%[a],%[stride],1), %%tmm6\ntileloadd (%[b],%[stride],1), "           \
      "%%tmm7\n" OCTAVO_TIMES_6(OCTAVO_TILE_ZERO) ".p2align 5\n1:\n" BODY "dec %[n]\njnz 1b\ntilerelease\n" \
      : [n] "+r"(n)                                                                                         \
      : [shapes] "m"(shapes), [a] "r"(&a), [b] "r"(&b), [stride] "r"(stride)                                \
      : "cc", "memory")

#define OCTAVO_TDPBUSD(n) "tdpbusd %%tmm7, %%tmm6, %%tmm" #n "\n"
void tdpbusd(std::uint64_t n) { OCTAVO_TILE_LOOP(OCTAVO_TIMES_6(OCTAVO_TDPBUSD), 0x6B3D5217, 0x31F70BC5); }

#define OCTAVO_TDPBF16PS(n) "tdpbf16ps %%tmm7, %%tmm6, %%tmm" #n "\n"
void tdpbf16ps(std::uint64_t n) { OCTAVO_TILE_LOOP(OCTAVO_TIMES_6(OCTAVO_TDPBF16PS), 0x3F9A3F85, 0x3A83BA91); }

#endif

// Independent loads: 512 bytes a step.
#define OCTAVO_READ(REGISTER, n, bytes) "vmovups " #n "*" #bytes "(%[p]), %%" REGISTER #n "\n"
#define OCTAVO_READ_ZMM(n) OCTAVO_READ("zmm", n, 64)
#define OCTAVO_READ_YMM(n) OCTAVO_READ("ymm", n, 32)
#define OCTAVO_READ_XMM(n) "movups " #n "*16(%[p]), %%xmm" #n "\n"
#define OCTAVO_TIMES_8(OP) OP(0) OP(1) OP(2) OP(3) OP(4) OP(5) OP(6) OP(7)
#define OCTAVO_READ_LOOP(BODY, step, end)                                             \
  asm volatile(".p2align 5\n1:\n" BODY "add $" #step ", %[p]\ndec %[n]\njnz 1b\n" end \
               : [p] "+r"(data), [n] "+r"(steps)                                      \
               :                                                                      \
               : "memory", OCTAVO_CLOBBERS)

void read_zmm(const void* data, std::size_t steps) {
  OCTAVO_READ_LOOP(OCTAVO_TIMES_8(OCTAVO_READ_ZMM), 512, "vzeroupper\n");
}
void read_ymm(const void* data, std::size_t steps) {
  OCTAVO_READ_LOOP(OCTAVO_TIMES_8(OCTAVO_READ_YMM), 256, "vzeroupper\n");
}
void read_xmm(const void* data, std::size_t steps) { OCTAVO_READ_LOOP(OCTAVO_TIMES_8(OCTAVO_READ_XMM), 128, ""); }

#else

void read_words(const void* data, std::size_t steps) {
  const auto* words = static_cast<const volatile std::uint64_t*>(data);
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < steps * 8; ++i) sum += words[i];
  asm volatile("" : : "r"(sum));
}

#endif

}  // namespace

PeakLoop int8_loop() {
#if defined(__x86_64__)
  // Multiply-adds: 4 a lane and instruction.
  if (__builtin_cpu_supports("avx512vnni")) return {"vpdpbusd zmm", 2.0 * 64 * 14, vpdpbusd_zmm};
  if (__builtin_cpu_supports("avxvnni")) return {"vpdpbusd ymm", 2.0 * 32 * 14, vpdpbusd_ymm};
  if (__builtin_cpu_supports("avx2")) return {"vpmaddubsw + vpmaddwd + vpaddd ymm", 2.0 * 32 * 12, vpmaddubsw_ymm};
#endif
  return {nullptr, 0, nullptr};
}

PeakLoop bf16_loop() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512bf16")) return {"vdpbf16ps zmm", 2.0 * 32 * 14, vdpbf16ps_zmm};
#endif
  return {nullptr, 0, nullptr};
}

PeakLoop f16_loop() {
#if defined(__x86_64__)
  // AVX512-FP16, leaf 7: compilers name it differently. Its registers are those of AVX-512.
  unsigned a = 0, b = 0, c = 0, d = 0;
  const bool zmm = __builtin_cpu_supports("avx512bw") && __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0;
  if (zmm && (d & (1u << 23)) != 0) return {"vfmadd231ph zmm", 2.0 * 32 * 14, vfmadd231ph_zmm};
#endif
  return {nullptr, 0, nullptr};
}

PeakLoop amx_int8_loop() {
#if defined(__x86_64__) && defined(__linux__)
  if (has(kInt8)) return {"tdpbusd", 2.0 * 16 * 16 * 64 * 6, tdpbusd};
#endif
  return {nullptr, 0, nullptr};
}

PeakLoop amx_bf16_loop() {
#if defined(__x86_64__) && defined(__linux__)
  if (has(kBf16)) return {"tdpbf16ps", 2.0 * 16 * 16 * 32 * 6, tdpbf16ps};
#endif
  return {nullptr, 0, nullptr};
}

PeakLoop f32_loop() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return {"vfmadd231ps zmm", 2.0 * 16 * 14, vfmadd231ps_zmm};
  // The ymm loop clears its registers with AVX2.
  if (__builtin_cpu_supports("fma") && __builtin_cpu_supports("avx2")) {
    return {"vfmadd231ps ymm", 2.0 * 8 * 14, vfmadd231ps_ymm};
  }
#endif
  return {nullptr, 0, nullptr};
}

ReadLoop read_loop() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return {"vmovups zmm", 512, read_zmm};
  if (__builtin_cpu_supports("avx")) return {"vmovups ymm", 256, read_ymm};
  return {"movups xmm", 128, read_xmm};
#else
  return {"64-bit loads", 64, read_words};
#endif
}

}  // namespace octavo::tool
