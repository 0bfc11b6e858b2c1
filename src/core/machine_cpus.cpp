// Where Linux says how many processors a process may use: sched_getaffinity, cpu.max (cgroup v2), cpu.cfs_* (v1).
#include "core/machine_cpus.hpp"

#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <fstream>
#include <sstream>
#include <string_view>

namespace octavo {
namespace {

std::string read_file(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream content;
  content << file.rdbuf();
  return file ? content.str() : std::string{};
}

// "max 100000" or "150000 100000"
std::optional<double> quota_v2(const std::string& directory) {
  std::istringstream content(read_file(directory + "/cpu.max"));
  double quota = 0, period = 0;
  if (!(content >> quota >> period) || quota <= 0 || period <= 0) return std::nullopt;
  return quota / period;
}

std::optional<double> quota_v1(const std::string& directory) {
  std::istringstream quota_text(read_file(directory + "/cpu.cfs_quota_us"));
  std::istringstream period_text(read_file(directory + "/cpu.cfs_period_us"));
  double quota = 0, period = 0;
  if (!(quota_text >> quota) || !(period_text >> period) || quota <= 0 || period <= 0) return std::nullopt;  // -1: none
  return quota / period;
}

// A group inherits the limits of those above it. In a container the path may be the host's and lead nowhere here; the
// way up then still ends at the mount's root, which is the container's own group.
template <class Quota>
void tighten(std::optional<double>& tightest, const std::string& mount, std::string group, Quota quota_of) {
  while (true) {
    if (const std::optional<double> quota = quota_of(mount + group)) {
      tightest = tightest ? std::min(*tightest, *quota) : *quota;
    }
    const std::size_t slash = group.find_last_of('/');
    if (slash == std::string::npos) return;
    group.resize(slash);
  }
}

bool lists_cpu(std::string_view controllers) {
  while (!controllers.empty()) {
    const std::size_t comma = controllers.find(',');
    if (controllers.substr(0, comma) == "cpu") return true;
    if (comma == std::string_view::npos) return false;
    controllers.remove_prefix(comma + 1);
  }
  return false;
}

}  // namespace

std::optional<double> cgroup_cpus(const std::string& membership, const std::string& mount) {
  std::optional<double> tightest;
  std::istringstream lines(membership);
  for (std::string line; std::getline(lines, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    std::string group = line.substr(second + 1);
    if (group == "/") group.clear();
    if (controllers.empty()) {
      tighten(tightest, mount, group, quota_v2);
      tighten(tightest, mount + "/unified", group, quota_v2);  // hybrid hierarchies
    } else if (lists_cpu(controllers)) {
      tighten(tightest, mount + "/" + controllers, group, quota_v1);
      if (controllers != "cpu") tighten(tightest, mount + "/cpu", group, quota_v1);
    }
  }
  return tightest;
}

int affinity_cpus() noexcept {
  // The kernel refuses masks shorter than its own; machines beyond 1024 processors exist.
  for (int capacity = CPU_SETSIZE; capacity <= (1 << 16); capacity *= 2) {
    cpu_set_t* mask = CPU_ALLOC(static_cast<std::size_t>(capacity));
    if (mask == nullptr) return 1;
    const std::size_t bytes = CPU_ALLOC_SIZE(static_cast<std::size_t>(capacity));
    const int failed = sched_getaffinity(0, bytes, mask);
    const int error = errno;
    const int count = failed == 0 ? CPU_COUNT_S(bytes, mask) : 0;
    CPU_FREE(mask);
    if (count > 0) return count;
    if (failed == 0 || error != EINVAL) return 1;
  }
  return 1;
}

int available_cpus() noexcept {
  int cpus = affinity_cpus();
  try {
    if (const std::optional<double> quota = cgroup_cpus(read_file("/proc/self/cgroup"), "/sys/fs/cgroup")) {
      // Rounded down: a thread that the kernel throttles keeps all others waiting at the end of a call.
      if (*quota < cpus) cpus = std::max(1, static_cast<int>(*quota));
    }
  } catch (...) {
    // Without memory for a path: the affinity mask alone decides.
  }
  return cpus;
}

}  // namespace octavo
