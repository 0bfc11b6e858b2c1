// Memory for fuzzed tensors: views may be as wrong as they like, but what they claim to own lies inside an arena or is
// null, because no callee can tell a wild pointer from a good one.
#pragma once

#include <algorithm>
#include <array>
#include <limits>
#include <vector>

#include "fuzz.hpp"
#include "octavo/octavo.h"

namespace octavo::fuzz {

// More elements than this are not computed with, only asked about: a view of stride 0 can make a call take for ever.
inline constexpr std::int64_t kMostElements = 1 << 16;

class Arena {
 public:
  explicit Arena(std::size_t bytes) : bytes_(bytes), before_(bytes) {}

  // Every byte from a generator that `seed` starts; kind 0: f32 between -1 and 1, 1: any bits, 2: all alike.
  void fill(std::uint32_t seed, std::int64_t kind) {
    next_ = 0;
    for (std::size_t i = 0; i + 4 <= bytes_.size(); i += 4) {
      seed = seed * 1664525u + 1013904223u;
      std::uint32_t word = kind == 2 ? 0xA5A5A5A5u : seed ^ seed >> 15;
      if (kind == 0) {
        const float value = static_cast<float>(seed >> 8) / (1 << 23) - 1;
        std::memcpy(&word, &value, sizeof word);
      }
      std::memcpy(bytes_.data() + i, &word, sizeof word);
    }
  }
  void remember() { before_ = bytes_; }
  bool unchanged() const { return std::memcmp(bytes_.data(), before_.data(), bytes_.size()) == 0; }
  // Unchanged but for the elements of these tensors (dtypes of whole bytes).
  bool unchanged_but_for(std::initializer_list<const octavo_tensor_t*> written) {
    for (const octavo_tensor_t* tensor : written) {
      if (tensor == nullptr) continue;
      const auto width = static_cast<std::size_t>(octavo_dtype_bits(tensor->dtype) / 8);
      std::int64_t elements = 1;
      for (int axis = 0; axis < tensor->rank; ++axis) elements *= tensor->shape[axis];
      for (std::int64_t i = 0; i < elements; ++i) {
        std::int64_t rest = i, at = 0;
        for (int axis = tensor->rank; axis-- > 0;) {
          at += rest % tensor->shape[axis] * tensor->strides[axis];
          rest /= tensor->shape[axis];
        }
        auto* element = static_cast<unsigned char*>(tensor->data) + at * static_cast<std::int64_t>(width);
        std::memcpy(before_.data() + (element - bytes_.data()), element, width);
      }
    }
    return unchanged();
  }

  // Sets the pointer of a view whose other fields are done.
  void place(Bytes& bytes, octavo_tensor_t& tensor) {
    tensor.data = nullptr;
    const int bits = octavo_dtype_bits(tensor.dtype);
    if (bits == 0 || tensor.rank < 0 || tensor.rank > 4 || bytes.chance(4)) return;
    __int128 low = 0, high = 0, elements = 1;
    for (int axis = 0; axis < tensor.rank; ++axis) {
      if (tensor.shape[axis] < 1) continue;
      elements *= std::min<std::int64_t>(tensor.shape[axis], kMostElements + 1);
      const __int128 reach = static_cast<__int128>(tensor.shape[axis] - 1) * tensor.strides[axis];
      (reach < 0 ? low : high) += reach;
    }
    if (elements > kMostElements) return;
    const __int128 first = (low * bits - 7) / 8, size = (high * bits + bits + 7) / 8 - first;
    if (size > static_cast<__int128>(bytes_.size())) return;
    const auto span = static_cast<std::size_t>(size);
    // One after the other, on their own alignment; sometimes anywhere.
    std::size_t at = (next_ + 63) / 64 * 64;
    if (at + span > bytes_.size() || bytes.chance(4)) {
      at = bytes.draw<std::uint16_t>() % (bytes_.size() - span + 1);
      if (bits >= 8) at = at / static_cast<std::size_t>(bits / 8) * static_cast<std::size_t>(bits / 8);
    } else {
      next_ = at + span;
    }
    // Elements stay on their alignment.
    const auto back = static_cast<std::size_t>(-first);
    const std::size_t unit = bits >= 8 ? static_cast<std::size_t>(bits / 8) : 1;
    const std::size_t begin = (at + back) / unit * unit;
    if (begin < back || begin - back + span > bytes_.size()) return;
    tensor.data = bytes_.data() + begin;
  }

 private:
  std::vector<unsigned char> bytes_, before_;
  std::size_t next_ = 0;
};

// A struct with room behind it, as a program of a later version has it.
template <class T>
struct Roomy {
  T known;
  unsigned char more[4096] = {};

  Roomy(const T& initial) : known(initial) {}
  // Another size, rarely; more of the struct than this library knows may be zero or not.
  T* sized(Bytes& bytes) {
    if (!bytes.chance(3)) return &known;
    known.struct_size = bytes.chance(128) ? bytes.draw<std::size_t>() : static_cast<std::size_t>(bytes.below(64)) * 8;
    if (known.struct_size <= sizeof *this) more[bytes.below(8)] = bytes.draw<std::uint8_t>();
    return &known;
  }
};

// A dense tensor of this shape, bent in one place now and then.
inline void make_tensor(Bytes& bytes, Arena& arena, int dtype, std::initializer_list<std::int64_t> shape,
                        octavo_tensor_t& tensor, int bend = 8) {
  tensor = octavo_dense_tensor(nullptr, dtype, static_cast<std::int32_t>(shape.size()), shape.begin());
  if (bytes.chance(16) && shape.size() >= 2) {  // another order of axes in memory
    std::int64_t stride = 1;
    const auto last = static_cast<int>(shape.size()) - 1;
    const int turn = static_cast<int>(bytes.below(last + 1));
    for (int i = last; i >= 0; --i) {
      const int axis = (i + turn) % (last + 1);
      tensor.strides[axis] = stride;
      stride *= tensor.shape[axis] + static_cast<std::int64_t>(bytes.below(2));
    }
  }
  if (bytes.chance(bend)) {
    const std::int64_t axis = bytes.below(4);
    switch (bytes.below(8)) {
      case 0:
        tensor.shape[axis] = bytes.below(70);
        break;
      case 1:
        // A size query walks the sequences of the batch one by one: 2^32 of them are a matter of seconds.
        tensor.shape[axis] = bytes.draw<std::int64_t>() >> (axis == 0 ? 40 : 0);
        break;
      case 2:
        tensor.strides[axis] = bytes.below(40) - 20;
        break;
      case 3:
        tensor.strides[axis] = bytes.draw<std::int64_t>();
        break;
      case 4:
        tensor.rank = static_cast<std::int32_t>(bytes.below(6));
        break;
      case 5:
        tensor.dtype = static_cast<std::int32_t>(bytes.below(18)) - 1;
        break;
      case 6:
        (bytes.chance(128) ? tensor.rank : tensor.dtype) = bytes.draw<std::int32_t>();
        break;
      default:
        tensor.device_type = static_cast<std::int32_t>(bytes.below(4)) - 1;
        break;
    }
  }
  arena.place(bytes, tensor);
}

}  // namespace octavo::fuzz
