# Which machine code and PTX the library carries for which GPUs; run by cmake -P.
cmake_minimum_required(VERSION 3.25)
include(${CMAKE_CURRENT_LIST_DIR}/../../src/cuda/targets/gencode.cmake)

function(expect gpus expected)
  octavo_portable_gencode("${gpus}" got ${ARGN})
  if(NOT got STREQUAL expected)
    message(SEND_ERROR "GPUs ${gpus}: ${got}\nexpected: ${expected}")
  endif()
endfunction()

# All: 8.9 runs 8.0's code, 9.0a's letter asks for nothing here.
expect("80;89;90a;100;120" "-gencode=arch=compute_80,code=[sm_80,sm_90,sm_100,sm_120,compute_80]")
expect("80;89;90a;100;120"
       "-gencode=arch=compute_80,code=[sm_80,sm_90];-gencode=arch=compute_100,code=[sm_100,sm_120,compute_100]"
       late_front)
expect("80;89;90a;100;120"
       "-gencode=arch=compute_80,code=[sm_80];-gencode=arch=compute_90,code=[sm_90,sm_100,sm_120,compute_90]"
       front_of_9)
expect("86" "-gencode=arch=compute_86,code=[sm_86,compute_86]" front_of_9)
# One GPU, as make gpu-check builds for it.
expect("90a" "-gencode=arch=compute_90,code=[sm_90,compute_90]")
expect("120" "-gencode=arch=compute_120,code=[sm_120,compute_120]")
# In any order; code of 8.9 does not run on 8.6.
expect("120;89;86" "-gencode=arch=compute_86,code=[sm_86,sm_120,compute_86]")
expect("120;89;86" "-gencode=arch=compute_86,code=[sm_86];-gencode=arch=compute_120,code=[sm_120,compute_120]"
       late_front)
expect("103;100;90" "-gencode=arch=compute_90,code=[sm_90,sm_100,compute_90]")
expect("103;100;90" "-gencode=arch=compute_90,code=[sm_90];-gencode=arch=compute_100,code=[sm_100,compute_100]"
       late_front)

# Products of E4M3.
function(expect_e4m3 gpus expected)
  octavo_e4m3_gencode("${gpus}" got)
  if(NOT got STREQUAL expected)
    message(SEND_ERROR "products of E4M3, GPUs ${gpus}: ${got}\nexpected: ${expected}")
  endif()
endfunction()
expect_e4m3("80;89;90a;100;120" "-gencode=arch=compute_89,code=[sm_89,sm_120,compute_89]")
expect_e4m3("89" "-gencode=arch=compute_89,code=[sm_89,compute_89]")
expect_e4m3("90a" "-gencode=arch=compute_89,code=[compute_89]")

# Products of s4, and of both.
function(expect_s4 gpus expected expected_with_e4m3)
  octavo_s4_gencode("${gpus}" got got_with_e4m3)
  if(NOT got STREQUAL expected OR NOT got_with_e4m3 STREQUAL expected_with_e4m3)
    message(SEND_ERROR "products of s4, GPUs ${gpus}: ${got}, ${got_with_e4m3}\n"
                       "expected: ${expected}, ${expected_with_e4m3}")
  endif()
endfunction()
expect_s4("80;89;90a;100;120" "-gencode=arch=compute_80,code=[sm_80]" "-gencode=arch=compute_89,code=[sm_89]")
expect_s4("89;86" "-gencode=arch=compute_86,code=[sm_86]" "-gencode=arch=compute_89,code=[sm_89]")
expect_s4("80" "-gencode=arch=compute_80,code=[sm_80]" "-gencode=arch=compute_89,code=[compute_89]")
expect_s4("90a" "-gencode=arch=compute_80,code=[compute_80]" "-gencode=arch=compute_89,code=[compute_89]")
