// The words of one policy, compiled with its instruction set's flags.
#include "cpu/simd/avx512_vnni.hpp"
#include "make_words.hpp"

namespace octavo::cpu {
extern constinit const SimdWords k_words_avx512_vnni_bf16;
constinit const SimdWords k_words_avx512_vnni_bf16 = make_words<Avx512VnniBf16>("avx512_vnni_bf16");
}  // namespace octavo::cpu
