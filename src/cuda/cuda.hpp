// The CUDA back end as the front door sees it: devices, a list of implementations, and entry points that enqueue a
// checked problem on one of them. No CUDA type appears here; in a build without CUDA every device is refused in words.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "core/problem.hpp"
#include "cuda/runtime.hpp"
#include "octavo/status.hpp"

namespace octavo::cuda {

struct Implementation;  // kernels for a range of cards: name, which cards, tile sizes

// Best first; every one that this build has kernels of, whether or not this machine has a card for it.
std::span<const Implementation* const> implementations() noexcept;
const char* name(const Implementation&) noexcept;
const char* description(const Implementation&) noexcept;
// Empty when the card can run it, else why not ("NVIDIA T4 has compute capability 7.5; sm80 needs 8.0").
std::string missing(const Implementation&, const DeviceProperties&);
// The same of all the machine's cards: empty when one of them can.
std::string missing(const Implementation&);

// Ok when tensors on the device can be worked on; `name` is the tensor's, for the sentence.
Status check_device(std::string_view name, int index);
// Whether kernels on the device may touch what `data` points to.
Status check_pointer(std::string_view name, std::string_view part, int index, const void* data);

// Ok, or unimplemented with what this implementation supports.
Status supports(const Implementation&, const Problem&);
Status supports(const Implementation&, const QuantizeProblem&);

// Where a call runs: all work is enqueued on the stream and may be unfinished when the call returns.
struct DeviceCall {
  int device = 0;
  void* stream = nullptr;
  std::byte* workspace = nullptr;  // at least workspace_size() bytes of the device's memory, aligned to 256
};

Result<std::size_t> workspace_size(const Implementation&, const Problem&, const DeviceProperties&);
Status attention(const Implementation&, const Problem&, const DeviceProperties&, const DeviceCall&);

std::size_t workspace_size(const Implementation&, const QuantizeProblem&) noexcept;
Status quantize(const Implementation&, const QuantizeProblem&, const DeviceCall&);

Status supports(const Implementation&, const DequantizeProblem&);
Status dequantize(const Implementation&, const DequantizeProblem&, const DeviceCall&);
Status supports(const Implementation&, const MergeProblem&);
Status merge(const Implementation&, const MergeProblem&, const DeviceCall&);

}  // namespace octavo::cuda
