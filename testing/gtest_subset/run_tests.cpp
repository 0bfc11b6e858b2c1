// Runs the registered tests one after the other; a line of JSON for each on the standard output:
//   {"test": "Suite.Name", "result": "passed", "seconds": 0.25, "failures": []}
#include <fnmatch.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>

#include "gtest/gtest.h"

namespace testing {
namespace {

// More says nothing new, and a line must stay readable.
constexpr std::size_t kMostFailures = 10, kMostCharacters = 2000;

struct Registered {
  std::string name;
  internal::Factory factory;
};
std::vector<Registered>& registered() {
  static std::vector<Registered> all;
  return all;
}

struct Running {
  std::vector<std::string> traces, failures;
  std::size_t failed_assertions = 0;
};
Running& running() {
  static Running state;
  return state;
}

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text.substr(0, kMostCharacters)) {
    const auto code = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') out += '\\';
    // A multi-byte character may be cut in two above: bytes beyond ASCII are replaced.
    out += code >= 127 ? '?' : code < 32 ? ' ' : c;
  }
  return out + "\"";
}

bool is_wanted(const std::string& name, int count, char** patterns) {
  for (int i = 0; i < count; ++i) {
    if (fnmatch(patterns[i], name.c_str(), 0) == 0) return true;
  }
  return count == 0;
}

bool run(const Registered& test) {
  running() = {};
  const auto began = std::chrono::steady_clock::now();
  try {
    test.factory()->TestBody();
  } catch (const std::exception& error) {
    internal::fail("", 0, std::string("exception: ") + error.what(), "");
  } catch (...) {
    internal::fail("", 0, "exception of an unknown type", "");
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
  const bool passed = running().failed_assertions == 0;
  std::string failures;
  for (const std::string& failure : running().failures) failures += (failures.empty() ? "" : ", ") + quoted(failure);
  std::printf("{\"test\": %s, \"result\": \"%s\", \"seconds\": %.3f, \"failures\": [%s]}\n", quoted(test.name).c_str(),
              passed ? "passed" : "failed", took.count(), failures.c_str());
  std::fflush(stdout);
  return passed;
}

}  // namespace

bool Test::HasFailure() { return running().failed_assertions > 0; }

namespace internal {

bool add(std::string name, Factory factory) {
  registered().push_back({std::move(name), std::move(factory)});
  return true;
}

void fail(const char* file, int line, const std::string& what, const std::string& more) {
  Running& state = running();
  if (++state.failed_assertions > kMostFailures) return;
  std::string text;
  if (line > 0) {
    const char* const slash = std::strrchr(file, '/');
    text = std::string(slash != nullptr ? slash + 1 : file) + ":" + std::to_string(line) + ": ";
  }
  text += what + (more.empty() ? "" : "; " + more);
  for (const std::string& trace : state.traces) text += " [" + trace + "]";
  state.failures.push_back(text);
}

Trace::Trace(const Message& where) { running().traces.push_back(where.text()); }
Trace::~Trace() { running().traces.pop_back(); }

bool almost_equal(float a, float b) {
  if (std::isnan(a) || std::isnan(b)) return false;
  const auto place = [](float x) {  // floats in ascending order as ascending integers
    std::int32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    return bits < 0 ? -static_cast<std::int64_t>(bits & 0x7fffffff) : static_cast<std::int64_t>(bits);
  };
  const std::int64_t apart = place(a) - place(b);
  return -4 <= apart && apart <= 4;
}

}  // namespace internal

int run_tests(int count, char** arguments) {
  const bool list = count > 1 && std::strcmp(arguments[1], "--list") == 0;
  const int skipped = list ? 2 : 1;
  bool any = false, passed = true;
  for (const Registered& test : registered()) {
    if (!is_wanted(test.name, count - skipped, arguments + skipped)) continue;
    any = true;
    if (list) {
      std::printf("%s\n", test.name.c_str());
    } else {
      passed = run(test) && passed;
    }
  }
  if (!any) std::fputs("no test has such a name: --list prints them all\n", stderr);
  return !any ? 2 : passed ? 0 : 1;
}

}  // namespace testing
