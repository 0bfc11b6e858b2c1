// The emulation in place of the GPU that cuda_primitive_dump asks.
#include "card_words.hpp"
#include "emulated_words.hpp"

namespace octavo::cuda {

Card open_card() { return {"emulated GPU", std::make_unique<EmulatedWords>(90)}; }

}  // namespace octavo::cuda
