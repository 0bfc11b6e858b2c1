// Times of one attention call with several recipes, interleaved: each round measures all of them, each next to the
// first one, to which ratios are taken. Times are the processor's, of the whole process: with one thread
// (set_num_threads(1)) those of a call that nothing disturbs, even on a machine that others use.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "io/tensor.hpp"
#include "octavo/attention.hpp"
#include "study/problem.hpp"

namespace octavo::study {

class TimedCall {
 public:
  // N(0, 1) in the dtype; value_dim 0: that of Q and K.
  explicit TimedCall(const Shape& shape, DType dtype = DType::f32, std::int64_t value_dim = 0);

  struct Entry {
    std::string name;
    Recipe recipe;
    std::string implementation = {};
  };
  struct Ratio {
    double ratio = 0, microseconds = 0;  // to the first entry's, medians of rounds; NaN: it does not run
    std::string implementation;
  };
  std::vector<Ratio> ratios(const std::vector<Entry>& entries, int rounds, bool with_quantization,
                            const std::function<void(const std::string&)>& progress) const;
  double operations() const;  // of both products

  // The call's inputs, as floats.
  AttentionInputs inputs() const;

 private:
  Shape shape_;
  std::int64_t value_dim_;
  io::Tensor q_, k_, v_, out_;
};

}  // namespace octavo::study
