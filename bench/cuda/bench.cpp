#include "bench.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <limits>

namespace octavo::bench {
namespace {

double now() { return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(); }

std::string capability_words(int capability) {
  return std::to_string(capability / 10) + "." + std::to_string(capability % 10);
}

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += static_cast<unsigned char>(c) < 32 ? ' ' : c;
  }
  return out + "\"";
}

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.6g", value);
  return std::isfinite(value) ? text : "null";
}

std::string seconds(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3f", value);
  return text;
}

}  // namespace

std::string Bench::open() {
  int count = 0;
  cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaSuccess && count == 0) error = cudaErrorNoDevice;
  if (error == cudaSuccess) error = cudaGetDeviceProperties(&properties_, 0);
  if (error != cudaSuccess) return std::string("no CUDA device can be used: ") + cudaGetErrorString(error);
  if (capability() < 80) {
    return std::string(properties_.name) + " has compute capability " + capability_words(capability()) +
           "; 8.0 is needed";
  }
  // Pinned memory of the host: some machines have no managed memory.
  void *ticks = nullptr, *sink = nullptr;
  error = cudaHostAlloc(&ticks, sizeof(Ticks), cudaHostAllocDefault);
  if (error == cudaSuccess) error = cudaHostAlloc(&sink, 4096, cudaHostAllocDefault);
  if (error != cudaSuccess) return std::string("no memory on the CUDA device: ") + cudaGetErrorString(error);
  ticks_ = static_cast<Ticks*>(ticks);
  sink_ = static_cast<std::uint32_t*>(sink);
  char bus[32] = "";
  if (cudaDeviceGetPCIBusId(bus, sizeof bus, 0) == cudaSuccess) power_.open(bus);
  return {};
}

bool Bench::wants(const std::string& name, const std::string& unit, int needs, bool exactly) {
  if (name.compare(0, options_.only.size(), options_.only) != 0) return false;
  any_ = true;
  name_ = name;
  unit_ = unit;
  if (options_.list) {
    std::printf("%-34s %s\n", name.c_str(), unit.c_str());
    return false;
  }
  if (capability() >= needs && (!exactly || capability() / 10 == needs / 10)) return true;
  absent("needs compute capability " + capability_words(needs) + (exactly ? " and no other generation" : ""));
  return false;
}

void Bench::add(double value, const Sustained& how) {
  Reading reading;
  reading.name = name_, reading.unit = unit_, reading.value = value;
  if (how.ticks.nanoseconds > 0) {
    reading.clock_mhz = 1e3 * static_cast<double>(how.ticks.cycles) / static_cast<double>(how.ticks.nanoseconds);
  }
  reading.watts = how.watts, reading.began = how.began, reading.ended = how.ended;
  readings_.push_back(reading);
  std::fprintf(stderr, "%-34s %12.5g %-16s %6.0f MHz %5.0f W\n", name_.c_str(), value, unit_.c_str(), reading.clock_mhz,
               reading.watts);
}

void Bench::absent(const std::string& reason) {
  Reading reading;
  reading.name = name_, reading.unit = unit_, reading.absent = reason;
  readings_.push_back(reading);
  std::fprintf(stderr, "%-34s absent: %s\n", name_.c_str(), reason.c_str());
}

bool Bench::check(cudaError_t error) {
  if (error == cudaSuccess) return true;
  failed_ = true;
  std::fprintf(stderr, "%s: %s\n", name_.c_str(), cudaGetErrorString(error));
  return false;
}

Sustained Bench::sustain(const std::function<cudaError_t()>& launch) {
  Sustained result;
  cudaEvent_t start, end;
  if (!check(cudaEventCreate(&start)) || !check(cudaEventCreate(&end))) return result;
  std::vector<float> times;
  double watts = 0;
  bool ok = true;
  result.began = now();
  do {
    float milliseconds = 0;
    // Two at a time: the GPU is not idle while the host looks at the power.
    ok = check(cudaEventRecord(start)) && check(launch()) && check(launch()) && check(cudaEventRecord(end));
    watts = power_.watts();
    ok = ok && check(cudaEventSynchronize(end)) && check(cudaEventElapsedTime(&milliseconds, start, end));
    if (!ok) break;
    times.push_back(milliseconds / 2);
    result.ended = now();
  } while (result.ended - result.began < options_.seconds);
  (void)cudaEventDestroy(start), (void)cudaEventDestroy(end);
  if (!ok || times.empty()) {
    result.milliseconds = std::numeric_limits<double>::quiet_NaN();
    return result;
  }
  const auto half = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
  const auto middle = half + (times.end() - half) / 2;
  std::nth_element(half, middle, times.end());
  result.milliseconds = *middle;
  result.ticks = *ticks_;
  result.watts = watts;
  return result;
}

Ticks Bench::once(const std::function<cudaError_t()>& launch) {
  for (int turn = 0; turn < 2; ++turn) {
    if (!check(launch()) || !check(cudaDeviceSynchronize())) return {};
  }
  return *ticks_;
}

std::string Bench::json() const {
  std::string out = "{\n  \"gpu\": " + quoted(properties_.name) +
                    ",\n  \"compute_capability\": " + quoted(capability_words(capability())) +
                    ",\n  \"multiprocessors\": " + std::to_string(multiprocessors()) + ",\n  \"measurements\": [";
  for (std::size_t i = 0; i < readings_.size(); ++i) {
    const Reading& r = readings_[i];
    out += (i == 0 ? "\n    {\"name\": " : ",\n    {\"name\": ") + quoted(r.name) + ", \"unit\": " + quoted(r.unit);
    if (!r.absent.empty()) {
      out += ", \"absent\": " + quoted(r.absent) + "}";
      continue;
    }
    out += ", \"value\": " + number(r.value);
    if (r.clock_mhz > 0) out += ", \"clock_mhz\": " + number(r.clock_mhz);
    if (r.watts > 0) out += ", \"watts\": " + number(r.watts);
    if (r.ended > 0) out += ", \"began\": " + seconds(r.began) + ", \"ended\": " + seconds(r.ended);
    out += "}";
  }
  return out + "\n  ]\n}\n";
}

}  // namespace octavo::bench
