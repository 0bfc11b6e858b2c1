// Runners that a caller might bring: his own threads, and none at all in an order nobody expects.
#pragma once

#include <atomic>
#include <thread>
#include <vector>

#include "octavo/parallel.hpp"

namespace octavo::test {

class ThreadsRunner : public ParallelRunner {
 public:
  explicit ThreadsRunner(int threads) : threads_(threads) {}
  int threads() const noexcept override { return threads_; }
  void run(std::int64_t tasks, Body body, void* context) noexcept override {
    std::atomic<std::int64_t> next{0};
    const auto work = [&] {
      for (std::int64_t task; (task = next.fetch_add(1)) < tasks;) body(context, task);
    };
    std::vector<std::thread> others;
    for (int i = 1; i < threads_; ++i) others.emplace_back(work);
    work();
    for (std::thread& other : others) other.join();
  }

 private:
  int threads_;
};

// On the caller's thread, the last task first.
class BackwardsRunner : public ParallelRunner {
 public:
  int threads() const noexcept override { return 1; }
  void run(std::int64_t tasks, Body body, void* context) noexcept override {
    for (std::int64_t task = tasks; task-- > 0;) body(context, task);
  }
};

}  // namespace octavo::test
