// Calls from many threads at once, and from the child of a fork: each gets the bits, or the error, that it gets alone.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "call.hpp"

namespace octavo {
namespace {

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// Call number i: every implementation with recipes and options of its own.
void prepare(Call& call, std::size_t i) {
  static const char* const kRecipes[] = {"int8", "exact", "sage2_8b", "int_flash", "int8_block"};
  std::vector<std::string_view> names;
  for (const ImplementationInfo& info : implementations())
    if (info.supported) names.push_back(info.name);
  call.execution.implementation = names[i % names.size()];
  call.params.recipe = *parse_recipe(kRecipes[i % std::size(kRecipes)]);
  call.params.causal = static_cast<Causal>(i % 3);
}

TEST(ConcurrencyTest, EveryCallIsAsIfAlone) {
  constexpr std::size_t kThreads = 8, kTurns = 40;
  std::vector<std::vector<float>> expected(kThreads);
  for (std::size_t i = 0; i < kThreads; ++i) {
    Call call;
    prepare(call, i);
    if (const Status status = call.run(); status.code() != StatusCode::kUnimplemented) {
      ASSERT_TRUE(status.ok()) << status.message();
      expected[i] = call.out;
    }
  }
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      Call call;
      prepare(call, i);
      for (std::size_t turn = 0; turn < kTurns; ++turn) {
        if (i == 0) set_num_threads(1 + static_cast<int>(turn % 4));
        const Status status = call.run();
        if (expected[i].empty() ? status.code() != StatusCode::kUnimplemented
                                : !status.ok() || !same_bits(call.out, expected[i]))
          ++wrong;
        const TensorView q = call.inputs.q;
        call.inputs.q.shape[3] += 1;  // an error, of this thread alone
        if (call.run().code() != StatusCode::kInvalidArgument) ++wrong;
        call.inputs.q = q;
        const Result<QuantizedTensor> codes = quantize(call.inputs.k, Role::k, *parse_recipe("int8"));
        if (!codes.ok() || codes->view().codes.shape != call.inputs.k.shape) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  set_num_threads(0);
  EXPECT_EQ(wrong.load(), 0);
}

TEST(ConcurrencyTest, TheChildOfAForkCalls) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "ThreadSanitizer does not follow threads that a forked child starts";
#endif
  set_num_threads(3);
  Call call;
  call.execution.implementation = {};
  call.params.recipe = *parse_recipe("int8");
  ASSERT_TRUE(call.run().ok());
  const std::vector<float> expected = call.out;
  for (int round = 0; round < 4; ++round) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      alarm(60);  // a hang ends as a failure
      call.out.assign(call.out.size(), Call::kUntouched);
      _exit(call.run().ok() && same_bits(call.out, expected) ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "status " << status;
    ASSERT_TRUE(call.run().ok());
    EXPECT_TRUE(same_bits(call.out, expected)) << "the parent goes on as before";
  }
  set_num_threads(0);
}

}  // namespace
}  // namespace octavo
