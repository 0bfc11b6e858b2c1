# nvcc's -gencode options for kernels that use nothing newer than compute capability 8.0.
#
# Machine code of x.y runs on every later x.z, so each generation is translated to once, for its first GPU: copies would
# make the library larger and no faster. nvcc's front end costs more than a translation; it runs once for 8.x and 9.0
# and once for later ones (from PTX of 8.0 a hot kernel spills on 10.0). The later run's PTX travels along for
# generations to come: of 10.0 with the default OCTAVO_CUDA_ARCHITECTURES, since PTX of 12.0 would be a third run, and
# kernels that use nothing newer than 8.0 gain nothing from it.
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
  set(early_gpus "")  # first GPUs of their generations
  set(late_gpus "")
  foreach(generation IN LISTS generations)
    if(generation LESS 10)
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
