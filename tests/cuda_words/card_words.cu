// The words that every card from compute capability 8.0 on has, as kernels; and the card.
#include "cuda/tile/ptx.hpp"
#include "on_card.hpp"
#include "word_kernels.hpp"

namespace octavo::cuda {
namespace {

using Machine = Ptx;
#define OCTAVO_WORD(name, warps, bytes, kernel)                                 \
  __global__ void __launch_bounds__(32 * warps) on_card_##name(WordRuns runs) { \
    Machine m;                                                                  \
    kernel(m, runs);                                                            \
  }
#define OCTAVO_WORD_SM89(name, warps, bytes, kernel)
#define OCTAVO_WORD_SM90(name, warps, bytes, kernel)
#include "words.inc"
#undef OCTAVO_WORD

class CardWords : public WordRunner {
 public:
  explicit CardWords(int capability) : capability_(capability) {}
  int capability() const override { return capability_; }

  std::vector<std::uint32_t> run(Word word, std::size_t runs, const std::vector<std::uint32_t>& in,
                                 std::size_t out_words) override {
    const OnCard<std::uint32_t> from(in), to(runs * out_words);
    const WordRuns params{from.get(), to.get(), static_cast<std::uint32_t>(in.size() / runs),
                          static_cast<std::uint32_t>(out_words)};
    const auto blocks = static_cast<unsigned>(runs);
#define OCTAVO_WORD(name, warps, bytes, kernel) \
  if (word == Word::name) on_card_##name<<<blocks, 32 * warps, bytes>>>(params);
#include "words.inc"
#undef OCTAVO_WORD
#undef OCTAVO_WORD_SM89
#undef OCTAVO_WORD_SM90
    if (word >= Word::wgmma_s8s8_128) {
      launch_sm90(word, blocks, params);
    } else if (word >= Word::mma_e4m3) {
      launch_sm89(word, blocks, params);
    }
    must(cudaGetLastError(), "launch of a word");
    return to.back();
  }

  std::vector<std::uint32_t> run_box(TensorBox box, std::size_t bytes, BoxPlace at) override {
    const auto* first = static_cast<const unsigned char*>(box.base);
    const OnCard<unsigned char> tensor(std::vector<unsigned char>(first, first + bytes));
    box.base = tensor.get();
    return box_on_card(box, at);
  }
  int wrong_sums() override { return wrong_sums_on_card(); }

 private:
  int capability_;
};

}  // namespace

Card open_card() {
  int count = 0;
  must(cudaGetDeviceCount(&count), "no GPU can be used");
  if (count == 0) throw CardError("this machine has no GPU");
  cudaDeviceProp properties;
  must(cudaGetDeviceProperties(&properties, 0), "properties of the card");
  const int capability = 10 * properties.major + properties.minor;
  if (capability < 80) {
    throw CardError(std::string(properties.name) + " has compute capability " + std::to_string(properties.major) + "." +
                    std::to_string(properties.minor) + "; the words need 8.0 or later");
  }
  return {properties.name, std::make_unique<CardWords>(capability)};
}

}  // namespace octavo::cuda
