// The primitives of one policy, compiled with its instruction set's flags.
#include "cpu/simd/avx2_vnni.hpp"
#include "make_primitives.hpp"

namespace octavo::cpu {
extern constinit const SimdPrimitives k_primitives_avx2_vnni;
constinit const SimdPrimitives k_primitives_avx2_vnni = make_primitives<Avx2Vnni>("avx2_vnni");
}  // namespace octavo::cpu
