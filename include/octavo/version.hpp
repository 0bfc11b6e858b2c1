// The version of the headers, for C too; version() is that of the library that was linked.
#pragma once

#include "octavo/export.hpp"

#define OCTAVO_VERSION "0.1.0"

#ifdef __cplusplus
namespace octavo {

/// "0.1.0"
OCTAVO_API const char* version() noexcept;

}  // namespace octavo
#endif
