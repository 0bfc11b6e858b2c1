#include "scenario.hpp"

#include <algorithm>
#include <random>
#include <sstream>
#include <stdexcept>

namespace octavo::test {
namespace {

const float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<float> normal_values(std::int64_t count, std::mt19937& random) {
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& x : values) x = normal(random);
  return values;
}

std::string list(const std::vector<std::int64_t>& values) {
  std::string text = "[";
  for (std::int64_t x : values) text += (text.size() > 1 ? " " : "") + std::to_string(x);
  return text + "]";
}

}  // namespace

Recipe recipe_of(const std::string& text) {
  const Result<Recipe> recipe = parse_recipe(text);
  if (!recipe.ok()) throw std::invalid_argument(recipe.status().message());
  return *recipe;
}

bool has_bf16_weights(const std::string& implementation, const Scenario& scenario) {
  const Recipe recipe = recipe_of(scenario.recipe);
  return implementation.find("bf16") != std::string::npos && scenario.dtype == DType::bf16 && !scenario.quantized_q &&
         recipe.values == Format::input && !recipe.hadamard_v;
}

std::vector<std::string> supported_implementations() {
  std::vector<std::string> names;
  for (const ImplementationInfo& info : implementations())
    if (info.supported && info.name != "reference") names.emplace_back(info.name);
  return names;
}

std::int64_t Scenario::longest_q() const { return packed() ? *std::max_element(q_lens.begin(), q_lens.end()) : m; }
std::int64_t Scenario::longest_k() const { return packed() ? *std::max_element(k_lens.begin(), k_lens.end()) : n; }
double Scenario::multiplications() const {
  double pairs = static_cast<double>(batch * m) * static_cast<double>(n);
  if (packed()) {
    pairs = 0;
    for (std::size_t b = 0; b < q_lens.size(); ++b) pairs += static_cast<double>(q_lens[b] * k_lens[b]);
  }
  return pairs * static_cast<double>(q_heads() * (d + dv));
}

std::string describe(const Scenario& s) {
  std::ostringstream text;
  text << s.recipe << ": ";
  if (s.packed())
    text << "packed q " << list(s.q_lens) << " k " << list(s.k_lens);
  else
    text << "B " << s.batch << " M " << s.m << " N " << s.n;
  text << " H " << s.q_heads() << "/" << s.kv_heads << " D " << s.d << "/" << s.dv << " " << to_string(s.dtype);
  if (s.causal != Causal::none) text << (s.causal == Causal::top_left ? " causal top_left" : " causal");
  if (s.window_left != -1 || s.window_right != -1) text << " window " << s.window_left << "," << s.window_right;
  if (!std::isnan(s.softmax_scale)) text << " scale " << s.softmax_scale;
  if (s.softcap > 0) text << " softcap " << s.softcap;
  if (s.mask != MaskKind::none) text << " mask " << static_cast<int>(s.mask);
  if (s.alibi) text << (s.symmetric_alibi ? " symmetric alibi" : " alibi");
  if (s.sinks) text << " sinks";
  if (s.key_mask) text << " key_mask";
  if (!s.kv_lens.empty()) text << " kv_lens " << list(s.kv_lens);
  if (s.quantized_q || s.quantized_k || s.quantized_v)
    text << " quantized " << (s.quantized_q ? "q" : "") << (s.quantized_k ? "k" : "") << (s.quantized_v ? "v" : "");
  text << " flavour " << static_cast<int>(s.flavour) << " seed " << s.seed;
  text << " | q " << describe(s.q_place) << " | k " << describe(s.k_place) << " | v " << describe(s.v_place)
       << " | out " << describe(s.out_place);
  return text.str();
}

Call::Call(const Scenario& scenario) : scenario_(scenario) {
  make_key_mask();
  make_values();
  make_options();
  place();
}

Extents Call::q_extents() const {
  const Scenario& s = scenario_;
  if (!s.packed()) return {s.batch, s.q_heads(), s.m, s.d};
  std::int64_t total = 0;
  for (std::int64_t rows : s.q_lens) total += rows;
  return {1, s.q_heads(), total, s.d};
}
Extents Call::k_extents(std::int64_t dim) const {
  const Scenario& s = scenario_;
  if (!s.packed()) return {s.batch, s.kv_heads, s.n, dim};
  std::int64_t total = 0;
  for (std::int64_t rows : s.k_lens) total += rows;
  return {1, s.kv_heads, total, dim};
}

void Call::make_values() {
  const Scenario& s = scenario_;
  std::mt19937 random(s.seed);
  const Extents q = q_extents(), k = k_extents(s.d), v = k_extents(s.dv);
  q_values = normal_values(q.elements(), random);
  k_values = normal_values(k.elements(), random);
  v_values = normal_values(v.elements(), random);
  const auto row_of = [](std::vector<float>& values, std::int64_t row, std::int64_t dim) {
    return values.data() + row * dim;
  };
  const std::int64_t kv_rows = k.batch * k.heads * k.rows;
  switch (s.flavour) {
    case Flavour::gaussian:
      break;
    case Flavour::key_bias:
      for (std::int64_t r = 0; r < kv_rows; ++r)
        for (std::int64_t c = 0; c < s.d; c += 7) row_of(k_values, r, s.d)[c] += 4;
      break;
    case Flavour::sink_with_tiny_value:
      for (std::int64_t r = 0; r < kv_rows; r += std::max<std::int64_t>(k.rows, 1)) {
        for (std::int64_t c = 0; c < s.d; ++c) row_of(k_values, r, s.d)[c] *= 3;
        for (std::int64_t c = 0; c < s.dv; ++c) row_of(v_values, r, s.dv)[c] *= 0.02f;
      }
      break;
    case Flavour::peaked:
      for (float& x : q_values) x *= 6;
      break;
    case Flavour::zero_rows:
      for (std::int64_t r = 0; r < kv_rows; r += 3) std::fill_n(row_of(v_values, r, s.dv), s.dv, 0.0f);
      for (std::int64_t r = 1; r < kv_rows; r += 5) std::fill_n(row_of(k_values, r, s.d), s.d, 0.0f);
      for (std::int64_t r = 0; r < q.elements() / s.d; r += 4) std::fill_n(row_of(q_values, r, s.d), s.d, 0.0f);
      break;
    case Flavour::large:
      for (float& x : v_values) x *= 100;
      for (float& x : k_values) x *= 0.01f;
      break;
    case Flavour::turning_key_bias:
      for (std::int64_t r = 0; r < kv_rows; ++r) {
        for (std::int64_t c = 0; c < std::min<std::int64_t>(s.d, 6); ++c) {
          const double turn = static_cast<double>(r % std::max<std::int64_t>(k.rows, 1)) * 0.012 / (1 + c / 2);
          row_of(k_values, r, s.d)[c] += static_cast<float>(60 * (c % 2 == 0 ? std::cos(turn) : std::sin(turn)));
        }
      }
      break;
  }
  // What lies behind a length, or is masked, must not count; shared scales of a whole tensor of codes know neither.
  const float garbage = s.quantized_k || s.quantized_v ? 0.25f : kNan;
  for (std::int64_t row = 0; s.key_mask && row < s.batch * s.kv_heads * s.n; ++row) {
    const std::int64_t b = row / (s.kv_heads * s.n), key = row % s.n;
    if (key_mask_[static_cast<std::size_t>(b * s.n + key)] != 0) continue;
    std::fill_n(row_of(k_values, row, s.d), s.d, garbage);
    std::fill_n(row_of(v_values, row, s.dv), s.dv, garbage);
  }
  if (s.kv_lens.empty()) return;
  for (std::int64_t b = 0; b < s.batch; ++b)
    for (std::int64_t h = 0; h < s.kv_heads; ++h)
      for (std::int64_t r = s.kv_lens[static_cast<std::size_t>(b)]; r < s.n; ++r) {
        const std::int64_t row = (b * s.kv_heads + h) * s.n + r;
        std::fill_n(row_of(k_values, row, s.d), s.d, garbage);
        std::fill_n(row_of(v_values, row, s.dv), s.dv, garbage);
      }
}

void Call::make_key_mask() {
  const Scenario& s = scenario_;
  std::mt19937 random(s.seed + 2000);
  for (std::int64_t i = 0; s.key_mask && i < s.batch * s.n; ++i) key_mask_.push_back(random() % 4 != 0);
}

void Call::make_options() {
  const Scenario& s = scenario_;
  std::mt19937 random(s.seed + 1000);
  std::normal_distribution<float> normal;
  const std::int64_t batch = s.sequences(), heads = s.q_heads(), m = s.longest_q(), n = s.longest_k();
  if (s.sinks)
    for (std::int64_t h = 0; h < heads; ++h) sinks_.push_back(h == 3 ? -kInfinity : 2 * normal(random));
  if (s.alibi)
    for (std::int64_t i = 0; i < heads * (s.seed % 2 == 0 ? batch : 1); ++i)
      slopes_.push_back(i == 2 ? 0.0f : 0.2f * normal(random));
  for (std::int64_t length : s.kv_lens) lens_.push_back(static_cast<std::int32_t>(length));
  if (s.packed()) {
    cu_q_ = cu_k_ = {0};
    for (std::size_t b = 0; b < s.q_lens.size(); ++b) {
      cu_q_.push_back(cu_q_.back() + s.q_lens[b]);
      cu_k_.push_back(cu_k_.back() + s.k_lens[b]);
    }
  }

  std::vector<std::int64_t> shape;
  DType dtype = DType::f32;
  std::int64_t step = 1;
  switch (s.mask) {
    case MaskKind::none:
      return;
    case MaskKind::bool_full:
      shape = {batch, heads, m, n}, dtype = DType::boolean;
      break;
    case MaskKind::bool_shared:
      shape = {m, n}, dtype = DType::boolean;
      break;
    case MaskKind::bool_keys:
      shape = {n}, dtype = DType::boolean;
      break;
    case MaskKind::f32_full:
      shape = {batch, heads, m, n};
      break;
    case MaskKind::f16_heads:
      shape = {heads, 1, n}, dtype = DType::f16;
      break;
    case MaskKind::bf16_queries:
      shape = {m, 1}, dtype = DType::bf16;
      break;
    case MaskKind::f64_strided:
      shape = {1, 1, m, n}, dtype = DType::f64, step = 3;
      break;
    case MaskKind::f32_minus_huge:
      shape = {m, n};
      break;
  }
  mask_.dtype = dtype;
  mask_.rank = static_cast<int>(shape.size());
  std::int64_t count = step;
  for (std::size_t axis = shape.size(); axis-- > 0;) {
    mask_.shape[axis] = shape[axis];
    mask_.strides[axis] = count;
    count *= shape[axis];
  }
  mask_bytes_.assign(static_cast<std::size_t>(count + 1) * 8, 0xff);
  mask_.data = mask_bytes_.data();
  const bool boolean = dtype == DType::boolean;
  for (std::int64_t i = 0; i < count / step; ++i) {
    float value = boolean ? static_cast<float>(random() % 4 != 0) : normal(random);
    if (s.mask == MaskKind::f32_full && random() % 5 == 0) value = -kInfinity;
    if (s.mask == MaskKind::f32_minus_huge) value = -1e9f;
    store_element(mask_.data, dtype, i * step, value);
  }
}

void Call::place() {
  const Scenario& s = scenario_;
  const bool packed = s.packed();
  const auto make = [&](Placed& to, bool dense) {
    const Placement plain{.layout = s.q_place.layout};
    to.q = Tensor(s.dtype, q_extents(), dense ? plain : s.q_place, packed);
    to.k = Tensor(s.dtype, k_extents(s.d), dense ? plain : s.k_place, packed);
    to.v = Tensor(s.dtype, k_extents(s.dv), dense ? plain : s.v_place, packed);
    to.q.fill(q_values);
    to.k.fill(k_values);
    to.v.fill(v_values);
  };
  make(dense_, true);
  make(placed_, false);
  const auto codes = [&](bool wanted, const Tensor& x, Role role, QuantizedTensor& to) {
    if (!wanted) return;
    Execution on_reference;
    on_reference.implementation = "reference";
    Result<QuantizedTensor> result = quantize(x.view(), role, recipe_of(s.recipe), s.q_place.layout, on_reference);
    if (!result.ok()) throw std::invalid_argument(result.status().message());
    to = *std::move(result);
  };
  codes(s.quantized_q, dense_.q, Role::q, quantized_q_);
  codes(s.quantized_k, dense_.k, Role::k, quantized_k_);
  codes(s.quantized_v, dense_.v, Role::v, quantized_v_);
}

AttentionInputs Call::inputs(const Placed& placed) const {
  const Scenario& s = scenario_;
  AttentionInputs inputs;
  inputs.layout = s.q_place.layout;
  if (s.quantized_q)
    inputs.quantized_q = &quantized_q_.view();
  else
    inputs.q = placed.q.view();
  if (s.quantized_k)
    inputs.quantized_k = &quantized_k_.view();
  else
    inputs.k = placed.k.view();
  if (s.quantized_v)
    inputs.quantized_v = &quantized_v_.view();
  else
    inputs.v = placed.v.view();
  inputs.mask = mask_;
  const std::int64_t heads = s.q_heads(), batch = s.sequences();
  if (s.sinks) inputs.sinks = {sinks_.data(), DType::f32, {heads}};
  if (s.alibi && slopes_.size() == static_cast<std::size_t>(heads))
    inputs.alibi_slopes = {slopes_.data(), DType::f32, {heads}};
  else if (s.alibi)
    inputs.alibi_slopes = {slopes_.data(), DType::f32, {batch, heads}};
  if (s.key_mask) inputs.key_mask = {const_cast<unsigned char*>(key_mask_.data()), DType::boolean, {s.batch, s.n}};
  if (!lens_.empty()) inputs.kv_lens = {lens_.data(), DType::s32, {batch}};
  if (s.packed()) {
    inputs.cu_seqlens_q = {cu_q_.data(), DType::s64, {batch + 1}};
    inputs.cu_seqlens_k = {cu_k_.data(), DType::s64, {batch + 1}};
  }
  return inputs;
}

AttentionParams Call::params(const std::string& recipe) const {
  const Scenario& s = scenario_;
  AttentionParams params;
  params.recipe = recipe_of(recipe.empty() ? s.recipe : recipe);
  params.softmax_scale = s.softmax_scale;
  params.causal = s.causal;
  params.window_left = s.window_left;
  params.window_right = s.window_right;
  params.softcap = s.softcap;
  params.alibi = s.alibi && s.symmetric_alibi ? Alibi::symmetric : Alibi::causal;
  return params;
}

Status Call::accepts(const std::string& implementation) const {
  AttentionInputs call = inputs(placed_);
  Extents extents = q_extents();
  extents.dim = scenario_.dv;
  const Tensor out(DType::f32, extents, scenario_.out_place, scenario_.packed());
  call.out = out.view();
  Execution execution;
  execution.implementation = implementation;
  const Result<std::size_t> bytes = workspace_size(call, params(""), execution);
  return bytes.ok() ? Status() : bytes.status();
}

Outcome Call::run(const std::string& implementation, const RunOptions& options) const {
  const Scenario& s = scenario_;
  AttentionInputs call = inputs(options.dense ? dense_ : placed_);
  Extents extents = q_extents();
  extents.dim = s.dv;
  const Placement plain{.layout = s.q_place.layout};
  Tensor out(options.out_dtype, extents, options.dense ? plain : s.out_place, s.packed());
  // LSE [B, Hq, M], packed [Hq, total]: dense, or with odd steps.
  const std::int64_t step = options.dense ? 1 : 1 + s.out_place.padding % 3;
  const std::int64_t rows = extents.rows, heads = extents.heads, batch = extents.batch;
  std::vector<float> lse(static_cast<std::size_t>(batch * heads * rows * step + step), -7.0f);
  call.out = out.view();
  if (s.packed())
    call.lse = {lse.data(), DType::f32, {heads, rows}, {rows * step, step}};
  else
    call.lse = {lse.data(), DType::f32, {batch, heads, rows}, {heads * rows * step, rows * step, step}};
  Execution execution;
  execution.implementation = implementation;
  execution.runner = options.runner;
  Outcome outcome;
  const auto call_it = options.attention != nullptr ? options.attention : &attention;
  outcome.status = call_it(call, params(options.recipe), execution);
  if (!outcome.status.ok()) return outcome;
  outcome.out = out.values();
  outcome.wrote_beside = !out.poison_is_untouched();
  for (std::size_t i = 0; i < lse.size(); ++i) {
    if (static_cast<std::int64_t>(i) % step == 0 && static_cast<std::int64_t>(i) < batch * heads * rows * step)
      outcome.lse.push_back(lse[i]);
    else
      outcome.wrote_beside = outcome.wrote_beside || lse[i] != -7.0f;
  }
  return outcome;
}

}  // namespace octavo::test
