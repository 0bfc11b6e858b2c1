// Portable: this file's flags are that instruction set's, and nothing but its table leaves it.
#include "cpu/simd/scalar.hpp"

#include "cpu/targets/make_table.hpp"

namespace octavo::cpu {
extern const KernelTable kScalarTable;
const KernelTable kScalarTable = make_table<Scalar>();
}  // namespace octavo::cpu
