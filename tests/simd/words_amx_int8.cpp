// The words of one policy, compiled with its instruction set's flags.
#include "cpu/simd/amx_int8.hpp"
#include "make_words.hpp"

namespace octavo::cpu {
extern constinit const SimdWords k_words_amx_int8;
constinit const SimdWords k_words_amx_int8 = make_words<AmxInt8>("amx_int8");
}  // namespace octavo::cpu
