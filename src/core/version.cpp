// The version of the library that was linked, as opposed to that of the headers.
#include "octavo/version.hpp"

namespace octavo {

const char* version() noexcept { return OCTAVO_VERSION; }

}  // namespace octavo
