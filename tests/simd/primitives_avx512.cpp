// The primitives of one policy, compiled with its instruction set's flags.
#include "cpu/simd/avx512.hpp"
#include "make_primitives.hpp"

namespace octavo::cpu {
extern constinit const SimdPrimitives k_primitives_avx512;
constinit const SimdPrimitives k_primitives_avx512 = make_primitives<Avx512>("avx512");
}  // namespace octavo::cpu
