// The kernels and the words over emulated tiles, compiled with amx_int8's flags.
#include "emulated_tiles.hpp"

#include "cpu/features.hpp"
#include "cpu/targets/make_table.hpp"
#include "make_words.hpp"

namespace octavo::cpu {

thread_local constinit EmulatedTileState emulated_tiles{};

namespace {
constexpr KernelTable kTable = make_table<EmulatedTiles>();
}  // namespace

constinit const Implementation kEmulatedTiles{
    {"emulated_tiles", "amx_int8 over emulated tiles", &backend}, kAvx512 | kAvx512Vnni | kAvx512Bf16, &kTable};
constinit const SimdWords k_words_emulated_tiles = make_words<EmulatedTiles>("emulated_tiles");

}  // namespace octavo::cpu
