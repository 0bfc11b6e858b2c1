// A block of 128 keys of a key-value cache: where its strips lie, and the scales of its tokens.
#pragma once

#include "cpu/attention/decode_products.hpp"
#include "cpu/attention/decode_queries.hpp"

namespace octavo::cpu {
namespace {

// What a tile of rows needs of a block.
struct DecodeBlock {
  CacheBlock strips;
  std::int64_t start;   // first key
  std::int64_t keys;    // whole pairs of vectors that hold the block's keys
  std::int64_t lo, hi;  // keys of the block that some row of the tile sees
  bool finite;          // all scales
  alignas(64) float k_scale[spec::kCacheKeyBlock];
  alignas(64) float v_scale[spec::kCacheKeyBlock];
};

template <class S>
OCTAVO_INLINE void find_block(const CacheAttentionProblem& p, const CacheTask& task, std::int64_t start,
                              std::int64_t end, DecodeBlock& block) {
  const CacheView& cache = p.cache;
  const CacheSequence& entry = p.entries[task.entry];
  const std::int64_t bits = spec::cache_bits(cache.format);
  block.start = start;
  block.strips.strips = (end - start + kCacheStrip - 1) / kCacheStrip;
  constexpr std::int64_t kStep = 2 * S::kLanes < kCacheStrip ? kCacheStrip : 2 * S::kLanes;
  block.keys = (end - start + kStep - 1) / kStep * kStep;
  auto not_finite = S::set1(0.0f);
  for (std::int64_t s = 0; s < kBlockStrips; ++s) {
    const std::int64_t strip = s < block.strips.strips ? s : block.strips.strips - 1;
    const std::int64_t row = cache.row(entry.sequence, task.kv_head, start + strip * kCacheStrip);
    block.strips.k[s] = cache.k + row * cache.k_columns * bits / 8;
    block.strips.v[s] = cache.v + row * cache.v_columns * bits / 8;
    if (!cache.has_scales() || s * kCacheStrip >= block.keys) continue;
    for (std::int64_t j = 0; j < kCacheStrip; j += S::kLanes) {
      const auto of_k = S::load(cache.k_scale + row + j), of_v = S::load(cache.v_scale + row + j);
      S::store(block.k_scale + s * kCacheStrip + j, of_k);
      S::store(block.v_scale + s * kCacheStrip + j, of_v);
      not_finite = S::fma(of_k, S::set1(0.0f), S::fma(of_v, S::set1(0.0f), not_finite));
    }
  }
  block.finite = S::reduce_add(not_finite) == 0;
}

// The strips of a block as the products read them in f32, for chunks of many rows: each element is converted once.
template <class S, DType kFormat>
OCTAVO_INLINE void widen_block(const CacheView& cache, const CacheBlock& block, float* memory, CacheBlock& wide) {
  constexpr std::int64_t kSize = spec::cache_bits(kFormat) / 8;
  wide.strips = block.strips;
  const auto widen = [&](const std::byte* from, std::int64_t count) __attribute__((always_inline)) {
    auto* const to = reinterpret_cast<std::byte*>(memory);
    for (std::int64_t i = 0; i < count; i += S::kLanes) S::store(memory + i, load_format<S, kFormat>(from + i * kSize));
    memory += count;
    return to;
  };
  for (std::int64_t s = 0; s < kBlockStrips; ++s) {
    const bool exists = s < block.strips;
    wide.k[s] = exists ? widen(block.k[s], cache.k_columns * kCacheStrip) : wide.k[s - 1];
    wide.v[s] = exists ? widen(block.v[s], cache.v_columns * kCacheStrip) : wide.v[s - 1];
  }
}

// Whether a row sees all keys of a whole block and keeps none of them, and only factors change its scores.
OCTAVO_INLINE bool is_plain(const CacheAttentionProblem& p, const DecodeQueries& q, std::int64_t r,
                            const DecodeBlock& block, bool terms) {
  const std::int64_t end = block.start + spec::kCacheKeyBlock;
  if (block.keys != spec::kCacheKeyBlock || terms || p.softcap > 0 || !block.finite || q.factor[r] != q.factor[r])
    return false;
  if (q.seen[r].begin > block.start || q.seen[r].end < end || (block.start == 0 && q.first_kept != 0)) return false;
  return q.near[r].begin >= end || q.near[r].end <= block.start;
}

}  // namespace
}  // namespace octavo::cpu
