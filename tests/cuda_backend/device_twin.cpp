#include "device_twin.hpp"

#include <stdexcept>

namespace octavo::test {

TensorView DeviceTwins::to_device(const TensorView& host) {
  TensorView view = host;
  if (!host.given()) return view;
  view.device = device_;
  if (host.data == nullptr || host.elements() == 0) return view;
  std::int64_t low = 0, high = 0;
  for (std::size_t axis = 0; axis < static_cast<std::size_t>(host.rank); ++axis) {
    const std::int64_t reach = (host.shape[axis] - 1) * host.strides[axis];
    (reach < 0 ? low : high) += reach;
  }
  const std::int64_t bits = bits_of(host.dtype);
  const std::int64_t first = low * bits / 8, last = (high * bits + bits + 7) / 8;
  char* const start = static_cast<char*>(host.data) + first;
  // As aligned as it was: kernels choose how they load by it.
  const std::size_t skipped = reinterpret_cast<std::uintptr_t>(start) % 64;
  const auto bytes = static_cast<std::size_t>(last - first);
  const Result<DeviceMemory> memory = DeviceMemory::allocate(device_, skipped + bytes);
  if (!memory.ok() || !memory->copy_from(start, bytes, skipped).ok()) throw std::runtime_error("no device memory");
  twins_.push_back({*memory, start});
  view.data = static_cast<char*>(memory->data()) + skipped - first;
  return view;
}

QuantizedView DeviceTwins::to_device(const QuantizedView& host) {
  QuantizedView view = host;
  view.codes = to_device(host.codes);
  view.scales = to_device(host.scales);
  view.mean = to_device(host.mean);
  view.cu_seqlens = to_device(host.cu_seqlens);
  return view;
}

void DeviceTwins::to_host() {
  for (const Twin& twin : twins_) {
    const std::size_t skipped = reinterpret_cast<std::uintptr_t>(twin.host) % 64;
    if (!twin.memory.copy_to(twin.host, twin.memory.bytes() - skipped, skipped).ok()) {
      throw std::runtime_error("a copy from the device failed");
    }
  }
}

Status attention_on_device(const AttentionInputs& inputs, const AttentionParams& params, const Execution& execution) {
  const Device device{DeviceType::cuda, 0};
  DeviceTwins read(device), written(device);
  AttentionInputs moved = inputs;
  for (TensorView AttentionInputs::* view :
       {&AttentionInputs::q, &AttentionInputs::k, &AttentionInputs::v, &AttentionInputs::mask,
        &AttentionInputs::key_mask, &AttentionInputs::alibi_slopes, &AttentionInputs::sinks, &AttentionInputs::kv_lens,
        &AttentionInputs::cu_seqlens_q, &AttentionInputs::cu_seqlens_k}) {
    moved.*view = read.to_device(inputs.*view);
  }
  QuantizedView quantized[3];
  const QuantizedView** const operands[] = {&moved.quantized_q, &moved.quantized_k, &moved.quantized_v};
  for (std::size_t i = 0; i < 3; ++i) {
    if (*operands[i] == nullptr) continue;
    quantized[i] = read.to_device(**operands[i]);
    *operands[i] = &quantized[i];
  }
  moved.out = written.to_device(inputs.out);
  moved.lse = written.to_device(inputs.lse);
  Status status = attention(moved, params, execution);
  if (status.ok()) status = synchronize(device, execution.stream);
  if (status.ok()) written.to_host();
  return status;
}

}  // namespace octavo::test
