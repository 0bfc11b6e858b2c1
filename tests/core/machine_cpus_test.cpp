// Quotas as the kernel writes them, read from trees of files made here.
#include "core/machine_cpus.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace octavo {
namespace {

class CgroupTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "cgroup_XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(root_); }
  void write(const std::string& file, const std::string& content) {
    std::filesystem::create_directories(std::filesystem::path(root_ + "/" + file).parent_path());
    std::ofstream(root_ + "/" + file) << content;
  }
  std::string root_;
};

TEST_F(CgroupTest, NoLimits) {
  EXPECT_EQ(cgroup_cpus("0::/\n", root_), std::nullopt);
  EXPECT_EQ(cgroup_cpus("", root_), std::nullopt);
  EXPECT_EQ(cgroup_cpus("nonsense\n::::\n", root_), std::nullopt);
  write("a/cpu.max", "max 100000\n");
  EXPECT_EQ(cgroup_cpus("0::/a\n", root_), std::nullopt);
}

TEST_F(CgroupTest, VersionTwo) {
  write("a/b/cpu.max", "150000 100000\n");
  EXPECT_EQ(cgroup_cpus("0::/a/b\n", root_), 1.5);
  EXPECT_EQ(cgroup_cpus("0::/a/b/c\n", root_), 1.5) << "a group obeys those above it";
  write("a/cpu.max", "50000 100000\n");
  EXPECT_EQ(cgroup_cpus("0::/a/b\n", root_), 0.5) << "the tightest counts";
}

TEST_F(CgroupTest, InsideAContainerTheRootIsTheGroup) {
  write("cpu.max", "400000 100000\n");
  EXPECT_EQ(cgroup_cpus("0::/\n", root_), 4.0);
  EXPECT_EQ(cgroup_cpus("0::/docker/0123456789\n", root_), 4.0) << "the host's path leads nowhere here";
}

TEST_F(CgroupTest, VersionOne) {
  write("cpu,cpuacct/job/cpu.cfs_quota_us", "200000\n");
  write("cpu,cpuacct/job/cpu.cfs_period_us", "100000\n");
  const std::string membership = "5:memory:/job\n4:cpu,cpuacct:/job\n3:cpuset:/job\n";
  EXPECT_EQ(cgroup_cpus(membership, root_), 2.0);
  write("cpu,cpuacct/job/cpu.cfs_quota_us", "-1\n");
  EXPECT_EQ(cgroup_cpus(membership, root_), std::nullopt);
}

TEST(AvailableCpusTest, IsBetweenOneAndTheAffinityMask) {
  EXPECT_GE(available_cpus(), 1);
  EXPECT_LE(available_cpus(), affinity_cpus());
}

}  // namespace
}  // namespace octavo
