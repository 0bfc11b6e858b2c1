#define OCTAVO_CUDA_LIST "cuda/host/s4_e4m3_kernels.inc"
#define OCTAVO_CUDA_TABLE emulated_s4_e4m3_kernels
#include "emulated_attention_table.inc"
