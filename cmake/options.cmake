# Compile options every octavo target shares, as one interface target.
find_package(Threads REQUIRED)

add_library(octavo_options INTERFACE)
# Without contraction: the quantizers' f32 arithmetic is part of the contract, bit for bit; kernels ask for FMA by word.
target_compile_options(octavo_options INTERFACE -Wall -Wextra -Wshadow -Wno-psabi -fno-math-errno -ffp-contract=off)
# GCC 12 sees overlapping copies inside its own std::string for every "literal" + string (GCC bug 105651).
target_compile_options(octavo_options INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>)
if(OCTAVO_WERROR)
  target_compile_options(octavo_options INTERFACE -Werror)
endif()
