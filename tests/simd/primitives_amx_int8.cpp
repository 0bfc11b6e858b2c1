// The primitives of one policy, compiled with its instruction set's flags.
#include "cpu/simd/amx_int8.hpp"
#include "make_primitives.hpp"

namespace octavo::cpu {
extern constinit const SimdPrimitives k_primitives_amx_int8;
constinit const SimdPrimitives k_primitives_amx_int8 = make_primitives<AmxInt8>("amx_int8");
}  // namespace octavo::cpu
