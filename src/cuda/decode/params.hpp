// Parameters of the kernels of a key-value cache on a device: appends, attention, and the tables that follow the
// host's. Plain data, copied with the launch; every pointer leads to device memory.
#pragma once

#include <cstdint>

#include "core/cache_problem.hpp"
#include "cuda/operands/rows.hpp"

namespace octavo::cuda {

// Entries of one launch: their slots travel in its parameters, of which a kernel has 4 KB.
inline constexpr std::int64_t kEntriesOfLaunch = 64;
inline constexpr std::int64_t kUpdatesOfLaunch = 400;

struct CacheUpdateParams {
  std::int32_t* words = nullptr;
  std::int64_t count = 0;
  CacheUpdate updates[kUpdatesOfLaunch];
};

inline constexpr std::int64_t kCopiesOfLaunch = 100;
// Copies of one step.
struct CacheCopyParams {
  CacheCopy copies[kCopiesOfLaunch];
};

// Arrays [pages][kv_heads][page_strips] of strips, each of so many units of 16 bytes: K, V and their scales.
struct CacheMoveParams {
  struct Array {
    std::byte* data = nullptr;
    std::int64_t units = 0;
  };
  Array arrays[4];
  std::int64_t array_count = 0, kv_heads = 0, page_strips = 0;
  CacheMove move;
};
static_assert(sizeof(CacheMoveParams) <= 4096, "the most that a launch takes");

struct DeviceAppendEntry {
  std::int32_t slot = 0, rows = 0;
  std::int32_t fixes_mean = 0;
};
// Rows of k and v at (first_entry + i, head, row) follow the tokens that the slot of entry i has on the device.
struct DeviceAppendParams {
  CacheView cache;
  OperandRows k, v;
  std::int64_t first_entry = 0, count = 0;
  // K's sums for the mean, f32 [entries][kv_heads][sum_blocks][2][mean_columns]: of values, of their number.
  float* sums = nullptr;
  std::int64_t sum_blocks = 0;
  DeviceAppendEntry entries[kEntriesOfLaunch];
};

// Tokens that one warp appends: a byte of V of s4 holds two, a word eight.
OCTAVO_INLINE constexpr std::int64_t append_tokens_of_warp(DType format) { return format == DType::s4 ? 8 : 1; }

// Keys of one thread block: 128 for each of its warps. Part of the definition of the results, like the key blocks.
inline constexpr int kDecodeWarps = 4;
inline constexpr std::int64_t kDecodeSplit = kDecodeWarps * 128;
// Rows of a tile: those of all query heads of a KV head.
inline constexpr std::int32_t kDecodeRows = 16;

// State of a split of a tile: of each row the maximum, the row sum, softmax_scale * q.mean(K), and what was taken off
// its scores (natural units; the last two of the first split), then O:
//   f32 [rows][4], [rows][v_columns]
OCTAVO_INLINE constexpr std::int64_t decode_state_floats(std::int64_t rows, std::int64_t v_columns) {
  return rows * (4 + v_columns);
}

struct DecodeEntry {
  std::int32_t slot = 0, q_begin = 0, q_rows = 0;  // rows of q where it has no axis of the batch
};

struct DecodeParams {
  CacheView cache;
  OperandRows q;
  Operand out;
  float* lse = nullptr;
  Strides<3> lse_strides;
  Broadcast sinks, alibi_slopes, mask, key_mask, tree_mask;  // as in CacheAttentionProblem
  Alibi alibi = Alibi::causal;
  float* mask_maxima = nullptr;        // [entries][query heads][q_rows], natural units; of a mask of numbers
  std::int64_t first_entry = 0;        // of the batch
  std::int64_t q_rows = 0, group = 0;  // M, the most of an entry; query heads of a KV head
  float softmax_scale = 1, softcap = 0;
  Causal causal = Causal::bottom_right;
  std::int64_t window_left = -1, window_right = -1;
  std::int32_t dim = 0;                // the larger of D and Dv: 64, 128 or 256
  std::int32_t tiles = 0, splits = 0;  // of a head; the most of an entry
  std::int32_t state_rows = 0;         // of a tile, at the most
  float* state = nullptr;              // [entries][kv_heads][tiles][splits + 1] states; the last: kept keys
  DecodeEntry entries[kEntriesOfLaunch] = {};

  OCTAVO_MEMBER bool keeps() const { return cache.kept_k != nullptr; }
  OCTAVO_MEMBER float* state_of(std::int64_t entry, std::int64_t head, std::int64_t tile, std::int64_t split) const {
    return state + (((entry * cache.kv_heads + head) * tiles + tile) * (splits + 1) + split) *
                       decode_state_floats(state_rows, cache.v_columns);
  }
};

// Tokens of a slot on the device. Whatever the word holds, no access goes outside the cache.
OCTAVO_INLINE std::int32_t device_length(const CacheView& cache, std::int32_t slot) {
  const std::int32_t length = cache.lengths()[slot];
  return length < 0 ? 0 : length > cache.capacity ? static_cast<std::int32_t>(cache.capacity) : length;
}

// CacheView::row() in 32-bit divisions; -1: the slot has no page there.
OCTAVO_INLINE std::int64_t device_row(const CacheView& cache, std::int32_t slot, std::int64_t head,
                                      std::int32_t token) {
  const auto size = static_cast<std::uint32_t>(cache.page_size), at = static_cast<std::uint32_t>(token);
  const std::int32_t page = cache.words[slot * cache.pages_per_sequence + at / size];
  return page < 0 ? -1 : (page * cache.kv_heads + head) * cache.page_size + at % size;
}

}  // namespace octavo::cuda
