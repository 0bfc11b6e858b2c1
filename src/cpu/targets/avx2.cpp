// AVX2: this file's flags are that instruction set's, and nothing but its table leaves it.
#include "cpu/simd/avx2.hpp"

#include "cpu/targets/make_table.hpp"

namespace octavo::cpu {
extern const KernelTable kAvx2Table;
const KernelTable kAvx2Table = make_table<Avx2>();
}  // namespace octavo::cpu
