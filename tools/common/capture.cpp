// The search for the capture file, and the check that it is complete.
#include "common/capture.hpp"

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "common/failure.hpp"
#include "common/random_tensor.hpp"
#include "io/tensor_file.hpp"

namespace octavo::tool {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFileName = "smollm2_qkv_small.safetensors";
// A build folder may lie inside the source tree: build/release/octavo.
constexpr int kLevelsAboveBinary = 3;

std::vector<fs::path> candidates() {
  std::vector<fs::path> paths{fs::path("data") / kFileName};
  std::error_code error;
  const fs::path binary = fs::read_symlink("/proc/self/exe", error);
  if (error) return paths;
  fs::path folder = binary.parent_path();
  paths.push_back(folder.parent_path() / "share" / "octavo" / "data" / kFileName);
  for (int level = 0; level <= kLevelsAboveBinary; ++level) {
    paths.push_back(folder / "data" / kFileName);
    if (folder == folder.parent_path()) break;
    folder = folder.parent_path();
  }
  return paths;
}

// "L14.q" -> 14; -1 for any other name.
long layer_of(const std::string& name) {
  if (name.size() < 4 || name.size() > 8 || name[0] != 'L' || !name.ends_with(".q")) return -1;
  const std::string digits = name.substr(1, name.size() - 3);
  return std::all_of(digits.begin(), digits.end(), [](char c) { return c >= '0' && c <= '9'; })
             ? std::strtol(digits.c_str(), nullptr, 10)
             : -1;
}

void check(const std::string& path, const Layer& layer) {
  const TensorView &q = layer.q.view(), &k = layer.k.view(), &v = layer.v.view();
  const bool floats = q.dtype == DType::f32 || q.dtype == DType::f16 || q.dtype == DType::bf16;
  if (q.rank == 3 && k.rank == 3 && v.rank == 3 && floats && k.dtype == q.dtype && v.dtype == q.dtype &&
      q.elements() > 0 && k.elements() > 0 && v.elements() > 0 && q.shape[2] == k.shape[2] &&
      k.shape[0] == v.shape[0] && k.shape[1] == v.shape[1] && q.shape[0] % k.shape[0] == 0) {
    return;
  }
  fail(kExitIo, "'" + path + "': " + layer.name + " has q " + std::string(to_string(q.dtype)) + " " + shape_string(q) +
                    ", k " + std::string(to_string(k.dtype)) + " " + shape_string(k) + ", v " +
                    std::string(to_string(v.dtype)) + " " + shape_string(v) +
                    "; required are q [Hq, M, D], k [Hkv, N, D], v [Hkv, N, Dv] of one dtype f32, f16 or bf16, Hq a "
                    "multiple of Hkv");
}

}  // namespace

std::string find_default_capture() {
  std::string places;
  for (const fs::path& path : candidates()) {
    std::error_code error;
    if (fs::is_regular_file(path, error)) return path.string();
    places += "\n  " + path.string();
  }
  fail(kExitIo, std::string("no ") + kFileName + "; searched" + places +
                    "\nname a file: octavo demo FILE, octavo study NAME --captures FILE");
}

std::vector<Layer> read_capture(const std::string& path) {
  const io::TensorFile file = value_of_file(io::TensorFile::open(path));
  std::vector<long> numbers;
  for (const io::TensorEntry& entry : file.list()) {
    const long number = layer_of(entry.name);
    if (number >= 0) numbers.push_back(number);
  }
  if (numbers.empty()) {
    fail(kExitIo, "'" + path + "': has no tensor L<layer>.q; required are L<layer>.q, .k and .v of each layer");
  }
  std::sort(numbers.begin(), numbers.end());
  std::vector<Layer> layers;
  for (const long number : numbers) {
    Layer layer;
    layer.name = "L" + std::to_string(number);
    layer.q = value_of_file(file.find(layer.name + ".q"));
    layer.k = value_of_file(file.find(layer.name + ".k"));
    layer.v = value_of_file(file.find(layer.name + ".v"));
    check(path, layer);
    layers.push_back(std::move(layer));
  }
  return layers;
}

bool is_causal_capture(const std::string& path) {
  return value_of_file(io::TensorFile::open(path)).metadata("causal") != "0";
}

std::vector<Layer> random_like(const std::vector<Layer>& layers) {
  std::vector<Layer> result;
  std::uint64_t seed = 20250601;
  const auto like = [&](const std::string& name, const io::Tensor& tensor) {
    const TensorView& view = tensor.view();
    return random_tensor(name.c_str(), view.dtype, {view.shape[0], view.shape[1], view.shape[2]}, seed++);
  };
  for (const Layer& layer : layers) {
    io::Tensor q = like(layer.name + ".q", layer.q), k = like(layer.name + ".k", layer.k);
    io::Tensor v = like(layer.name + ".v", layer.v);
    result.push_back({layer.name, std::move(q), std::move(k), std::move(v)});
  }
  return result;
}

}  // namespace octavo::tool
