// The words of one policy, compiled with its instruction set's flags.
#include "cpu/simd/avx512.hpp"
#include "make_words.hpp"

namespace octavo::cpu {
extern constinit const SimdWords k_words_avx512;
constinit const SimdWords k_words_avx512 = make_words<Avx512>("avx512");
}  // namespace octavo::cpu
