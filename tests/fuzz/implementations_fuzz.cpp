// Random small problems on every implementation that this machine has: they agree with the reference on what is NaN
// and, within loose bounds, on every number; finite operands give finite results; the number of threads changes no bit.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "core/float_types.hpp"
#include "fuzz.hpp"
#include "octavo/octavo.hpp"

using namespace octavo;

namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Tasks one after another, as if there were so many threads.
class Serial final : public ParallelRunner {
 public:
  explicit Serial(int threads) : threads_(threads) {}
  void run(std::int64_t tasks, Body body, void* context) noexcept override {
    for (std::int64_t task = tasks; task-- > 0;) body(context, task);
  }
  int threads() const noexcept override { return threads_; }

 private:
  int threads_;
};

// Floats in one of the input dtypes, and what they are after rounding to it.
struct Tensor {
  std::vector<float> values;
  std::vector<std::uint16_t> halves;
  TensorView view;

  void finish(DType dtype, std::initializer_list<std::int64_t> shape) {
    if (dtype == DType::f32) {
      view = {values.data(), dtype, shape};
      return;
    }
    for (float& value : values) {
      halves.push_back(dtype == DType::f16 ? f32_to_f16(value) : f32_to_bf16(value));
      value = dtype == DType::f16 ? f16_to_f32(halves.back()) : bf16_to_f32(halves.back());
    }
    view = {halves.data(), dtype, shape};
  }
};

struct Random {
  std::uint64_t state;
  std::uint32_t bits() {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return static_cast<std::uint32_t>(state >> 33);
  }
  // About normal, within +-3.
  float normal() {
    float sum = 0;
    for (int i = 0; i < 4; ++i) sum += static_cast<float>(bits() % 65536) / 32768 - 1;
    return sum * 0.75f;
  }
};

// `scale` for all; a few elements are replaced by what the bytes ask for.
void fill(Tensor& tensor, std::int64_t count, Random& random, fuzz::Bytes& bytes) {
  const float scale = bytes.chance(32) ? std::ldexp(1.0f, static_cast<int>(bytes.below(12)) - 6) : 1.0f;
  const std::int64_t kind = bytes.below(8);
  tensor.values.resize(static_cast<std::size_t>(count));
  for (float& value : tensor.values) value = kind == 7 ? scale : kind == 6 ? 0.0f : scale * random.normal();
  if (count == 0 || !bytes.chance(64)) return;
  for (std::int64_t i = bytes.below(4); i >= 0; --i) {
    constexpr float kSpecial[] = {0, 30, -30, 100, 1e-30f, -0.0f, 65504, 1e-40f, kNaN, kInfinity, -kInfinity};
    tensor.values[bytes.draw<std::uint16_t>() % tensor.values.size()] =
        kSpecial[bytes.below(bytes.chance(96) ? std::size(kSpecial) : 6)];
  }
}

struct Problem {
  std::int64_t b, m, n, hkv, ratio, d, dv;
  Tensor q, k, v, mask, alibi, sinks;
  std::vector<std::uint8_t> visible;
  std::vector<std::int32_t> lens;
  AttentionInputs inputs;
  AttentionParams params;

  std::int64_t hq() const { return hkv * ratio; }
  std::int64_t keys(std::int64_t batch) const { return lens.empty() ? n : lens[static_cast<std::size_t>(batch)]; }
};

Recipe draw_recipe(fuzz::Bytes& bytes) {
  Recipe recipe = recipes()[static_cast<std::size_t>(bytes.below(static_cast<std::int64_t>(recipes().size())))].recipe;
  if (bytes.chance(64)) {
    Recipe changed = recipe;
    switch (bytes.below(8)) {
      case 0:
        changed.key_block = 64 << bytes.below(3);
        break;
      case 1:
        changed.hadamard = !changed.hadamard;
        break;
      case 2:
        changed.smooth_q = !changed.smooth_q;
        break;
      case 3:
        changed.smooth_k = !changed.smooth_k;
        break;
      case 4:
        changed.hadamard_v = !changed.hadamard_v;
        break;
      case 5:
        changed.p_reference = MaximumReference::running;
        break;
      case 6:
        changed.row_sum = RowSum::codes;
        break;
      default:
        changed.v_scale = Granularity::tensor;
        break;
    }
    if (check_recipe(changed).ok()) recipe = changed;
  }
  return recipe;
}

void draw(Problem& p, fuzz::Bytes& bytes) {
  Random random{bytes.draw<std::uint16_t>()};
  constexpr DType kDTypes[] = {DType::f32, DType::f16, DType::bf16};
  const DType dtype = kDTypes[bytes.below(3)];
  p.params.recipe = draw_recipe(bytes);
  p.b = 1 + bytes.below(2);
  p.m = 1 + bytes.below(bytes.chance(64) ? 150 : 18);
  p.n = bytes.chance(4) ? 0 : 1 + bytes.below(bytes.chance(64) ? 280 : 40);
  p.hkv = 1 + bytes.below(2);
  p.ratio = 1 + bytes.below(3);
  p.d = 1 + bytes.below(bytes.chance(64) ? 140 : 40);
  p.dv = 1 + bytes.below(bytes.chance(64) ? 140 : 40);
  fill(p.q, p.b * p.m * p.hq() * p.d, random, bytes);
  fill(p.k, p.b * p.n * p.hkv * p.d, random, bytes);
  fill(p.v, p.b * p.n * p.hkv * p.dv, random, bytes);
  if (bytes.chance(48)) {
    for (std::int64_t i = 0; i < p.b; ++i) p.lens.push_back(static_cast<std::int32_t>(bytes.below(p.n + 1)));
    p.inputs.kv_lens = {p.lens.data(), DType::s32, {p.b}};
    // Beyond the lengths lies rubbish, which must not be looked at.
    for (std::int64_t i = 0; i < p.b; ++i) {
      for (std::int64_t j = p.keys(i); j < p.n; ++j) {
        for (std::int64_t c = 0; c < p.hkv * p.d; ++c)
          p.k.values[static_cast<std::size_t>((i * p.n + j) * p.hkv * p.d + c)] = kNaN;
        for (std::int64_t c = 0; c < p.hkv * p.dv; ++c)
          p.v.values[static_cast<std::size_t>((i * p.n + j) * p.hkv * p.dv + c)] = kInfinity;
      }
    }
  }
  p.q.finish(dtype, {p.b, p.m, p.hq(), p.d});
  p.k.finish(dtype, {p.b, p.n, p.hkv, p.d});
  p.v.finish(dtype, {p.b, p.n, p.hkv, p.dv});
  p.inputs.q = p.q.view, p.inputs.k = p.k.view, p.inputs.v = p.v.view;

  p.params.causal = static_cast<Causal>(bytes.below(3));
  if (bytes.chance(32)) p.params.window_left = bytes.below(40);
  if (bytes.chance(32)) p.params.window_right = bytes.below(40);
  if (bytes.chance(32)) p.params.softcap = 0.5 + static_cast<double>(bytes.below(40));
  if (bytes.chance(32)) p.params.softmax_scale = static_cast<double>(bytes.below(9) - 4) / 8;
  if (bytes.chance(48)) {
    const auto elements = static_cast<std::size_t>(p.m * p.n);
    if (bytes.chance(128)) {
      for (std::size_t i = 0; i < elements; ++i) p.visible.push_back(random.bits() % 4 != 0);
      p.inputs.mask = {p.visible.data(), DType::boolean, {p.m, p.n}};
    } else {
      constexpr float kAddends[] = {0, 0, -1, 0.5f, -kInfinity, -10000, -std::numeric_limits<float>::max(), 3};
      for (std::size_t i = 0; i < elements; ++i) p.mask.values.push_back(kAddends[random.bits() % 8]);
      p.mask.finish(DType::f32, {p.m, p.n});
      p.inputs.mask = p.mask.view;
    }
  }
  if (bytes.chance(32)) {
    for (std::int64_t i = 0; i < p.hq(); ++i) p.alibi.values.push_back(static_cast<float>(bytes.below(16)) / 16);
    p.alibi.finish(DType::f32, {p.hq()});
    p.inputs.alibi_slopes = p.alibi.view;
    p.params.alibi = p.alibi.values[0] > 0.5f ? Alibi::symmetric : Alibi::causal;
  }
  if (bytes.chance(32)) {
    for (std::int64_t i = 0; i < p.hq(); ++i) p.sinks.values.push_back(static_cast<float>(bytes.below(40)) / 4 - 5);
    p.sinks.finish(DType::f32, {p.hq()});
    p.inputs.sinks = p.sinks.view;
  }
}

struct Output {
  std::vector<float> out, lse;
};

// False where this implementation does not serve such a call.
bool run(Problem& p, std::string_view implementation, int threads, Output& output) {
  output.out.assign(static_cast<std::size_t>(p.b * p.m * p.hq() * p.dv), -77.0f);
  output.lse.assign(static_cast<std::size_t>(p.b * p.hq() * p.m), -77.0f);
  p.inputs.out = {output.out.data(), DType::f32, {p.b, p.m, p.hq(), p.dv}};
  p.inputs.lse = {output.lse.data(), DType::f32, {p.b, p.hq(), p.m}};
  Serial runner(threads);
  Execution execution;
  execution.implementation = implementation;
  execution.runner = &runner;
  const Status status = attention(p.inputs, p.params, execution);
  FUZZ_CHECK(status.ok() || status.code() == StatusCode::kUnimplemented, "%s", status.message().c_str());
  return status.ok();
}

// What a head's numbers allow to say about its results.
struct Head {
  bool finite = true;      // Q, K and V of this head are
  double value_norm = 0;   // largest 2-norm of a row of V
  double score_error = 0;  // of a score in f32, in nats: sums of products of this size in any order
};

Head look_at(const Problem& p, std::int64_t b, std::int64_t h) {
  Head head;
  double q_norm = 0, k_norm = 0;
  const auto scan = [&](const Tensor& t, std::int64_t rows, std::int64_t all_rows, std::int64_t heads, std::int64_t at,
                        std::int64_t dim, double& norm) {
    for (std::int64_t row = 0; row < rows; ++row) {
      double square = 0;
      for (std::int64_t c = 0; c < dim; ++c) {
        const float value = t.values[static_cast<std::size_t>(((b * all_rows + row) * heads + at) * dim + c)];
        head.finite = head.finite && std::isfinite(value);
        if (std::isfinite(value)) square += static_cast<double>(value) * value;
      }
      norm = std::max(norm, std::sqrt(square));
    }
  };
  scan(p.q, p.m, p.m, p.hq(), h, p.d, q_norm);
  scan(p.k, p.keys(b), p.n, p.hkv, h / p.ratio, p.d, k_norm);
  scan(p.v, p.keys(b), p.n, p.hkv, h / p.ratio, p.dv, head.value_norm);
  const double scale =
      std::isnan(p.params.softmax_scale) ? 1 / std::sqrt(static_cast<double>(p.d)) : std::abs(p.params.softmax_scale);
  const bool coarse = p.params.recipe.scores == Format::input && p.inputs.q.dtype != DType::f32;
  head.score_error = scale * q_norm * k_norm * (coarse ? 1e-5 : 2e-6);
  return head;
}

void compare(const Problem& p, std::string_view name, const Output& reference, const Output& output) {
  // One step of a weight's code, twice (numerator and row sum), for the few codes that can flip in a row.
  const Recipe& recipe = p.params.recipe;
  const bool codes = recipe.p == WeightFormat::s8 || recipe.p == WeightFormat::u8 || recipe.p == WeightFormat::u16;
  const double step = codes                                                              ? 1.0 / recipe.p_range
                      : recipe.p == WeightFormat::input || recipe.p == WeightFormat::f16 ? 1.0 / 128
                                                                                         : 1.0 / 8;
  for (std::int64_t b = 0; b < p.b; ++b) {
    for (std::int64_t h = 0; h < p.hq(); ++h) {
      const Head head = look_at(p, b, h);
      // Where scores themselves are of no certain digits, neither are the results.
      if (head.score_error > 0.05) continue;
      const double tolerance = (4 * step + 2 * head.score_error + 1e-3) * head.value_norm + 1e-6;
      for (std::int64_t row = 0; row < p.m; ++row) {
        const float expected_lse = reference.lse[static_cast<std::size_t>((b * p.hq() + h) * p.m + row)];
        const float lse = output.lse[static_cast<std::size_t>((b * p.hq() + h) * p.m + row)];
        const std::string where = std::string(name) + " " + to_string(recipe) + " b " + std::to_string(b) + " h " +
                                  std::to_string(h) + " row " + std::to_string(row);
        if (head.finite) {
          FUZZ_CHECK(!std::isnan(lse) && !std::isnan(expected_lse), "%s: lse %g, reference %g", where.c_str(), lse,
                     expected_lse);
          FUZZ_CHECK(std::isinf(lse) == std::isinf(expected_lse), "%s: lse %g, reference %g", where.c_str(), lse,
                     expected_lse);
        }
        if (std::isfinite(lse) && std::isfinite(expected_lse)) {
          const double lse_tolerance = 4 * step + head.score_error + 0.02 + 1e-5 * std::abs(expected_lse);
          FUZZ_CHECK(std::abs(lse - expected_lse) <= lse_tolerance, "%s: lse %g, reference %g, allowed %g",
                     where.c_str(), lse, expected_lse, lse_tolerance);
        }
        for (std::int64_t c = 0; c < p.dv; ++c) {
          const auto at = static_cast<std::size_t>(((b * p.m + row) * p.hq() + h) * p.dv + c);
          const float expected = reference.out[at], value = output.out[at];
          if (head.finite)
            FUZZ_CHECK(std::isfinite(value) && std::isfinite(expected), "%s: %g, reference %g", where.c_str(), value,
                       expected);
          if (!std::isfinite(value) || !std::isfinite(expected)) continue;
          FUZZ_CHECK(std::abs(value - expected) <= tolerance, "%s channel %d: %g, reference %g, allowed %g",
                     where.c_str(), static_cast<int>(c), value, expected, tolerance);
        }
      }
    }
  }
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Bytes bytes(data, size);
  Problem problem;
  draw(problem, bytes);
  Output reference;
  if (!run(problem, "reference", 1, reference)) return 0;
  for (const ImplementationInfo& info : implementations()) {
    if (!info.supported || info.name == "reference") continue;
    Output one, more;
    if (!run(problem, info.name, 1, one)) continue;
    FUZZ_CHECK(run(problem, info.name, 2 + static_cast<int>(size % 3), more), "refused with more threads");
    FUZZ_CHECK(same_bits(one.out, more.out) && same_bits(one.lse, more.lse), "%s: the threads change the result",
               std::string(info.name).c_str());
    compare(problem, info.name, reference, one);
  }
  return 0;
}
