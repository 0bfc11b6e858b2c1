# What nvcc compiles, for which cards.
set(OCTAVO_CUDA_CARDS "80;89;90a;100;120" CACHE STRING "Compute capabilities to compile CUDA kernels for")

# Machine code of x.y runs on every later x.z, so each generation is translated to once, for its first card: twins would
# make the library larger and no faster. Kernels that use nothing newer than 8.0 go through nvcc's front end, which costs
# more than a translation, once for 8.x and 9.0 and once for later ones (from PTX of 8.0 a hot kernel spills on 10.0).
# The latest PTX travels along for generations to come.
set(octavo_generations "")
foreach(card IN LISTS OCTAVO_CUDA_CARDS)
  string(REGEX REPLACE "[^0-9]" "" number ${card})
  math(EXPR generation "${number} / 10")
  if(NOT generation IN_LIST octavo_generations)
    list(APPEND octavo_generations ${generation})
    set(octavo_first_of_${generation} ${number})
  elseif(number LESS octavo_first_of_${generation})
    set(octavo_first_of_${generation} ${number})
  endif()
endforeach()
list(SORT octavo_generations COMPARE NATURAL)
foreach(front early late)
  set(octavo_${front} "")  # first cards of its generations
endforeach()
foreach(generation IN LISTS octavo_generations)
  if(generation LESS 10)
    list(APPEND octavo_early ${octavo_first_of_${generation}})
  else()
    list(APPEND octavo_late ${octavo_first_of_${generation}})
  endif()
endforeach()
set(octavo_gencode "")
foreach(front early late)
  if(NOT octavo_${front})
    continue()
  endif()
  list(TRANSFORM octavo_${front} PREPEND sm_ OUTPUT_VARIABLE codes)
  list(GET octavo_${front} 0 least)
  if(front STREQUAL late OR NOT octavo_late)
    list(APPEND codes compute_${least})
  endif()
  list(JOIN codes "," codes)
  list(APPEND octavo_gencode "-gencode=arch=compute_${least},code=[${codes}]")
endforeach()

function(octavo_cuda_target source)
  target_sources(octavo_objects PRIVATE ${source})
  # Two translations at a time: the compiler's own parallelism, for there are few files. Machine code compresses to a
  # fifth; the driver unpacks what it loads. 20012 is a note on defaulted functions of C++20 in device code.
  set_source_files_properties(${source} TARGET_DIRECTORY octavo_objects PROPERTIES COMPILE_OPTIONS
    "${octavo_gencode};--threads=2;-Xfatbin=-compress-all;-Xcompiler=-fPIC,-fvisibility=hidden;-diag-suppress=20012;${ARGN}")
endfunction()

octavo_cuda_target(${CMAKE_CURRENT_SOURCE_DIR}/runtime_cudart.cu)
# Without contraction: the quantizers' f32 arithmetic is part of the contract, as in the CPU's objects.
octavo_cuda_target(${CMAKE_CURRENT_SOURCE_DIR}/targets/quantize.cu -fmad=false)
octavo_cuda_target(${CMAKE_CURRENT_SOURCE_DIR}/targets/attention_sm80.cu)
target_link_libraries(octavo_objects PUBLIC CUDA::cudart_static)
