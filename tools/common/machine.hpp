// What machine a number was measured on: part of every JSON object.
#pragma once

#include <cstdint>
#include <string>

#include "common/output.hpp"

namespace octavo::tool {

// "AMD EPYC ...", or the architecture's name where the system does not tell.
std::string processor_name();
// Bytes that can be had without swapping; 0 if unknown.
std::uint64_t available_memory();
// {processor, architecture, features, logical_processors, threads, memory_bytes, load_average, system, compiler,
// version}
Json machine();

}  // namespace octavo::tool
