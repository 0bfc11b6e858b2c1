// How many processors this process may use: the smaller of its affinity mask and its cgroup's CPU quota.
#pragma once

#include <optional>
#include <string>

namespace octavo {

// At least 1.
int available_cpus() noexcept;

// Processors in the affinity mask of the calling thread; at least 1.
int affinity_cpus() noexcept;

// The quota in processors (0.5, 2, ...) of the tightest group from the process's own up to the root; nothing when
// there is none. `membership` is the text of /proc/self/cgroup, `mount` is where the cgroup file systems lie.
std::optional<double> cgroup_cpus(const std::string& membership, const std::string& mount);

}  // namespace octavo
