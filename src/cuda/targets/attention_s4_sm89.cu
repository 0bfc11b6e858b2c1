// Attention with products of s4 and of E4M3, for compute capability 8.9.
#define OCTAVO_CUDA_LIST "cuda/host/s4_e4m3_kernels.inc"
#define OCTAVO_CUDA_TABLE s4_e4m3_kernels
#include "cuda/targets/attention_entries.inc"
