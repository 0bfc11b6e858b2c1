// The header's grammar is the small part of Python's literals that NumPy itself writes.
#include "io/npy.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <new>
#include <string_view>

namespace octavo::io {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
// NumPy itself stops at 10000 characters unless it is told otherwise.
constexpr std::uint64_t kLongestHeader = 1 << 20;

struct NamedType {
  std::string_view descr;
  DType dtype;
};

// The first name of a dtype is the one that is written.
constexpr std::array kTypes = {
    NamedType{"<f4", DType::f32},  NamedType{"<f2", DType::f16},  NamedType{"<f8", DType::f64},
    NamedType{"|i1", DType::s8},   NamedType{"|u1", DType::u8},   NamedType{"<i2", DType::s16},
    NamedType{"<u2", DType::u16},  NamedType{"<i4", DType::s32},  NamedType{"<u4", DType::u32},
    NamedType{"<i8", DType::s64},  NamedType{"<u8", DType::u64},  NamedType{"|b1", DType::boolean},
    NamedType{"<V2", DType::bf16}, NamedType{"|V2", DType::bf16}, NamedType{"bfloat16", DType::bf16},
    NamedType{"<i1", DType::s8},   NamedType{"<u1", DType::u8},
};

constexpr std::string_view kSupportedTypes = "<f4 <f2 <f8 |i1 |u1 <i2 <u2 <i4 <u4 <i8 <u8 |b1, and <V2 for bfloat16";

// Reads {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }.
class Dictionary {
 public:
  explicit Dictionary(std::string_view text) : text_(text) {}

  bool read(NpyHeader& header) {
    bool descr = false, order = false, shape = false;
    if (!take('{')) return fail("expected '{'");
    while (!take('}')) {
      std::string key;
      if (!read_string(key)) return false;
      if (!take(':')) return fail("expected ':'");
      bool* seen = key == "descr" ? &descr : key == "fortran_order" ? &order : key == "shape" ? &shape : nullptr;
      if (seen == nullptr) return fail("unknown key '" + key + "'; allowed are descr, fortran_order, shape");
      if (*seen) return fail("key '" + key + "' appears twice");
      *seen = true;
      const bool read = key == "descr"           ? read_descr(header.descr)
                        : key == "fortran_order" ? read_bool(header.fortran_order)
                                                 : read_shape(header.shape);
      if (!read) return false;
      if (!take(',')) {
        if (take('}')) break;
        return fail("expected ',' or '}'");
      }
    }
    skip_space();
    if (position_ != text_.size()) return fail("data after the dictionary");
    if (!descr || !order || !shape) {
      return fail(std::string("key '") + (!descr ? "descr" : !order ? "fortran_order" : "shape") + "' is missing");
    }
    return true;
  }

  const std::string& error() const { return error_; }
  std::size_t position() const { return position_; }
  bool structured() const { return structured_; }

 private:
  bool fail(std::string what) {
    error_ = std::move(what);
    return false;
  }
  void skip_space() {
    while (position_ < text_.size() && std::strchr(" \t\n\r", text_[position_]) != nullptr && text_[position_] != 0) {
      ++position_;
    }
  }
  bool take(char c) {
    skip_space();
    if (position_ >= text_.size() || text_[position_] != c) return false;
    ++position_;
    return true;
  }
  bool read_string(std::string& value) {
    skip_space();
    const char quote = position_ < text_.size() ? text_[position_] : '\0';
    if (quote != '\'' && quote != '"') return fail("expected a string");
    const std::size_t end = text_.find(quote, position_ + 1);
    if (end == std::string_view::npos) return fail("an unterminated string");
    value = text_.substr(position_ + 1, end - position_ - 1);
    position_ = end + 1;
    return true;
  }
  bool read_descr(std::string& descr) {
    skip_space();
    structured_ = position_ < text_.size() && text_[position_] == '[';
    return structured_ ? fail("descr is a list: structured arrays are not supported") : read_string(descr);
  }
  bool read_bool(bool& value) {
    skip_space();
    for (const bool candidate : {false, true}) {
      const std::string_view word = candidate ? "True" : "False";
      if (text_.substr(position_, word.size()) == word) {
        position_ += word.size();
        value = candidate;
        return true;
      }
    }
    return fail("fortran_order is neither True nor False");
  }
  bool read_shape(std::vector<std::int64_t>& shape) {
    if (!take('(')) return fail("expected '(' before the shape");
    while (!take(')')) {
      std::int64_t extent = 0;
      if (!read_extent(extent)) return false;
      shape.push_back(extent);
      if (!take(',')) {
        if (shape.size() == 1) return fail("a shape with one axis must be written (n,)");
        if (take(')')) return true;
        return fail("expected ',' or ')' in the shape");
      }
    }
    return true;
  }
  bool read_extent(std::int64_t& extent) {
    skip_space();
    const std::size_t start = position_;
    for (; position_ < text_.size() && text_[position_] >= '0' && text_[position_] <= '9'; ++position_) {
      const std::int64_t digit = text_[position_] - '0';
      if (extent > (std::numeric_limits<std::int64_t>::max() - digit) / 10) {
        return fail("an extent above 2^63 - 1 in the shape");
      }
      extent = extent * 10 + digit;
    }
    if (position_ == start) return fail("expected a non-negative integer in the shape");
    if (position_ < text_.size() && text_[position_] == 'L') ++position_;  // NumPy under Python 2
    return true;
  }

  std::string_view text_;
  std::size_t position_ = 0;
  bool structured_ = false;
  std::string error_;
};

Status resolve_type(const InputFile& file, NpyHeader& header) {
  const auto* found =
      std::find_if(kTypes.begin(), kTypes.end(), [&](const NamedType& type) { return type.descr == header.descr; });
  if (found != kTypes.end()) {
    header.dtype = found->dtype;
    return {};
  }
  std::string what = "dtype '" + header.descr + "' is not supported; supported are " + std::string(kSupportedTypes);
  if (header.descr.starts_with('>')) {
    what = "dtype '" + header.descr + "' is big endian; only little-endian files are supported (array.astype('<" +
           header.descr.substr(1) + "') converts)";
  } else if (header.descr == "<V1" || header.descr == "|V1") {
    what = "dtype '" + header.descr + "' does not identify an 8-bit type; use a safetensors file";
  }
  return file.unsupported(what);
}

Status out_of_memory() { return {StatusCode::kResourceExhausted, "out of memory for the header of an npy file"}; }

Result<NpyHeader> read_header(const InputFile& file) {
  std::array<unsigned char, 12> start{};
  if (file.size() < 10) {
    return file.malformed("has " + std::to_string(file.size()) + " bytes; an npy file has at least 10");
  }
  if (Status status = file.read(0, start.data(), 10); !status.ok()) return status;
  if (std::memcmp(start.data(), kMagic.data(), kMagic.size()) != 0) {
    return file.malformed("does not start with the npy magic bytes \\x93NUMPY");
  }
  const unsigned major = start[6];
  if (major < 1 || major > 3) {
    return file.unsupported("npy version " + std::to_string(major) + "." + std::to_string(start[7]) +
                            " at byte 6; versions 1.0, 2.0 and 3.0 are supported");
  }
  std::uint64_t length = start[8] | static_cast<std::uint64_t>(start[9]) << 8;
  std::uint64_t header_offset = 10;
  if (major > 1) {
    if (Status status = file.read(0, start.data(), 12); !status.ok()) return status;
    length |= static_cast<std::uint64_t>(start[10]) << 16 | static_cast<std::uint64_t>(start[11]) << 24;
    header_offset = 12;
  }
  if (length > kLongestHeader || length > file.size() - header_offset) {
    return file.malformed("header length " + std::to_string(length) + " at byte 8 exceeds the file's " +
                          std::to_string(file.size()) + " bytes or the longest supported, " +
                          std::to_string(kLongestHeader));
  }
  std::string text(length, '\0');
  if (Status status = file.read(header_offset, text.data(), length); !status.ok()) return status;

  NpyHeader header;
  Dictionary dictionary(text);
  if (!dictionary.read(header)) {
    const std::string what =
        "header at byte " + std::to_string(header_offset + dictionary.position()) + ": " + dictionary.error();
    return dictionary.structured() ? file.unsupported(what) : file.malformed(what);
  }
  if (Status status = resolve_type(file, header); !status.ok()) return status;
  const Result<std::uint64_t> bytes = dense_bytes(header.dtype, header.shape);
  if (!bytes.ok()) return file.malformed(bytes.status().message());
  header.data_offset = header_offset + length;
  header.data_bytes = *bytes;
  const std::uint64_t present = file.size() - header.data_offset;
  if (present != header.data_bytes) {
    return file.malformed("the shape needs " + std::to_string(header.data_bytes) + " bytes from byte " +
                          std::to_string(header.data_offset) + " on, the file has " + std::to_string(present));
  }
  return header;
}

}  // namespace

std::string npy_name(const std::string& path) {
  const std::size_t slash = path.find_last_of('/');
  std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  return name.ends_with(".npy") ? name.substr(0, name.size() - 4) : name;
}

Result<NpyHeader> read_npy_header(const InputFile& file) {
  try {
    return read_header(file);
  } catch (const std::bad_alloc&) {
    return out_of_memory();
  }
}

Result<Tensor> read_npy(const InputFile& file, const NpyHeader& header) {
  try {
    Result<Tensor> tensor = Tensor::allocate(npy_name(file.path()), header.dtype, header.shape, header.fortran_order);
    if (!tensor.ok()) return Status(tensor.status().code(), "'" + file.path() + "': " + tensor.status().message());
    if (Status status = read_elements(file, header.data_offset, *tensor); !status.ok()) return status;
    return tensor;
  } catch (const std::bad_alloc&) {
    return out_of_memory();
  }
}

Result<Tensor> read_npy(const std::string& path) {
  const Result<InputFile> file = InputFile::open(path);
  if (!file.ok()) return file.status();
  const Result<NpyHeader> header = read_npy_header(*file);
  if (!header.ok()) return header.status();
  return read_npy(*file, *header);
}

Status write_npy(const std::string& path, const TensorView& tensor) {
  try {
    const auto* type =
        std::find_if(kTypes.begin(), kTypes.end(), [&](const NamedType& t) { return t.dtype == tensor.dtype; });
    if (type == kTypes.end()) {
      return {StatusCode::kUnimplemented, "'" + path + "': npy has no dtype for " +
                                              std::string(to_string(tensor.dtype)) +
                                              "; write a safetensors file instead"};
    }
    const Result<Tensor> dense = Tensor::copy_of("", tensor);
    if (!dense.ok()) return {dense.status().code(), "'" + path + "': " + dense.status().message()};

    std::string text = "{'descr': '" + std::string(type->descr) + "', 'fortran_order': False, 'shape': (";
    for (int axis = 0; axis < tensor.rank; ++axis) {
      text += std::to_string(tensor.shape[static_cast<std::size_t>(axis)]);
      text += tensor.rank == 1 ? "," : axis + 1 < tensor.rank ? ", " : "";
    }
    text += "), }";
    // The elements begin at a multiple of 64 bytes.
    text.append(63 - (10 + text.size()) % 64, ' ');
    text += '\n';
    std::string start(kMagic);
    start += {'\1', '\0', static_cast<char>(text.size() & 255), static_cast<char>(text.size() >> 8)};

    Result<OutputFile> file = OutputFile::create(path);
    if (!file.ok()) return file.status();
    if (Status status = file->write(start.data(), start.size()); !status.ok()) return status;
    if (Status status = file->write(text.data(), text.size()); !status.ok()) return status;
    if (Status status = file->write(dense->data(), dense->bytes()); !status.ok()) return status;
    return file->close();
  } catch (const std::bad_alloc&) {
    return out_of_memory();
  }
}

}  // namespace octavo::io
