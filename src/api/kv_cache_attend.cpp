// KVCache::attend(): checks of a call, then a CacheAttentionProblem for an implementation.
#include <algorithm>
#include <cfloat>
#include <cmath>
#include <iterator>
#include <span>
#include <vector>

#include "api/byte_ranges.hpp"
#include "api/check_masks.hpp"
#include "api/cu_seqlens.hpp"
#include "api/execution.hpp"
#include "api/kv_cache_checks.hpp"
#include "api/kv_cache_device.hpp"
#include "api/selection.hpp"
#include "core/log.hpp"
#include "core/text.hpp"

namespace octavo {
namespace {

using kv_cache::Cache;

// The queries of a call: batched [B, M, Hq, D], or varlen [total, Hq, D] with cu_seqlens_q.
struct Queries {
  Axes axes;
  CuSeqlens packed;
  std::vector<CacheSequence> entries;
  std::int64_t longest_rows = 0, longest_keys = 0;

  std::int64_t batch() const { return packed.varlen() ? packed.batch : axes.batch; }
  int rank() const { return packed.varlen() ? 3 : 4; }
};

Status check_params(const CacheAttentionParams& params, const KVCacheOptions& options, CacheAttentionProblem& p) {
  p.softmax_scale =
      std::isnan(params.softmax_scale) ? 1.0 / std::sqrt(static_cast<double>(options.head_dim)) : params.softmax_scale;
  if (std::abs(p.softmax_scale) > FLT_MAX) {
    return invalid_argument("softmax_scale is ", params.softmax_scale, "; it must be finite (in f32)");
  }
  if (!(params.softcap == 0 || (params.softcap >= FLT_MIN && params.softcap <= FLT_MAX))) {
    return invalid_argument("softcap is ", params.softcap, "; allowed are 0 (off) and positive finite f32 values");
  }
  if (params.window_left < -1 || params.window_right < -1) {
    return invalid_argument("window is (", params.window_left, ", ", params.window_right,
                            "); allowed are -1 (unlimited) and values from 0 on");
  }
  if (Status status = check_alibi(params.alibi); !status.ok()) return status;
  p.softcap = params.softcap;
  p.causal = params.causal ? Causal::bottom_right : Causal::none;
  p.window_left = params.window_left;
  p.window_right = params.window_right;
  p.alibi = params.alibi;
  return {};
}

// q and cu_seqlens_q.
Status check_queries(const CacheQuery& query, const KVCacheOptions& options, Queries& queries, ByteRanges& ranges) {
  ByteRange range;
  if (query.cu_seqlens_q.given()) {
    if (Status status =
            read_host_cu_seqlens("cu_seqlens_q", query.cu_seqlens_q, -1, "[batch + 1]", range, queries.packed);
        !status.ok()) {
      return status;
    }
    ranges.reads({"cu_seqlens_q"}, range);
  }
  Axes& q = queries.axes;
  if (Status status = check_cache_rows("q", query.q, query.layout, queries.packed.varlen(), q, range); !status.ok()) {
    return status;
  }
  ranges.reads({"q"}, range);
  if (q.heads % options.kv_heads != 0) {
    return invalid_argument("q has ", q.heads, " heads and the cache ", options.kv_heads,
                            "; q's must be a multiple of the cache's");
  }
  if (q.dim != options.head_dim) {
    return invalid_argument("q has head_dim ", q.dim, " and the cache ", options.head_dim, "; they must be equal");
  }
  return queries.packed.varlen() ? check_cu_seqlens(queries.packed, q.rows, "q") : Status{};
}

Status find_entries(const Cache& cache, const CacheQuery& query, Queries& queries) {
  std::vector<std::int64_t> sequences;
  const std::string_view tensor = queries.packed.varlen() ? "cu_seqlens_q" : "q";
  if (Status status = named_sequences(cache, query.sequences, queries.batch(), tensor, sequences); !status.ok()) {
    return status;
  }
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    CacheSequence entry = cache.entry(sequences[i]);
    const auto b = static_cast<std::int64_t>(i);
    entry.q_begin = queries.packed.varlen() ? queries.packed.at[b] : 0;
    entry.q_rows = queries.packed.varlen() ? queries.packed.rows(b) : queries.axes.rows;
    queries.longest_rows = std::max(queries.longest_rows, entry.q_rows);
    queries.longest_keys = std::max(queries.longest_keys, entry.keys);
    queries.entries.push_back(entry);
  }
  return {};
}

Status check_cache_key_mask(const TensorView& mask, const Queries& queries, Broadcast& to, ByteRanges& ranges) {
  if (!mask.given()) return {};
  ByteRange range;
  if (Status status = check_view({"key_mask"}, mask, Pointers::needed, &range); !status.ok()) return status;
  if (mask.dtype != DType::boolean) {
    return invalid_argument("key_mask is ", to_string(mask.dtype), "; it must be bool (true = the key exists)");
  }
  if (!has_shape(mask, {queries.batch(), queries.longest_keys}, 2)) {
    return invalid_argument("key_mask has shape ", shape_string(mask), "; it must be [", queries.batch(), ", ",
                            queries.longest_keys, "] (batch, tokens of the longest of the call's sequences)");
  }
  to = {data_or_placeholder(mask), mask.dtype, {mask.strides[0], 0, 0, mask.strides[1]}};
  ranges.reads({"key_mask"}, range);
  return {};
}

Status check_tree_mask(const TensorView& mask, const Queries& queries, Broadcast& to, ByteRanges& ranges) {
  if (!mask.given()) return {};
  ByteRange range;
  if (Status status = check_view({"tree_mask"}, mask, Pointers::needed, &range); !status.ok()) return status;
  if (mask.dtype != DType::boolean) {
    return invalid_argument("tree_mask is ", to_string(mask.dtype), "; it must be bool (true = may attend)");
  }
  const std::int64_t rows = queries.longest_rows;
  if (has_shape(mask, {rows, rows}, 2)) {
    to = {data_or_placeholder(mask), mask.dtype, {0, 0, mask.strides[0], mask.strides[1]}};
  } else if (has_shape(mask, {queries.batch(), rows, rows}, 3)) {
    to = {data_or_placeholder(mask), mask.dtype, {mask.strides[0], 0, mask.strides[1], mask.strides[2]}};
  } else {
    return invalid_argument("tree_mask has shape ", shape_string(mask), "; allowed are [", rows, ", ", rows, "] and [",
                            queries.batch(), ", ", rows, ", ", rows, "] (query rows, the last keys)");
  }
  ranges.reads({"tree_mask"}, range);
  return {};
}

Status check_outputs(const CacheQuery& query, const Queries& queries, std::int64_t value_dim,
                     CacheAttentionProblem& problem, ByteRanges& ranges) {
  const Axes& q = queries.axes;
  const bool packed = queries.packed.varlen();
  Axes axes;
  ByteRange range;
  if (Status status = check_cache_rows("out", query.out, query.layout, packed, axes, range); !status.ok()) {
    return status;
  }
  const std::array<std::int64_t, 4> shape =
      shape_of({q.batch, q.heads, q.rows, value_dim}, query.layout, queries.rank());
  if (!has_shape(query.out, shape, queries.rank())) {
    return invalid_argument("out has shape ", shape_string(query.out), "; the result has ",
                            shape_text(shape, queries.rank()));
  }
  if (!elements_are_distinct(query.out)) {
    return invalid_argument("out has strides that let elements share memory; its axes must not overlap");
  }
  problem.out = operand_of(query.out, query.layout);
  ranges.writes({"out"}, range);
  const TensorView& lse = query.lse;
  if (!lse.given()) return {};
  if (Status status = check_view({"lse"}, lse, Pointers::needed, &range); !status.ok()) return status;
  const std::array<std::int64_t, 4> lse_shape =
      packed ? std::array<std::int64_t, 4>{q.heads, q.rows} : std::array<std::int64_t, 4>{q.batch, q.heads, q.rows};
  const int lse_rank = queries.rank() - 1;
  if (!has_shape(lse, lse_shape, lse_rank)) {
    return invalid_argument("lse has shape ", shape_string(lse), "; it must be ", shape_text(lse_shape, lse_rank),
                            packed ? ", [heads, total]" : ", [batch, heads, seqlen_q]");
  }
  if (lse.dtype != DType::f32) return invalid_argument("lse is ", to_string(lse.dtype), "; it must be f32");
  if (!elements_are_distinct(lse)) {
    return invalid_argument("lse has strides that let elements share memory; its axes must not overlap");
  }
  problem.lse = static_cast<float*>(data_or_placeholder(lse));
  problem.lse_strides = packed ? Strides<3>{0, lse.strides[0], lse.strides[1]}
                               : Strides<3>{lse.strides[0], lse.strides[1], lse.strides[2]};
  ranges.writes({"lse"}, range);
  return {};
}

// mask, key_mask, tree_mask, ALiBi's slopes and sinks.
Status check_masks(const CacheQuery& query, const Queries& queries, CacheAttentionProblem& problem,
                   ByteRanges& ranges) {
  const std::int64_t batch = queries.batch(), heads = queries.axes.heads;
  const MaskExtents extents{{batch, heads, queries.longest_rows, queries.longest_keys},
                            ", [batch, heads, longest of q, longest of the cache]"};
  if (Status status = check_mask(query.mask, extents, Pointers::needed, nullptr, problem.mask, ranges); !status.ok()) {
    return status;
  }
  if (Status status = check_cache_key_mask(query.key_mask, queries, problem.key_mask, ranges); !status.ok()) {
    return status;
  }
  if (Status status = check_tree_mask(query.tree_mask, queries, problem.tree_mask, ranges); !status.ok()) return status;
  if (Status status = check_alibi_slopes(query.alibi_slopes, problem.alibi, batch, heads, Pointers::needed,
                                         problem.alibi_slopes, ranges);
      !status.ok()) {
    return status;
  }
  return check_sinks(query.sinks, heads, Pointers::needed, problem.sinks, ranges);
}

}  // namespace

Status attend_to(const Cache& cache, const CacheQuery& query, const CacheAttentionParams& params,
                 const Execution& execution) {
  const KVCacheOptions& options = cache.options();
  if (Status status = check_execution(execution); !status.ok()) return status;
  if (Status status = check_cache_layout(query.layout); !status.ok()) return status;
  const NamedTensor all_tensors[] = {{{"q"}, &query.q},
                                     {{"out"}, &query.out},
                                     {{"lse"}, &query.lse},
                                     {{"mask"}, &query.mask},
                                     {{"key_mask"}, &query.key_mask},
                                     {{"tree_mask"}, &query.tree_mask},
                                     {{"alibi_slopes"}, &query.alibi_slopes},
                                     {{"sinks"}, &query.sinks},
                                     {{"cu_seqlens_q"}, &query.cu_seqlens_q}};
  // cu_seqlens_q decides the launches, so the host reads it: read_host_cu_seqlens() says so.
  const std::span<const NamedTensor> tensors(all_tensors, std::size(all_tensors) - (cache.on_device() ? 1 : 0));
  if (Status status = check_cache_device(cache, tensors); !status.ok()) return status;
  if (Status status = check_stream(execution, options.device); !status.ok()) return status;
  CacheAttentionProblem problem;
  ByteRanges ranges;
  ranges.writes({"workspace"}, workspace_range(execution));
  const auto pool = reinterpret_cast<std::uintptr_t>(options.pool.data());
  ranges.reads({"pool"}, {pool, pool + options.pool.size()});
  Queries queries;
  if (Status status = check_queries(query, options, queries, ranges); !status.ok()) return status;
  if (Status status = check_params(params, options, problem); !status.ok()) return status;
  if (Status status = check_outputs(query, queries, options.value_head_dim, problem, ranges); !status.ok()) {
    return status;
  }
  if (Status status = find_entries(cache, query, queries); !status.ok()) return status;
  if (Status status = check_masks(query, queries, problem, ranges); !status.ok()) return status;
  if (Status status = ranges.check(); !status.ok()) return status;
  if (Status status = check_pointers(tensors, options.device); !status.ok()) return status;
  const Result<const Implementation*> selected = select_cache_implementation(execution.implementation, options.device);
  if (!selected.ok()) return selected.status();
  const Implementation& implementation = **selected;
  problem.cache = cache.view();
  problem.entries = queries.entries.data();
  problem.batch = queries.batch();
  problem.q_heads = queries.axes.heads;
  problem.q = operand_of(query.q, query.layout);
  if (problem.batch == 0 || queries.longest_rows == 0) return {};
  std::vector<std::int64_t> slots;
  for (const CacheSequence& entry : queries.entries) slots.push_back(entry.sequence);
  const Result<bool> captured = check_capture(cache, execution, slots);
  if (!captured.ok()) return captured.status();
  Cache::Changes changes = cache.take_changes(slots);
  problem.changes = changes.of_call(*captured);
  CallReport report;
  if (Status status = implementation.backend().attention(implementation, problem, execution, report); !status.ok()) {
    return status;
  }
  changes.brought();
  note_served_by(implementation);
  if (log_enabled(LogLevel::dispatch)) {
    log_line(LogLevel::dispatch, text("attention over a ", to_string(options.format), " cache, batch ", problem.batch,
                                      " heads ", problem.q_heads, "/", options.kv_heads, " seqlen_q ",
                                      queries.longest_rows, " -> ", implementation.name, ", ", report.threads,
                                      " threads, ", report.workspace_bytes, " bytes of workspace"));
  }
  return {};
}

}  // namespace octavo
