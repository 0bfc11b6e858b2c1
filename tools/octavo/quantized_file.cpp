// Metadata says what the bytes are: recipe, role, layout, rotated, and of 4-bit codes, which are written as bytes,
// their number along the last axis.
#include "quantized_file.hpp"

#include <charconv>
#include <string_view>

#include "call_options.hpp"
#include "common/failure.hpp"
#include "io/tensor_file.hpp"
#include "role_option.hpp"

namespace octavo::tool {
namespace {

std::string_view word(const io::TensorFile& file, std::string_view key) {
  const std::string_view value = file.metadata(key);
  if (value.empty()) {
    fail(kExitIo, file.path() + ": the metadata \"" + std::string(key) + "\" of the codes is missing");
  }
  return value;
}

[[noreturn]] void bad_word(const io::TensorFile& file, std::string_view key, std::string_view allowed) {
  fail(kExitIo, file.path() + ": the metadata \"" + std::string(key) + "\" is \"" + std::string(word(file, key)) +
                    "\"; allowed: " + std::string(allowed));
}

std::string one_of(const io::TensorFile& file, std::string_view key, std::initializer_list<std::string_view> allowed) {
  const std::string_view value = word(file, key);
  std::string list;
  for (std::string_view choice : allowed) {
    if (value == choice) return std::string(value);
    list += (list.empty() ? "" : ", ") + std::string(choice);
  }
  bad_word(file, key, list);
}

// Codes per row: the last number of codes_shape, "[1, 20, 3, 7]"; without it, two to a byte.
std::int64_t codes_per_row(const io::TensorFile& file, std::int64_t bytes) {
  const std::string_view shape = file.metadata("codes_shape");
  if (shape.empty()) return 2 * bytes;
  const std::size_t comma = shape.find_last_of(',');
  std::string_view last = comma == std::string_view::npos ? std::string_view() : shape.substr(comma + 1);
  while (!last.empty() && last.front() == ' ') last.remove_prefix(1);
  std::int64_t count = 0;
  const auto [end, error] = std::from_chars(last.data(), last.data() + last.size(), count);
  // Not (count + 1) / 2, which overflows: the file may hold any number.
  if (error != std::errc{} || count < 0 || count / 2 + count % 2 != bytes) {
    bad_word(file, "codes_shape", "a shape whose last axis fills the bytes of the codes, \"[1, 20, 3, 64]\"");
  }
  return count;
}

TensorView as_nibbles(const TensorView& bytes, std::int64_t count) {
  TensorView codes = bytes;
  const auto last = static_cast<std::size_t>(bytes.rank - 1);
  codes.dtype = DType::s4;
  codes.shape[last] = count;
  for (std::size_t axis = 0; axis < last; ++axis) codes.strides[axis] = 2 * bytes.strides[axis];
  return codes;
}

}  // namespace

std::optional<QuantizedFile> load_quantized(const std::string& argument) {
  Result<io::TensorFile> opened = io::TensorFile::open(argument);
  // FILE:NAME, or a file that does not open: the caller reports it.
  if (!opened.ok() || !opened->contains("codes") || opened->metadata("role").empty()) return std::nullopt;
  const io::TensorFile& file = *opened;
  QuantizedFile result;
  result.view.recipe = value_of_file(parse_recipe(word(file, "recipe")));
  result.view.role = role_of(one_of(file, "role", {"q", "k", "v"}));
  result.view.layout = layout_of(one_of(file, "layout", {"NHD", "HND"}));
  result.view.rotated = one_of(file, "rotated", {"0", "1"}) == "1";
  result.codes = value_of_file(file.find("codes"));
  result.view.codes = result.codes.view();
  const Format format = result.view.role == Role::v ? result.view.recipe.values : result.view.recipe.scores;
  if (format == Format::s4 && result.view.codes.dtype == DType::u8 && result.view.codes.rank >= 3) {
    const auto last = static_cast<std::size_t>(result.view.codes.rank - 1);
    result.view.codes = as_nibbles(result.view.codes, codes_per_row(file, result.view.codes.shape[last]));
  }
  if (file.contains("scales")) {
    result.scales = value_of_file(file.find("scales"));
    result.view.scales = result.scales.view();
  }
  if (file.contains("mean")) {
    result.mean = value_of_file(file.find("mean"));
    result.view.mean = result.mean.view();
  }
  if (file.contains("cu_seqlens")) {
    result.cu_seqlens = value_of_file(file.find("cu_seqlens"));
    result.view.cu_seqlens = result.cu_seqlens.view();
  }
  return result;
}

}  // namespace octavo::tool
