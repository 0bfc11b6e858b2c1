// Any bytes as a .safetensors: an error message, or tensors within the file that survive being written and read again.
#include <vector>

#include "fuzz.hpp"
#include "io/safetensors.hpp"

using namespace octavo;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static fuzz::MemoryFile input("input.safetensors"), output("output.safetensors");
  input.assign(data, size);
  const Result<io::InputFile> file = io::InputFile::open(input.path());
  FUZZ_CHECK(file.ok(), "%s", file.status().message().c_str());
  const Result<io::SafetensorsHeader> header = io::read_safetensors_header(*file);
  if (!header.ok()) {
    FUZZ_CHECK(!header.status().message().empty(), "an error without words");
    return 0;
  }
  std::vector<io::Tensor> tensors;
  std::vector<io::NamedView> views;
  bool writable = true;
  for (const io::TensorEntry& entry : header->entries) {
    FUZZ_CHECK(entry.offset <= size && entry.bytes <= size - entry.offset, "%s lies outside", entry.name.c_str());
    const Result<io::Tensor> tensor = io::read_safetensors(*file, entry);
    if (!tensor.ok()) {
      FUZZ_CHECK(!tensor.status().message().empty(), "an error without words");
      continue;
    }
    FUZZ_CHECK(entry.dtype && tensor->view().dtype == *entry.dtype && tensor->bytes() >= entry.bytes, "%s",
               entry.name.c_str());
    writable = writable && tensor->view().dtype != DType::s4;
    tensors.push_back(*tensor);
    views.push_back({entry.name, tensor->view()});
  }
  if (!writable) return 0;
  const Status written = io::write_safetensors(output.path(), views, header->metadata);
  if (!written.ok()) {
    FUZZ_CHECK(!written.message().empty(), "an error without words");
    return 0;
  }
  const Result<io::InputFile> copy = io::InputFile::open(output.path());
  FUZZ_CHECK(copy.ok(), "%s", copy.status().message().c_str());
  const Result<io::SafetensorsHeader> again = io::read_safetensors_header(*copy);
  FUZZ_CHECK(again.ok(), "%s", again.status().message().c_str());
  FUZZ_CHECK(again->entries.size() == tensors.size(), "%zu tensors became %zu", tensors.size(), again->entries.size());
  FUZZ_CHECK(again->metadata == header->metadata, "other metadata");
  for (const io::TensorEntry& entry : again->entries) {
    const Result<io::Tensor> tensor = io::read_safetensors(*copy, entry);
    FUZZ_CHECK(tensor.ok(), "%s", tensor.status().message().c_str());
    std::size_t found = 0;
    for (std::size_t i = 0; i < views.size(); ++i) {
      if (views[i].name != entry.name) continue;
      ++found;
      FUZZ_CHECK(tensor->view().shape == views[i].view.shape && tensor->view().dtype == views[i].view.dtype &&
                     (entry.bytes == 0 || std::memcmp(tensor->data(), tensors[i].data(), entry.bytes) == 0),
                 "%s became another tensor", entry.name.c_str());
    }
    FUZZ_CHECK(found == 1, "%zu tensors are called %s", found, entry.name.c_str());
  }
  return 0;
}
