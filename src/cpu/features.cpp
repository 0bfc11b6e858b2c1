// Which bits of CPUID and XCR0 make an instruction set usable: the processor has it, the system saves its registers on
// a task switch, and tiles are granted to a process only when it asks.
#include "cpu/features.hpp"

#include <array>
#include <cstring>
#include <utility>

#include "core/env.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

namespace octavo::cpu {
namespace {

#if defined(__x86_64__)
// What the operating system saves on a task switch; without it registers of that width are lost.
std::uint64_t saved_state() {
  std::uint32_t low = 0, high = 0;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<std::uint64_t>(high) << 32) | low;
}

#if defined(__linux__)
constexpr long kSupported = 0x1021, kRequestPermission = 0x1023, kTileData = 18;  // asm/prctl.h, XFEATURE_XTILE_DATA
bool can_save_tiles() {
  std::uint64_t states = 0;
  return ::syscall(SYS_arch_prctl, kSupported, &states) == 0 && (states >> kTileData & 1) != 0;
}
bool request_tiles() { return ::syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0; }
#else
// Where nobody knows how to ask there are none.
bool can_save_tiles() { return false; }
bool request_tiles() { return false; }
#endif

// "AuthenticAMD", "GenuineIntel", ...
std::string vendor() {
  unsigned a = 0, letters[3] = {};
  if (__get_cpuid(0, &a, &letters[0], &letters[2], &letters[1]) == 0) return {};
  std::string name(sizeof letters, '\0');
  std::memcpy(name.data(), letters, sizeof letters);
  return name;
}

std::uint32_t detect() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & bit_OSXSAVE) == 0) return 0;
  const bool fma = (c & bit_FMA) != 0, f16c = (c & bit_F16C) != 0;
  const std::uint64_t saved = saved_state();
  const bool ymm = (saved & 0x6) == 0x6, zmm = (saved & 0xe6) == 0xe6, tiles = (saved & 0x60000) == 0x60000;
  unsigned a7 = 0, b7 = 0, c7 = 0, d7 = 0;
  if (__get_cpuid_count(7, 0, &a7, &b7, &c7, &d7) == 0) return 0;
  unsigned a71 = 0, b71 = 0, c71 = 0, d71 = 0;
  if (a7 >= 1) __get_cpuid_count(7, 1, &a71, &b71, &c71, &d71);

  std::uint32_t found = 0;
  if (ymm && fma && f16c && (b7 & bit_AVX2) != 0) found |= kAvx2;
  if ((found & kAvx2) != 0 && (a71 & (1u << 4)) != 0) found |= kAvxVnni;
  const unsigned base = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
  if ((found & kAvx2) != 0 && zmm && (b7 & base) == base) {
    found |= kAvx512;
    if ((c7 & bit_AVX512VNNI) != 0) found |= kAvx512Vnni;
    if ((a71 & (1u << 5)) != 0) found |= kAvx512Bf16;
    const bool amx_int8 = (d7 & (1u << 24)) != 0 && (d7 & (1u << 25)) != 0;
    if (amx_int8 && tiles && can_save_tiles()) found |= kAmxInt8;
  }
  return found;
}
#else
std::string vendor() { return {}; }
std::uint32_t detect() { return 0; }
bool request_tiles() { return false; }
#endif

}  // namespace

std::uint32_t features() noexcept {
  static const std::uint32_t kFound = detect();
  return kFound;
}

bool claim_features(std::uint32_t needed) noexcept {
  if ((needed & kAmxInt8) == 0) return true;
  static const bool kGranted = (features() & kAmxInt8) != 0 && request_tiles();
  return kGranted;
}

std::uint32_t slow_features(std::uint32_t found, std::string_view vendor) noexcept {
  return vendor == "GenuineIntel" ? found & kAvx512Bf16 : 0;
}

std::uint32_t slow_features() noexcept {
  static const std::uint32_t kSlow = slow_features(features(), vendor());
  return kSlow;
}

bool interleaves_softmax(std::string_view vendor) noexcept { return vendor != "GenuineIntel"; }

bool interleaves_softmax() noexcept {
  static const bool kInterleaves = environment().interleave_softmax.value_or(interleaves_softmax(vendor()));
  return kInterleaves;
}

std::string feature_names(std::uint32_t set) {
  constexpr std::array<std::pair<std::uint32_t, const char*>, 6> kNames{{{kAvx2, "avx2"},
                                                                         {kAvxVnni, "avx_vnni"},
                                                                         {kAvx512, "avx512"},
                                                                         {kAvx512Vnni, "avx512_vnni"},
                                                                         {kAvx512Bf16, "avx512_bf16"},
                                                                         {kAmxInt8, "amx_int8"}}};
  std::string names;
  for (const auto& [bit, name] : kNames) {
    if ((set & bit) == 0) continue;
    if (!names.empty()) names += ' ';
    names += name;
  }
  return names;
}

}  // namespace octavo::cpu
