// One line per launch on the host side: a kernel by its name, its grid and its parameters.
#pragma once

#include <array>
#include <cstddef>
#include <utility>

#include "cuda/host/kernel_id.hpp"
#include "cuda/host/runtime.hpp"
#include "cuda/operands/params.hpp"
#include "cuda/operands/rows.hpp"

namespace octavo::cuda {

// Where the work of a call goes, and its scratch memory.
struct DeviceCall {
  int device = 0;
  void* stream = nullptr;
  std::byte* workspace = nullptr;  // aligned to 256
};

// The most blocks along the y and z axes of a grid.
inline constexpr std::int64_t kMostGridYZ = 65535;

struct LaunchShape {
  std::array<std::int64_t, 3> grid{1, 1, 1};
  int warps = 1;
  std::size_t shared_bytes = 0;
};

// An empty grid is no work, and no error.
template <class Params>
Status launch(const DeviceCall& call, KernelId kernel, const LaunchShape& shape, const Params& params,
              bool overlaps = false) {
  if (shape.grid[0] == 0 || shape.grid[1] == 0 || shape.grid[2] == 0) return {};
  Launch launch;
  launch.kernel = static_cast<int>(kernel);
  for (std::size_t axis = 0; axis < 3; ++axis) launch.grid[axis] = static_cast<std::uint32_t>(shape.grid[axis]);
  launch.threads = static_cast<std::uint32_t>(shape.warps) * 32;
  launch.shared_bytes = shape.shared_bytes;
  launch.params = &params;
  launch.params_bytes = sizeof params;
  launch.overlaps = overlaps;
  return runtime()->launch(call.device, call.stream, launch);
}

// A chain of launches; after the first failure the rest are skipped. Each may overlap the one before it, but not the
// caller's own work, which comes before the first.
class Launches {
 public:
  explicit Launches(const DeviceCall& call) : call_(call) {}
  template <class Params>
  void add(KernelId kernel, const LaunchShape& shape, const Params& params) {
    if (!status_.ok() || shape.grid[0] == 0 || shape.grid[1] == 0 || shape.grid[2] == 0) return;
    status_ = launch(call_, kernel, shape, params, follows_kernel_);
    follows_kernel_ = true;
  }
  void clear(void* memory, std::size_t bytes) {
    if (status_.ok() && bytes > 0) status_ = runtime()->clear_on(call_.device, call_.stream, memory, bytes);
    if (bytes > 0) follows_kernel_ = false;
  }
  // Passes over the rows of several operands at once.
  void add_stats(const StatsOfOperands& stats);
  // Of K, V, both or neither (no launch), with at most `dim` channels.
  void add_head_stats(const HeadStatsParams& stats, std::int64_t dim);
  // Nothing more is launched.
  void fail(Status status) {
    if (status_.ok()) status_ = std::move(status);
  }
  const Status& status() const noexcept { return status_; }
  int device() const noexcept { return call_.device; }

 private:
  const DeviceCall& call_;
  Status status_;
  bool follows_kernel_ = false;
};

// `cu_seqlens` and `lens` are null where not given.
inline DeviceSequences device_sequences(std::int64_t count, std::int64_t heads, std::int64_t rows,
                                        const IntegerArray& lens, const IntegerArray& cu_seqlens) {
  DeviceSequences to{count, heads, rows, lens, cu_seqlens, {}};
  to.grid = to.varlen() ? grid_of_varlen(count, rows) : grid_of_batch(heads, rows);
  return to;
}

// Blocks of 128 rows of every head.
inline std::array<std::int64_t, 3> grid_of(const DeviceSequences& rows) {
  return {blocks_per_head(rows.count, rows.rows, rows.varlen()), rows.heads, rows.varlen() ? 1 : rows.count};
}

// Parts of a workspace, one after the other. Without memory it only counts their bytes.
class Parts {
 public:
  explicit Parts(std::byte* start) : start_(start) {}
  template <class T>
  T* take(std::int64_t count) {
    T* const part = start_ == nullptr ? nullptr : reinterpret_cast<T*>(start_ + bytes_);
    bytes_ += (static_cast<std::size_t>(count > 0 ? count : 0) * sizeof(T) + kUnit - 1) / kUnit * kUnit;
    return count > 0 ? part : nullptr;
  }
  std::size_t bytes() const noexcept { return bytes_; }

 private:
  static constexpr std::size_t kUnit = 256;
  std::byte* start_;
  std::size_t bytes_ = 0;
};

// A checked operand as kernels read it.
OperandRows operand_rows(const Operand& x, std::int64_t dim);

// The scale rule of a recipe's operand.
ScaleRule scale_rule(const Recipe& recipe, Role role);

// Grid axes y and z end at 65535.
Status check_grid(const char* implementation, std::int64_t batch, std::int64_t heads);

}  // namespace octavo::cuda
