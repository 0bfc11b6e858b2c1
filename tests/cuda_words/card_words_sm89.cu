// The words of products of FP8 by mma.sync, as kernels.
#include "cuda/tile/ptx.hpp"
#include "on_card.hpp"
#include "word_kernels.hpp"

namespace octavo::cuda {
namespace {

using Machine = Ptx;
#define OCTAVO_WORD(name, warps, bytes, kernel)
#define OCTAVO_WORD_SM89(name, warps, bytes, kernel)                            \
  __global__ void __launch_bounds__(32 * warps) on_card_##name(WordRuns runs) { \
    Machine m;                                                                  \
    kernel(m, runs);                                                            \
  }
#define OCTAVO_WORD_SM90(name, warps, bytes, kernel)
#include "words.inc"
#undef OCTAVO_WORD_SM89

}  // namespace

void launch_sm89(Word word, unsigned runs, const WordRuns& params) {
#define OCTAVO_WORD_SM89(name, warps, bytes, kernel) \
  if (word == Word::name) on_card_##name<<<runs, 32 * warps, bytes>>>(params);
#include "words.inc"
#undef OCTAVO_WORD
#undef OCTAVO_WORD_SM89
#undef OCTAVO_WORD_SM90
}

}  // namespace octavo::cuda
