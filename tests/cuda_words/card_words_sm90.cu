// Hopper's words as kernels, and the tensor maps of the driver.
#include <cuda.h>

#include "cuda/tile/ptx_sm90.hpp"
#include "on_card.hpp"
#include "staged_words.hpp"
#include "word_kernels_sm90.hpp"

namespace octavo::cuda {
namespace {

using Machine = PtxSm90;
#define OCTAVO_WORD(name, warps, bytes, kernel)
#define OCTAVO_WORD_SM89(name, warps, bytes, kernel)
#define OCTAVO_WORD_SM90(name, warps, bytes, kernel)                            \
  __global__ void __launch_bounds__(32 * warps) on_card_##name(WordRuns runs) { \
    Machine m;                                                                  \
    kernel(m, runs);                                                            \
  }
#include "words.inc"
#undef OCTAVO_WORD_SM90

__global__ void __launch_bounds__(32)
    run_box(const __grid_constant__ CUtensorMap map, std::uint32_t words, BoxPlace at, std::uint32_t* out) {
  Machine m;
  copy_one_box(m, map, words, at, out);
}

__global__ void __launch_bounds__(32 * StagedWord::kWarps, StagedWord::kBlocks)
    run_staged(const __grid_constant__ StagedProductParams<Machine, Mma::u8s8> params) {
  Machine m;
  staged_product<Machine, Mma::u8s8, kStagedWidth>(m, params);
}

CUtensorMap tensor_map(const TensorBox& box) {
  if (const char* fault = fault_of_box(box)) throw CardError(std::string("a tensor map: ") + fault);
  static const auto encode_tiled = [] {
    void* entry = nullptr;
    cudaDriverEntryPointQueryResult found;
    must(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &entry, 12000, cudaEnableDefault, &found),
         "the driver's cuTensorMapEncodeTiled");
    if (entry == nullptr) throw CardError("the driver has no cuTensorMapEncodeTiled: it is older than CUDA 12");
    return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(entry);
  }();
  constexpr CUtensorMapSwizzle kSwizzles[] = {CU_TENSOR_MAP_SWIZZLE_NONE, CU_TENSOR_MAP_SWIZZLE_32B,
                                              CU_TENSOR_MAP_SWIZZLE_64B, CU_TENSOR_MAP_SWIZZLE_128B};
  const CUtensorMapDataType type = box.element_bytes == 1   ? CU_TENSOR_MAP_DATA_TYPE_UINT8
                                   : box.element_bytes == 2 ? CU_TENSOR_MAP_DATA_TYPE_UINT16
                                                            : CU_TENSOR_MAP_DATA_TYPE_UINT32;
  cuuint64_t sizes[kMostBoxAxes], strides[kMostBoxAxes];
  cuuint32_t extents[kMostBoxAxes], steps[kMostBoxAxes];
  for (int axis = 0; axis < box.rank; ++axis) {
    sizes[axis] = box.sizes[axis], extents[axis] = box.box[axis], steps[axis] = 1;
    if (axis > 0) strides[axis - 1] = box.strides[axis];
  }
  CUtensorMap map;
  const CUresult result =
      encode_tiled(&map, type, static_cast<cuuint32_t>(box.rank), const_cast<void*>(box.base), sizes, strides, extents,
                   steps, CU_TENSOR_MAP_INTERLEAVE_NONE, kSwizzles[static_cast<int>(box.swizzle)],
                   CU_TENSOR_MAP_L2_PROMOTION_NONE, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) throw CardError("cuTensorMapEncodeTiled: error " + std::to_string(result));
  return map;
}

}  // namespace

void launch_sm90(Word word, unsigned runs, const WordRuns& params) {
#define OCTAVO_WORD_SM90(name, warps, bytes, kernel) \
  if (word == Word::name) on_card_##name<<<runs, 32 * warps, bytes>>>(params);
#include "words.inc"
#undef OCTAVO_WORD_SM90
#undef OCTAVO_WORD_SM89
#undef OCTAVO_WORD
}

std::vector<std::uint32_t> box_on_card(const TensorBox& box, BoxPlace at) {
  const std::uint32_t words = bytes_of_box(box) / 4;
  const OnCard<std::uint32_t> to(words);
  run_box<<<1, 32, kWordBox + 4 * words>>>(tensor_map(box), words, at, to.get());
  must(cudaGetLastError(), "launch of a box's copy");
  return to.back();
}

int wrong_sums_on_card() {
  const StagedOperands operands;
  const OnCard<std::uint8_t> a(operands.a), b(operands.b);
  const OnCard<std::int32_t> c(std::size_t{64} * kStagedWidth);
  const StagedProductParams<Machine, Mma::u8s8> params{tensor_map(StagedOperands::box(a.get())),
                                                       tensor_map(StagedOperands::box(b.get())), kStagedSteps, c.get()};
  run_staged<<<1, 32 * StagedWord::kWarps, StagedWord::kBytes>>>(params);
  must(cudaGetLastError(), "launch of the staged product");
  return operands.wrong(c.back());
}

}  // namespace octavo::cuda
