// The words of one policy, compiled with its instruction set's flags.
#include "cpu/simd/avx2_vnni.hpp"
#include "make_words.hpp"

namespace octavo::cpu {
extern constinit const SimdWords k_words_avx2_vnni;
constinit const SimdWords k_words_avx2_vnni = make_words<Avx2Vnni>("avx2_vnni");
}  // namespace octavo::cpu
