// A tensor whose place in memory a test chooses: order of axes, padding, steps, directions, first element. Every
// element that does not belong to it is poison, a NaN with all bits set, so that a read beside it shows in the result
// and a write beside it can be found.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "octavo/tensor_view.hpp"

namespace octavo::test {

struct Extents {
  std::int64_t batch = 1, heads = 1, rows = 1, dim = 1;
  std::int64_t elements() const { return batch * heads * rows * dim; }
};

struct Placement {
  Layout layout = Layout::nhd;
  std::int64_t channel_step = 1;  // stride of the channel axis
  std::int64_t padding = 0;       // elements behind each row and each outer axis
  std::int64_t offset = 0;        // elements before the first one
  bool rows_backwards = false, heads_backwards = false;
};
std::string describe(const Placement& placement);

class Tensor {
 public:
  Tensor() = default;
  /// packed: the view has no batch axis (batch is 1).
  Tensor(DType dtype, Extents extents, const Placement& placement, bool packed = false);
  Tensor(const Tensor&) = delete;
  Tensor(Tensor&&) = default;
  Tensor& operator=(Tensor&&) = default;

  /// Values in the order [batch][heads][rows][dim], rounded to the dtype.
  void fill(const std::vector<float>& values);
  std::vector<float> values() const;
  const TensorView& view() const { return view_; }
  bool poison_is_untouched() const;

 private:
  template <class Visit>
  void for_each_element(const Visit& visit) const;

  Extents extents_;
  std::vector<unsigned char> bytes_;
  std::int64_t first_ = 0;                      // element index of (0, 0, 0, 0)
  std::int64_t b_ = 0, h_ = 0, r_ = 0, c_ = 0;  // strides
  TensorView view_;
};

void store_element(void* data, DType dtype, std::int64_t index, float value);
float load_element(const void* data, DType dtype, std::int64_t index);
float rounded_to(DType dtype, float value);

}  // namespace octavo::test
