// Attention with products of E4M3, for compute capability 8.9 and 12.x.
#define OCTAVO_CUDA_LIST "cuda/host/e4m3_kernels.inc"
#define OCTAVO_CUDA_TABLE e4m3_kernels
#include "cuda/targets/attention_entries.inc"
