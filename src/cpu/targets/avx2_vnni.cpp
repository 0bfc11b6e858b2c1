// AVX2 with AVX-VNNI: this file's flags are those instructions', and nothing but its table leaves it.
#include "cpu/simd/avx2_vnni.hpp"

#include "cpu/targets/make_table.hpp"

namespace octavo::cpu {
extern const KernelTable kAvx2VnniTable;
const KernelTable kAvx2VnniTable = make_table<Avx2Vnni>();
}  // namespace octavo::cpu
