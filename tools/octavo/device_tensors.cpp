#include "device_tensors.hpp"

#include "common/failure.hpp"

namespace octavo::tool {
namespace {

// From the first element to the last one.
std::size_t span_bytes(const TensorView& view) {
  std::int64_t last = 0;
  for (std::size_t axis = 0; axis < static_cast<std::size_t>(view.rank); ++axis)
    last += (view.shape[axis] - 1) * view.strides[axis];
  return static_cast<std::size_t>(((last + 1) * bits_of(view.dtype) + 7) / 8);
}

}  // namespace

TensorView DeviceTensors::moved(const TensorView& host) {
  if (device_.type == DeviceType::cpu || !host.given()) return host;
  TensorView view = host;
  view.device = device_;
  if (host.elements() == 0) return view;
  const std::size_t bytes = span_bytes(host);
  copies_.push_back({host.data, value_of(DeviceMemory::allocate(device_, bytes))});
  require(copies_.back().memory.copy_from(host.data, bytes));
  view.data = copies_.back().memory.data();
  return view;
}

AttentionInputs DeviceTensors::moved(const AttentionInputs& inputs) {
  AttentionInputs result = inputs;
  for (TensorView AttentionInputs::* tensor :
       {&AttentionInputs::q, &AttentionInputs::k, &AttentionInputs::v, &AttentionInputs::out, &AttentionInputs::lse,
        &AttentionInputs::mask, &AttentionInputs::key_mask, &AttentionInputs::alibi_slopes, &AttentionInputs::sinks,
        &AttentionInputs::kv_lens, &AttentionInputs::cu_seqlens_q, &AttentionInputs::cu_seqlens_k}) {
    result.*tensor = moved(inputs.*tensor);
  }
  if (device_.type == DeviceType::cpu) return result;
  for (const QuantizedView* AttentionInputs::* operand :
       {&AttentionInputs::quantized_q, &AttentionInputs::quantized_k, &AttentionInputs::quantized_v}) {
    if (inputs.*operand == nullptr) continue;
    QuantizedView& codes = quantized_.emplace_back(*(inputs.*operand));
    codes.codes = moved(codes.codes);
    codes.scales = moved(codes.scales);
    codes.mean = moved(codes.mean);
    result.*operand = &codes;
  }
  return result;
}

void DeviceTensors::wait() const {
  if (device_.type != DeviceType::cpu) require(synchronize(device_));
}

void DeviceTensors::fetch(const TensorView& host) const {
  for (const Copy& copy : copies_) {
    if (copy.host == host.data) require(copy.memory.copy_to(host.data, copy.memory.bytes()));
  }
}

}  // namespace octavo::tool
