// A key-value cache: K and V of the tokens that a model has seen, stored as codes and scales or as floats, and
// attention that reads them in place. docs/kv_cache.md defines the arithmetic and the layout of the memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "octavo/attention.hpp"
#include "octavo/execution.hpp"
#include "octavo/export.hpp"
#include "octavo/status.hpp"
#include "octavo/tensor_view.hpp"

namespace octavo {

namespace kv_cache {
class Cache;
}

/// The shape and the format of a cache. All sequences have the same capacity and lengths of their own.
struct KVCacheOptions {
  std::int64_t batch = 0;           // sequences, at least 1
  std::int64_t kv_heads = 0;        // Hkv, at least 1
  std::int64_t head_dim = 0;        // D, 1 to 512
  std::int64_t value_head_dim = 0;  // Dv, 1 to 512; 0: head_dim
  std::int64_t capacity = 0;        // tokens that one sequence can hold, at least 1

  /// f32, f16, bf16: rows as they are (rounded to this format), exact attention. e4m3: rows as they are, with one scale
  /// per token. s8, s4: rotated codes with one scale per token, K less a frozen mean; s8 as quantize() makes for int8.
  DType format = DType::s8;
  /// s8 and s4 only: the first token and the last 64 are also kept in 16 bits. A query row then attends to the first
  /// token and to the up to 32 keys next to it through these instead of through codes.
  bool kept_keys = true;

  /// Tokens of a page, a multiple of 16; 0: every sequence has contiguous memory of its own. Paged sequences take
  /// pages from one pool when they need them and share them after fork().
  std::int64_t page_size = 0;
  /// Pages of the pool; 0: enough for all sequences at full capacity. Must be 0 without page_size.
  std::int64_t pages = 0;

  /// The pool in the caller's memory, as servers own it: KVCache::pool_size() bytes at a multiple of 64 that outlive
  /// the cache. docs/kv_cache.md says what each byte is. Needs page_size and pages; the caller then names the pages of
  /// each sequence: KVCache::set_block_table(). Empty: the cache's own memory.
  std::span<std::byte> pool{};

  /// Where the cache, and all tensors of its calls but cu_seqlens_q, are. CUDA: every format, head_dim and
  /// value_head_dim up to 256, the functions that docs/kv_cache.md names, in the order of the calls' streams; a pool is
  /// memory of the device then.
  Device device{};
};

/// Queries over a cache. M query rows of a sequence are its last M tokens: append their K and V first. Sequences may
/// have different numbers of rows: q is varlen then, and cu_seqlens_q says where each begins.
struct CacheQuery {
  TensorView q;    // [B, M, Hq, D] nhd, [B, Hq, M, D] hnd; varlen [total_q, Hq, D], [Hq, total_q, D]; f32, f16, bf16
  TensorView out;  // [B, M, Hq, Dv] ...; f32, f16 or bf16; overlaps no input; Hq % Hkv == 0
  TensorView lse;  // optional: f32 [B, Hq, M]; varlen [Hq, total_q]

  // Optional, all as in AttentionInputs. M is the largest number of rows, N the largest length of the call's sequences.
  TensorView sinks;         // any float dtype [Hq]: one extra logit per head
  TensorView mask;          // bool or floats, broadcast from the right to [B, Hq, M, N]; keys count from 0
  TensorView key_mask;      // bool [B, N]: false = the key does not exist
  TensorView alibi_slopes;  // any float dtype, [Hq] or [B, Hq]
  /// Speculative decoding: bool [M, M] or [B, M, M]. Row i of a sequence's m rows sees key c of its last m keys only
  /// where entry [i, c] is true; the keys before them are as without this mask. Combined with causality (drafts are
  /// appended parents first), window and masks; windows and ALiBi count from i + N - m, not from the depth in the tree.
  TensorView tree_mask;
  TensorView cu_seqlens_q;  // s32 or s64 [B + 1] on the CPU: varlen queries; entry b: start of sequence b in total_q

  Layout layout = Layout::nhd;
  /// The sequences of the B rows of q (of cu_seqlens_q), distinct; empty: 0 to B - 1, and B must be the cache's batch.
  std::span<const std::int64_t> sequences{};
};

struct CacheAttentionParams {
  /// Factor of q.k; NaN (the default) = 1 / sqrt(D). 0 and negative values are allowed, infinity is not.
  double softmax_scale = __builtin_nan("");
  /// true: query i of M sees key j of a sequence of length N iff j <= i + N - M. false: all N keys.
  bool causal = true;
  /// Keys visible to the left and right of i + N - M; -1 = unlimited. With causal, right = 0.
  std::int64_t window_left = -1;
  std::int64_t window_right = -1;
  /// c > 0: scores become c * tanh(s / c), before masks and ALiBi; 0 = off.
  double softcap = 0;
  Alibi alibi = Alibi::causal;  // symmetric requires alibi_slopes
};

/// Not synchronized: a call that changes a cache must not run beside any other call on it. A call that fails leaves the
/// cache as it was. On a CUDA device calls enqueue work on their stream; the streams of one cache must be ordered. A
/// call that names a sequence which does not exist returns invalid_argument.
class OCTAVO_API KVCache {
 public:
  /// Errors: invalid_argument, unimplemented (format, head_dim), resource_exhausted.
  static Result<KVCache> create(const KVCacheOptions& options) noexcept;

  /// Bytes of KVCacheOptions::pool; the options' own pool is not read. Errors: as create().
  static Result<std::size_t> pool_size(const KVCacheOptions& options) noexcept;

  KVCache(KVCache&&) noexcept;
  KVCache& operator=(KVCache&&) noexcept;
  ~KVCache();

  const KVCacheOptions& options() const noexcept;
  /// Number of tokens of a sequence; -1 if there is no such sequence.
  std::int64_t length(std::int64_t sequence) const noexcept;
  /// Bytes of memory that the cache holds: codes, scales, means, kept rows, tables.
  std::size_t nbytes() const noexcept;
  /// Pages that no sequence uses; 0 without page_size.
  std::int64_t free_pages() const noexcept;

  /// Appends T tokens to each of B sequences: k [B, T, Hkv, D], v [B, T, Hkv, Dv] (hnd: [B, Hkv, T, ...]), one of f32,
  /// f16 and bf16 for both. `counts`: of each sequence's T rows the first counts[b] are appended (ragged); empty: all.
  /// `sequences`: as in CacheQuery. The first append to an empty sequence fixes K's mean: over its tokens if it has at
  /// least 64, else 0. Errors: invalid_argument (shapes; a sequence would exceed its capacity), resource_exhausted (no
  /// free page); nothing is written then.
  Status append(const TensorView& k, const TensorView& v, Layout layout = Layout::nhd,
                std::span<const std::int64_t> sequences = {}, std::span<const std::int64_t> counts = {},
                const Execution& execution = {}) noexcept;

  /// O = softmax(s) V over the tokens of each sequence; semantics and errors as octavo::attention(). Results have the
  /// same bits for any number of threads, any batch, contiguous or paged.
  Status attend(const CacheQuery& query, const CacheAttentionParams& params = {},
                const Execution& execution = {}) const noexcept;

  /// Caches over the caller's pool only: pages[i] holds tokens i * page_size and following of the sequence. Replaces
  /// the sequence's table; a page that holds tokens must hold the same ones. Sequences may share pages, but no append
  /// writes to a page of two sequences. Errors: invalid_argument (a page number outside of the pool or named twice,
  /// fewer pages than the sequence's tokens need, more than its capacity).
  Status set_block_table(std::int64_t sequence, std::span<const std::int32_t> pages) noexcept;

  /// Of a cache on a device, after graphs that hold its appends have run: they have added `tokens` to each of these
  /// sequences (none given: all). Errors: invalid_argument (more than the capacity; a cache on the CPU).
  Status advance(std::int64_t tokens, std::span<const std::int64_t> sequences = {}) noexcept;

  /// Keeps the first `length` tokens of a sequence. Errors: invalid_argument (it has fewer).
  Status trim(std::int64_t sequence, std::int64_t length) noexcept;
  /// Removes the tokens of a sequence between the first `keep_first` and the last `keep_last`; the others are numbered
  /// anew from 0 on, which causality and windows then count. Codes, scales and K's mean stay as they are. Nothing
  /// happens to a sequence of at most keep_first + keep_last tokens. Paged, the pages that become free return to the
  /// pool. Errors: invalid_argument; resource_exhausted (a shared page must be copied and none is free); unimplemented
  /// over a caller's pool, and on a CUDA device for other than whole strips (docs/kv_cache.md).
  Status evict(std::int64_t sequence, std::int64_t keep_first, std::int64_t keep_last) noexcept;
  /// Empties sequences (none given: all), the tables of a caller's pages too; the next append fixes a new mean.
  Status reset(std::span<const std::int64_t> sequences = {}) noexcept;
  /// `to` becomes a copy of `from`; paged, they share all full pages until one of them is reset or overwritten.
  Status fork(std::int64_t from, std::int64_t to) noexcept;
  /// Sequence b becomes what sequence sources[b] was, for all b at once (beam search). [batch] entries.
  Status reorder(std::span<const std::int64_t> sources) noexcept;

  /// Bytes that save() writes now.
  std::size_t saved_size() const noexcept;
  /// Writes options, lengths and contents: saved_size() bytes, the same for the same contents. docs/kv_cache.md defines
  /// the format. Errors: invalid_argument (a wrong number of bytes); nothing is written then.
  Status save(std::span<std::byte> bytes) const noexcept;
  /// A cache as it was when its bytes were saved, to the bit, on any device. Errors: invalid_argument (not such bytes,
  /// truncated, damaged), unimplemented (a later version of the format; what the device does not support), unavailable,
  /// resource_exhausted.
  static Result<KVCache> load(std::span<const std::byte> bytes, Device device = {}) noexcept;

  /// Codes (floats: values) and scales of a sequence in natural order, for tests and tools. codes: the cache's format,
  /// [Hkv, N, D] or [Hkv, N, Dv] dense (s4: no padding after an odd D); scales: f32 [Hkv, N], not given for f32, f16
  /// and bf16; mean: optional, s8 and s4 only, f32 [Hkv, D], K's mean of rotated rows (V: must not be given).
  Status read_k(std::int64_t sequence, const TensorView& codes, const TensorView& scales = {},
                const TensorView& mean = {}) const noexcept;
  Status read_v(std::int64_t sequence, const TensorView& codes, const TensorView& scales = {}) const noexcept;

 private:
  explicit KVCache(std::unique_ptr<kv_cache::Cache> cache) noexcept;
  std::unique_ptr<kv_cache::Cache> cache_;
};

}  // namespace octavo
