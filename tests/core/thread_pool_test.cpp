// The pool's promises: every task once, nested and concurrent calls, fork, counts, and no waiting for late sleepers.
#include "core/thread_pool.hpp"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "core/machine_cpus.hpp"

namespace octavo {
namespace {

class ThreadPoolTest : public ::testing::Test {
 protected:
  void TearDown() override { set_num_threads(0); }
};

// Runs `tasks` tasks and returns how often each ran.
std::vector<int> counts(ParallelRunner& runner, std::int64_t tasks) {
  std::vector<std::atomic<int>> ran(static_cast<std::size_t>(tasks));
  runner.run(
      tasks,
      [](void* context, std::int64_t task) {
        (*static_cast<std::vector<std::atomic<int>>*>(context))[static_cast<std::size_t>(task)].fetch_add(1);
      },
      &ran);
  return {ran.begin(), ran.end()};
}

TEST_F(ThreadPoolTest, EveryTaskRunsOnce) {
  for (int threads : {1, 2, 3, 7}) {
    set_num_threads(threads);
    EXPECT_EQ(num_threads(), threads);
    EXPECT_EQ(default_runner().threads(), threads);
    for (std::int64_t tasks : {0, 1, 2, 3, 8, 1000}) {
      EXPECT_EQ(counts(default_runner(), tasks), std::vector<int>(static_cast<std::size_t>(tasks), 1))
          << threads << " threads, " << tasks << " tasks";
    }
  }
}

TEST_F(ThreadPoolTest, ManyShortCallsLoseNothing) {
  set_num_threads(4);
  std::atomic<std::int64_t> sum{0};
  for (int call = 0; call < 3000; ++call) {
    default_runner().run(
        5, [](void* context, std::int64_t task) { static_cast<std::atomic<std::int64_t>*>(context)->fetch_add(task); },
        &sum);
  }
  EXPECT_EQ(sum.load(), 3000 * (0 + 1 + 2 + 3 + 4));
}

// Tasks that wait for each other end only when as many threads as tasks take part.
// Whether so many tasks run at the same time; the first waits for the last, however late the system lets it start.
bool tasks_meet(int tasks) {
  struct Meeting {
    const int expected;
    std::atomic<int> arrived{0}, met{0};
  } meeting{tasks};
  default_runner().run(
      tasks,
      [](void* context, std::int64_t) {
        auto& here = *static_cast<Meeting*>(context);
        here.arrived.fetch_add(1);
        const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
        while (here.arrived.load() < here.expected && std::chrono::steady_clock::now() < deadline)
          std::this_thread::yield();
        here.met.fetch_add(here.arrived.load() == here.expected ? 1 : 0);
      },
      &meeting);
  return meeting.met.load() == tasks;  // one after another, all but the last would wait in vain
}

TEST_F(ThreadPoolTest, TasksRunAtTheSameTime) {
  set_num_threads(3);
  EXPECT_TRUE(tasks_meet(3));
}

struct Concurrency {
  std::atomic<int> now{0}, most{0};
  std::mutex mutex;
  std::set<std::thread::id> threads;
  static void body(void* context, std::int64_t) {
    auto& self = *static_cast<Concurrency*>(context);
    const int here = self.now.fetch_add(1) + 1;
    for (int seen = self.most.load(); seen < here && !self.most.compare_exchange_weak(seen, here);) continue;
    {
      const std::lock_guard lock(self.mutex);
      self.threads.insert(std::this_thread::get_id());
    }
    std::this_thread::sleep_for(std::chrono::microseconds(200));
    self.now.fetch_sub(1);
  }
};

TEST_F(ThreadPoolTest, NeverMoreTasksAtATimeThanThreads) {
  set_num_threads(6);
  counts(default_runner(), 64);  // six threads exist from here on
  set_num_threads(2);
  Concurrency seen;
  default_runner().run(40, Concurrency::body, &seen);
  EXPECT_LE(seen.most.load(), 2);
  EXPECT_LE(seen.threads.size(), 2u);
  EXPECT_EQ(seen.threads.count(std::this_thread::get_id()), 1u) << "the caller takes part";
}

TEST_F(ThreadPoolTest, FixedRunnerKeepsItsWidth) {
  set_num_threads(2);
  FixedRunner fixed(default_runner());
  set_num_threads(6);
  EXPECT_EQ(fixed.threads(), 2);
  Concurrency seen;
  fixed.run(40, Concurrency::body, &seen);
  EXPECT_LE(seen.most.load(), 2);
}

TEST_F(ThreadPoolTest, FixedRunnerForwardsToTheCallersRunner) {
  struct Own final : ParallelRunner {
    int calls = 0, width = -5;
    void run(std::int64_t tasks, Body body, void* context) noexcept override {
      ++calls;
      for (std::int64_t task = tasks; task-- > 0;) body(context, task);
    }
    int threads() const noexcept override { return width; }
  } own;
  EXPECT_EQ(FixedRunner(own).threads(), 1) << "a runner that claims fewer than one thread has one";
  own.width = 9;
  FixedRunner fixed(own);
  own.width = 3;
  EXPECT_EQ(fixed.threads(), 9);
  EXPECT_EQ(counts(fixed, 10), std::vector<int>(10, 1));
  EXPECT_EQ(own.calls, 1);
}

TEST_F(ThreadPoolTest, NestedCallsRunInline) {
  set_num_threads(3);
  struct Context {
    std::atomic<int> inner{0}, strayed{0};
  } context;
  default_runner().run(
      8,
      [](void* raw, std::int64_t) {
        struct Inner {
          Context* outer;
          std::thread::id id;
        } inner{static_cast<Context*>(raw), std::this_thread::get_id()};
        default_runner().run(
            16,
            [](void* inner_raw, std::int64_t) {
              auto& self = *static_cast<Inner*>(inner_raw);
              self.outer->inner.fetch_add(1);
              if (std::this_thread::get_id() != self.id) self.outer->strayed.fetch_add(1);
            },
            &inner);
      },
      &context);
  EXPECT_EQ(context.inner.load(), 8 * 16);
  EXPECT_EQ(context.strayed.load(), 0);
}

TEST_F(ThreadPoolTest, SeveralUserThreadsCallAtOnce) {
  set_num_threads(3);
  std::atomic<int> wrong{0};
  std::vector<std::thread> users;
  for (int user = 0; user < 4; ++user) {
    users.emplace_back([&wrong, user] {
      for (int call = 0; call < 200; ++call) {
        if (user == 0) set_num_threads(1 + call % 5);
        if (counts(default_runner(), 17) != std::vector<int>(17, 1)) wrong.fetch_add(1);
      }
    });
  }
  for (std::thread& user : users) user.join();
  EXPECT_EQ(wrong.load(), 0);
}

// The child has none of the parent's threads; it must neither hang nor lose tasks, even if the fork comes while another
// thread is in the middle of a call.
TEST_F(ThreadPoolTest, WorksInTheChildOfAFork) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "ThreadSanitizer does not follow threads that a forked child starts";
#endif
  set_num_threads(3);
  counts(default_runner(), 32);
  std::atomic<bool> stop{false};
  std::thread busy([&stop] {
    while (!stop.load()) counts(default_runner(), 64);
  });
  for (int round = 0; round < 5; ++round) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      alarm(20);  // a hang ends as a failure
      bool right = true;
      for (int call = 0; call < 20; ++call) right = right && counts(default_runner(), 50) == std::vector<int>(50, 1);
      right = right && tasks_meet(2);  // the child has a pool of its own
      _exit(right ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "status " << status;
  }
  stop.store(true);
  busy.join();
  EXPECT_EQ(counts(default_runner(), 50), std::vector<int>(50, 1)) << "the parent goes on as before";
}

TEST_F(ThreadPoolTest, ThreadCounts) {
  set_num_threads(-3);
  EXPECT_EQ(requested_num_threads(), -1);
  EXPECT_EQ(num_threads(), available_cpus()) << "back to the environment, which says nothing";
  set_num_threads(1 << 30);
  EXPECT_EQ(requested_num_threads(), kMaxThreads);
  EXPECT_EQ(num_threads(), kMaxThreads);
  set_num_threads(0);
  EXPECT_EQ(requested_num_threads(), 0) << "not the number that it is now";
  EXPECT_EQ(num_threads(), available_cpus());
}

TEST_F(ThreadPoolTest, AutomaticCountFollowsAffinity) {
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    cpu_set_t mask;
    if (sched_getaffinity(0, sizeof mask, &mask) != 0) _exit(2);
    int first = 0;
    while (!CPU_ISSET(first, &mask)) ++first;
    CPU_ZERO(&mask);
    CPU_SET(first, &mask);
    if (sched_setaffinity(0, sizeof mask, &mask) != 0) _exit(2);
    _exit(num_threads() == 1 ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace octavo
