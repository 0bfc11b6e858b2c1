// What the programs share: the command line, the file of operands, and the loop that answers how long calls take.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

struct Problem {
  int threads;
  std::int64_t batch, heads, kv_heads, rows, keys, dim;
  bool causal;
  std::string format, file;
  std::vector<float> q, k, v;  // [batch, heads, rows, dim]

  std::vector<float> read(std::FILE* stream, std::int64_t h, std::int64_t n) const {
    std::vector<float> x(static_cast<std::size_t>(batch * h * n * dim));
    if (std::fread(x.data(), 4, x.size(), stream) != x.size()) throw std::runtime_error(file + " is too short");
    return x;
  }

  explicit Problem(char** words)
      : threads(std::atoi(words[1])),
        batch(std::atoll(words[2])),
        heads(std::atoll(words[3])),
        kv_heads(std::atoll(words[4])),
        rows(std::atoll(words[5])),
        keys(std::atoll(words[6])),
        dim(std::atoll(words[7])),
        causal(std::atoi(words[8]) != 0),
        format(words[9]),
        file(words[10]) {
    std::FILE* stream = std::fopen(file.c_str(), "rb");
    if (stream == nullptr) throw std::runtime_error(file + " cannot be read");
    q = read(stream, heads, rows);
    k = read(stream, kv_heads, keys);
    v = read(stream, kv_heads, keys);
    std::fclose(stream);
  }

  // o [batch, heads, rows, dim] goes where the operands were.
  void write(const std::vector<float>& o) const {
    std::FILE* stream = std::fopen(file.c_str(), "wb");
    if (stream == nullptr || std::fwrite(o.data(), 4, o.size(), stream) != o.size())
      throw std::runtime_error(file + " cannot be written");
    std::fclose(stream);
  }
};

// Library has: Library(const Problem&), void run(), std::vector<float> output().
template <class Library>
int serve(int argc, char** argv) {
  try {
    if (argc != 11) throw std::runtime_error("THREADS B HQ HKV M N D CAUSAL FORMAT FILE are required");
    const Problem problem(argv);
    Library library(problem);
    library.run();
    problem.write(library.output());
    std::puts("ready");
    std::fflush(stdout);
    for (long calls; std::scanf("%ld", &calls) == 1;) {
      const auto start = std::chrono::steady_clock::now();
      for (long i = 0; i < calls; ++i) library.run();
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
      std::printf("seconds %.9f\n", took.count() / static_cast<double>(calls));
      std::fflush(stdout);
    }
    return 0;
  } catch (const std::exception& reason) {
    std::printf("refused %s\n", reason.what());
    return 1;
  }
}
