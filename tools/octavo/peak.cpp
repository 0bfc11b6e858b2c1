// T threads start together and run the same loop; a round lasts from the first start to the last end. The best of
// several short rounds counts: other processes can only make a round slower.
#include "peak.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <thread>
#include <vector>

#include "failure.hpp"
#include "io/tensor.hpp"
#include "machine.hpp"
#include "peak_loops.hpp"

namespace octavo::tool {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kRounds = 5;
constexpr double kRoundSeconds = 0.1;
constexpr std::size_t kReadBytes = std::size_t{1} << 29;

// Seconds from the first thread's start to the last one's end of body(thread).
template <class Body>
double seconds_together(int threads, const Body& body) {
  std::atomic<int> waiting{0};
  std::vector<Clock::time_point> starts(static_cast<std::size_t>(threads)), ends(starts);
  const auto work = [&](int thread) {
    waiting.fetch_add(1);
    while (waiting.load() < threads) std::this_thread::yield();
    const Clock::time_point start = Clock::now();
    body(thread);
    ends[static_cast<std::size_t>(thread)] = Clock::now();
    starts[static_cast<std::size_t>(thread)] = start;
  };
  std::vector<std::thread> others;
  for (int thread = 1; thread < threads; ++thread) others.emplace_back(work, thread);
  work(0);
  for (std::thread& other : others) other.join();
  return std::chrono::duration<double>(*std::max_element(ends.begin(), ends.end()) -
                                       *std::min_element(starts.begin(), starts.end()))
      .count();
}

// Iterations that take about kRoundSeconds on one thread; the search is the warm-up too.
std::uint64_t iterations_of(const PeakLoop& loop) {
  for (std::uint64_t iterations = 1 << 16;; iterations *= 2) {
    const double seconds = seconds_together(1, [&](int) { loop.run(iterations); });
    if (seconds > kRoundSeconds / 8) {
      return static_cast<std::uint64_t>(static_cast<double>(iterations) * kRoundSeconds / seconds) + 1;
    }
  }
}

double measure(const PeakLoop& loop, int threads) {
  if (loop.instruction == nullptr) return 0;
  const std::uint64_t iterations = iterations_of(loop);
  double best = 0;
  for (int round = 0; round < kRounds; ++round) {
    const double seconds = seconds_together(threads, [&](int) { loop.run(iterations); });
    best = std::max(best, static_cast<double>(iterations) * loop.operations_per_iteration * threads / seconds);
  }
  return best / 1e9;
}

// Every thread reads its own part, which it wrote first.
double measure_read(const ReadLoop& loop, int threads, std::size_t bytes) {
  const std::size_t steps = bytes / static_cast<std::size_t>(threads) / loop.bytes_per_step;
  const std::size_t part = steps * loop.bytes_per_step;
  const std::int64_t shape[] = {static_cast<std::int64_t>(part) * threads};
  const io::Tensor buffer = value_of(io::Tensor::allocate("buffer", DType::u8, shape));
  char* data = static_cast<char*>(buffer.data());
  const auto begin = [&](int thread) { return data + part * static_cast<std::size_t>(thread); };
  seconds_together(threads, [&](int thread) { std::memset(begin(thread), 1, part); });
  double best = 0;
  for (int round = 0; round < kRounds; ++round) {
    const double seconds = seconds_together(threads, [&](int thread) { loop.run(begin(thread), steps); });
    best = std::max(best, static_cast<double>(shape[0]) / seconds);
  }
  return best / 1e9;
}

}  // namespace

double measure_vnni_gops(int threads) { return measure(int8_loop(), threads); }

Peaks measure_peaks(int threads) {
  Peaks peaks;
  const PeakLoop int8 = int8_loop(), bf16 = bf16_loop(), f32 = f32_loop();
  const ReadLoop read = read_loop();
  peaks.vnni_instruction = int8.instruction;
  peaks.bf16_instruction = bf16.instruction;
  peaks.f32_instruction = f32.instruction;
  peaks.dram_instruction = read.instruction;
  peaks.vnni_gops = measure(int8, threads);
  peaks.bf16_gflops = measure(bf16, threads);
  peaks.f32_gflops = measure(f32, threads);
  const std::size_t available = available_memory();
  peaks.dram_bytes = available == 0 ? kReadBytes : std::min(kReadBytes, available / 4);
  peaks.dram_gbs = measure_read(read, threads, peaks.dram_bytes);
  return peaks;
}

}  // namespace octavo::tool
