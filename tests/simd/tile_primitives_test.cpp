// The primitives of tiles, held to one definition: amx_int8's where there is AMX, and those that are emulated in its
// place, so that what runs over the one may be trusted to run over the other.
#include "emulated_state.hpp"
#include "policies.hpp"

namespace octavo::cpu {
namespace {

constexpr int kSide = 16;
constexpr std::size_t kBytes = 1024;
using Tile = std::vector<std::uint8_t>;

std::vector<Policy> policies_with_tiles() {
  std::vector<Policy> found;
  for (const Policy& policy : policies())
    if (policy.supported && policy.primitives->tile_copy[0] != nullptr) found.push_back(policy);
  if ((kEmulatedTiles.features & ~features()) == 0) found.push_back({&k_primitives_emulated_tiles, true});
  return found;
}

Tile random_bytes(std::size_t count, std::mt19937& random) {
  Tile bytes(count);
  for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(random());
  return bytes;
}

class TilePrimitives : public testing::TestWithParam<Policy> {
 protected:
  const SimdPrimitives& w = *GetParam().primitives;
  std::mt19937 random{21};
};

// A vector product would read the keys of these policies with the wrong sign.
TEST_P(TilePrimitives, TakeThePlaceOfVectorProducts) {
  EXPECT_EQ(w.key_bias, 0);
  EXPECT_EQ(w.dot_key, nullptr);
  EXPECT_EQ(w.dot_full_range_value, nullptr);
}

TEST_P(TilePrimitives, LoadAndStoreRowsAStrideApart) {
  for (int tile = 0; tile < SimdPrimitives::kTiles; ++tile) {
    for (const std::size_t from_stride : {64u, 128u, 256u, 68u}) {
      for (const std::size_t to_stride : {64u, 256u, 192u}) {
        const Tile from = random_bytes(kSide * from_stride, random), before = random_bytes(kSide * to_stride, random);
        Tile to = before;
        w.tile_copy[tile](from.data(), static_cast<std::ptrdiff_t>(from_stride), to.data(),
                          static_cast<std::ptrdiff_t>(to_stride));
        for (std::size_t i = 0; i < to.size(); ++i) {
          const std::size_t row = i / to_stride, byte = i % to_stride;
          ASSERT_EQ(to[i], byte < 64 ? from[row * from_stride + byte] : before[i])
              << "tile " << tile << ", row " << row << ", byte " << byte;
        }
      }
    }
  }
}

TEST_P(TilePrimitives, ZeroOneAndNoOther) {
  for (int tile = 0; tile < SimdPrimitives::kTiles; ++tile) {
    const Tile from = random_bytes(SimdPrimitives::kTiles * kBytes, random);
    Tile to(from.size()), expected = from;
    std::fill_n(expected.begin() + tile * static_cast<std::ptrdiff_t>(kBytes), kBytes, std::uint8_t{0});
    w.tile_zero[tile](from.data(), to.data());
    ASSERT_EQ(to, expected) << "tile " << tile;
  }
}

// One tile product as sums of matrices of numbers: A [16][64], B [64][16] with four rows in a word, C [16][16].
void expect_product(SimdPrimitives::TileProduct primitive, bool signed_a, const Tile& a, const Tile& b,
                    const Tile& start) {
  const auto number = [](std::uint8_t byte, bool is_signed) {
    return is_signed && byte > 127 ? static_cast<std::int64_t>(byte) - 256 : static_cast<std::int64_t>(byte);
  };
  Tile c = start;
  primitive(a.data(), b.data(), c.data());
  for (std::size_t m = 0; m < kSide; ++m) {
    for (std::size_t n = 0; n < kSide; ++n) {
      std::int32_t first, got;
      std::memcpy(&first, &start[64 * m + 4 * n], 4);
      std::memcpy(&got, &c[64 * m + 4 * n], 4);
      std::int64_t sum = first;
      for (std::size_t k = 0; k < 64; ++k)
        sum += number(a[64 * m + k], signed_a) * number(b[k / 4 * 64 + 4 * n + k % 4], true);
      ASSERT_EQ(got, static_cast<std::int32_t>(static_cast<std::uint32_t>(sum))) << "row " << m << ", column " << n;
    }
  }
}

TEST_P(TilePrimitives, ProductsAreExact) {
  for (int tile = 0; tile < SimdPrimitives::kTiles; ++tile) {
    SCOPED_TRACE(tile);
    for (int trial = 0; trial < 20; ++trial) {
      const Tile a = random_bytes(kBytes, random), b = random_bytes(kBytes, random), c = random_bytes(kBytes, random);
      expect_product(w.tile_keys[tile], true, a, b, c);
      expect_product(w.tile_values[tile], false, a, b, c);
    }
    // Where intermediates of 16 bits, or sums that saturate, would show.
    for (const int x : {0x80, 0x7f, 0xff, 0x81}) {
      for (const int y : {0x80, 0x7f, 0xff, 0x81}) {
        const Tile a(kBytes, static_cast<std::uint8_t>(x)), b(kBytes, static_cast<std::uint8_t>(y));
        for (const int z : {0x00, 0x7f, 0x80}) {
          Tile c(kBytes, std::uint8_t{0});
          for (std::size_t i = 3; i < kBytes; i += 4) c[i] = static_cast<std::uint8_t>(z);
          expect_product(w.tile_keys[tile], true, a, b, c);
          expect_product(w.tile_values[tile], false, a, b, c);
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Of, TilePrimitives, testing::ValuesIn(policies_with_tiles()),
                         [](const auto& of) { return std::string(of.param.primitives->name); });
// A machine without AVX-512 has none.
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(TilePrimitives);

}  // namespace
}  // namespace octavo::cpu
