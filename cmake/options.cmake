# Compile options every octavo target shares, as one interface target; sanitizers, which everything shares.
find_package(Threads REQUIRED)

set(OCTAVO_SANITIZE "" CACHE STRING "Sanitizers for all that is built: address,undefined or thread; empty: none")
if(OCTAVO_SANITIZE)
  # The first error ends the program, so that its test fails. Beyond -O1 the kernels take a quarter of an hour to build.
  add_compile_options(-fsanitize=${OCTAVO_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -O1 -g1)
  add_link_options(-fsanitize=${OCTAVO_SANITIZE})
endif()

add_library(octavo_options INTERFACE)
# Without contraction: the quantizers' f32 arithmetic is part of the contract, bit for bit; kernels ask for FMA by word.
# They are g++'s words; nvcc's stand in src/cuda/targets.
set(octavo_host $<NOT:$<COMPILE_LANGUAGE:CUDA>>)
target_compile_options(octavo_options INTERFACE
  "$<${octavo_host}:-Wall;-Wextra;-Wshadow;-Wno-psabi;-fno-math-errno;-ffp-contract=off>")
# GCC 12 sees overlapping copies inside its own std::string for every "literal" + string (GCC bug 105651).
target_compile_options(octavo_options INTERFACE $<$<AND:$<CXX_COMPILER_ID:GNU>,${octavo_host}>:-Wno-restrict>)
if(OCTAVO_WERROR)
  target_compile_options(octavo_options INTERFACE $<${octavo_host}:-Werror>)
endif()
