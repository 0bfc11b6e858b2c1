// What one instruction set hands to the driver: its traits and its kernels, as plain function pointers.
#pragma once

#include "cpu/attention/stages.hpp"
#include "cpu/operands/cache_plan.hpp"
#include "cpu/operands/quantize_plan.hpp"
#include "cpu/operands/scratch.hpp"

namespace octavo::cpu {

struct KernelTable {
  PolicyTraits traits;
  // Where a mask may hide keys: which ones some row of the call sees.
  void (*mark_seen)(const Call&, std::int64_t b, std::int64_t kv_head, std::int64_t partial);
  void (*query_spread)(const Call&, std::int64_t b, std::int64_t head, std::int64_t block);
  void (*channel_stats)(const Call&, std::int64_t b, std::int64_t kv_head, std::int64_t partial);
  void (*finish_channel_stats)(const Call&, std::int64_t b, std::int64_t kv_head);
  void (*pack_block)(const Call&, std::int64_t b, std::int64_t kv_head, std::int64_t block, std::byte* thread);
  // Of a head whose blocks are packed: whether V is so large that it must be packed again, with a prescale.
  bool (*choose_v_prescale)(const Call&, std::int64_t b, std::int64_t kv_head);
  void (*finish_blocks)(const Call&, std::int64_t b, std::int64_t kv_head);
  void (*range_queries)(const Call&, std::int64_t b, std::int64_t head, std::int64_t block, std::byte* thread);
  // `stages` of a sequence: 16-bit queries of short ones take two planes.
  Stages (*stages)(const Plan&, bool q16);
  // Around stages and attend() on the thread that runs them, by way of TileScope; null without tiles.
  void (*open_tiles)();
  void (*close_tiles)();
  void (*attend)(const Call&, const Stages&, const AttentionTask&, std::byte* thread);
  // Query heads task.head..last_head-1 of a short sequence (is_short()), which share a KV head.
  void (*attend_short)(const Call&, const AttentionTask&, std::int64_t last_head, std::byte* thread);

  // quantize(): one unit of rows of a (batch, head) in each phase.
  void (*sum_unit)(const QuantizeCall&, std::int64_t head, std::int64_t unit, std::uint32_t limit);
  void (*range_unit)(const QuantizeCall&, std::int64_t head, std::int64_t unit);
  void (*code_unit)(const QuantizeCall&, std::int64_t head, std::int64_t unit);

  void (*dequantize_head)(const DequantizeProblem&, std::int64_t b, std::int64_t head, const spec::ScalePlace& place,
                          std::int64_t begin, std::int64_t rows);
  // A key-value cache: one entry and KV head of an append; one split of keys; the end of a chunk of query rows.
  void (*append_cache_rows)(const CacheAppendProblem&, std::int64_t entry, std::int64_t kv_head);
  void (*attend_cache)(const CacheCall&, const CacheTask&, std::byte* thread);
  void (*finish_cache)(const CacheCall&, const CacheTask&, std::byte* thread);
  void (*merge_rows)(const MergeProblem&, std::int64_t b, std::int64_t head, std::int64_t first, std::int64_t last);
};

// Registers of tiles as long as a thread needs them, for integer products: left open, they would be state of the
// caller's thread, too.
class TileScope {
 public:
  TileScope(const KernelTable& kernels, const Plan& plan) {
    if (kernels.open_tiles == nullptr || (plan.qk_form != QkForm::s8 && plan.pv_form != PvForm::s8)) return;
    kernels.open_tiles();
    close_ = kernels.close_tiles;
  }
  ~TileScope() {
    if (close_ != nullptr) close_();
  }
  TileScope(const TileScope&) = delete;
  TileScope& operator=(const TileScope&) = delete;

 private:
  void (*close_)() = nullptr;
};

}  // namespace octavo::cpu
