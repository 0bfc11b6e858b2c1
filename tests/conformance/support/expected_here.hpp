// Which implementations must run on this machine by what the operating system says of its processor, and not by what
// the library detects: a broken detection then fails a test instead of turning others into nothing.
#pragma once

#include <string>
#include <vector>

namespace octavo::test {

// `scalar` everywhere; the others by the flags of the first processor in /proc/cpuinfo, where there is one.
std::vector<std::string> expected_here();

}  // namespace octavo::test
