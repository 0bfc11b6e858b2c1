// One word of a Machine at a time, as a kernel: numbers in, what the word makes of them out. Each block is a run of its
// own; what the numbers mean is known to word_dump.cpp.
#pragma once

#include <cstdint>
#include <cstring>

#include "cuda/tile/machine.hpp"

namespace octavo::cuda {

struct WordRuns {
  const std::uint32_t* in;  // runs [in_words], the same for all where in_stride is 0
  std::uint32_t* out;       // runs [out_words]
  std::uint32_t in_stride, out_stride;
};

// Where a box begins in a tensor of `rank` axes.
struct BoxPlace {
  int rank;
  std::int32_t x, y, z;
};

template <class Machine>
struct WordRun {
  const std::uint32_t* in;
  std::uint32_t* out;
  OCTAVO_DEVICE WordRun(const Machine& m, const WordRuns& runs)
      : in(runs.in + m.block(0) * runs.in_stride), out(runs.out + m.block(0) * runs.out_stride) {}
};

OCTAVO_DEVICE std::uint32_t bits_of(float x) {
#if defined(__CUDACC__)
  return __float_as_uint(x);
#else
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
#endif
}
OCTAVO_DEVICE std::uint32_t bits_of(std::int32_t x) { return static_cast<std::uint32_t>(x); }
template <class Sum>
OCTAVO_DEVICE Sum sum_of(std::uint32_t bits) {
  Sum x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

// The first `words` numbers into shared memory from byte `to` on, by all warps.
template <class Machine>
OCTAVO_DEVICE void store_words(Machine& m, std::uint32_t to, const std::uint32_t* words, std::uint32_t count) {
  const auto first = static_cast<std::uint32_t>(m.warp()), warps = static_cast<std::uint32_t>(m.warps());
  m.lanes([&](int lane) {
    for (std::uint32_t i = 32 * first + static_cast<std::uint32_t>(lane); i < count; i += 32 * warps) {
      m.store_shared(to + 4 * i, words[i]);
    }
  });
}

// in: A [32 lanes, 4], B [32, 2], C [32, 4] (in f16: [32, 2] of them). out: [32, 4] sums
template <class Machine, Mma kind>
OCTAVO_DEVICE void run_mma(Machine& m, const WordRuns& runs) {
  const WordRun<Machine> run(m, runs);
  Registers<Machine, std::uint32_t, 4> a;
  Registers<Machine, std::uint32_t, 2> b;
  constexpr int kSums = kSumRegisters<kind>;
  Registers<Machine, MmaSum<kind>, kSums> c;
  m.lanes(
      [&](int lane, std::uint32_t(&x)[4], std::uint32_t(&y)[2], MmaSum<kind>(&z)[kSums]) {
        OCTAVO_UNROLL
        for (int i = 0; i < 4; ++i) x[i] = run.in[4 * lane + i];
        OCTAVO_UNROLL
        for (int i = 0; i < 2; ++i) y[i] = run.in[128 + 2 * lane + i];
        OCTAVO_UNROLL
        for (int i = 0; i < kSums; ++i) z[i] = sum_of<MmaSum<kind>>(run.in[192 + 4 * lane + i]);
      },
      a, b, c);
  m.template mma<kind>(c, 0, a, 0, b, 0);
  m.lanes(
      [&](int lane, MmaSum<kind>(&z)[kSums]) {
        OCTAVO_UNROLL
        for (int i = 0; i < 4; ++i) {
          if constexpr (sums_in_f16(kind)) {
            run.out[4 * lane + i] = bits_of(Machine::from_f16(static_cast<std::uint16_t>(z[i / 2] >> (16 * (i % 2)))));
          } else {
            run.out[4 * lane + i] = bits_of(z[i]);
          }
        }
      },
      c);
}

// in: 32 rows of 16 bytes, row l at lane l's address. out: [32, 4]
template <class Machine, bool trans>
OCTAVO_DEVICE void run_ldmatrix(Machine& m, const WordRuns& runs) {
  const WordRun<Machine> run(m, runs);
  store_words(m, 0, run.in, 128);
  m.sync_warp();
  Registers<Machine, std::uint32_t, 4> r;
  m.template ldmatrix<trans>(r, 0, [](int lane) { return static_cast<std::uint32_t>(16 * lane); });
  m.lanes(
      [&](int lane, std::uint32_t(&x)[4]) {
        OCTAVO_UNROLL
        for (int i = 0; i < 4; ++i) run.out[4 * lane + i] = x[i];
      },
      r);
}

// in: 32 chunks of 16 bytes. Lane l copies chunk l xor 5 to place l; of every fourth lane zeros. out: 32 chunks
template <class Machine>
OCTAVO_DEVICE void run_copy16(Machine& m, const WordRuns& runs) {
  const WordRun<Machine> run(m, runs);
  m.copy16([&](int lane) {
    return CopyItem{static_cast<std::uint32_t>(16 * lane), run.in + 4 * (lane ^ 5),
                    lane % 4 == 3 ? CopyWhat::zeros : CopyWhat::bytes};
  });
  m.commit_copies();
  m.template wait_copies<0>();
  m.sync_warp();
  m.lanes([&](int lane) {
    for (int i = 0; i < 4; ++i) {
      run.out[4 * lane + i] = m.template shared<std::uint32_t>(static_cast<std::uint32_t>(16 * lane + 4 * i));
    }
  });
}

// in: f32 [32, 4]. out: [32], four numbers of E4M3 each
template <class Machine>
OCTAVO_DEVICE void run_pack_e4m3(Machine& m, const WordRuns& runs) {
  const WordRun<Machine> run(m, runs);
  m.lanes([&](int lane) {
    const auto x = [&](int i) { return sum_of<float>(run.in[4 * lane + i]); };
    run.out[lane] = Machine::pack_e4m3(x(0), x(1), x(2), x(3));
  });
}

// in: [32]. out: 5 masks, 1 to 16, [32]
template <class Machine>
OCTAVO_DEVICE void run_shuffle(Machine& m, const WordRuns& runs) {
  const WordRun<Machine> run(m, runs);
  Registers<Machine, std::uint32_t, 1> from, to;
  m.lanes([&](int lane, std::uint32_t(&x)[1]) { x[0] = run.in[lane]; }, from);
  for (int bit = 0; bit < 5; ++bit) {
    m.shuffle_xor(to, from, 1 << bit);
    m.lanes([&](int lane, std::uint32_t(&x)[1]) { run.out[32 * bit + lane] = x[0]; }, to);
  }
}

}  // namespace octavo::cuda
