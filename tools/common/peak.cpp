// T threads start together and run the same loop; a round lasts from the first start to the last end. The best of
// many short rounds counts: other processes can only make a round slower, and a short one is more often left alone.
// How much of the processors the best round had is reported with it.
#include "common/peak.hpp"

#include <time.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "common/failure.hpp"
#include "common/machine.hpp"
#include "common/peak_loops.hpp"
#include "io/tensor.hpp"

namespace octavo::tool {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kRounds = 20;
constexpr double kRoundSeconds = 0.025;
constexpr std::size_t kReadBytes = std::size_t{1} << 29;

struct Round {
  double seconds = 0;    // from the first thread's start to the last one's end
  double cpu_share = 0;  // the threads' processor time over threads * seconds: 1 = undisturbed
};

double thread_seconds() {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// body(thread) on all threads at once.
template <class Body>
Round run_together(int threads, const Body& body) {
  struct Span {
    Clock::time_point start, end;
    double used = 0;
  };
  std::atomic<int> waiting{0};
  std::atomic<bool> called_off{false};
  std::vector<Span> spans(static_cast<std::size_t>(threads));
  const auto work = [&](int thread) {
    waiting.fetch_add(1);
    while (waiting.load() < threads) {
      if (called_off.load()) return;
      std::this_thread::yield();
    }
    const double used = thread_seconds();
    const Clock::time_point start = Clock::now();
    body(thread);
    spans[static_cast<std::size_t>(thread)] = {start, Clock::now(), thread_seconds() - used};
  };
  std::vector<std::thread> others;
  others.reserve(static_cast<std::size_t>(threads));
  try {
    for (int thread = 1; thread < threads; ++thread) others.emplace_back(work, thread);
  } catch (const std::system_error& error) {
    called_off.store(true);  // those that there are wait for the others
    for (std::thread& other : others) other.join();
    fail(kExitUnsupported, "thread " + std::to_string(others.size() + 2) + " of " + std::to_string(threads) +
                               " could not be started (" + error.code().message() + "); reduce --threads");
  }
  work(0);
  for (std::thread& other : others) other.join();
  Clock::time_point first = spans[0].start, last = spans[0].end;
  double used = 0;
  for (const Span& span : spans) {
    first = std::min(first, span.start);
    last = std::max(last, span.end);
    used += span.used;
  }
  const double seconds = std::chrono::duration<double>(last - first).count();
  return {seconds, used / (seconds * threads)};
}

// The shortest of kRounds.
template <class Body>
Round best_round(int threads, const Body& body) {
  Round best = run_together(threads, body);
  for (int round = 1; round < kRounds; ++round) {
    const Round next = run_together(threads, body);
    if (next.seconds < best.seconds) best = next;
  }
  return best;
}

// Iterations that take about kRoundSeconds on one thread; the search is the warm-up too.
std::uint64_t iterations_of(const PeakLoop& loop) {
  for (std::uint64_t iterations = 1 << 14;; iterations *= 2) {
    const double seconds = run_together(1, [&](int) { loop.run(iterations); }).seconds;
    if (seconds > kRoundSeconds / 4) {
      return static_cast<std::uint64_t>(static_cast<double>(iterations) * kRoundSeconds / seconds) + 1;
    }
  }
}

Peak measure(const PeakLoop& loop, int threads) {
  if (loop.instruction == nullptr) return {};
  const std::uint64_t iterations = iterations_of(loop);
  const Round best = best_round(threads, [&](int) { loop.run(iterations); });
  const double operations = static_cast<double>(iterations) * loop.operations_per_iteration * threads;
  return {operations / best.seconds / 1e9, best.cpu_share, loop.instruction};
}

// Every thread reads its own part, which it wrote first.
Peak measure_read(const ReadLoop& loop, int threads, std::size_t bytes) {
  const std::size_t steps = bytes / static_cast<std::size_t>(threads) / loop.bytes_per_step;
  const std::size_t part = steps * loop.bytes_per_step;
  const std::int64_t shape[] = {static_cast<std::int64_t>(part) * threads};
  const io::Tensor buffer = value_of(io::Tensor::allocate("buffer", DType::u8, shape));
  char* data = static_cast<char*>(buffer.data());
  const auto begin = [&](int thread) { return data + part * static_cast<std::size_t>(thread); };
  run_together(threads, [&](int thread) { std::memset(begin(thread), 1, part); });
  const Round best = best_round(threads, [&](int thread) { loop.run(begin(thread), steps); });
  return {static_cast<double>(shape[0]) / best.seconds / 1e9, best.cpu_share, loop.instruction};
}

}  // namespace

Peak measure_vnni(int threads) { return measure(int8_loop(), threads); }

Peaks measure_peaks(int threads) {
  Peaks peaks;
  peaks.vnni = measure(int8_loop(), threads);
  peaks.bf16 = measure(bf16_loop(), threads);
  peaks.f16 = measure(f16_loop(), threads);
  peaks.f32 = measure(f32_loop(), threads);
  peaks.amx_int8 = measure(amx_int8_loop(), threads);
  peaks.amx_bf16 = measure(amx_bf16_loop(), threads);
  const std::size_t available = available_memory();
  peaks.dram_bytes = available == 0 ? kReadBytes : std::min(kReadBytes, available / 4);
  peaks.dram = measure_read(read_loop(), threads, peaks.dram_bytes);
  return peaks;
}

}  // namespace octavo::tool
