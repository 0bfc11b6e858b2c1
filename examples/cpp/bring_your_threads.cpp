// An engine with its own threads and memory: octavo runs its tasks on these threads and allocates no memory.
#include <atomic>
#include <cstdio>
#include <memory>
#include <new>
#include <thread>
#include <vector>

#include "octavo/octavo.hpp"

namespace {

// A minimal runner: threads that live for one call. An engine would pass the tasks to its thread pool.
class ThreadsOfOneCall final : public octavo::ParallelRunner {
 public:
  explicit ThreadsOfOneCall(int threads) : threads_(threads) {}

  void run(std::int64_t tasks, Body body, void* context) noexcept override {
    std::atomic<std::int64_t> next{0};
    const auto work = [&] {
      for (std::int64_t task = next++; task < tasks; task = next++) body(context, task);
    };
    std::vector<std::thread> others;
    for (int i = 1; i < threads_; ++i) others.emplace_back(work);
    work();
    for (std::thread& other : others) other.join();
  }
  int threads() const noexcept override { return threads_; }

 private:
  const int threads_;
};

}  // namespace

int main() {
  constexpr std::align_val_t kAlignment{64};  // of scratch memory
  constexpr int kRows = 512, kHeads = 4, kDim = 64;
  std::vector<float> x(kRows * kHeads * kDim), out(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i * 2654435761u % 1000) / 1000 - 0.5f;
  const octavo::TensorView view(x.data(), octavo::DType::f32, {1, kRows, kHeads, kDim});
  octavo::AttentionInputs inputs{.q = view, .k = view, .v = view};
  inputs.out = octavo::TensorView(out.data(), octavo::DType::f32, {1, kRows, kHeads, kDim});
  const octavo::AttentionParams params{.causal = octavo::Causal::bottom_right};

  std::vector<float> first;
  for (int threads : {1, 3}) {
    ThreadsOfOneCall runner(threads);
    octavo::Execution execution{.runner = &runner};
    const octavo::Result<std::size_t> bytes = octavo::workspace_size(inputs, params, execution);
    if (!bytes.ok()) return std::fprintf(stderr, "%s\n", bytes.status().message().c_str()), 1;
    struct alignas(64) Line {
      std::byte bytes[64];
    };
    std::vector<Line> workspace(*bytes / sizeof(Line) + 1);
    execution.workspace = workspace.data();
    execution.workspace_bytes = workspace.size() * sizeof(Line);
    const octavo::Status status = octavo::attention(inputs, params, execution);
    if (!status.ok()) return std::fprintf(stderr, "%s\n", status.message().c_str()), 1;
    std::printf("%d threads, %zu bytes of scratch memory\n", threads, execution.workspace_bytes);
    if (first.empty()) first = out;
    if (out != first) return std::fprintf(stderr, "the result depends on the threads\n"), 1;
  }
}
