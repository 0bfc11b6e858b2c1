// A small kernel that says most of Hopper's words: C [64, n] = A [64, K] Bᵀ, B [n, K], in stages of 128 bytes of K.
// Warp 4 brings them (copy engine, mbarriers), the warpgroup of warps 0 to 3 multiplies and is given registers of the
// other one. `bug` is what a test plants into it.
#pragma once

#include <cstdint>

#include "cuda/tile/machine_sm90.hpp"

namespace octavo::cuda {

template <class Machine, Mma kind>
struct StagedProductParams {
  typename Machine::TensorMap a, b;  // boxes of 64 and n rows of 128 bytes, in the 128-byte swizzle
  int steps;                         // K in 128 bytes
  MmaSum<kind>* c;                   // row-major
};

template <Mma kind, int n, int stages = 2>
struct StagedProduct {
  static constexpr int kWarps = 8;
  static constexpr std::uint32_t kRow = 128, kA = kWarpgroupRows * kRow, kB = n * kRow, kStage = kA + kB;
  static constexpr std::uint32_t kFull = stages * kStage, kEmpty = kFull + stages * kMbarrierBytes;
  static constexpr std::uint32_t kBytes = kEmpty + stages * kMbarrierBytes;
  // For each thread: at the start, for two such blocks share a multiprocessor's 65536; of the producers and of the
  // consumers from then on, 24 + 232 = 2 * 128.
  static constexpr int kBlocks = 2, kRegisters = 128, kFew = 24, kMany = 232;

  OCTAVO_INLINE constexpr std::uint32_t full(int stage) {
    return kFull + kMbarrierBytes * static_cast<std::uint32_t>(stage);
  }
  OCTAVO_INLINE constexpr std::uint32_t empty(int stage) {
    return kEmpty + kMbarrierBytes * static_cast<std::uint32_t>(stage);
  }
  OCTAVO_INLINE constexpr std::uint32_t base(int stage) { return kStage * static_cast<std::uint32_t>(stage); }
};

enum class StagedBug {
  none,
  swizzle,        // the descriptors name another swizzle than the maps
  full_wait,      // tiles are read too early
  empty_wait,     // the producer overwrites what is being read
  early_release,  // a stage is handed back before the products that read it are waited for
  release,        // one warp does not hand its stage back
  wgmma_wait,     // sums are read too early
  wgmma_fence,
  init_fence,  // the copy engine may not see the mbarriers
  late_init_fence,
  phase,  // the consumers' parity never changes
  few_bytes,
  many_bytes,
};

template <class Machine, Mma kind, int n, int stages = 2, StagedBug bug = StagedBug::none>
OCTAVO_DEVICE void staged_product(Machine& m, const StagedProductParams<Machine, kind>& p) {
  using Shape = StagedProduct<kind, n, stages>;
  if (m.warp() == 0) {
    for (int stage = 0; stage < stages; ++stage) {
      m.init_mbarrier(Shape::full(stage), 1);
      m.init_mbarrier(Shape::empty(stage), kWarpgroupRows / 16);
    }
    if (bug != StagedBug::init_fence && bug != StagedBug::late_init_fence) m.fence_async();
  }
  m.sync("mbarriers are made");
  if (bug == StagedBug::late_init_fence && m.warp() == 0) m.fence_async();

  if (m.warp() >= 4) {
    m.template fewer_registers<Shape::kFew>();
    for (int step = 0; step < p.steps && m.warp() == 4; ++step) {
      const int stage = step % stages, round = step / stages;
      if (bug != StagedBug::empty_wait) {
        m.wait_mbarrier("empty", Shape::empty(stage), static_cast<std::uint32_t>(round + 1) & 1);
      }
      m.arrive_mbarrier(Shape::full(stage), Shape::kStage - (bug == StagedBug::few_bytes ? 16 : 0) +
                                                (bug == StagedBug::many_bytes ? 16 : 0));
      constexpr int kElements = static_cast<int>(Shape::kRow) * elements_of_register(kind) / 4;
      m.copy_box(p.a, Shape::base(stage), Shape::full(stage), step * kElements, 0);
      m.copy_box(p.b, Shape::base(stage) + Shape::kA, Shape::full(stage), step * kElements, 0);
    }
    return;
  }

  m.template more_registers<Shape::kMany>();
  Registers<Machine, MmaSum<kind>, n / 2> c;
  m.lanes(
      [](int, MmaSum<kind>(&sums)[n / 2]) {
        OCTAVO_UNROLL
        for (int i = 0; i < n / 2; ++i) sums[i] = 0;
      },
      c);
  for (int step = 0; step < p.steps; ++step) {
    const int stage = step % stages, round = step / stages;
    const std::uint32_t parity = bug == StagedBug::phase ? 0 : static_cast<std::uint32_t>(round) & 1;
    if (bug != StagedBug::full_wait) m.wait_mbarrier("full", Shape::full(stage), parity);
    constexpr Swizzle kSwizzle = bug == StagedBug::swizzle ? Swizzle::none : Swizzle::bytes128;
    if (bug != StagedBug::wgmma_fence) m.wgmma_fence(c);
    OCTAVO_UNROLL
    for (std::uint32_t byte = 0; byte < Shape::kRow; byte += kWgmmaDepthBytes) {
      m.template wgmma<kind, n>(c, m.matrix(Shape::base(stage) + byte, kSwizzle, 1024, 16),
                                m.matrix(Shape::base(stage) + Shape::kA + byte, kSwizzle, 1024, 16), true);
    }
    m.wgmma_commit();
    if (bug == StagedBug::early_release) m.arrive_mbarrier(Shape::empty(stage));
    m.template wgmma_wait<bug == StagedBug::wgmma_wait ? 1 : 0>(c);
    if (bug == StagedBug::release && m.warp() == 2) continue;
    if (bug != StagedBug::early_release) m.arrive_mbarrier(Shape::empty(stage));
  }
  const int warp = m.warp();
  m.lanes(
      [&](int lane, MmaSum<kind>(&sums)[n / 2]) {
        OCTAVO_UNROLL
        for (int i = 0; i < n / 2; ++i) {
          const Place place = place_in_wgmma_c(32 * warp + lane, i);
          p.c[place.row * n + place.column] = sums[i];
        }
      },
      c);
}

}  // namespace octavo::cuda
