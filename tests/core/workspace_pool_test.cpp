// Scratch memory is aligned, comes back to the next call, and is not hoarded.
#include "core/workspace_pool.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <limits>
#include <thread>
#include <vector>

namespace octavo {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;

class WorkspaceTest : public ::testing::Test {
 protected:
  void SetUp() override { Workspace::trim(); }
  void TearDown() override { Workspace::trim(); }
};

TEST(AlignedBufferTest, AlignedAndSized) {
  for (std::size_t bytes : {std::size_t{1}, std::size_t{64}, std::size_t{65}, 4 * kMiB, 5 * kMiB + 3}) {
    const AlignedBuffer buffer(bytes);
    ASSERT_NE(buffer.data(), nullptr);
    EXPECT_GE(buffer.size(), bytes);
    const std::size_t alignment = bytes >= AlignedBuffer::kHugeFrom ? AlignedBuffer::kHugePage : 64;
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.data()) % alignment, 0u);
    std::memset(buffer.data(), 1, buffer.size());
  }
  EXPECT_EQ(AlignedBuffer(0).data(), nullptr);
  EXPECT_EQ(AlignedBuffer(std::numeric_limits<std::size_t>::max()).data(), nullptr) << "no exception, no overflow";
}

TEST_F(WorkspaceTest, TheNextCallGetsTheSameMemory) {
  std::byte* first = nullptr;
  {
    const Workspace workspace(3 * kMiB);
    first = workspace.data();
    ASSERT_NE(first, nullptr);
    EXPECT_EQ(Workspace::kept(), 0u) << "held, not kept";
  }
  EXPECT_GE(Workspace::kept(), 3 * kMiB);
  EXPECT_EQ(Workspace(2 * kMiB).data(), first);
  EXPECT_EQ(Workspace(3 * kMiB).data(), first);
}

TEST_F(WorkspaceTest, TheSmallestBufferThatFitsIsTaken) {
  std::byte *small = nullptr, *large = nullptr;
  {
    const Workspace one(kMiB), two(8 * kMiB);
    small = one.data();
    large = two.data();
  }
  EXPECT_EQ(Workspace(kMiB / 2).data(), small);
  EXPECT_EQ(Workspace(2 * kMiB).data(), large);
}

TEST_F(WorkspaceTest, GrowingRequestsLeaveNoTrail) {
  for (std::size_t step = 1; step <= 64; ++step) Workspace(step * 100 * 1024);
  EXPECT_LE(Workspace::kept(), 8 * kMiB) << "the last one, rounded up to huge pages";
}

TEST_F(WorkspaceTest, NotMoreThanTheCapIsKept) {
  {
    const Workspace huge(Workspace::kKeptBytes + kMiB);
  }
  EXPECT_EQ(Workspace::kept(), 0u);
  {
    std::vector<std::unique_ptr<Workspace>> many;
    for (int i = 0; i < 6; ++i) many.push_back(std::make_unique<Workspace>(64 * kMiB));
  }
  EXPECT_GT(Workspace::kept(), 0u);
  EXPECT_LE(Workspace::kept(), Workspace::kKeptBytes);
  Workspace::trim();
  EXPECT_EQ(Workspace::kept(), 0u);
}

TEST_F(WorkspaceTest, NoMemoryIsNull) { EXPECT_EQ(Workspace(std::size_t{1} << 60).data(), nullptr); }

TEST_F(WorkspaceTest, TwoHoldersNeverShare) {
  std::atomic<int> clashes{0};
  std::vector<std::thread> users;
  for (int user = 0; user < 4; ++user) {
    users.emplace_back([&clashes, user] {
      for (int call = 0; call < 500; ++call) {
        const Workspace workspace(1000 + static_cast<std::size_t>(call % 7) * 1000);
        std::memset(workspace.data(), user, 1000);
        std::this_thread::yield();
        for (int i = 0; i < 1000; ++i) {
          if (workspace.data()[i] != static_cast<std::byte>(user)) clashes.fetch_add(1);
        }
      }
    });
  }
  for (std::thread& user : users) user.join();
  EXPECT_EQ(clashes.load(), 0);
}

TEST_F(WorkspaceTest, ForkWhileAnotherThreadAllocates) {
  std::atomic<bool> stop{false};
  std::thread busy([&stop] {
    while (!stop.load()) Workspace(4096);
  });
  for (int round = 0; round < 20; ++round) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      alarm(20);
      _exit(Workspace(4096).data() != nullptr ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "status " << status;
  }
  stop.store(true);
  busy.join();
}

}  // namespace
}  // namespace octavo
