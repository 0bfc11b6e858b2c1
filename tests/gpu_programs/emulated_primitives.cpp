// The emulation in place of the GPU that cuda_primitive_dump asks.
#include "card_words.hpp"
#include "emulated_words.hpp"

namespace octavo::cuda {

// 8.0: the emulated mma.sync sums as that generation does.
Card open_card() { return {"emulated GPU", std::make_unique<EmulatedWords>(80)}; }

}  // namespace octavo::cuda
