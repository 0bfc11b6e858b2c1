// The hint that a thread is waiting in a loop: the only instruction of one processor outside src/cpu.
#pragma once

namespace octavo {

inline void cpu_relax() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace octavo
