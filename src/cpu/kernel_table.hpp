// What one instruction set hands to the driver: its traits and its kernels, as plain function pointers.
#pragma once

#include "cpu/kernels/stages.hpp"
#include "cpu/plan.hpp"
#include "cpu/quantize_plan.hpp"

namespace octavo::cpu {

struct KernelTable {
  PolicyTraits traits;
  void (*statistics)(const Call&, std::int64_t b, std::int64_t kv_head, std::int64_t partial);
  void (*finish_statistics)(const Call&, std::int64_t b, std::int64_t kv_head);
  void (*pack_block)(const Call&, std::int64_t b, std::int64_t kv_head, std::int64_t block, std::byte* thread);
  // Of a head whose blocks are packed: whether V is so large that it must be done again, now with a unit.
  bool (*take_unit)(const Call&, std::int64_t b, std::int64_t kv_head);
  void (*finish_blocks)(const Call&, std::int64_t b, std::int64_t kv_head);
  void (*range_queries)(const Call&, std::int64_t b, std::int64_t head, std::int64_t block, std::byte* thread);
  // `stages` of a sequence: 16-bit queries of short ones take two planes.
  Stages (*stages)(const Plan&, bool wide_queries);
  void (*attend)(const Call&, const Stages&, const AttentionTask&, std::byte* thread);

  // quantize(): one unit of rows of a (batch, head) in each phase.
  void (*sum_unit)(const QuantizeCall&, std::int64_t head, std::int64_t unit);
  void (*range_unit)(const QuantizeCall&, std::int64_t head, std::int64_t unit);
  void (*code_unit)(const QuantizeCall&, std::int64_t head, std::int64_t unit);
};

}  // namespace octavo::cpu
