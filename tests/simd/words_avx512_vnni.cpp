// The words of one policy, compiled with its instruction set's flags.
#include "cpu/simd/avx512_vnni.hpp"
#include "make_words.hpp"

namespace octavo::cpu {
extern constinit const SimdWords k_words_avx512_vnni;
constinit const SimdWords k_words_avx512_vnni = make_words<Avx512Vnni>("avx512_vnni");
}  // namespace octavo::cpu
