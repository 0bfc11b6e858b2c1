#include "emulated_words.hpp"

#include "cuda_emulation/machine_sm90.hpp"
#include "staged_words.hpp"
#include "word_kernels_sm90.hpp"

namespace octavo::cuda {

std::vector<std::uint32_t> EmulatedWords::run(Word word, std::size_t runs, const std::vector<std::uint32_t>& in,
                                              std::size_t out_words) {
  std::vector<std::uint32_t> out(runs * out_words);
  // Copies want aligned sources.
  alignas(16) static thread_local std::uint32_t aligned[128];
  const bool copies = word == Word::copy16 || word == Word::copy_bytes;
  if (copies) std::copy(in.begin(), in.end(), aligned);
  const WordRuns params{copies ? aligned : in.data(), out.data(), static_cast<std::uint32_t>(in.size() / runs),
                        static_cast<std::uint32_t>(out_words)};
  const std::int64_t blocks = static_cast<std::int64_t>(runs);
#define OCTAVO_EMULATED_WORD(Emulated, name, warps, bytes, kernel)                                          \
  if (word == Word::name) {                                                                                 \
    using Machine = emulation::Emulated;                                                                    \
    emulation::launch<Machine>({{blocks, 1, 1}, warps, bytes}, {}, [&](Machine& m) { kernel(m, params); }); \
  }
#define OCTAVO_WORD(name, warps, bytes, kernel) OCTAVO_EMULATED_WORD(Emulated, name, warps, bytes, kernel)
#define OCTAVO_WORD_SM89 OCTAVO_WORD
#define OCTAVO_WORD_SM90(name, warps, bytes, kernel) OCTAVO_EMULATED_WORD(EmulatedSm90, name, warps, bytes, kernel)
#include "words.inc"
#undef OCTAVO_WORD
#undef OCTAVO_WORD_SM89
#undef OCTAVO_WORD_SM90
#undef OCTAVO_EMULATED_WORD
  return out;
}

std::vector<std::uint32_t> EmulatedWords::run_box(TensorBox box, std::size_t, BoxPlace at) {
  const std::uint32_t words = bytes_of_box(box) / 4;
  std::vector<std::uint32_t> out(words);
  emulation::launch<emulation::EmulatedSm90>({{1, 1, 1}, 1, kWordBox + 4 * words}, {}, [&](emulation::EmulatedSm90& m) {
    copy_one_box<emulation::EmulatedSm90>(m, {box}, words, at, out.data());
  });
  return out;
}

int EmulatedWords::wrong_sums() {
  using Machine = emulation::EmulatedSm90;
  const StagedOperands operands;
  std::vector<std::int32_t> c(64 * kStagedWidth);
  const StagedProductParams<Machine, Mma::u8s8> params{
      {StagedOperands::box(operands.a.data())}, {StagedOperands::box(operands.b.data())}, kStagedSteps, c.data()};
  emulation::launch<Machine>({{1, 1, 1}, StagedWord::kWarps, StagedWord::kBytes, StagedWord::kRegisters}, {},
                             [&](Machine& m) { staged_product<Machine, Mma::u8s8, kStagedWidth>(m, params); });
  return operands.wrong(c);
}

WordTable emulated_table(int capability) {
  EmulatedWords words(capability);
  WordTable table = dump_layouts(words);
  table.merge(expected_sums(capability));
  return table;
}

}  // namespace octavo::cuda
