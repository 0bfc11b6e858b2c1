// AVX-512 without VNNI: this file's flags are those instructions', and nothing but its table leaves it.
#include "cpu/simd/avx512.hpp"

#include "cpu/targets/make_table.hpp"

namespace octavo::cpu {
extern const KernelTable kAvx512Table;
const KernelTable kAvx512Table = make_table<Avx512>();
}  // namespace octavo::cpu
