#define OCTAVO_CUDA_LIST "cuda/host/s4_kernels.inc"
#define OCTAVO_CUDA_TABLE emulated_s4_kernels
#include "emulated_attention_table.inc"
