#include "prepared_call.hpp"

#include <cmath>
#include <cstring>
#include <random>

#include "core/float_types.hpp"

namespace octavo::bench {
namespace {

Operand dense(std::vector<std::byte>& data, DType dtype, std::int64_t rows, std::int64_t dim) {
  return {.data = data.data(), .dtype = dtype, .strides = {rows * dim, rows * dim, dim, 1}};
}

}  // namespace

std::vector<std::byte> normal(DType dtype, std::int64_t count, unsigned seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> next;
  const std::size_t size = dtype == DType::f32 ? 4 : 2;
  std::vector<std::byte> bytes(static_cast<std::size_t>(count) * size);
  for (std::size_t i = 0; i < bytes.size(); i += size) {
    const float x = next(engine);
    if (dtype == DType::f32) {
      std::memcpy(&bytes[i], &x, size);
    } else {
      const std::uint16_t half = f32_to_bf16(x);
      std::memcpy(&bytes[i], &half, size);
    }
  }
  return bytes;
}

// A preset's name always parses.
Recipe recipe_of(const Case& of) { return *parse_recipe(of.recipe); }

PreparedCall::PreparedCall(const cpu::Implementation& implementation, const Case& of, std::int64_t rows,
                           std::int64_t keys, std::int64_t head_dim)
    : implementation_(implementation),
      q_(normal(of.dtype, rows * head_dim, 1)),
      k_(normal(of.dtype, keys * head_dim, 2)),
      v_(normal(of.dtype, keys * head_dim, 3)),
      out_(q_.size()) {
  problem_.batch = problem_.q_heads = problem_.kv_heads = 1;
  problem_.q_rows = rows;
  problem_.k_rows = keys;
  problem_.head_dim = problem_.value_dim = head_dim;
  problem_.q = dense(q_, of.dtype, rows, head_dim);
  problem_.k = dense(k_, of.dtype, keys, head_dim);
  problem_.v = dense(v_, of.dtype, keys, head_dim);
  problem_.out = dense(out_, of.dtype, rows, head_dim);
  problem_.recipe = recipe_of(of);
  problem_.softmax_scale = 1 / std::sqrt(static_cast<double>(head_dim));
  plan_ = cpu::make_plan(problem_, kernels().traits, 1);
  scratch_ = AlignedBuffer(plan_.bytes);
  run();
}

void PreparedCall::run() {
  OneThread here;
  cpu::attention(implementation_, problem_, here, scratch_.data());
}

}  // namespace octavo::bench
