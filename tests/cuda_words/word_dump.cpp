#include "word_dump.hpp"

#include <optional>
#include <set>
#include <string_view>

#include "core/float_types.hpp"
#include "core/text.hpp"
#include "cuda/tile/machine_sm90.hpp"
#include "word_inputs.hpp"
#include "word_kernels_sm90.hpp"
#include "word_table.hpp"

namespace octavo::cuda {
namespace {

// A small whole number as an operand's bits.
std::uint32_t coded(Mma kind, std::uint32_t x) {
  if (kind == Mma::f16 || kind == Mma::f16_to_f16) return f32_to_f16(static_cast<float>(x));
  if (kind == Mma::bf16) return f32_to_bf16(static_cast<float>(x));
  if (kind == Mma::e4m3 || kind == Mma::e4m3_to_f16) return f32_to_e4m3(static_cast<float>(x));
  return x;
}
// A sum as the whole number that it is.
std::uint32_t whole(Mma kind, std::uint32_t bits) {
  return sums_integers(kind) ? bits : static_cast<std::uint32_t>(f32_of_bits(bits));
}

std::string words_of(const Words& values) {
  std::vector<std::string> texts;
  for (std::uint32_t value : values) texts.push_back(text(value));
  return list_of(texts);
}

// Of all answers to one question the one that they agree on.
class Agreed {
 public:
  void add(Place place) {
    if (!place_) place_ = place;
    agreed_ = agreed_ && *place_ == place;
  }
  void add_nothing() { agreed_ = false; }
  std::string json() const {
    return agreed_ && place_ ? text("[", place_->row, ", ", place_->column, "]") : std::string("null");
  }

 private:
  std::optional<Place> place_;
  bool agreed_ = true;
};

// Each element of A alone, against ones and against the three octal digits of the number of B's element.
constexpr std::size_t kDigits = 3;
template <Mma kind>
std::string dump_mma(WordRunner& runner, Word word) {
  constexpr int kElements = elements_of_register(kind), kBits = 32 / kElements;
  constexpr std::size_t kOfA = 32 * 4 * kElements, kOfB = 32 * 2 * kElements;
  Words in(kOfA * (1 + kDigits) * kMmaIn);
  for (std::size_t a = 0; a < kOfA; ++a) {
    for (std::size_t digit = 0; digit <= kDigits; ++digit) {
      std::uint32_t* run = &in[(a * (1 + kDigits) + digit) * kMmaIn];
      run[a / kElements] = coded(kind, 1) << (kBits * (a % kElements));
      for (std::size_t b = 0; b < kOfB; ++b) {
        const std::size_t value = digit == 0 ? 1 : b >> (3 * (digit - 1)) & 7;
        run[128 + b / kElements] |= coded(kind, static_cast<std::uint32_t>(value)) << (kBits * (b % kElements));
      }
    }
  }
  const Words out = runner.run(word, kOfA * (1 + kDigits), in, kMmaOut);
  std::vector<Agreed> of_a(kOfA), of_b(kOfB);
  for (std::size_t a = 0; a < kOfA; ++a) {
    const auto sum = [&](std::size_t digit, std::size_t c) {
      return whole(kind, out[(a * (1 + kDigits) + digit) * kMmaOut + c]);
    };
    const auto part_of_a = [&](std::size_t i) { return static_cast<int>(i); };
    const Place documented_a =
        place_in_a<kElements>(part_of_a(a / kElements / 4), part_of_a(a / kElements % 4), part_of_a(a % kElements));
    for (std::size_t c = 0; c < kMmaOut; ++c) {
      if (sum(0, c) == 0) continue;
      const std::size_t b = sum(1, c) + 8 * sum(2, c) + 64 * sum(3, c);
      const Place place = place_in_c(static_cast<int>(c / 4), static_cast<int>(c % 4));
      if (sum(0, c) != 1 || b >= kOfB) {
        of_a[a].add_nothing();
        continue;
      }
      const Place documented_b =
          place_in_b<kElements>(part_of_a(b / kElements / 2), part_of_a(b / kElements % 2), part_of_a(b % kElements));
      of_a[a].add({place.row, documented_b.row});
      of_b[b].add({documented_a.column, place.column});
    }
  }
  std::vector<std::string> a_places, b_places;
  for (const Agreed& place : of_a) a_places.push_back(place.json());
  for (const Agreed& place : of_b) b_places.push_back(place.json());
  return text("{\"a\": ", list_of(a_places), ", \"b\": ", list_of(b_places), "}");
}

// 16-bit element i of row r of matrix j is the number 64 j + 8 r + i.
std::string dump_ldmatrix(WordRunner& runner, Word word) {
  Words in(128);
  for (std::uint32_t i = 0; i < 128; ++i) in[i] = 2 * i | (2 * i + 1) << 16;
  return words_of(runner.run(word, 1, in, 128));
}

std::string dump_copy16(WordRunner& runner) {
  Words in(128);
  for (std::uint32_t i = 0; i < 128; ++i) in[i] = i + 1;
  return words_of(runner.run(Word::copy16, 1, in, 128));
}
std::string dump_shuffle(WordRunner& runner) {
  Words in(32);
  for (std::uint32_t i = 0; i < 32; ++i) in[i] = i;
  return words_of(runner.run(Word::shuffle_xor, 1, in, 160));
}

// Numbers of E4M3 and halfway between two, subnormal ones, and those beyond the largest.
std::string dump_pack_e4m3(WordRunner& runner) {
  Words in(128);
  for (std::uint32_t i = 0; i < 128; ++i) {
    const float digits = 1.0f + static_cast<float>(i % 16) / 16.0f;
    const float x = digits * f32_of_bits((127u + i / 16 * 3 - 11) << 23);
    in[i] = bits_of_f32(i % 3 == 2 ? -x : x);
  }
  return words_of(runner.run(Word::pack_e4m3, 1, in, 32));
}
std::string dump_copy_bytes(WordRunner& runner) {
  Words in(64);
  for (std::uint32_t i = 0; i < 64; ++i) in[i] = i + 1;
  return words_of(runner.run(Word::copy_bytes, 1, in, kWordBulkWords));
}

// The places, as text, of `rows` x 32 bytes that a table says; null where it does not.
std::string table_of(const std::map<std::pair<int, int>, std::uint32_t>& table, int rows) {
  std::vector<std::string> places;
  for (int row = 0; row < rows; ++row) {
    for (int k = 0; k < kWgmmaDepthBytes; ++k) {
      const auto found = table.find({row, k});
      places.push_back(found == table.end() ? "null" : text(found->second));
    }
  }
  return list_of(places);
}

// Byte by byte: each of B's tile alone against ones, then against the two digits (base 128) of the place in A's tile.
std::string dump_wgmma(WordRunner& runner, Word word, Swizzle swizzle) {
  const std::size_t a_bytes = 8 * atom_bytes(swizzle), b_bytes = atom_bytes(swizzle);
  const MatrixDescriptor documented{0, 16, atom_bytes(swizzle), swizzle};
  const auto ask = [&](const std::vector<std::size_t>& places, std::size_t digit) {
    Words in(places.size() * kWgmmaIn);
    for (std::size_t i = 0; i < places.size(); ++i) {
      std::uint32_t* run = &in[i * kWgmmaIn];
      for (std::size_t at = 0; at < a_bytes; ++at) {
        const std::size_t value = digit == 0 ? 1 : digit == 1 ? at % 128 : at / 128;
        put_byte(run, at, static_cast<std::uint32_t>(value));
      }
      put_byte(run, kWordB + places[i], 1);
    }
    return runner.run(word, places.size(), in, kWgmmaOut);
  };
  std::vector<std::size_t> all(b_bytes), used;
  for (std::size_t i = 0; i < b_bytes; ++i) all[i] = i;
  const Words ones = ask(all, 0);
  for (std::size_t i = 0; i < b_bytes; ++i) {
    for (std::size_t c = 0; c < kWgmmaOut; ++c) {
      if (ones[i * kWgmmaOut + c] == 0) continue;
      used.push_back(i);
      break;
    }
  }
  const Words low = ask(used, 1), high = ask(used, 2);
  std::map<std::pair<int, int>, std::uint32_t> of_a, of_b;
  for (std::size_t i = 0; i < used.size(); ++i) {
    std::map<int, std::uint32_t> a_of_row;
    std::set<int> columns;
    for (std::size_t c = 0; c < kWgmmaOut; ++c) {
      if (ones[used[i] * kWgmmaOut + c] == 0) continue;
      const Place place = place_in_wgmma_c(static_cast<int>(c / 4), static_cast<int>(c % 4));
      a_of_row[place.row] = low[i * kWgmmaOut + c] + 128 * high[i * kWgmmaOut + c];
      columns.insert(place.column);
    }
    // The depth is that of row 0's byte, after its documented place.
    int depth = -1;
    for (int k = 0; k < kWgmmaDepthBytes; ++k) {
      if (a_of_row.count(0) != 0 && place_in_matrix(documented, 0, static_cast<std::uint32_t>(k)) == a_of_row[0])
        depth = k;
    }
    if (depth < 0 || columns.size() != 1) continue;
    of_b[{*columns.begin(), depth}] = static_cast<std::uint32_t>(used[i]);
    for (const auto& [row, at] : a_of_row) {
      const auto added = of_a.insert({{row, depth}, at});
      if (added.first->second != at) added.first->second = ~0u;
    }
  }
  return text("{\"a\": ", table_of(of_a, kWarpgroupRows), ", \"b\": ", table_of(of_b, kWordWidth), "}");
}

// Each element of A's registers alone, in all four warps at once, against ones and the place in B's tile.
std::string dump_wgmma_registers(WordRunner& runner) {
  constexpr Swizzle kSwizzle = Swizzle::bytes32;
  const MatrixDescriptor documented{0, 16, atom_bytes(kSwizzle), kSwizzle};
  Words in(512 * 3 * kWgmmaIn);
  for (std::size_t a = 0; a < 512; ++a) {
    for (std::size_t digit = 0; digit < 3; ++digit) {
      std::uint32_t* run = &in[(3 * a + digit) * kWgmmaIn];
      for (std::size_t warp = 0; warp < 4; ++warp) run[kTileWords + 128 * warp + a / 4] = 1u << (8 * (a % 4));
      for (std::size_t at = 0; at < atom_bytes(kSwizzle); ++at) {
        const std::size_t value = digit == 0 ? 1 : digit == 1 ? at % 128 : at / 128;
        put_byte(run, kWordB + at, static_cast<std::uint32_t>(value));
      }
    }
  }
  const Words out = runner.run(Word::wgmma_s8s8_registers, 512 * 3, in, kWgmmaOut);
  std::vector<std::string> places;
  for (std::size_t a = 0; a < 512; ++a) {
    Agreed agreed;
    int sums = 0;
    for (std::size_t c = 0; c < kWgmmaOut; ++c) {
      const auto sum = [&](std::size_t digit) { return out[(3 * a + digit) * kWgmmaOut + c]; };
      if (sum(0) == 0) continue;
      ++sums;
      const Place place = place_in_wgmma_c(static_cast<int>(c / 4), static_cast<int>(c % 4));
      const std::uint32_t at = sum(1) + 128 * sum(2);
      int depth = -1;
      for (int k = 0; k < kWgmmaDepthBytes; ++k) {
        const auto of_k =
            place_in_matrix(documented, static_cast<std::uint32_t>(place.column), static_cast<std::uint32_t>(k));
        if (of_k == at) depth = k;
      }
      agreed.add({place.row - 16 * static_cast<int>(c / 128), depth});
    }
    if (sums != 4 * kWordWidth) agreed.add_nothing();
    places.push_back(agreed.json());
  }
  return list_of(places);
}

// A box of 8 rows, as wide as the swizzle, from 16 rows of 64 numbers of two bytes; the second starts outside.
std::string dump_box(WordRunner& runner, Swizzle swizzle) {
  std::vector<std::uint16_t> elements(16 * 64);
  for (std::size_t i = 0; i < elements.size(); ++i) elements[i] = static_cast<std::uint16_t>(i + 1);
  TensorBox box;
  box.base = elements.data();
  box.element_bytes = 2;
  box.sizes[0] = 64, box.sizes[1] = 16;
  box.strides[1] = 128;
  box.box[0] = row_bytes(swizzle) / 2, box.box[1] = 8;
  box.swizzle = swizzle;
  const std::size_t bytes = 2 * elements.size();
  return text("{\"inside\": ", words_of(runner.run_box(box, bytes, {2, 0, 4, 0})),
              ", \"outside\": ", words_of(runner.run_box(box, bytes, {2, -8, 12, 0})), "}");
}

// Two planes of 3 rows of 8 numbers, partly outside a tensor of [4, 5, 20] whose rows are 48 bytes apart.
std::string dump_box_of_three_axes(WordRunner& runner) {
  std::vector<std::uint16_t> elements(4 * 5 * 24);
  for (std::size_t i = 0; i < elements.size(); ++i) elements[i] = static_cast<std::uint16_t>(i + 1);
  TensorBox box;
  box.base = elements.data();
  box.element_bytes = 2;
  box.rank = 3;
  box.sizes[0] = 20, box.sizes[1] = 5, box.sizes[2] = 4;
  box.strides[1] = 48, box.strides[2] = 5 * 48;
  box.box[0] = 8, box.box[1] = 3, box.box[2] = 2;
  return words_of(runner.run_box(box, 2 * elements.size(), {3, 16, 1, 3}));
}

// How many of the sums of two products of width n are wrong.
std::string dump_width(WordRunner& runner, Word word, std::size_t n) {
  Words in((64 + n) * 8);
  for (std::size_t i = 0; i < in.size(); ++i) in[i] = static_cast<std::uint32_t>(i + 1) * 2654435761u;
  const auto element = [&](std::size_t row, std::size_t k) {
    return static_cast<std::int8_t>(in[8 * row + k / 4] >> (8 * (k % 4)));
  };
  const Words out = runner.run(word, 1, in, 64 * n);
  int wrong = 0;
  for (std::size_t i = 0; i < out.size(); ++i) {
    const Place place = place_in_wgmma_c(static_cast<int>(i / (n / 2)), static_cast<int>(i % (n / 2)));
    std::int32_t sum = 0;
    for (std::size_t k = 0; k < kWgmmaDepthBytes; ++k) {
      sum +=
          2 * element(static_cast<std::size_t>(place.row), k) * element(64 + static_cast<std::size_t>(place.column), k);
    }
    wrong += static_cast<std::uint32_t>(sum) != out[i];
  }
  return text(wrong);
}

// The same of a product with B transposed, of small whole numbers.
std::string dump_transposed(WordRunner& runner) {
  const auto number = [](std::size_t of, std::size_t row, std::size_t column) {
    return static_cast<float>((row * 131 + column * 31 + of * 17) % 23) - 11.0f;
  };
  constexpr std::size_t kDepth = 16, kWidth = kWordTransposedWidth;
  Words in(512 + kDepth * kWidth / 2);
  for (int thread = 0; thread < 128; ++thread) {
    for (int reg = 0; reg < 4; ++reg) {
      for (int i = 0; i < 2; ++i) {
        const Place at = place_in_wgmma_a<2>(thread, reg, i);
        const float x = number(0, static_cast<std::size_t>(at.row), static_cast<std::size_t>(at.column));
        in[static_cast<std::size_t>(4 * thread + reg)] |= static_cast<std::uint32_t>(f32_to_f16(x)) << (16 * i);
      }
    }
  }
  for (std::size_t i = 0; i < kDepth * kWidth; ++i) {
    in[512 + i / 2] |= static_cast<std::uint32_t>(f32_to_f16(number(1, i / kWidth, i % kWidth))) << (16 * (i % 2));
  }
  const Words out = runner.run(Word::wgmma_transposed, 1, in, 64 * kWidth);
  int wrong = 0;
  for (std::size_t i = 0; i < out.size(); ++i) {
    const Place place = place_in_wgmma_c(static_cast<int>(i / (kWidth / 2)), static_cast<int>(i % (kWidth / 2)));
    float sum = 0;
    for (std::size_t k = 0; k < kDepth; ++k) {
      sum += number(0, static_cast<std::size_t>(place.row), k) * number(1, k, static_cast<std::size_t>(place.column));
    }
    wrong += f32_of_bits(out[i]) != sum;
  }
  return text(wrong);
}

}  // namespace

WordTable dump_layouts(WordRunner& runner) {
  WordTable table;
  keep(table, "mma_s8s8", [&] { return dump_mma<Mma::s8s8>(runner, Word::mma_s8s8); });
  keep(table, "mma_u8s8", [&] { return dump_mma<Mma::u8s8>(runner, Word::mma_u8s8); });
  keep(table, "mma_s4s4", [&] { return dump_mma<Mma::s4s4>(runner, Word::mma_s4s4); });
  keep(table, "mma_f16", [&] { return dump_mma<Mma::f16>(runner, Word::mma_f16); });
  keep(table, "mma_bf16", [&] { return dump_mma<Mma::bf16>(runner, Word::mma_bf16); });
  keep(table, "mma_f16_to_f16", [&] { return dump_mma<Mma::f16_to_f16>(runner, Word::mma_f16_to_f16); });
  keep(table, "ldmatrix", [&] { return dump_ldmatrix(runner, Word::ldmatrix); });
  keep(table, "ldmatrix_trans", [&] { return dump_ldmatrix(runner, Word::ldmatrix_trans); });
  keep(table, "copy16", [&] { return dump_copy16(runner); });
  keep(table, "shuffle_xor", [&] { return dump_shuffle(runner); });
  if (has_word(WordCards::e4m3, runner.capability())) {
    keep(table, "mma_e4m3", [&] { return dump_mma<Mma::e4m3>(runner, Word::mma_e4m3); });
    keep(table, "mma_e4m3_to_f16", [&] { return dump_mma<Mma::e4m3_to_f16>(runner, Word::mma_e4m3_to_f16); });
    keep(table, "pack_e4m3", [&] { return dump_pack_e4m3(runner); });
  }
  if (!has_word(WordCards::hopper, runner.capability())) return table;
  keep(table, "copy_bytes", [&] { return dump_copy_bytes(runner); });
  keep(table, "wgmma_s8s8_128", [&] { return dump_wgmma(runner, Word::wgmma_s8s8_128, Swizzle::bytes128); });
  keep(table, "wgmma_s8s8_64", [&] { return dump_wgmma(runner, Word::wgmma_s8s8_64, Swizzle::bytes64); });
  keep(table, "wgmma_s8s8_32", [&] { return dump_wgmma(runner, Word::wgmma_s8s8_32, Swizzle::bytes32); });
  keep(table, "wgmma_s8s8_registers", [&] { return dump_wgmma_registers(runner); });
  keep(table, "box_none", [&] { return dump_box(runner, Swizzle::none); });
  keep(table, "box_32", [&] { return dump_box(runner, Swizzle::bytes32); });
  keep(table, "box_64", [&] { return dump_box(runner, Swizzle::bytes64); });
  keep(table, "box_128", [&] { return dump_box(runner, Swizzle::bytes128); });
  keep(table, "box_of_three_axes", [&] { return dump_box_of_three_axes(runner); });
  keep(table, "wgmma_width_8_wrong_sums", [&] { return dump_width(runner, Word::wgmma_width_8, 8); });
  keep(table, "wgmma_width_16_wrong_sums", [&] { return dump_width(runner, Word::wgmma_width_16, 16); });
  keep(table, "wgmma_width_32_wrong_sums", [&] { return dump_width(runner, Word::wgmma_width_32, 32); });
  keep(table, "wgmma_width_64_wrong_sums", [&] { return dump_width(runner, Word::wgmma_width_64, 64); });
  keep(table, "wgmma_width_96_wrong_sums", [&] { return dump_width(runner, Word::wgmma_width_96, 96); });
  keep(table, "wgmma_width_128_wrong_sums", [&] { return dump_width(runner, Word::wgmma_width_128, 128); });
  keep(table, "wgmma_width_192_wrong_sums", [&] { return dump_width(runner, Word::wgmma_width_192, 192); });
  keep(table, "wgmma_width_256_wrong_sums", [&] { return dump_width(runner, Word::wgmma_width_256, 256); });
  keep(table, "wgmma_transposed_wrong_sums", [&] { return dump_transposed(runner); });
  keep(table, "staged_product_wrong_sums", [&] { return text(runner.wrong_sums()); });
  return table;
}

std::vector<std::string> words_that_fail(const WordTable& table) {
  constexpr std::string_view kWrongSums = "_wrong_sums";
  std::vector<std::string> names;
  for (const auto& [name, value] : table) {
    const bool counts = name.size() > kWrongSums.size() &&
                        name.compare(name.size() - kWrongSums.size(), kWrongSums.size(), kWrongSums) == 0;
    if (value.find("null") != std::string::npos || value.front() == '"' || (counts && value != "0"))
      names.push_back(name);
  }
  return names;
}

std::string json_of(const std::string& card, int capability, const WordTable& layouts, const WordTable& sums) {
  std::string escaped;
  for (const char c : card) {
    if (c == '"' || c == '\\') escaped += '\\';
    escaped += static_cast<unsigned char>(c) < 32 ? ' ' : c;
  }
  std::string json = text("{\n\"card\": \"", escaped, "\",\n\"capability\": ", capability);
  for (const WordTable* table : {&layouts, &sums}) {
    for (const auto& [name, value] : *table) json += text(",\n\"", name, "\": ", value);
  }
  return json + "\n}\n";
}

}  // namespace octavo::cuda
