// A call on the CPU, independent of the instruction set: statistics of K and V, packing of their blocks, the range
// of Q where one scale serves all of it, then attention tasks. Each phase is a list of tasks; threads take them as
// they come. How many threads there are may decide how many rows a task has, and nothing that can touch a result.
#include <algorithm>
#include <atomic>
#include <new>

#include "cpu/for_each_task.hpp"
#include "cpu/implementation.hpp"
#include "cpu/plan.hpp"
#include "spec/mean.hpp"
#include "spec/task_order.hpp"

namespace octavo::cpu {
namespace {

// Task index -> its place in a list of stretches of different lengths.
struct Place {
  std::int64_t b, head, i;
};

class CallDriver {
 public:
  CallDriver(const Plan& plan, const KernelTable& kernels, ParallelRunner& runner, int workers, std::byte* scratch)
      : plan_(plan), kernels_(kernels), runner_(runner), workers_(workers), call_{&plan, scratch} {}

  void run() {
    list_sequences();
    if (plan_.all_short) return attend_short_sequences();
    if (goes_head_by_head() && !plan_.q_range) return prepare_and_attend();
    prepare_heads();
    range_queries();
    attend();
  }

 private:
  void list_sequences() {
    const Problem& problem = *plan_.problem;
    const Recipe& recipe = problem.recipe;
    std::int64_t block = 0, partial = 0, query_range = 0;
    spec::ScaleCursor q_scale_place(problem.q, spec::groups_of(Role::q, recipe), problem.head_dim, problem.varlen());
    spec::ScaleCursor k_scale_place(problem.k, spec::groups_of(Role::k, recipe), problem.head_dim, problem.varlen());
    spec::ScaleCursor v_scale_place(problem.v, spec::groups_of(Role::v, recipe), problem.value_dim, problem.varlen());
    for (std::int64_t b = 0; b < problem.batch; ++b) {
      SequenceInfo& info = *new (sequence_at(call_, b)) SequenceInfo;
      info.rows = problem.sequence(b);
      info.blocks = (info.rows.k_rows + plan_.key_block - 1) / plan_.key_block;
      info.partials = (info.rows.k_rows + spec::kMeanBlock - 1) / spec::kMeanBlock;
      info.first_block = block;
      info.first_partial = partial;
      block += problem.kv_heads * info.blocks;
      partial += problem.kv_heads * info.partials;
      info.query_ranges = (info.rows.q_rows + spec::kQueryBlock - 1) / spec::kQueryBlock;
      info.first_query_range = query_range;
      query_range += problem.q_heads * info.query_ranges;
      info.q_scale_place = q_scale_place.place();
      info.k_scale_place = k_scale_place.place();
      info.v_scale_place = v_scale_place.place();
      q_scale_place.pass(info.rows.q_rows);
      k_scale_place.pass(info.rows.k_rows);
      v_scale_place.pass(info.rows.k_rows);
      for (std::int64_t h = 0; h < problem.kv_heads && !plan_.all_short; ++h) {
        HeadInfo& head = *new (head_at(call_, b, h)) HeadInfo;
        head.pending_partials = info.partials;
        head.pending_blocks = info.blocks;
        if (info.blocks == 0 || !needs_channel_stats()) kernels_.finish_channel_stats(call_, b, h);
      }
    }
  }

  // Nothing is prepared: a task is a sequence's KV head, or one of its query heads where there are few.
  void attend_short_sequences() {
    const Problem& problem = *plan_.problem;
    const std::int64_t group = problem.q_heads / problem.kv_heads, kv_heads = problem.batch * problem.kv_heads;
    for_each_task(runner_, workers_, plan_.hides_keys ? kv_heads : 0, [&](std::int64_t, std::int64_t task) {
      if (sequence_at(call_, task / problem.kv_heads)->rows.k_rows > 0)
        kernels_.mark_seen(call_, task / problem.kv_heads, task % problem.kv_heads, 0);
    });
    const std::int64_t together = kv_heads >= kTasksOfShortHeads * workers_ ? group : 1;
    const std::int64_t tasks_per_sequence = problem.q_heads / together;
    for_each_task(runner_, workers_, problem.batch * tasks_per_sequence, [&](std::int64_t worker, std::int64_t task) {
      AttentionTask attention{.batch = task / tasks_per_sequence, .head = task % tasks_per_sequence * together};
      attention.rows = sequence_at(call_, attention.batch)->rows.q_rows;
      if (attention.rows > 0)
        kernels_.attend_short(call_, attention, attention.head + together, thread_scratch(worker));
    });
  }

  // Short sequences are prepared head by head: there, waiting for each other costs more than the work.
  bool goes_head_by_head() const {
    const std::int64_t heads = plan_.problem->batch * plan_.problem->kv_heads;
    return plan_.total_blocks <= kBlocksOfShortHeads * heads && (heads >= workers_ || workers_ == 1);
  }

  // Both in one phase: tasks are drawn in order, those that prepare heads first, and those of attention wait for their
  // head alone. Whoever prepares it waits for nobody.
  void prepare_and_attend() {
    const Problem& problem = *plan_.problem;
    const std::int64_t heads = problem.batch * problem.kv_heads;
    const Stages stages[2] = {kernels_.stages(plan_, false), kernels_.stages(plan_, true)};
    for_each_task(runner_, workers_, heads + attention_tasks(), [&](std::int64_t worker, std::int64_t task) {
      if (task >= heads) return attend(stages, task - heads, thread_scratch(worker), true);
      prepare_head(task, thread_scratch(worker));
      std::atomic_ref<std::uint32_t> ready(head_at(call_, task / problem.kv_heads, task % problem.kv_heads)->ready);
      ready.store(1, std::memory_order_release);
      ready.notify_all();
    });
  }

  // Statistics, then packing; whoever finishes a head's last part also does what needs the whole head.
  void prepare_heads() {
    const Problem& problem = *plan_.problem;
    const std::int64_t heads = problem.batch * problem.kv_heads;
    if (goes_head_by_head()) {
      for_each_task(runner_, workers_, heads,
                    [&](std::int64_t worker, std::int64_t task) { prepare_head(task, thread_scratch(worker)); });
      return;
    }
    if (plan_.hides_keys) {
      for_each_task(runner_, workers_, plan_.total_partials, [&](std::int64_t, std::int64_t task) {
        const Place place = find(task, &SequenceInfo::first_partial, &SequenceInfo::partials);
        kernels_.mark_seen(call_, place.b, place.head, place.i);
      });
    }
    if (plan_.qk_gains) {
      for_each_task(runner_, workers_, plan_.total_query_ranges, [&](std::int64_t, std::int64_t task) {
        const Place place = find(task, &SequenceInfo::first_query_range, &SequenceInfo::query_ranges);
        kernels_.query_spread(call_, place.b, place.head, place.i);
      });
    }
    if (needs_channel_stats()) {
      for_each_task(runner_, workers_, plan_.total_partials, [&](std::int64_t, std::int64_t task) {
        const Place place = find(task, &SequenceInfo::first_partial, &SequenceInfo::partials);
        kernels_.channel_stats(call_, place.b, place.head, place.i);
        if (is_last(head_at(call_, place.b, place.head)->pending_partials))
          kernels_.finish_channel_stats(call_, place.b, place.head);
      });
    }
    for_each_task(runner_, workers_, plan_.total_blocks, [&](std::int64_t worker, std::int64_t task) {
      const Place place = find(task, &SequenceInfo::first_block, &SequenceInfo::blocks);
      kernels_.pack_block(call_, place.b, place.head, place.i, thread_scratch(worker));
      if (is_last(head_at(call_, place.b, place.head)->pending_blocks))
        finish_head(place.b, place.head, thread_scratch(worker));
    });
  }

  void prepare_head(std::int64_t task, std::byte* thread) {
    const std::int64_t b = task / plan_.problem->kv_heads, kv_head = task % plan_.problem->kv_heads;
    const SequenceInfo& sequence = *sequence_at(call_, b);
    const std::int64_t group = plan_.problem->q_heads / plan_.problem->kv_heads;
    for (std::int64_t i = 0; plan_.hides_keys && i < sequence.partials; ++i) kernels_.mark_seen(call_, b, kv_head, i);
    for (std::int64_t h = kv_head * group; plan_.qk_gains && h < (kv_head + 1) * group; ++h)
      for (std::int64_t i = 0; i < sequence.query_ranges; ++i) kernels_.query_spread(call_, b, h, i);
    if (needs_channel_stats()) find_channel_stats(b, kv_head);
    pack_head(b, kv_head, thread);
    finish_head(b, kv_head, thread);
  }

  void find_channel_stats(std::int64_t b, std::int64_t kv_head) {
    for (std::int64_t i = 0; i < sequence_at(call_, b)->partials; ++i) kernels_.channel_stats(call_, b, kv_head, i);
    kernels_.finish_channel_stats(call_, b, kv_head);
  }
  void pack_head(std::int64_t b, std::int64_t kv_head, std::byte* thread) {
    for (std::int64_t i = 0; i < sequence_at(call_, b)->blocks; ++i) kernels_.pack_block(call_, b, kv_head, i, thread);
  }

  // Values near f32's end are found when all blocks are packed. They are rare, so the head is then packed again.
  void finish_head(std::int64_t b, std::int64_t kv_head, std::byte* thread) {
    if (kernels_.choose_v_prescale(call_, b, kv_head)) {
      find_channel_stats(b, kv_head);
      pack_head(b, kv_head, thread);
    }
    kernels_.finish_blocks(call_, b, kv_head);
  }

  void range_queries() {
    if (!plan_.q_range) return;
    for_each_task(runner_, workers_, plan_.total_query_ranges, [&](std::int64_t worker, std::int64_t task) {
      const Place place = find(task, &SequenceInfo::first_query_range, &SequenceInfo::query_ranges);
      kernels_.range_queries(call_, place.b, place.head, place.i, thread_scratch(worker));
    });
  }

  std::int64_t attention_tasks() const { return plan_.problem->batch * plan_.problem->q_heads * plan_.tasks_per_head; }

  void attend() {
    const Stages stages[2] = {kernels_.stages(plan_, false), kernels_.stages(plan_, true)};
    for_each_task(runner_, workers_, attention_tasks(),
                  [&](std::int64_t worker, std::int64_t task) { attend(stages, task, thread_scratch(worker), false); });
  }

  void attend(const Stages (&stages)[2], std::int64_t task, std::byte* thread, bool waits) {
    const Problem& problem = *plan_.problem;
    const auto [head, stretch] = spec::task_place(task, problem.batch * problem.q_heads, plan_.tasks_per_head, workers_,
                                                  problem.causal != Causal::none);
    AttentionTask attention{.batch = head / problem.q_heads, .head = head % problem.q_heads};
    const Sequence rows = sequence_at(call_, attention.batch)->rows;
    attention.first = stretch * plan_.rows_per_task;
    attention.rows = std::min(plan_.rows_per_task, rows.q_rows - attention.first);
    if (attention.rows <= 0) return;
    if (waits) {
      std::atomic_ref<std::uint32_t> ready(head_at(call_, attention.batch, problem.kv_head(attention.head))->ready);
      while (ready.load(std::memory_order_acquire) == 0) ready.wait(0, std::memory_order_acquire);
    }
    const bool wide = spec::takes_q16(problem, rows.q_rows);
    const TileScope tiles(kernels_, plan_);
    kernels_.attend(call_, stages[wide ? 1 : 0], attention, thread);
  }

  bool needs_channel_stats() const { return plan_.k_needs.any() || plan_.v_needs.any(); }
  std::byte* thread_scratch(std::int64_t worker) const {
    return call_.scratch + plan_.threads_at + static_cast<std::size_t>(worker) * plan_.thread.bytes;
  }
  Place find(std::int64_t task, std::int64_t SequenceInfo::* first, std::int64_t SequenceInfo::* count) const {
    const SequenceInfo* begin = sequence_at(call_, 0);
    const SequenceInfo* end = begin + plan_.problem->batch;
    const SequenceInfo* after =
        std::upper_bound(begin, end, task, [&](std::int64_t t, const SequenceInfo& info) { return t < info.*first; });
    const SequenceInfo& info = *(after - 1);
    const std::int64_t within = task - info.*first;
    return {&info - begin, within / (info.*count), within % (info.*count)};
  }

  static constexpr std::int64_t kBlocksOfShortHeads = 16;
  static constexpr std::int64_t kTasksOfShortHeads = 4;  // for each worker, before heads are taken one by one

  const Plan& plan_;
  const KernelTable& kernels_;
  ParallelRunner& runner_;
  const int workers_;
  const Call call_;
};

}  // namespace

PlannedAttention::PlannedAttention(const Implementation& implementation, const Problem& problem, int threads) noexcept
    : implementation_(implementation),
      plan_(make_plan(problem, implementation.kernels->traits, std::max(threads, 1))) {}

void PlannedAttention::run(ParallelRunner& runner, std::byte* workspace) const noexcept {
  CallDriver(plan_, *implementation_.kernels, runner, std::max(runner.threads(), 1), workspace).run();
}

std::size_t workspace_size(const Implementation& implementation, const Problem& problem, int threads) noexcept {
  return PlannedAttention(implementation, problem, threads).workspace_bytes();
}

void attention(const Implementation& implementation, const Problem& problem, ParallelRunner& runner,
               std::byte* workspace) noexcept {
  PlannedAttention(implementation, problem, runner.threads()).run(runner, workspace);
}

}  // namespace octavo::cpu
