// One row of the table of CUDA implementations, and the calls on it.
#pragma once

#include <cstddef>
#include <string>

#include "core/backend.hpp"
#include "cuda/host/cuda.hpp"

namespace octavo::cuda {

struct Implementation : octavo::Implementation {
  int capability;  // least compute capability, 80 for 8.0
  bool wgmma;      // integer attention by wgmma, where there is a kernel
};

// Empty when the GPU can run it, else why not ("NVIDIA T4 has compute capability 7.5; sm80 needs 8.0").
std::string missing(const Implementation&, const DeviceProperties&);
// Empty when some GPU of the machine can run it.
std::string missing(const Implementation&);

// Ok, or unimplemented with what this implementation supports.
Status supports(const Implementation&, const Problem&);
Status supports(const Implementation&, const QuantizeProblem&);
Status supports(const Implementation&, const DequantizeProblem&);
Status supports(const Implementation&, const MergeProblem&);

std::size_t workspace_size(const Implementation&, const Problem&, const DeviceProperties&);
Status attention(const Implementation&, const Problem&, const DeviceProperties&, const Execution&, CallReport&);
Status quantize(const QuantizeProblem&, const Execution&);
Status dequantize(const DequantizeProblem&, const Execution&);
Status merge(const MergeProblem&, const Execution&);
std::size_t workspace_size(const CacheAttentionProblem&);
Status append(const CacheAppendProblem&, const Execution&);
Status attention(const CacheAttentionProblem&, const Execution&, CallReport&);

}  // namespace octavo::cuda
