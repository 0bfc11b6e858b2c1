// Any bytes as a .npy: an error message, or a tensor that agrees with itself and survives being written and read
// again.
#include "fuzz.hpp"
#include "io/npy.hpp"

using namespace octavo;

namespace {

bool same(const TensorView& a, const TensorView& b) {
  if (a.dtype != b.dtype || a.rank != b.rank || a.shape != b.shape) return false;
  const auto bytes = static_cast<std::size_t>(bits_of(a.dtype) / 8);
  for (std::int64_t i = 0; i < a.elements(); ++i) {
    std::int64_t rest = i, at_a = 0, at_b = 0;
    for (int axis = a.rank; axis-- > 0;) {
      const auto x = static_cast<std::size_t>(axis);
      at_a += rest % a.shape[x] * a.strides[x];
      at_b += rest % a.shape[x] * b.strides[x];
      rest /= a.shape[x];
    }
    if (std::memcmp(static_cast<const char*>(a.data) + static_cast<std::size_t>(at_a) * bytes,
                    static_cast<const char*>(b.data) + static_cast<std::size_t>(at_b) * bytes, bytes) != 0) {
      return false;
    }
  }
  return true;
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static fuzz::MemoryFile input("input.npy"), output("output.npy");
  input.assign(data, size);
  const Result<io::InputFile> file = io::InputFile::open(input.path());
  FUZZ_CHECK(file.ok(), "%s", file.status().message().c_str());
  const Result<io::NpyHeader> header = io::read_npy_header(*file);
  const Result<io::Tensor> tensor = io::read_npy(input.path());
  if (!header.ok()) {
    FUZZ_CHECK(!tensor.ok() && !header.status().message().empty(), "a tensor without a header");
    return 0;
  }
  FUZZ_CHECK(header->data_offset + header->data_bytes == size, "the header's data is not the file's rest");
  if (!tensor.ok()) {
    FUZZ_CHECK(!tensor.status().message().empty(), "an error without words");
    return 0;
  }
  const TensorView& view = tensor->view();
  FUZZ_CHECK(view.rank >= 1 && view.rank <= 4 && view.dtype == header->dtype, "rank %d", view.rank);
  FUZZ_CHECK(static_cast<std::uint64_t>(view.elements() * bits_of(view.dtype) / 8) == header->data_bytes, "sizes");
  const Status written = io::write_npy(output.path(), view);
  FUZZ_CHECK(written.ok(), "%s", written.message().c_str());
  const Result<io::Tensor> again = io::read_npy(output.path());
  FUZZ_CHECK(again.ok(), "%s", again.status().message().c_str());
  FUZZ_CHECK(same(view, again->view()), "written and read again, it is another tensor");
  return 0;
}
