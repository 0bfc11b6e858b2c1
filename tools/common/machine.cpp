// Linux's /proc and uname, read for the machine's description.
#include "common/machine.hpp"

#include <sys/utsname.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <thread>

#include "octavo/implementation.hpp"
#include "octavo/parallel.hpp"
#include "octavo/version.hpp"

namespace octavo::tool {
namespace {

utsname system_names() {
  utsname names{};
  ::uname(&names);
  return names;
}

// The value of the first line "key <spaces> : value".
std::string first_value(const char* path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const std::size_t colon = line.find(':');
    if (!line.starts_with(key) || colon == std::string::npos) continue;
    const std::size_t begin = line.find_first_not_of(" \t", colon + 1);
    return begin == std::string::npos ? "" : line.substr(begin);
  }
  return {};
}

}  // namespace

std::string processor_name() {
  const std::string name = first_value("/proc/cpuinfo", "model name");
  return name.empty() ? system_names().machine : name;
}

std::uint64_t available_memory() {
  std::istringstream text(first_value("/proc/meminfo", "MemAvailable"));
  std::uint64_t kibibytes = 0;
  text >> kibibytes;
  return kibibytes * 1024;
}

Json machine() {
  const utsname names = system_names();
  const long pages = ::sysconf(_SC_PHYS_PAGES), page = ::sysconf(_SC_PAGESIZE);
  double load = 0;
  return {{"processor", processor_name()},
          {"architecture", names.machine},
          {"features", processor_features()},
          {"logical_processors", std::thread::hardware_concurrency()},
          {"threads", num_threads()},
          {"memory_bytes", static_cast<std::int64_t>(pages) * page},
          // Above the number of processors before a measurement starts, others share them.
          {"load_average", ::getloadavg(&load, 1) == 1 ? Json(load) : Json(nullptr)},
          {"system", names.sysname},
          {"compiler", __VERSION__},
          {"octavo", version()}};
}

}  // namespace octavo::tool
