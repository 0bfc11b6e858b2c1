// The primitives of one policy, compiled with its instruction set's flags.
#include "cpu/simd/scalar.hpp"
#include "make_primitives.hpp"

namespace octavo::cpu {
extern constinit const SimdPrimitives k_primitives_scalar;
constinit const SimdPrimitives k_primitives_scalar = make_primitives<Scalar>("scalar", false);
}  // namespace octavo::cpu
