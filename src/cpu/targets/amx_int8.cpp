// AMX with AVX-512, VNNI and BF16: this file's flags are those instructions', and nothing but its table leaves it.
#include "cpu/simd/amx_int8.hpp"

#include "cpu/targets/make_table.hpp"

namespace octavo::cpu {
extern const KernelTable kAmxInt8Table;
const KernelTable kAmxInt8Table = make_table<AmxInt8>();
}  // namespace octavo::cpu
