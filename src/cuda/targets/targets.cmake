# What nvcc compiles, and for which GPUs.
set(OCTAVO_CUDA_ARCHITECTURES "80;89;90a;100;120" CACHE STRING "Compute capabilities to compile CUDA kernels for")

include(${CMAKE_CURRENT_LIST_DIR}/gencode.cmake)
octavo_portable_gencode("${OCTAVO_CUDA_ARCHITECTURES}" octavo_gencode)
octavo_portable_gencode("${OCTAVO_CUDA_ARCHITECTURES}" octavo_late_front_gencode late_front)
octavo_portable_gencode("${OCTAVO_CUDA_ARCHITECTURES}" octavo_front_of_9_gencode front_of_9)
octavo_e4m3_gencode("${OCTAVO_CUDA_ARCHITECTURES}" octavo_e4m3_gencode)
octavo_s4_gencode("${OCTAVO_CUDA_ARCHITECTURES}" octavo_s4_gencode octavo_s4_e4m3_gencode)

# `gencode`: nvcc's -gencode options; further arguments are more of its options.
function(octavo_cuda_target source gencode)
  target_sources(octavo_objects PRIVATE ${source})
  # Two translations at a time: the compiler's own parallelism, for there are few files. Machine code compresses to a
  # fifth; the driver unpacks what it loads. 20012 is a note on defaulted functions of C++20 in device code.
  set(flags ${gencode} --threads=2 -Xfatbin=-compress-all -Xcompiler=-fPIC,-fvisibility=hidden
            -diag-suppress=20012 $<$<BOOL:${OCTAVO_WERROR}>:-Werror=all-warnings> ${ARGN})
  set_source_files_properties(${source} TARGET_DIRECTORY octavo_objects PROPERTIES COMPILE_OPTIONS "${flags}")
endfunction()

octavo_cuda_target(${CMAKE_CURRENT_SOURCE_DIR}/host/runtime_cudart.cu "${octavo_gencode}")
# Without contraction: the quantizers' f32 arithmetic is part of the contract, as in the CPU's objects.
octavo_cuda_target(${CMAKE_CURRENT_SOURCE_DIR}/targets/operands.cu "${octavo_front_of_9_gencode}" -fmad=false)
octavo_cuda_target(${CMAKE_CURRENT_SOURCE_DIR}/targets/attention_sm80.cu "${octavo_gencode}")
octavo_cuda_target(${CMAKE_CURRENT_SOURCE_DIR}/targets/kept_keys_sm80.cu "${octavo_late_front_gencode}")
octavo_cuda_target(${CMAKE_CURRENT_SOURCE_DIR}/targets/decode_sm80.cu "${octavo_late_front_gencode}")
octavo_cuda_target(${CMAKE_CURRENT_SOURCE_DIR}/targets/attention_sm89.cu "${octavo_e4m3_gencode}")
octavo_cuda_target(${CMAKE_CURRENT_SOURCE_DIR}/targets/attention_s4_sm80.cu "${octavo_s4_gencode}")
octavo_cuda_target(${CMAKE_CURRENT_SOURCE_DIR}/targets/attention_s4_sm89.cu "${octavo_s4_e4m3_gencode}")
# wgmma is Hopper's alone, and only 9.0a has it: no other GPU gets this file, nor its PTX.
if(OCTAVO_CUDA_ARCHITECTURES MATCHES "(^|;)90")
  octavo_cuda_target(${CMAKE_CURRENT_SOURCE_DIR}/targets/attention_sm90.cu "-gencode=arch=compute_90a,code=sm_90a")
else()
  target_sources(octavo_objects PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/host/no_sm90_kernels.cpp)
endif()
# For those who link them: an include path of CUDA's in every command would keep the host objects out of the cache.
target_link_libraries(octavo_objects INTERFACE CUDA::cudart_static)
