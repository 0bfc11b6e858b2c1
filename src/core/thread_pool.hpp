// octavo's own threads: what the inside needs beyond the public ParallelRunner.
#pragma once

#include "octavo/parallel.hpp"
#include "octavo/status.hpp"

namespace octavo {

// The error about OCTAVO_NUM_THREADS, unless set_num_threads() made it moot.
Status thread_count_status();

// A runner whose width cannot change while a call runs. Scratch memory is sized for threads() tasks at a time; another
// user thread may call set_num_threads() between that moment and run().
class FixedRunner final : public ParallelRunner {
 public:
  explicit FixedRunner(ParallelRunner& runner) noexcept;
  void run(std::int64_t tasks, Body body, void* context) noexcept override;
  int threads() const noexcept override { return threads_; }

 private:
  ParallelRunner& runner_;
  int threads_;
  bool pool_;  // runner_ is octavo's own, which can be told how many threads to use
};

}  // namespace octavo
