// The tiles of a thread as emulated_tiles.hpp has them, and the implementation made of them, for tests that are
// compiled without its flags.
#pragma once

#include <cstdint>

#include "cpu/implementation.hpp"
#include "primitives.hpp"

namespace octavo::cpu {

struct EmulatedTileState {
  bool open;
  long faults;  // primitives outside of open_tiles() and close_tiles(), and those two out of order
  long products;
  std::uint8_t bytes[8 * 16 * 64];
};
extern thread_local constinit EmulatedTileState emulated_tiles;

extern const Implementation kEmulatedTiles;
extern const SimdPrimitives k_primitives_emulated_tiles;

}  // namespace octavo::cpu
