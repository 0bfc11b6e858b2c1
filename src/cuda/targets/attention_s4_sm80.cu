// Attention with products of s4, for compute capability 8.x.
#define OCTAVO_CUDA_LIST "cuda/host/s4_kernels.inc"
#define OCTAVO_CUDA_TABLE s4_kernels
#include "cuda/targets/attention_entries.inc"
