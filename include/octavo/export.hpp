// Symbol visibility: the shared library exports only symbols marked OCTAVO_API.
#pragma once

#if defined(_WIN32)
#define OCTAVO_API
#else
#define OCTAVO_API __attribute__((visibility("default")))
#endif
