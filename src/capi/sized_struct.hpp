// Structs that begin with their size, read from and written to programs that know fewer or more fields.
// A struct's fields come in steps of 8 bytes, so that every older version ended on one.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string_view>
#include <type_traits>

#include "capi/argument_name.hpp"
#include "core/text.hpp"

namespace octavo::capi {

inline constexpr std::size_t kStructStep = 8;

// `size` is what the program wrote into T's struct_size. `name` of the argument, `type` of the struct, for messages.
template <class T>
Status check_struct_size(std::size_t size, const ArgumentName& name, std::string_view type) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) % kStructStep == 0 && offsetof(T, struct_size) == 0);
  // No version of a struct will ever be that large: a size that was never set must not be believed.
  constexpr std::size_t kLargest = 4096;
  if (size < sizeof(std::size_t) || size > kLargest || size % kStructStep != 0) {
    return invalid_argument(name, ".struct_size is ", size, "; it must be sizeof(", type, "), ", sizeof(T),
                            " bytes in this version");
  }
  return {};
}

// to = *from, where `to` holds the defaults of the fields that an older program lacks.
template <class T>
Status read_struct(const T* from, const ArgumentName& name, std::string_view type, T& to) {
  const std::size_t size = from->struct_size;
  if (Status status = check_struct_size<T>(size, name, type); !status.ok()) return status;
  const auto* bytes = reinterpret_cast<const unsigned char*>(from);
  for (std::size_t i = sizeof(T); i < size; ++i) {
    if (bytes[i] != 0) {
      return unimplemented(name, ".struct_size is ", size, " and its byte ", i,
                           " is not zero: the program uses a field of ", type, " that octavo ", OCTAVO_VERSION,
                           ", which knows ", sizeof(T), " bytes, does not have");
    }
  }
  std::memcpy(&to, from, std::min(size, sizeof(T)));
  to.struct_size = sizeof(T);
  return {};
}

// *to = from, as far as the program's struct goes; `defaults` are what it will believe of the fields that it lacks.
template <class T>
Status write_struct(const T& from, const T& defaults, const ArgumentName& name, std::string_view type, T* to) {
  const std::size_t size = to->struct_size;
  if (Status status = check_struct_size<T>(size, name, type); !status.ok()) return status;
  const std::size_t known = std::min(size, sizeof(T));
  if (std::memcmp(reinterpret_cast<const char*>(&from) + known, reinterpret_cast<const char*>(&defaults) + known,
                  sizeof(T) - known) != 0) {
    return unimplemented(name, ".struct_size is ", size, "; this value of ", type, " needs the ", sizeof(T),
                         " bytes of octavo ", OCTAVO_VERSION);
  }
  auto* bytes = reinterpret_cast<char*>(to);
  std::memcpy(bytes + sizeof size, reinterpret_cast<const char*>(&from) + sizeof size, known - sizeof size);
  std::memset(bytes + known, 0, size - known);
  return {};
}

}  // namespace octavo::capi
