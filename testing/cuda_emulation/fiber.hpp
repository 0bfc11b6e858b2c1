// A function that can be left in the middle and entered again there: one per emulated warp. All run on the thread that
// resumes them, one at a time, so that an emulated block is deterministic.
#pragma once

#include <ucontext.h>

#include <cstddef>
#include <exception>
#include <functional>
#include <memory>

namespace octavo::cuda::emulation {

class Fiber {
 public:
  Fiber();
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // The function of the next resume(); the one before must have ended.
  void start(std::function<void()> body);
  // Runs it until it yields or ends. What it throws comes out of done().
  void resume();
  void yield();
  bool done() const { return done_; }
  std::exception_ptr error() const { return error_; }

 private:
  static void enter(unsigned high, unsigned low);
  void run();

  std::unique_ptr<std::byte[]> stack_;
  ucontext_t inside_, outside_;
  std::function<void()> body_;
  std::exception_ptr error_;
  bool done_ = true;
  void* sanitizer_fiber_ = nullptr;      // ThreadSanitizer's
  void* sanitizer_outside_ = nullptr;    // ThreadSanitizer's, of the resumer
  const void* outside_stack_ = nullptr;  // AddressSanitizer's
  std::size_t outside_bytes_ = 0;
};

}  // namespace octavo::cuda::emulation
