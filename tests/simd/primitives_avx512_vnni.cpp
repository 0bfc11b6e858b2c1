// The primitives of one policy, compiled with its instruction set's flags.
#include "cpu/simd/avx512_vnni.hpp"
#include "make_primitives.hpp"

namespace octavo::cpu {
extern constinit const SimdPrimitives k_primitives_avx512_vnni;
constinit const SimdPrimitives k_primitives_avx512_vnni = make_primitives<Avx512Vnni>("avx512_vnni");
}  // namespace octavo::cpu
