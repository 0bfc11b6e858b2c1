// The words of one policy, compiled with its instruction set's flags.
#include "cpu/simd/avx2.hpp"
#include "make_words.hpp"

namespace octavo::cpu {
extern constinit const SimdWords k_words_avx2;
constinit const SimdWords k_words_avx2 = make_words<Avx2>("avx2");
}  // namespace octavo::cpu
