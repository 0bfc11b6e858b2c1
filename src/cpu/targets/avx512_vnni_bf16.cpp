// AVX-512 with VNNI and BF16: this file's flags are those instructions', and nothing but its table leaves it.
#include "cpu/simd/avx512_vnni.hpp"
#include "cpu/targets/make_table.hpp"

namespace octavo::cpu {
extern const KernelTable kAvx512VnniBf16Table;
const KernelTable kAvx512VnniBf16Table = make_table<Avx512VnniBf16>();
}  // namespace octavo::cpu
