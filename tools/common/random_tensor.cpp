// SplitMix64 and Box-Muller over blocks of 4096 elements, each block with a stream of its own.
#include "common/random_tensor.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>

#include "common/elements.hpp"
#include "common/failure.hpp"
#include "common/parallel_for.hpp"

namespace octavo::tool {
namespace {

constexpr std::int64_t kBlock = 4096;

std::uint64_t next(std::uint64_t& state) noexcept {
  state += 0x9E3779B97F4A7C15;
  std::uint64_t z = state;
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
  z = (z ^ z >> 27) * 0x94D049BB133111EB;
  return z ^ z >> 31;
}

// In (0, 1].
double uniform(std::uint64_t& state) noexcept { return static_cast<double>((next(state) >> 11) + 1) * 0x1p-53; }

}  // namespace

io::Tensor random_tensor(const char* name, DType dtype, std::initializer_list<std::int64_t> shape, std::uint64_t seed) {
  io::Tensor tensor = value_of(io::Tensor::allocate(name, dtype, {shape.begin(), shape.size()}));
  const TensorView view = tensor.view();
  const std::int64_t elements = view.elements();
  parallel_for((elements + kBlock - 1) / kBlock, [=](std::int64_t block) {
    std::uint64_t state = seed * 0xD1342543DE82EF95 + static_cast<std::uint64_t>(block) * 0xA24BAED4963EE407;
    const std::int64_t end = std::min(elements, (block + 1) * kBlock);
    for (std::int64_t i = block * kBlock; i < end; i += 2) {
      const double radius = std::sqrt(-2 * std::log(uniform(state)));
      const double angle = 2 * std::numbers::pi * uniform(state);
      store(view, i, static_cast<float>(radius * std::cos(angle)));
      if (i + 1 < end) store(view, i + 1, static_cast<float>(radius * std::sin(angle)));
    }
  });
  return tensor;
}

io::Tensor touched_tensor(const char* name, DType dtype, std::initializer_list<std::int64_t> shape) {
  io::Tensor tensor = value_of(io::Tensor::allocate(name, dtype, {shape.begin(), shape.size()}));
  constexpr std::size_t kBytes = std::size_t{1} << 16;
  char* data = static_cast<char*>(tensor.data());
  const std::size_t bytes = tensor.bytes();
  parallel_for(static_cast<std::int64_t>((bytes + kBytes - 1) / kBytes), [=](std::int64_t block) {
    const std::size_t begin = static_cast<std::size_t>(block) * kBytes;
    std::memset(data + begin, 0, std::min(kBytes, bytes - begin));
  });
  return tensor;
}

}  // namespace octavo::tool
