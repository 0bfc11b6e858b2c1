// How code over a Machine is compiled: by nvcc for the device, by any C++ compiler for the emulated one.
#pragma once

#if defined(__CUDACC__)
#define OCTAVO_DEVICE __device__ __forceinline__
#define OCTAVO_UNROLL _Pragma("unroll")
#define OCTAVO_ROLLED _Pragma("unroll 1")
#else
#define OCTAVO_DEVICE inline
#define OCTAVO_UNROLL
#define OCTAVO_ROLLED
#endif
