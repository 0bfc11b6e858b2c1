// The primitives of one policy, compiled with its instruction set's flags.
#include "cpu/simd/avx2.hpp"
#include "make_primitives.hpp"

namespace octavo::cpu {
extern constinit const SimdPrimitives k_primitives_avx2;
constinit const SimdPrimitives k_primitives_avx2 = make_primitives<Avx2>("avx2");
}  // namespace octavo::cpu
