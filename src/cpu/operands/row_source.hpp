// The rows of one head of a sequence as spans of equally spaced rows. A dense tensor is one span; rows kept in pages
// would be several.
#pragma once

#include <cstdint>

#include "core/inline.hpp"
#include "core/tensors.hpp"

namespace octavo::cpu {
namespace {

class RowSource {
 public:
  // Row 0 of the sequence is row `begin` of the tensor's head.
  OCTAVO_MEMBER RowSource(const Operand& tensor, std::int64_t b, std::int64_t head, std::int64_t begin)
      : tensor_(&tensor), first_(tensor.offset(b, head, begin)) {}

  struct Span {
    std::int64_t at;     // element offset of the row in tensor().data
    std::int64_t count;  // it and the rows that follow tensor().strides[2] apart
  };
  OCTAVO_MEMBER Span span(std::int64_t row) const { return {first_ + row * tensor_->strides[2], INT64_MAX}; }
  OCTAVO_MEMBER std::int64_t at(std::int64_t row) const { return span(row).at; }
  OCTAVO_MEMBER const Operand& tensor() const { return *tensor_; }

  // body(row, at, count) for each span of rows from..to-1.
  template <class Body>
  OCTAVO_MEMBER void for_each_span(std::int64_t from, std::int64_t to, const Body& body) const {
    for (std::int64_t row = from; row < to;) {
      const Span next = span(row);
      const std::int64_t count = next.count < to - row ? next.count : to - row;
      body(row, next.at, count);
      row += count;
    }
  }

 private:
  const Operand* tensor_;
  std::int64_t first_;
};

}  // namespace
}  // namespace octavo::cpu
