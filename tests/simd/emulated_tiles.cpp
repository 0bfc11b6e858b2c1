// The kernels and the primitives over emulated tiles, compiled with amx_int8's flags.
#include "emulated_tiles.hpp"

#include "cpu/features.hpp"
#include "cpu/targets/make_table.hpp"
#include "make_primitives.hpp"

namespace octavo::cpu {

thread_local constinit EmulatedTileState emulated_tiles{};

namespace {
constexpr KernelTable kTable = make_table<EmulatedTiles>();
}  // namespace

constinit const Implementation kEmulatedTiles{
    {"emulated_tiles", "amx_int8 over emulated tiles", &backend}, kAvx512 | kAvx512Vnni | kAvx512Bf16, &kTable};
constinit const SimdPrimitives k_primitives_emulated_tiles = make_primitives<EmulatedTiles>("emulated_tiles");

}  // namespace octavo::cpu
