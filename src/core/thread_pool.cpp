// How tasks spread over threads. A call opens a job; workers that are awake join it by a ticket, draw task numbers from
// one counter and leave; the caller does the same, closes the job and waits for those who joined. A worker that wakes
// too late finds the job closed; nothing waits for it.
#include "core/thread_pool.hpp"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <new>
#include <thread>

#include "core/cpu_relax.hpp"
#include "core/env.hpp"
#include "core/machine_cpus.hpp"

namespace octavo {
namespace {

// How long a thread looks for work before it sleeps. Waking a sleeper costs about this much, and the pieces of one call
// (quantize, then attend) follow each other faster.
constexpr std::chrono::microseconds kSpin{50};

// True on workers, and on callers while their tasks run: run() from there must not wait for the pool it is part of.
thread_local bool inside_task = false;

// Waits until `word` differs from `old`: spinning first, then asleep.
std::uint32_t wait_for_change(const std::atomic<std::uint32_t>& word, std::uint32_t old) noexcept {
  const auto deadline = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int look = 0; look < 32; ++look) {
      const std::uint32_t now = word.load(std::memory_order_acquire);
      if (now != old) return now;
      cpu_relax();
    }
  } while (std::chrono::steady_clock::now() < deadline);
  word.wait(old, std::memory_order_acquire);
  return word.load(std::memory_order_acquire);
}

void run_inline(std::int64_t tasks, ParallelRunner::Body body, void* context) noexcept {
  for (std::int64_t task = 0; task < tasks; ++task) body(context, task);
}

// Lives as long as its process: workers are never joined, so there is nothing that static destruction could break, no
// exit() that waits for a thread which the loader's lock holds, and no child of a fork that waits for a thread it does
// not have. After dlclose() their code stays (-z nodelete, src/CMakeLists.txt).
class ThreadPool {
 public:
  void run(int threads, std::int64_t tasks, ParallelRunner::Body body, void* context) noexcept {
    const int helpers = static_cast<int>(std::min<std::int64_t>(threads, tasks)) - 1;
    // A pool at work for another user thread is not waited for: that could take long, and this thread can work too.
    if (helpers <= 0 || inside_task || busy_.exchange(true, std::memory_order_acquire)) {
      return run_inline(tasks, body, context);
    }
    grow(helpers);
    body_ = body;
    context_ = context;
    tasks_ = tasks;
    next_.store(0, std::memory_order_relaxed);
    left_.store(0, std::memory_order_relaxed);
    state_.store(kOpen | (static_cast<std::uint32_t>(helpers) << kLimitShift), std::memory_order_release);
    generation_.fetch_add(1);  // sequentially consistent: the waiters' count is read after it
    if (helpers >= workers_) {
      generation_.notify_all();
    } else {
      for (int woken = 0; woken < helpers; ++woken) generation_.notify_one();
    }

    inside_task = true;
    drain();
    inside_task = false;

    const std::uint32_t joined = state_.fetch_and(~kOpen, std::memory_order_acq_rel) & kJoinedMask;
    std::uint32_t left = left_.load(std::memory_order_acquire);
    while (left != joined) left = wait_for_change(left_, left);
    busy_.store(false, std::memory_order_release);
  }

 private:
  static constexpr std::uint32_t kOpen = 1u << 31;
  static constexpr int kLimitShift = 15;
  static constexpr std::uint32_t kJoinedMask = (1u << kLimitShift) - 1;
  static_assert(kMaxThreads < (1 << kLimitShift));

  // Fewer than asked for is no error: the caller takes part, so every task is done all the same.
  void grow(int helpers) noexcept {
    if (workers_ >= helpers || refused_at_ == helpers) return;
    // Signals belong to the program's own threads.
    sigset_t all, before;
    sigfillset(&all);
    const bool masked = pthread_sigmask(SIG_SETMASK, &all, &before) == 0;
    const std::uint32_t seen = generation_.load(std::memory_order_relaxed);
    try {
      while (workers_ < helpers) {
        std::thread([this, seen] { work(seen); }).detach();
        ++workers_;
      }
    } catch (...) {
      refused_at_ = helpers;  // not asked again at every call
    }
    if (masked) pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  void work(std::uint32_t seen) noexcept {
    pthread_setname_np(pthread_self(), "octavo");
    inside_task = true;
    while (true) {
      seen = wait_for_change(generation_, seen);
      if (!join()) continue;
      drain();
      left_.fetch_add(1);
      left_.notify_one();
    }
  }

  bool join() noexcept {
    std::uint32_t state = state_.load(std::memory_order_relaxed);
    do {
      const std::uint32_t limit = (state & ~kOpen) >> kLimitShift;
      if ((state & kOpen) == 0 || (state & kJoinedMask) >= limit) return false;
    } while (!state_.compare_exchange_weak(state, state + 1, std::memory_order_acquire, std::memory_order_relaxed));
    return true;
  }

  void drain() noexcept {
    for (std::int64_t task; (task = next_.fetch_add(1, std::memory_order_relaxed)) < tasks_;) body_(context_, task);
  }

  std::atomic<bool> busy_{false};
  int workers_ = 0;      // guarded by busy_
  int refused_at_ = -1;  // guarded by busy_

  // Of the open job; written only while nobody has joined.
  ParallelRunner::Body body_ = nullptr;
  void* context_ = nullptr;
  std::int64_t tasks_ = 0;

  // Each on its own cache line: all are hot, and by different threads.
  alignas(64) std::atomic<std::int64_t> next_{0};
  alignas(64) std::atomic<std::uint32_t> state_{0};  // open | how many may join | how many have
  alignas(64) std::atomic<std::uint32_t> generation_{0};
  alignas(64) std::atomic<std::uint32_t> left_{0};
};

std::atomic<ThreadPool*> current_pool{nullptr};
std::atomic<int> machine_threads{0};  // 0: not asked yet
std::atomic<int> requested{-1};       // of set_num_threads(); -1: OCTAVO_NUM_THREADS decides; 0: automatic

// The child of a fork has none of the workers, and its copy of the pool may stand in the middle of a job: it starts
// anew and leaves the copy alone.
void forget_after_fork() noexcept {
  current_pool.store(nullptr, std::memory_order_relaxed);
  machine_threads.store(0, std::memory_order_relaxed);
}

// Called by the first owner of state that a child must forget.
void watch_forks() noexcept {
  static const int kRegistered = pthread_atfork(nullptr, nullptr, forget_after_fork);
  (void)kRegistered;
}

ThreadPool* pool() noexcept {
  ThreadPool* existing = current_pool.load(std::memory_order_acquire);
  if (existing != nullptr) return existing;
  watch_forks();
  ThreadPool* fresh = new (std::nothrow) ThreadPool;
  if (fresh != nullptr && !current_pool.compare_exchange_strong(existing, fresh, std::memory_order_acq_rel)) {
    delete fresh;  // another thread was faster; nothing runs on this one yet
    return existing;
  }
  return fresh;
}

void run_on_pool(int threads, std::int64_t tasks, ParallelRunner::Body body, void* context) noexcept {
  ThreadPool* threads_of_process = threads > 1 && tasks > 1 ? pool() : nullptr;
  if (threads_of_process == nullptr) return run_inline(tasks, body, context);
  threads_of_process->run(threads, tasks, body, context);
}

// A reference to it stays good across fork() and set_num_threads(): the state is looked up at every call.
class DefaultRunner final : public ParallelRunner {
 public:
  void run(std::int64_t tasks, Body body, void* context) noexcept override {
    run_on_pool(threads(), tasks, body, context);
  }
  int threads() const noexcept override { return num_threads(); }
};

}  // namespace

ParallelRunner& default_runner() noexcept {
  static constinit DefaultRunner runner;
  return runner;
}

void set_num_threads(int threads) noexcept {
  requested.store(std::clamp(threads, -1, kMaxThreads), std::memory_order_relaxed);
}

int requested_num_threads() noexcept { return requested.load(std::memory_order_relaxed); }

int num_threads() noexcept {
  int threads = requested.load(std::memory_order_relaxed);
  if (threads < 0) {
    try {
      threads = environment().num_threads;
    } catch (...) {
      threads = 0;
    }
  }
  if (threads > 0) return threads;
  threads = machine_threads.load(std::memory_order_relaxed);
  if (threads == 0) {
    watch_forks();
    threads = std::min(available_cpus(), kMaxThreads);
    machine_threads.store(threads, std::memory_order_relaxed);
  }
  return threads;
}

Status thread_count_status() {
  return requested.load(std::memory_order_relaxed) < 0 ? environment().num_threads_status : Status{};
}

FixedRunner::FixedRunner(ParallelRunner& runner) noexcept
    : runner_(runner), threads_(std::max(1, runner.threads())), pool_(&runner == &default_runner()) {}

void FixedRunner::run(std::int64_t tasks, Body body, void* context) noexcept {
  if (pool_) return run_on_pool(threads_, tasks, body, context);
  runner_.run(tasks, body, context);
}

}  // namespace octavo
