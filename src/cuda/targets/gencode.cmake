# nvcc's -gencode options for kernels that use nothing newer than compute capability 8.0.
#
# Machine code of x.y runs on every later x.z, so each generation is translated to once, for its first GPU: copies would
# make the library larger and no faster. nvcc's front end costs more than a translation; it runs once, for the first
# GPU of all, and its PTX travels along for generations to come: kernels that use nothing newer gain nothing from later
# PTX.
#
# "late_front" as third argument: a second run for 10.0 and later ones. From PTX of 8.0 attend_s8_s8_128_kept spills on
# 12.0. Then that run's PTX travels along. "front_of_9": the same from 9.0 on, whose PTX lets a kernel begin before the
# one before it has ended (Ptx::wait_for_earlier_kernels()).
function(octavo_portable_gencode gpus result)
  set(generations "")
  foreach(gpu IN LISTS gpus)
    string(REGEX REPLACE "[^0-9]" "" number ${gpu})
    math(EXPR generation "${number} / 10")
    if(NOT generation IN_LIST generations)
      list(APPEND generations ${generation})
      set(first_of_${generation} ${number})
    elseif(number LESS first_of_${generation})
      set(first_of_${generation} ${number})
    endif()
  endforeach()
  list(SORT generations COMPARE NATURAL)
  set(late 1000)  # the first generation of the second run
  if("late_front" IN_LIST ARGN)
    set(late 10)
  elseif("front_of_9" IN_LIST ARGN)
    set(late 9)
  endif()
  set(early_gpus "")  # first GPUs of their generations
  set(late_gpus "")
  foreach(generation IN LISTS generations)
    if(generation LESS late)
      list(APPEND early_gpus ${first_of_${generation}})
    else()
      list(APPEND late_gpus ${first_of_${generation}})
    endif()
  endforeach()
  set(gencode "")
  foreach(front early late)
    if(NOT ${front}_gpus)
      continue()
    endif()
    list(TRANSFORM ${front}_gpus PREPEND sm_ OUTPUT_VARIABLE codes)
    list(GET ${front}_gpus 0 least)
    if(front STREQUAL "late" OR NOT late_gpus)
      list(APPEND codes compute_${least})
    endif()
    list(JOIN codes "," codes)
    list(APPEND gencode "-gencode=arch=compute_${least},code=[${codes}]")
  endforeach()
  set(${result} "${gencode}" PARENT_SCOPE)
endfunction()

# The same for kernels with products of E4M3 by mma.sync, which only 8.9 and 12.x run. Without such a GPU PTX of 8.9
# stands in: the table of kernels is complete, and nothing launches them.
function(octavo_e4m3_gencode gpus result)
  set(able "")
  foreach(gpu IN LISTS gpus)
    string(REGEX REPLACE "[^0-9]" "" number ${gpu})
    if(number EQUAL 89 OR (number GREATER_EQUAL 120 AND number LESS 130))
      list(APPEND able ${number})
    endif()
  endforeach()
  if(NOT able)
    set(${result} "-gencode=arch=compute_89,code=[compute_89]" PARENT_SCOPE)
    return()
  endif()
  octavo_portable_gencode("${able}" gencode)
  set(${result} "${gencode}" PARENT_SCOPE)
endfunction()

# The same for kernels with products of s4, which 8.x runs, and `with_e4m3` for those of both, which 8.9 runs: machine
# code alone, since no later GPU launches them.
function(octavo_s4_gencode gpus result with_e4m3)
  set(least 90)
  foreach(gpu IN LISTS gpus)
    string(REGEX REPLACE "[^0-9]" "" number ${gpu})
    if(number LESS least)
      set(least ${number})
    endif()
  endforeach()
  set(${result} "-gencode=arch=compute_80,code=[compute_80]" PARENT_SCOPE)
  set(${with_e4m3} "-gencode=arch=compute_89,code=[compute_89]" PARENT_SCOPE)
  if(least LESS 90)
    set(${result} "-gencode=arch=compute_${least},code=[sm_${least}]" PARENT_SCOPE)
  endif()
  if(89 IN_LIST gpus)
    set(${with_e4m3} "-gencode=arch=compute_89,code=[sm_89]" PARENT_SCOPE)
  endif()
endfunction()
