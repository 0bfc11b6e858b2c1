// Which symbols leave the shared library: everything is hidden but what carries OCTAVO_API.
#pragma once

#if defined(_WIN32)
#define OCTAVO_API
#else
#define OCTAVO_API __attribute__((visibility("default")))
#endif
