// A measurement of a GPU: its name, its unit, how it is timed and what goes into the report. Programs of this folder
// ask what a GPU can do before kernels are designed for it; nothing of octavo is called.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "power.hpp"

namespace octavo::bench {

// What a kernel notes of its first block: the clock's rate is cycles / nanoseconds.
struct Ticks {
  long long cycles = 0, nanoseconds = 0;
};

struct Reading {
  std::string name, unit;
  double value = 0;
  double clock_mhz = 0, watts = 0;  // 0: not known
  double began = 0, ended = 0;      // seconds since 1970
  std::string absent;               // why there is no value; empty: there is one
};

struct Sustained {
  double milliseconds = 0;  // of a launch, median of the second half
  Ticks ticks;              // of the last one
  double watts = 0, began = 0, ended = 0;
};

// All measurements of a run. wants() comes first: it lists where only a list is asked for, and leaves out what is not.
class Bench {
 public:
  struct Options {
    bool list = false;
    std::string only;    // names that begin so
    double seconds = 1;  // that a sustained measurement lasts
  };
  explicit Bench(Options options) : options_(std::move(options)) {}

  // Finds the GPU; otherwise returns why not.
  std::string open();
  int capability() const { return properties_.major * 10 + properties_.minor; }
  int multiprocessors() const { return properties_.multiProcessorCount; }
  Ticks* ticks() const { return ticks_; }
  std::uint32_t* sink() const { return sink_; }

  // Whether this one is to be measured. `needs`: compute capability, `exactly`: of that generation only.
  bool wants(const std::string& name, const std::string& unit, int needs = 80, bool exactly = false);
  // The last one that was wanted.
  void add(double value, const Sustained& how = {});
  void absent(const std::string& reason);

  // One launch after the other for Options::seconds, so that clock and power settle.
  Sustained sustain(const std::function<cudaError_t()>& launch);
  // A launch after a warm one: what it noted.
  Ticks once(const std::function<cudaError_t()>& launch);

  std::string json() const;
  bool failed() const { return failed_; }
  bool any() const { return any_; }

 private:
  bool check(cudaError_t error);

  Options options_;
  cudaDeviceProp properties_{};
  Ticks* ticks_ = nullptr;
  std::uint32_t* sink_ = nullptr;
  PowerMeter power_;
  std::string name_, unit_;
  std::vector<Reading> readings_;
  bool failed_ = false, any_ = false;
};

void measure_wgmma_peak(Bench& bench);
void measure_register_split(Bench& bench);
void measure_mma_peak(Bench& bench);
void measure_instruction_rates(Bench& bench);
void measure_accumulator_width(Bench& bench);

}  // namespace octavo::bench
