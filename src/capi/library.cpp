// C functions about the library as a whole: implementations, threads, processor, version, names of dtypes.
#include <string>
#include <utility>
#include <vector>

#include "capi/convert.hpp"
#include "capi/error.hpp"
#include "octavo/implementation.hpp"
#include "octavo/parallel.hpp"
#include "octavo/version.hpp"

namespace octavo::capi {
namespace {

static_assert(static_cast<int>(DType::bf16) == OCTAVO_BF16 && static_cast<int>(DType::s8) == OCTAVO_S8);
static_assert(static_cast<int>(DType::s64) == OCTAVO_S64 && static_cast<int>(DType::s4) == OCTAVO_S4);
static_assert(static_cast<int>(DType::e5m2) == OCTAVO_E5M2 && static_cast<int>(DType::boolean) == OCTAVO_BOOL);
static_assert(static_cast<int>(DeviceType::cuda) == OCTAVO_CUDA && static_cast<int>(Layout::hnd) == OCTAVO_HND);

struct Names {
  std::string name, description, reason;
};

// Never destroyed: their strings stay valid for the life of the process.
const std::vector<Names>& names() {
  static const auto* const kNames = [] {
    std::vector<Names> list;
    for (const ImplementationInfo& info : implementations()) {
      list.push_back({std::string(info.name), std::string(info.description), info.reason});
    }
    return new std::vector<Names>(std::move(list));
  }();
  return *kNames;
}

// The name of an implementation as C has it. Names are literals of the tables, which end with a zero; names() would
// initialise the CUDA driver.
const char* literal(std::string_view name) noexcept { return name.empty() ? "" : name.data(); }

const char* entry(std::size_t index, std::string Names::* member) noexcept {
  try {
    return index < names().size() ? (names()[index].*member).c_str() : nullptr;
  } catch (...) {
    return nullptr;
  }
}

}  // namespace
}  // namespace octavo::capi

namespace capi = octavo::capi;
using octavo::Status;

size_t octavo_implementation_count() {
  try {
    return capi::names().size();
  } catch (...) {
    return 0;
  }
}

const char* octavo_implementation_name(size_t index) { return capi::entry(index, &capi::Names::name); }

const char* octavo_implementation_description(size_t index) { return capi::entry(index, &capi::Names::description); }

const char* octavo_implementation_reason(size_t index) { return capi::entry(index, &capi::Names::reason); }

octavo_status_t octavo_force_implementation(const char* name) {
  return capi::guarded([&] { return octavo::force_implementation(name != nullptr ? name : ""); });
}

octavo_status_t octavo_active_implementation(const char** name) {
  return capi::guarded([&]() -> Status {
    if (Status status = capi::check_given(name, "name"); !status.ok()) return status;
    const octavo::Result<std::string_view> active = octavo::active_implementation();
    if (active.ok()) *name = capi::literal(*active);
    return active.status();
  });
}

const char* octavo_last_implementation() { return capi::literal(octavo::last_implementation()); }

const char* octavo_processor_features() {
  try {
    static const auto* const kFeatures = new std::string(octavo::processor_features());
    return kFeatures->c_str();
  } catch (...) {
    return nullptr;
  }
}

void octavo_set_num_threads(int32_t threads) { octavo::set_num_threads(threads); }

int32_t octavo_requested_num_threads() { return octavo::requested_num_threads(); }

int32_t octavo_num_threads() { return octavo::num_threads(); }

const char* octavo_version() { return octavo::version(); }

int32_t octavo_dtype_bits(int32_t dtype) {
  return dtype >= 0 && dtype <= OCTAVO_BOOL ? octavo::bits_of(static_cast<octavo::DType>(dtype)) : 0;
}

// The views of to_string() are made of literals, which end with a zero.
const char* octavo_dtype_name(int32_t dtype) {
  return dtype >= 0 && dtype <= OCTAVO_BOOL ? octavo::to_string(static_cast<octavo::DType>(dtype)).data() : "unknown";
}
