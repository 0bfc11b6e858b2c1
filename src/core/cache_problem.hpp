// A key-value cache as kernels see it: where the rows of a sequence lie, and one append or attention call after every
// check. The order of elements inside a strip is spec/cache_layout.hpp's.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/inline.hpp"
#include "core/problem.hpp"

namespace octavo {

// Tokens of a strip, the unit in which rows are stored; a page holds whole strips.
inline constexpr std::int64_t kCacheStrip = 16;
// The largest D and Dv of a cache: 512 * 32639 * 127 < 2^31, so scores of 16-bit Q are exact in s32.
inline constexpr std::int64_t kMostCacheDim = 512;
// 16-bit rows kept beside the codes of a sequence: slot 0 is token 0, slot 1 + j % 64 is token j of the last 64.
inline constexpr std::int64_t kKeptRing = 64;
inline constexpr std::int64_t kKeptSlots = 1 + kKeptRing;

// One change of a cache's tables on a device (CacheView::words).
struct CacheUpdate {
  std::uint32_t word = 0;
  std::int32_t value = 0;
};

// Bytes to copy within a cache on a device. Copies of one step do not overlap; steps follow each other.
struct CacheCopy {
  const std::byte* from = nullptr;
  std::byte* to = nullptr;
  std::int64_t bytes = 0, step = 0;
};
// Strips that move to the front within a sequence on a device, behind the copies of `step`. Strip i of `count` comes
// from the place that strip i + distance goes to, if both pages are the same; strips count from the first of the first
// page of each list. The lists travel in a launch's parameters, of which a kernel has 4 KB.
inline constexpr std::int64_t kPagesOfMove = 480;
struct CacheMove {
  std::int64_t step = 0;
  std::int64_t count = 0, distance = 0;
  std::int64_t first_from = 0, first_to = 0;
  std::int32_t from[kPagesOfMove + 1] = {}, to[kPagesOfMove] = {};
};
// What a call has enqueued by the time it fails.
struct CacheProgress {
  std::int64_t copies = 0, moves = 0;  // the first ones of CacheChanges
  bool rows = false;                   // a kernel that writes rows of an append
};
// Of a call on a device: what the host has changed since the last call, copies and moves first. `captured`: the call is
// recorded into a graph, which runs later and with other lengths; there are no changes then.
struct CacheChanges {
  const CacheCopy* copies = nullptr;
  std::int64_t copy_count = 0;
  const CacheMove* moves = nullptr;
  std::int64_t move_count = 0;
  const CacheUpdate* updates = nullptr;
  std::int64_t update_count = 0;
  bool captured = false;
  CacheProgress* progress = nullptr;  // of a cache on a device
};

struct CacheView {
  DType format = DType::s8;  // f32, f16, bf16, e4m3, s8, s4
  std::int64_t kv_heads = 0, head_dim = 0, value_dim = 0;
  std::int64_t k_columns = 0, v_columns = 0, mean_columns = 0;  // D, Dv and D with padding
  std::int64_t page_size = 0;                                   // tokens

  // Arrays [pages][kv_heads] of page_size rows each.
  std::byte* k = nullptr;
  std::byte* v = nullptr;
  float* k_scale = nullptr;  // null: f32, f16, bf16
  float* v_scale = nullptr;
  const std::int32_t* block_table = nullptr;  // [sequences][pages_per_sequence]
  std::int64_t pages_per_sequence = 0;

  // A cache on a device: every pointer here is to its memory. `words` holds the block table, then of each sequence its
  // length and where its kept rows begin; appends on the device change these, calls bring the host's changes.
  Device device{};
  std::int32_t* words = nullptr;  // null: on the CPU
  std::int64_t sequences = 0, capacity = 0;

  float* k_mean = nullptr;  // [sequences][kv_heads][mean_columns], of rotated rows; null: not s8, s4
  // Kept rows: f16 [sequences][kv_heads][kKeptSlots][columns] of transformed rows over a power of two; null: none.
  std::uint16_t* kept_k = nullptr;
  std::uint16_t* kept_v = nullptr;
  float* kept_k_unit = nullptr;  // [sequences][kv_heads][kKeptSlots]
  float* kept_v_unit = nullptr;

  OCTAVO_MEMBER bool has_scales() const noexcept { return k_scale != nullptr; }
  // s8, s4: codes of rotated rows.
  OCTAVO_MEMBER bool rotated() const noexcept { return k_mean != nullptr; }
  // Row number of a token in the arrays [pages][kv_heads][page_size].
  OCTAVO_MEMBER std::int64_t row(std::int64_t sequence, std::int64_t head, std::int64_t token) const noexcept {
    const std::int64_t page = block_table[sequence * pages_per_sequence + token / page_size];
    return (page * kv_heads + head) * page_size + token % page_size;
  }
  OCTAVO_MEMBER std::int32_t* lengths() const noexcept { return words + sequences * pages_per_sequence; }
  OCTAVO_MEMBER std::int32_t* kept_begins() const noexcept { return lengths() + sequences; }
  OCTAVO_MEMBER std::int64_t head(std::int64_t sequence, std::int64_t kv_head) const noexcept {
    return sequence * kv_heads + kv_head;
  }
  OCTAVO_MEMBER std::int64_t kept_slot(std::int64_t sequence, std::int64_t kv_head, std::int64_t slot) const noexcept {
    return head(sequence, kv_head) * kKeptSlots + slot;
  }
};

// Entry i of the call appends rows 0..rows-1 of k and v at (i, head, row) to a sequence whose pages exist.
struct CacheAppend {
  std::int64_t sequence = 0, first = 0, rows = 0;
  bool fixes_mean = false;  // the first append of a sequence of s8 or s4
};
struct CacheAppendProblem {
  CacheView cache;
  Operand k, v;
  const CacheAppend* entries = nullptr;
  std::int64_t count = 0;
  CacheChanges changes;
};

// Entry i of the batch: the first `keys` tokens of a sequence, to which rows q_begin..q_begin+q_rows-1 of q attend.
struct CacheSequence {
  std::int64_t sequence = 0, keys = 0;
  std::int64_t kept_begin = 0;           // kept rows exist for token 0 and for tokens from here on
  std::int64_t q_begin = 0, q_rows = 0;  // the operands of varlen queries have no stride of the batch
};
struct CacheAttentionProblem {
  CacheView cache;
  const CacheSequence* entries = nullptr;
  std::int64_t batch = 0, q_heads = 0;
  Operand q, out;
  float* lse = nullptr;
  Strides<3> lse_strides;         // b, hq, row
  Broadcast sinks, alibi_slopes;  // strides b, hq, 0, 0
  Broadcast mask;                 // strides b, hq, row of the entry, key
  Broadcast key_mask;             // bool, strides b, 0, 0, key: false = the key does not exist
  Broadcast tree_mask;            // bool, strides b, 0, row, c: whether the row sees key `keys` - `q_rows` + c
  Alibi alibi = Alibi::causal;
  double softmax_scale = 1;
  double softcap = 0;
  Causal causal = Causal::bottom_right;
  std::int64_t window_left = -1, window_right = -1;
  CacheChanges changes;

  OCTAVO_MEMBER std::int64_t group() const noexcept { return q_heads / cache.kv_heads; }
  // Whether keys are hidden, or scores changed, by more than position and softcap.
  OCTAVO_MEMBER bool has_masks() const noexcept {
    return mask.data != nullptr || key_mask.data != nullptr || tree_mask.data != nullptr ||
           alibi_slopes.data != nullptr;
  }
  // What key_mask and tree_mask say of a key that exists.
  OCTAVO_MEMBER bool hides(std::int64_t i, std::int64_t row, std::int64_t key) const noexcept {
    if (key_mask.data != nullptr &&
        static_cast<const std::uint8_t*>(key_mask.data)[i * key_mask.strides[0] + key * key_mask.strides[3]] == 0)
      return true;
    const std::int64_t drafted = key - (entries[i].keys - entries[i].q_rows);
    return tree_mask.data != nullptr && drafted >= 0 &&
           static_cast<const std::uint8_t*>(tree_mask.data)[i * tree_mask.strides[0] + row * tree_mask.strides[2] +
                                                            drafted * tree_mask.strides[3]] == 0;
  }
};

}  // namespace octavo
