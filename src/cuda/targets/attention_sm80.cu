// Attention for every GPU from compute capability 8.0 on.
#define OCTAVO_CUDA_LIST "cuda/host/attention_kernels.inc"
#define OCTAVO_CUDA_TABLE attention_kernels
#include "cuda/targets/attention_entries.inc"
