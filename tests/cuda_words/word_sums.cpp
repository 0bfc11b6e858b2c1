// What a product's float sums keep: the cases that decide it, asked of a machine, and as the law of tensor cores has
// them.
#include <array>
#include <functional>

#include "core/float_types.hpp"
#include "core/text.hpp"
#include "cuda/tile/machine_sm90.hpp"
#include "spec/fused_dot.hpp"
#include "word_dump.hpp"
#include "word_inputs.hpp"
#include "word_table.hpp"

namespace octavo::cuda {
namespace {

// What decides how sums are made. All of a product's rows are alike: a[k], b[k].
struct SumCase {
  float start;
  std::array<float, 32> a, b;
};
std::vector<SumCase> cases_of(Mma kind) {
  const bool float8 = kind == Mma::e4m3 || kind == Mma::e5m2;
  const std::size_t depth = float8 ? 32 : 16;
  SumCase quarters{};
  for (std::size_t k = 0; k < depth; ++k) quarters.a[k] = 1, quarters.b[k] = 0.25f;
  std::vector<SumCase> cases;
  // Beside which sum quarters are lost, and towards where.
  for (int exponent = float8 ? 8 : 20; exponent <= (float8 ? 16 : 27); ++exponent) {
    for (float sign : {1.0f, -1.0f}) {
      SumCase one = quarters;
      one.start = sign * static_cast<float>(std::uint32_t{1} << exponent);
      cases.push_back(one);
    }
  }
  // Two that cancel out take the quarters of their step with them.
  for (std::size_t first : {std::size_t{0}, depth / 2, depth / 4}) {
    SumCase one = quarters;
    const float large = kind == Mma::e4m3 ? 256.0f : 16384.0f;
    one.a[first] = one.b[first] = one.b[first + 1] = large;
    one.a[first + 1] = -large;
    cases.push_back(one);
  }
  return cases;
}
std::uint32_t coded_float(Mma kind, float x) {
  return kind == Mma::f16    ? f32_to_f16(x)
         : kind == Mma::bf16 ? f32_to_bf16(x)
         : kind == Mma::e4m3 ? f32_to_e4m3(x)
                             : f32_to_e5m2(x);
}

struct SumKind {
  const char* name;
  Word word;
  Mma kind;
  WordCards cards;
  constexpr bool wgmma() const { return cards == WordCards::hopper; }
};
constexpr SumKind kSumKinds[] = {
    {"sums_mma_f16", Word::mma_f16, Mma::f16, WordCards::all},
    {"sums_mma_bf16", Word::mma_bf16, Mma::bf16, WordCards::all},
    {"sums_mma_e4m3", Word::mma_e4m3, Mma::e4m3, WordCards::e4m3},
    {"sums_wgmma_f16", Word::wgmma_f16, Mma::f16, WordCards::hopper},
    {"sums_wgmma_f16_registers", Word::wgmma_f16_registers, Mma::f16, WordCards::hopper},
    {"sums_wgmma_bf16", Word::wgmma_bf16, Mma::bf16, WordCards::hopper},
    {"sums_wgmma_e4m3", Word::wgmma_e4m3, Mma::e4m3, WordCards::hopper},
    {"sums_wgmma_e4m3_registers", Word::wgmma_e4m3_registers, Mma::e4m3, WordCards::hopper},
    {"sums_wgmma_e5m2", Word::wgmma_e5m2, Mma::e5m2, WordCards::hopper}};

WordTable tables_of_sums(int capability, const std::function<std::string(const SumKind&, const SumCase&)>& ask) {
  WordTable table;
  for (const SumKind& kind : kSumKinds) {
    if (!has_word(kind.cards, capability)) continue;
    keep(table, kind.name, [&] {
      std::vector<std::string> sums;
      for (const SumCase& one : cases_of(kind.kind)) sums.push_back(ask(kind, one));
      return list_of(sums);
    });
  }
  return table;
}

}  // namespace

WordTable dump_sums(WordRunner& runner) {
  return tables_of_sums(runner.capability(), [&](const SumKind& kind, const SumCase& one) {
    const std::size_t bytes = kind.kind == Mma::f16 || kind.kind == Mma::bf16 ? 2 : 1;
    Words in(kind.wgmma() ? kWgmmaIn : kMmaIn);
    const std::size_t sums_at = kind.wgmma() ? kTileWords + 512 : 192, sums = kind.wgmma() ? 512 : 128;
    for (std::size_t i = 0; i < sums; ++i) in[sums_at + i] = bits_of_f32(one.start);
    if (kind.wgmma()) {
      const MatrixDescriptor matrix{0, 16, atom_bytes(Swizzle::bytes32), Swizzle::bytes32};
      for (std::uint32_t byte = 0; byte < 32; ++byte) {
        const std::uint32_t shift = 8 * (byte % static_cast<std::uint32_t>(bytes));
        for (std::uint32_t row = 0; row < 64; ++row) {
          put_byte(in.data(), place_in_matrix(matrix, row, byte),
                   coded_float(kind.kind, one.a[byte / bytes]) >> shift & 255);
          if (row >= kWordWidth) continue;
          put_byte(in.data(), kWordB + place_in_matrix(matrix, row, byte),
                   coded_float(kind.kind, one.b[byte / bytes]) >> shift & 255);
        }
      }
      for (std::size_t i = 0; i < 128 * 16; ++i) {  // bytes of the left operand's registers
        const int thread = static_cast<int>(i / 16), reg = static_cast<int>(i / 4 % 4), byte = static_cast<int>(i % 4);
        const Place place =
            bytes == 2 ? place_in_wgmma_a<2>(thread, reg, byte / 2) : place_in_wgmma_a<4>(thread, reg, byte);
        const std::uint32_t shift = 8 * static_cast<std::uint32_t>(byte) % (8 * static_cast<std::uint32_t>(bytes));
        put_byte(&in[kTileWords], i,
                 coded_float(kind.kind, one.a[static_cast<std::size_t>(place.column)]) >> shift & 255);
      }
    } else {
      for (int lane = 0; lane < 32; ++lane) {
        const int elements = static_cast<int>(4 / bytes);  // of a register
        for (int i = 0; i < 4 * elements; ++i) {
          const auto word = static_cast<std::size_t>(lane), reg = static_cast<std::size_t>(i / elements);
          const int in_reg = i % elements, at = i / elements;
          const Place a = bytes == 2 ? place_in_a<2>(lane, at, in_reg) : place_in_a<4>(lane, at, in_reg);
          const auto shift = 8 * bytes * static_cast<std::size_t>(in_reg);
          in[4 * word + reg] |= coded_float(kind.kind, one.a[static_cast<std::size_t>(a.column)]) << shift;
          if (i >= 2 * elements) continue;
          const Place b = bytes == 2 ? place_in_b<2>(lane, at, in_reg) : place_in_b<4>(lane, at, in_reg);
          in[128 + 2 * word + reg] |= coded_float(kind.kind, one.b[static_cast<std::size_t>(b.row)]) << shift;
        }
      }
    }
    const Words out = runner.run(kind.word, 1, in, sums);
    for (std::uint32_t sum : out) {
      if (sum != out[0]) return std::string("null");
    }
    return text(out[0]);
  });
}

WordTable expected_sums(int capability) {
  const Accumulator card = capability < 89    ? Accumulator::sm80
                           : capability < 90  ? Accumulator::sm89
                           : capability < 100 ? Accumulator::sm90
                                              : Accumulator::sm100;
  return tables_of_sums(capability, [&](const SumKind& kind, const SumCase& one) {
    const bool float8 = kind.kind == Mma::e4m3 || kind.kind == Mma::e5m2;
    const std::int32_t smallest = kind.kind == Mma::f16    ? spec::kSmallestExponentF16
                                  : kind.kind == Mma::bf16 ? spec::kSmallestExponentBf16
                                  : kind.kind == Mma::e4m3 ? spec::kSmallestExponentE4m3
                                                           : spec::kSmallestExponentE5m2;
    spec::Factor a[32], b[32];
    for (std::size_t k = 0; k < 32; ++k)
      a[k] = spec::factor_of(one.a[k], smallest), b[k] = spec::factor_of(one.b[k], smallest);
    const float sum = spec::fused_dot(a, b, float8 ? 32 : 16, one.start, spec::dot_law(card, float8));
    return text(bits_of_f32(sum));
  });
}

}  // namespace octavo::cuda
