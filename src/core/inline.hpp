// How a header's functions stay inside the translation unit that includes them. Files compiled for one instruction set
// must not emit weak symbols: the linker could use such a copy in code for processors without that set.
#pragma once

// OCTAVO_INLINE: functions, and static members. OCTAVO_MEMBER: other members. Both run on the host and on a device.
#if defined(__CUDACC__)
#define OCTAVO_INLINE static __host__ __device__ __forceinline__
#define OCTAVO_MEMBER __host__ __device__ __forceinline__
#else
#define OCTAVO_INLINE static inline __attribute__((always_inline))
#define OCTAVO_MEMBER inline __attribute__((always_inline))
#endif
