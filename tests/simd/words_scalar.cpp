// The words of one policy, compiled with its instruction set's flags.
#include "cpu/simd/scalar.hpp"
#include "make_words.hpp"

namespace octavo::cpu {
extern constinit const SimdWords k_words_scalar;
constinit const SimdWords k_words_scalar = make_words<Scalar>("scalar", false);
}  // namespace octavo::cpu
