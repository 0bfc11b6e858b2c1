// A header is trusted in nothing: lengths, counts and offsets are checked before memory is asked for or a byte is read.
#include "io/safetensors.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <new>
#include <numeric>
#include <string_view>

#include "io/json_reader.hpp"

namespace octavo::io {
namespace {

// The format's own limit.
constexpr std::uint64_t kLongestHeader = 100'000'000;
constexpr std::size_t kMostAxesListed = 64;

struct NamedType {
  std::string_view name;
  DType dtype;
};

constexpr std::array kTypes = {
    NamedType{"F32", DType::f32},      NamedType{"F16", DType::f16},      NamedType{"BF16", DType::bf16},
    NamedType{"F64", DType::f64},      NamedType{"I8", DType::s8},        NamedType{"U8", DType::u8},
    NamedType{"I16", DType::s16},      NamedType{"U16", DType::u16},      NamedType{"I32", DType::s32},
    NamedType{"U32", DType::u32},      NamedType{"I64", DType::s64},      NamedType{"U64", DType::u64},
    NamedType{"BOOL", DType::boolean}, NamedType{"F8_E4M3", DType::e4m3}, NamedType{"F8_E5M2", DType::e5m2},
};

std::string supported_types() {
  std::string names;
  for (const NamedType& type : kTypes) names += (names.empty() ? "" : " ") + std::string(type.name);
  return names;
}

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string text = "[";
  for (const std::int64_t extent : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(extent);
  return text + "]";
}

bool read_shape(JsonReader& json, std::vector<std::int64_t>& shape) {
  if (!json.enter_array()) return false;
  while (json.next_element()) {
    std::uint64_t extent = 0;
    if (!json.read_unsigned(extent)) return false;
    if (extent > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
      return json.fail("an extent above 2^63 - 1");
    }
    if (shape.size() == kMostAxesListed) return json.fail("more than 64 axes");
    shape.push_back(static_cast<std::int64_t>(extent));
  }
  return !json.failed();
}

// Leaves offset relative to the first tensor's byte.
bool read_offsets(JsonReader& json, TensorEntry& entry) {
  std::array<std::uint64_t, 2> offsets{};
  std::size_t count = 0;
  if (!json.enter_array()) return false;
  while (json.next_element()) {
    if (count == offsets.size()) return json.fail("more than two data_offsets");
    if (!json.read_unsigned(offsets[count++])) return false;
  }
  if (json.failed()) return false;
  if (count != offsets.size()) return json.fail("data_offsets must be two numbers");
  if (offsets[1] < offsets[0]) {
    return json.fail("data_offsets " + std::to_string(offsets[0]) + " and " + std::to_string(offsets[1]) +
                     " are in descending order");
  }
  entry.offset = offsets[0];
  entry.bytes = offsets[1] - offsets[0];
  return true;
}

bool read_entry(JsonReader& json, TensorEntry& entry) {
  bool dtype = false, shape = false, offsets = false;
  std::string key;
  if (!json.enter_object()) return false;
  while (json.next_member(key)) {
    bool* seen = key == "dtype" ? &dtype : key == "shape" ? &shape : key == "data_offsets" ? &offsets : nullptr;
    if (seen == nullptr) {
      return json.fail("unknown key " + json_quoted(key) + "; allowed are dtype, shape, data_offsets");
    }
    if (*seen) return json.fail("key " + json_quoted(key) + " appears twice");
    *seen = true;
    if (!(key == "dtype"   ? json.read_string(entry.dtype_name)
          : key == "shape" ? read_shape(json, entry.shape)
                           : read_offsets(json, entry))) {
      return false;
    }
  }
  if (json.failed()) return false;
  if (!dtype || !shape || !offsets) {
    return json.fail("tensor " + json_quoted(entry.name) + " lacks " +
                     (!dtype   ? "dtype"
                      : !shape ? "shape"
                               : "data_offsets"));
  }
  for (const NamedType& type : kTypes) {
    if (type.name == entry.dtype_name) entry.dtype = type.dtype;
  }
  return true;
}

bool read_metadata(JsonReader& json, Metadata& metadata) {
  std::string key, value;
  if (!json.enter_object()) return false;
  while (json.next_member(key)) {
    if (!json.read_string(value)) return false;
    metadata.emplace_back(key, value);
  }
  return !json.failed();
}

bool read_document(JsonReader& json, SafetensorsHeader& header) {
  bool metadata = false;
  std::string key;
  if (!json.enter_object()) return false;
  while (json.next_member(key)) {
    if (key == "__metadata__") {
      if (metadata) return json.fail("key \"__metadata__\" appears twice");
      metadata = true;
      if (!read_metadata(json, header.metadata)) return false;
      continue;
    }
    TensorEntry entry;
    entry.name = key;
    if (!read_entry(json, entry)) return false;
    header.entries.push_back(std::move(entry));
  }
  return json.finish();
}

Status check_names(const InputFile& file, const std::vector<TensorEntry>& entries) {
  std::vector<std::string_view> names;
  for (const TensorEntry& entry : entries) names.push_back(entry.name);
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice == names.end()) return {};
  return file.malformed("tensor " + json_quoted(*twice) + " appears twice in the header");
}

// [begin, end) of the tensors, sorted, must tile [0, data_bytes) exactly; where the type is known, the size must fit.
Status check_extents(const InputFile& file, const std::vector<TensorEntry>& entries, std::uint64_t data_bytes) {
  std::vector<const TensorEntry*> sorted;
  for (const TensorEntry& entry : entries) {
    const std::string name = "tensor " + json_quoted(entry.name);
    if (entry.offset > data_bytes || entry.bytes > data_bytes - entry.offset) {
      return file.malformed(name + " has data_offsets " + std::to_string(entry.offset) + " + " +
                            std::to_string(entry.bytes) + " bytes; the file has " + std::to_string(data_bytes) +
                            " bytes of data");
    }
    if (entry.dtype) {
      const Result<std::uint64_t> bytes = dense_bytes(*entry.dtype, entry.shape);
      if (!bytes.ok()) return file.malformed(name + ": " + bytes.status().message());
      if (*bytes != entry.bytes) {
        return file.malformed(name + " of " + entry.dtype_name + " " + shape_text(entry.shape) + " needs " +
                              std::to_string(*bytes) + " bytes; its data_offsets give " + std::to_string(entry.bytes));
      }
    }
    sorted.push_back(&entry);
  }
  std::sort(sorted.begin(), sorted.end(), [](const TensorEntry* a, const TensorEntry* b) {
    return a->offset != b->offset ? a->offset < b->offset : a->bytes < b->bytes;
  });
  std::uint64_t end = 0;
  for (const TensorEntry* entry : sorted) {
    if (entry->offset != end) {
      return file.malformed("tensor " + json_quoted(entry->name) + " starts at data offset " +
                            std::to_string(entry->offset) + (entry->offset < end ? " inside" : " after a gap after") +
                            " the previous tensor, which ends at " + std::to_string(end));
    }
    end = entry->offset + entry->bytes;
  }
  if (end != data_bytes) {
    return file.malformed("the tensors end at data offset " + std::to_string(end) + "; the file has " +
                          std::to_string(data_bytes) + " bytes of data");
  }
  return {};
}

Status out_of_memory(const std::string& path) {
  return {StatusCode::kResourceExhausted, "'" + path + "': out of memory for the header"};
}

Result<SafetensorsHeader> read_header(const InputFile& file) {
  std::array<unsigned char, 8> start{};
  if (file.size() < start.size()) {
    return file.malformed("has " + std::to_string(file.size()) + " bytes; a safetensors file has at least 8");
  }
  if (Status status = file.read(0, start.data(), start.size()); !status.ok()) return status;
  std::uint64_t length = 0;
  for (std::size_t i = 0; i < start.size(); ++i) length |= static_cast<std::uint64_t>(start[i]) << (8 * i);
  if (length > kLongestHeader || length > file.size() - start.size()) {
    return file.malformed("header length " + std::to_string(length) + " at byte 0 exceeds the file's " +
                          std::to_string(file.size()) + " bytes or the longest allowed, " +
                          std::to_string(kLongestHeader) + "; not a safetensors file, or truncated");
  }
  std::string text(length, '\0');
  if (Status status = file.read(start.size(), text.data(), length); !status.ok()) return status;
  if (!text.starts_with('{')) return file.malformed("the header at byte 8 does not start with '{'");

  SafetensorsHeader header;
  JsonReader json(text);
  if (!read_document(json, header)) return file.malformed("header (from byte 8), " + json.error());
  if (Status status = check_names(file, header.entries); !status.ok()) return status;
  const std::uint64_t data = start.size() + length;
  if (Status status = check_extents(file, header.entries, file.size() - data); !status.ok()) return status;
  for (TensorEntry& entry : header.entries) entry.offset += data;
  return header;
}

Status write_file(const std::string& path, std::span<const NamedView> tensors, const Metadata& metadata) {
  std::string text = "{";
  const auto separate = [&] { text += text.size() > 1 ? "," : ""; };
  if (!metadata.empty()) {
    text += "\"__metadata__\":{";
    for (std::size_t i = 0; i < metadata.size(); ++i) {
      text += (i > 0 ? "," : "") + json_quoted(metadata[i].first) + ":" + json_quoted(metadata[i].second);
    }
    text += "}";
  }
  // Wide elements first: then every tensor begins at a multiple of its element's size.
  std::vector<std::size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return bits_of(tensors[a].view.dtype) > bits_of(tensors[b].view.dtype);
  });
  std::uint64_t offset = 0;
  for (const std::size_t i : order) {
    const TensorView& view = tensors[i].view;
    const auto* type =
        std::find_if(kTypes.begin(), kTypes.end(), [&](const NamedType& t) { return t.dtype == view.dtype; });
    if (type == kTypes.end()) {
      return {StatusCode::kUnimplemented, "tensor " + json_quoted(tensors[i].name) + ": safetensors has no dtype for " +
                                              std::string(to_string(view.dtype)) + "; it has " + supported_types()};
    }
    const std::vector<std::int64_t> shape(view.shape.begin(), view.shape.begin() + view.rank);
    const Result<std::uint64_t> bytes = dense_bytes(view.dtype, shape);
    if (!bytes.ok()) return bytes.status();
    separate();
    text += json_quoted(tensors[i].name) + ":{\"dtype\":\"" + std::string(type->name) +
            "\",\"shape\":" + shape_text(shape) + ",\"data_offsets\":[" + std::to_string(offset) + "," +
            std::to_string(offset + *bytes) + "]}";
    offset += *bytes;
  }
  text += "}";
  text.append((8 - text.size() % 8) % 8, ' ');

  Result<OutputFile> file = OutputFile::create(path);
  if (!file.ok()) return file.status();
  std::array<unsigned char, 8> start{};
  for (std::size_t i = 0; i < start.size(); ++i) start[i] = static_cast<unsigned char>(text.size() >> (8 * i));
  if (Status status = file->write(start.data(), start.size()); !status.ok()) return status;
  if (Status status = file->write(text.data(), text.size()); !status.ok()) return status;
  for (const std::size_t i : order) {
    const Result<Tensor> dense = Tensor::copy_of(tensors[i].name, tensors[i].view);
    if (!dense.ok()) return dense.status();
    if (Status status = file->write(dense->data(), dense->bytes()); !status.ok()) return status;
  }
  return file->close();
}

}  // namespace

Result<SafetensorsHeader> read_safetensors_header(const InputFile& file) {
  try {
    return read_header(file);
  } catch (const std::bad_alloc&) {
    return out_of_memory(file.path());
  }
}

Result<Tensor> read_safetensors(const InputFile& file, const TensorEntry& entry) {
  try {
    if (!entry.dtype) {
      return file.unsupported("tensor " + json_quoted(entry.name) + " has dtype " + json_quoted(entry.dtype_name) +
                              "; supported are " + supported_types());
    }
    Result<Tensor> tensor = Tensor::allocate(entry.name, *entry.dtype, entry.shape);
    if (!tensor.ok()) {
      const std::string what = "tensor " + json_quoted(entry.name) + ": " + tensor.status().message();
      return Status(tensor.status().code(), file.malformed(what).message());
    }
    if (Status status = read_elements(file, entry.offset, *tensor); !status.ok()) return status;
    return tensor;
  } catch (const std::bad_alloc&) {
    return out_of_memory(file.path());
  }
}

Status write_safetensors(const std::string& path, std::span<const NamedView> tensors, const Metadata& metadata) {
  try {
    std::vector<std::string_view> names;
    for (const NamedView& tensor : tensors) names.push_back(tensor.name);
    std::sort(names.begin(), names.end());
    const auto twice = std::adjacent_find(names.begin(), names.end());
    if (twice != names.end() || std::find(names.begin(), names.end(), "__metadata__") != names.end()) {
      return {StatusCode::kInvalidArgument, "'" + path + "': tensor names must differ, and __metadata__ is reserved"};
    }
    return write_file(path, tensors, metadata);
  } catch (const std::bad_alloc&) {
    return out_of_memory(path);
  }
}

}  // namespace octavo::io
