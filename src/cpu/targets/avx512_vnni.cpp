// AVX-512 with VNNI: this file's flags are those instructions', and nothing but its table leaves it.
#include "cpu/simd/avx512_vnni.hpp"

#include "cpu/targets/make_table.hpp"

namespace octavo::cpu {
extern const KernelTable kAvx512VnniTable;
const KernelTable kAvx512VnniTable = make_table<Avx512Vnni>();
}  // namespace octavo::cpu
