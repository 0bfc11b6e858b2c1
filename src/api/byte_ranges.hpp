// Which bytes a call reads and which it writes: outputs must overlap nothing else.
#pragma once

#include <array>
#include <cstddef>

#include "api/tensor_checks.hpp"
#include "core/text.hpp"

namespace octavo {

class ByteRanges {
 public:
  void reads(Name name, const ByteRange& range) noexcept { add(name, range, false); }
  void writes(Name name, const ByteRange& range) noexcept { add(name, range, true); }

  // invalid_argument names the two tensors. Ranges are compared, not single elements: an output that lies in the gaps
  // of an input is refused too.
  Status check() const {
    for (std::size_t i = 0; i < count_; ++i) {
      if (!entries_[i].written) continue;
      for (std::size_t j = 0; j < count_; ++j) {
        if (i == j || !entries_[i].range.overlaps(entries_[j].range)) continue;
        return invalid_argument(entries_[i].name, " overlaps ", entries_[j].name, "; outputs need memory of their own");
      }
    }
    return {};
  }

 private:
  struct Entry {
    Name name;
    ByteRange range;
    bool written = false;
  };
  void add(Name name, const ByteRange& range, bool written) noexcept {
    if (range.begin < range.end) entries_[count_++] = {name, range, written};
  }

  // q, k, v with codes, scales and mean each; six optional inputs; out, lse, workspace.
  std::array<Entry, 18> entries_;
  std::size_t count_ = 0;
};

}  // namespace octavo
