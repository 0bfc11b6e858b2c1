// One attention call, described by values: shapes, recipe, options, how each tensor lies in memory, which operands are
// handed over as codes. A Call makes its tensors from a seed and runs it on any implementation.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "octavo/octavo.hpp"
#include "tensor.hpp"

namespace octavo::test {

// What the numbers are like beside Gaussian.
enum class Flavour {
  gaussian,
  key_bias,
  sink_with_tiny_value,
  peaked,
  zero_rows,
  large,
  turning_key_bias  // as RoPE turns it; not dealt
};
enum class MaskKind {
  none,
  bool_full,       // [B, Hq, M, N]
  bool_shared,     // [M, N]
  bool_keys,       // [N]
  f32_full,        // with some -infinity
  f16_heads,       // [Hq, 1, N]
  bf16_queries,    // [M, 1]
  f64_strided,     // [1, 1, M, N] with steps between the elements
  f32_minus_huge,  // -1e9 everywhere, and small differences
};

struct Scenario {
  std::string recipe = "int8";
  std::int64_t batch = 1, kv_heads = 1, ratio = 1, m = 1, n = 1, d = 16, dv = 16;
  DType dtype = DType::f32;
  Placement q_place, k_place, v_place, out_place;  // one layout
  Causal causal = Causal::none;
  std::int64_t window_left = -1, window_right = -1;
  double softmax_scale = std::numeric_limits<double>::quiet_NaN();
  double softcap = 0;
  MaskKind mask = MaskKind::none;
  bool alibi = false, symmetric_alibi = false, sinks = false;  // symmetric_alibi: with alibi
  std::vector<std::int64_t> kv_lens;                           // of a dense batch; rows beyond them hold NaN
  bool key_mask = false;                     // of a dense batch; rows of keys that do not exist hold NaN
  std::vector<std::int64_t> q_lens, k_lens;  // packed sequences; then batch, m and n do not count
  bool quantized_q = false, quantized_k = false, quantized_v = false;
  Flavour flavour = Flavour::gaussian;
  std::uint32_t seed = 1;

  bool packed() const { return !q_lens.empty(); }
  std::int64_t q_heads() const { return kv_heads * ratio; }
  std::int64_t sequences() const { return packed() ? static_cast<std::int64_t>(q_lens.size()) : batch; }
  std::int64_t longest_q() const;
  std::int64_t longest_k() const;
  double multiplications() const;
};
std::string describe(const Scenario& scenario);

struct Outcome {
  Status status;
  std::vector<float> out;  // [B][Hq][M][Dv]
  std::vector<float> lse;  // [B][Hq][M]
  bool wrote_beside = false;
};

// How run() departs from the scenario.
struct RunOptions {
  bool dense = false;  // every tensor without gaps: what the oracle is given
  DType out_dtype = DType::f32;
  ParallelRunner* runner = nullptr;
  std::string recipe = {};  // instead of the scenario's
  // Instead of octavo::attention: a device's tests move the tensors first.
  Status (*attention)(const AttentionInputs&, const AttentionParams&, const Execution&) = nullptr;
};

class Call {
 public:
  explicit Call(const Scenario& scenario);

  /// Whether the implementation takes this call: ok, or why not.
  Status accepts(const std::string& implementation) const;
  Outcome run(const std::string& implementation, const RunOptions& options = {}) const;
  const Scenario& scenario() const { return scenario_; }

  /// Operands as values in the order [batch][heads][rows][dim]; for tests that spoil some of them, before place().
  std::vector<float> q_values, k_values, v_values;
  /// Puts the values into memory. Call() has done it once.
  void place();
  bool key_exists(std::int64_t b, std::int64_t key) const {
    return !scenario_.key_mask || key_mask_[static_cast<std::size_t>(b * scenario_.n + key)] != 0;
  }
  /// A key_mask in place of the scenario's: without the hidden keys, [B][N].
  void set_key_mask(const std::vector<bool>& hidden) {
    scenario_.key_mask = true;
    key_mask_.clear();
    for (bool is_hidden : hidden) key_mask_.push_back(!is_hidden);
  }
  void spoil_mask(std::int64_t element, float value) { store_element(mask_.data, mask_.dtype, element, value); }

 private:
  struct Placed {
    Tensor q, k, v;
  };
  AttentionInputs inputs(const Placed& placed) const;
  AttentionParams params(const std::string& recipe) const;
  Extents q_extents() const;
  Extents k_extents(std::int64_t dim) const;
  void make_values();
  void make_options();
  void make_key_mask();

  Scenario scenario_;
  Placed dense_, placed_;
  QuantizedTensor quantized_q_, quantized_k_, quantized_v_;
  std::vector<unsigned char> mask_bytes_;
  TensorView mask_;
  std::vector<float> slopes_, sinks_;
  std::vector<std::int64_t> cu_q_, cu_k_;
  std::vector<std::int32_t> lens_;
  std::vector<unsigned char> key_mask_;
};

/// The recipe of a text that is known to be sound.
Recipe recipe_of(const std::string& text);

/// Whether the implementation rounds the weights of this call to bf16, as the recipes' table allows it for bf16 inputs
/// and bf16 dot products. (P is the inputs' own dtype there; the oracle keeps all its digits.)
bool has_bf16_weights(const std::string& implementation, const Scenario& scenario);

/// Names of the implementations of this build that run here, in the order of choice, without the reference.
std::vector<std::string> supported_implementations();

}  // namespace octavo::test
