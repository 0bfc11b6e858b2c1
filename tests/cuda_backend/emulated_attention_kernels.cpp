#define OCTAVO_CUDA_LIST "cuda/host/attention_kernels.inc"
#define OCTAVO_CUDA_TABLE emulated_attention_kernels
#include "emulated_attention_table.inc"
