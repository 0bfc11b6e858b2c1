// Memory of the card and calls of the CUDA runtime that end in a CardError.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <vector>

#include "card_words.hpp"

namespace octavo::cuda {

inline void must(cudaError_t error, const char* what) {
  if (error != cudaSuccess) throw CardError(std::string(what) + ": " + cudaGetErrorString(error));
}

// `count` elements on the card.
template <class T>
class OnCard {
 public:
  explicit OnCard(std::size_t count) : count_(count) {
    must(cudaMalloc(reinterpret_cast<void**>(&at_), count * sizeof(T)), "memory of the card");
  }
  explicit OnCard(const std::vector<T>& from) : OnCard(from.size()) {
    must(cudaMemcpy(at_, from.data(), count_ * sizeof(T), cudaMemcpyHostToDevice), "copy to the card");
  }
  ~OnCard() { cudaFree(at_); }
  OnCard(const OnCard&) = delete;
  OnCard& operator=(const OnCard&) = delete;

  T* get() const { return at_; }
  // After all that was launched.
  std::vector<T> back() const {
    must(cudaDeviceSynchronize(), "a word on the card");
    std::vector<T> to(count_);
    must(cudaMemcpy(to.data(), at_, count_ * sizeof(T), cudaMemcpyDeviceToHost), "copy from the card");
    return to;
  }

 private:
  T* at_ = nullptr;
  std::size_t count_;
};

}  // namespace octavo::cuda
