// The primitives of one policy, compiled with its instruction set's flags.
#include "cpu/simd/avx512_vnni.hpp"
#include "make_primitives.hpp"

namespace octavo::cpu {
extern constinit const SimdPrimitives k_primitives_avx512_vnni_bf16;
constinit const SimdPrimitives k_primitives_avx512_vnni_bf16 = make_primitives<Avx512VnniBf16>("avx512_vnni_bf16");
}  // namespace octavo::cpu
