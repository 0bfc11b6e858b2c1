#include "sample.hpp"

#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <sstream>

#include "core/float_types.hpp"
#include "octavo/recipe.hpp"

namespace octavo::test {
namespace {

void store(std::vector<unsigned char>& bytes, DType dtype, std::int64_t at, double value) {
  unsigned char* const first = bytes.data();
  switch (dtype) {
    case DType::f32:
      reinterpret_cast<float*>(first)[at] = static_cast<float>(value);
      break;
    case DType::f64:
      reinterpret_cast<double*>(first)[at] = value;
      break;
    case DType::f16:
      reinterpret_cast<std::uint16_t*>(first)[at] = f32_to_f16(static_cast<float>(value));
      break;
    case DType::bf16:
      reinterpret_cast<std::uint16_t*>(first)[at] = f32_to_bf16(static_cast<float>(value));
      break;
    default:
      first[at] = value != 0;
  }
}

std::int64_t bytes_of(DType dtype) { return bits_of(dtype) / 8; }

std::vector<std::int32_t> narrow(const std::vector<std::int64_t>& from) { return {from.begin(), from.end()}; }

}  // namespace

std::string describe(const Sample& s) {
  std::ostringstream text;
  text << s.recipe << " b" << s.batch << " h" << s.kv_heads << "x" << s.ratio << " m" << s.m << " n" << s.n << " d"
       << s.d << " dv" << s.dv << " dtype " << to_string(s.dtype) << " causal " << static_cast<int>(s.causal)
       << " window " << s.window_left << "," << s.window_right << " softcap " << s.softcap << " mask "
       << static_cast<int>(s.mask) << " alibi " << s.alibi << s.symmetric_alibi << " sinks " << s.sinks << " kv_lens "
       << s.kv_lens.size() << " packed " << s.q_lens.size() << " seed " << s.seed;
  return text.str();
}

DrawnProblem::DrawnProblem(const Sample& sample) : sample_(sample), state_(sample.seed) {
  Sample& s = sample_;
  Problem& p = problem_;
  const bool packed = !s.q_lens.empty();
  if (packed) {
    s.batch = static_cast<std::int64_t>(s.q_lens.size());
    s.m = std::accumulate(s.q_lens.begin(), s.q_lens.end(), std::int64_t{0});
    s.n = std::accumulate(s.k_lens.begin(), s.k_lens.end(), std::int64_t{0});
  }
  const std::int64_t tensor_batch = packed ? 1 : s.batch, q_heads = s.kv_heads * s.ratio;
  p.batch = s.batch, p.q_heads = q_heads, p.kv_heads = s.kv_heads;
  p.q_rows = s.m, p.k_rows = s.n, p.head_dim = s.d, p.value_dim = s.dv;
  p.recipe = *parse_recipe(s.recipe);
  p.recipe.robust = false;  // the operands are packed here, with means over all keys
  p.softmax_scale = s.softmax_scale != 0 ? s.softmax_scale : 1 / std::sqrt(static_cast<double>(s.d));
  p.softcap = s.softcap, p.causal = s.causal;
  p.window_left = s.window_left, p.window_right = s.window_right;

  q_ = draw(tensor_batch, s.m, q_heads, s.d, false);
  k_ = draw(tensor_batch, s.n, s.kv_heads, s.d, true);
  v_ = draw(tensor_batch, s.n, s.kv_heads, s.dv, false);
  const auto operand = [&](std::vector<unsigned char>& bytes, std::int64_t rows, std::int64_t heads, std::int64_t dim) {
    Operand x;
    x.data = bytes.data(), x.dtype = s.dtype;
    x.strides = {packed ? 0 : rows * heads * dim, dim, heads * dim, 1};
    return x;
  };
  p.q = operand(q_, s.m, q_heads, s.d);
  p.k = operand(k_, s.n, s.kv_heads, s.d);
  p.v = operand(v_, s.n, s.kv_heads, s.dv);
  p.out = {nullptr, s.out_dtype, {packed ? 0 : s.m * q_heads * s.dv, s.dv, q_heads * s.dv, 1}};
  p.lse_strides = {packed ? 0 : q_heads * s.m, s.m, 1};
  draw_lengths();
  draw_mask();

  std::mt19937 random(s.seed + 7);
  std::normal_distribution<float> normal;
  for (std::int64_t h = 0; h < q_heads; ++h) {
    slopes_.push_back(std::exp2(-static_cast<float>(h) / 2 - 2) * (h % 3 == 2 ? -1.0f : 1.0f));
    sinks_.push_back(h % 2 == 0 ? normal(random) * 3 : 9.0f);
  }
  if (s.alibi) p.alibi_slopes = {slopes_.data(), DType::f32, {0, 1, 0, 0}};
  if (s.alibi && s.symmetric_alibi) p.alibi = Alibi::symmetric;
  if (s.sinks) p.sinks = {sinks_.data(), DType::f32, {0, 1, 0, 0}};
}

std::vector<unsigned char> DrawnProblem::draw(std::int64_t batch, std::int64_t rows, std::int64_t heads,
                                              std::int64_t dim, bool of_k) {
  std::mt19937 random(++state_ * 7919);
  std::normal_distribution<float> normal;
  const std::int64_t count = batch * rows * heads * dim;
  std::vector<unsigned char> bytes(static_cast<std::size_t>(count * bytes_of(sample_.dtype) + 16));
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t channel = i % dim, row = i / (dim * heads) % rows;
    float x = normal(random);
    if (of_k && sample_.key_bias && channel % 17 == 3) x += 4;
    if (of_k && sample_.huge_sink_key && row == 0) x *= 3;
    store(bytes, sample_.dtype, i, x);
  }
  return bytes;
}

void DrawnProblem::draw_lengths() {
  Problem& p = problem_;
  const auto array = [&](const std::vector<std::int64_t>& wide, const std::vector<std::int32_t>& narrowed) {
    return sample_.wide_integers ? IntegerArray{wide.data(), DType::s64, 1}
                                 : IntegerArray{narrowed.data(), DType::s32, 1};
  };
  if (!sample_.q_lens.empty()) {
    cu_q_ = cu_k_ = {0};
    for (std::int64_t rows : sample_.q_lens) cu_q_.push_back(cu_q_.back() + rows);
    for (std::int64_t rows : sample_.k_lens) cu_k_.push_back(cu_k_.back() + rows);
    cu_q32_ = narrow(cu_q_), cu_k32_ = narrow(cu_k_);
    p.cu_seqlens_q = array(cu_q_, cu_q32_), p.cu_seqlens_k = array(cu_k_, cu_k32_);
  } else if (!sample_.kv_lens.empty()) {
    lens_ = sample_.kv_lens, lens32_ = narrow(lens_);
    p.kv_lens = array(lens_, lens32_);
    constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
    for (std::int64_t b = 0; b < p.batch; ++b) {  // what lies behind a sequence influences nothing
      for (std::int64_t row = lens_[static_cast<std::size_t>(b)]; row < p.k_rows; ++row) {
        for (std::int64_t h = 0; h < p.kv_heads; ++h) {
          for (std::int64_t c = 0; c < p.head_dim; ++c) store(k_, sample_.dtype, p.k.offset(b, h, row) + c, kNan);
          for (std::int64_t c = 0; c < p.value_dim; ++c) store(v_, sample_.dtype, p.v.offset(b, h, row) + c, kNan);
        }
      }
    }
  }
}

void DrawnProblem::draw_mask() {
  const SampleMask kind = sample_.mask;
  if (kind == SampleMask::none) return;
  Problem& p = problem_;
  std::mt19937 random(sample_.seed + 99);
  std::normal_distribution<float> normal;
  const std::int64_t m = p.q_rows, n = p.k_rows, h = p.q_heads;
  DType dtype = DType::f32;
  Strides<4> strides{h * m * n, m * n, n, 1};
  std::int64_t count = p.batch * h * m * n;
  const auto shape = [&](DType its, Strides<4> steps, std::int64_t elements) {
    dtype = its, strides = steps, count = elements;
  };
  if (kind == SampleMask::bool_full) shape(DType::boolean, strides, count);
  if (kind == SampleMask::bool_keys) shape(DType::boolean, {0, 0, 0, 1}, n);
  if (kind == SampleMask::f16_heads) shape(DType::f16, {0, n, 0, 1}, h * n);
  if (kind == SampleMask::bf16_queries) shape(DType::bf16, {0, 0, 1, 0}, m);
  if (kind == SampleMask::f64_strided) shape(DType::f64, {0, 0, 3 * n, 3}, 3 * m * n);
  mask_.assign(static_cast<std::size_t>(count * bytes_of(dtype) + 16), 0);
  for (std::int64_t i = 0; i < count; ++i) {
    double x = dtype == DType::boolean ? random() % 4 != 0 : normal(random);
    if (dtype != DType::boolean && random() % 16 == 0) x = -std::numeric_limits<double>::infinity();
    if (kind == SampleMask::f32_minus_huge) x = -1e9 + 64.0 * static_cast<double>(random() % 4);
    if (kind == SampleMask::bf16_queries && i % 5 == 0) x = std::numeric_limits<float>::lowest();
    store(mask_, dtype, i, x);
  }
  p.mask = {mask_.data(), dtype, strides};
}

void DrawnProblem::plant(Operand Problem::* operand, std::int64_t row, float value) {
  Operand& x = problem_.*operand;
  auto& bytes = operand == &Problem::q ? q_ : operand == &Problem::k ? k_ : v_;
  store(bytes, sample_.dtype, x.offset(0, 0, row), value);
}

Problem DrawnProblem::problem(std::vector<float>& out, std::vector<float>& lse) {
  const std::int64_t tensor_batch = sample_.q_lens.empty() ? sample_.batch : 1;
  const std::int64_t rows = tensor_batch * problem_.q_heads * problem_.q_rows;
  out.assign(static_cast<std::size_t>(rows * problem_.value_dim), -777.0f);
  lse.assign(static_cast<std::size_t>(rows), -777.0f);
  Problem p = problem_;
  p.out.data = out.data();
  p.lse = lse.data();
  return p;
}

std::vector<float> DrawnProblem::as_floats(const std::vector<float>& out, DType dtype) {
  if (dtype == DType::f32) return out;
  std::vector<float> values;
  const auto* bits = reinterpret_cast<const std::uint16_t*>(out.data());
  for (std::size_t i = 0; i < out.size(); ++i) {
    values.push_back(dtype == DType::f16 ? f16_to_f32(bits[i]) : bf16_to_f32(bits[i]));
  }
  return values;
}

}  // namespace octavo::test
