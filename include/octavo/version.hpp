// The version of the headers, for C and C++; version() is that of the linked library.
#pragma once

#include "octavo/export.hpp"

#define OCTAVO_VERSION "0.1.0"

#ifdef __cplusplus
namespace octavo {

/// "0.1.0"
OCTAVO_API const char* version() noexcept;

}  // namespace octavo
#endif
