// The flags of /proc/cpuinfo that each implementation stands on, in the kernel's words.
#include "expected_here.hpp"

#include <algorithm>
#include <fstream>
#include <initializer_list>
#include <set>
#include <sstream>

namespace octavo::test {
namespace {

std::set<std::string> flags_of_the_kernel() {
  std::ifstream file("/proc/cpuinfo");
  std::set<std::string> flags;
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("flags", 0) != 0) continue;
    std::istringstream words(line.substr(line.find(':') + 1));
    for (std::string word; words >> word;) flags.insert(word);
    break;
  }
  return flags;
}

}  // namespace

std::vector<std::string> expected_here() {
  const std::set<std::string> flags = flags_of_the_kernel();
  const auto has = [&](std::initializer_list<const char*> needed) {
    return std::all_of(needed.begin(), needed.end(), [&](const char* flag) { return flags.count(flag) > 0; });
  };
  std::vector<std::string> names{"scalar"};
  const auto expect = [&](const char* name, bool here) {
    if (here) names.emplace_back(name);
    return here;
  };
  const bool avx2 = expect("avx2", has({"avx2", "fma", "f16c"}));
  expect("avx2_vnni", avx2 && has({"avx_vnni"}));
  const bool avx512 = expect("avx512", avx2 && has({"avx512f", "avx512bw", "avx512dq", "avx512vl"}));
  const bool vnni = expect("avx512_vnni", avx512 && has({"avx512_vnni"}));
  const bool bf16 = expect("avx512_vnni_bf16", vnni && has({"avx512_bf16"}));
  expect("amx_int8", bf16 && has({"amx_tile", "amx_int8"}));
  return names;
}

}  // namespace octavo::test
