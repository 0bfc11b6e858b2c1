// oneDNN's graph interface: softmax(Q K^T * scale [+ mask]) V as one partition. FORMAT f32, bf16, or int8: Q, K, V and
// P in 8 bits with one scale each, quantized beforehand, O too, [B, M, H D], with a scale that was calibrated. Grouped
// heads are a fifth axis, [B, Hkv, G, M, D]; a causal mask is a tensor to add, its fast path.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <oneapi/dnnl/dnnl_graph.hpp>

#include "program.hpp"

namespace graph = dnnl::graph;
using Kind = graph::op::kind;
using Type = graph::logical_tensor::data_type;
using Dims = graph::logical_tensor::dims;

class OneDnn {
 public:
  explicit OneDnn(const Problem& problem) : problem_(problem), engine_(dnnl::engine::kind::cpu, 0), stream_(engine_) {
    const std::int64_t group = problem.heads / problem.kv_heads;
    const auto dims = [&](std::int64_t heads, std::int64_t rows, std::int64_t columns) {
      if (group == 1) return Dims{problem.batch, heads, rows, columns};
      return Dims{problem.batch, problem.kv_heads, heads / problem.kv_heads, rows, columns};
    };
    const Dims of_q = dims(problem.heads, problem.rows, problem.dim);
    const Dims of_k = dims(problem.kv_heads, problem.keys, problem.dim);
    const Dims of_s = dims(problem.heads, problem.rows, problem.keys);
    const Dims one(of_q.size(), 1);
    Dims of_mask = one;
    of_mask[one.size() - 2] = problem.rows, of_mask[one.size() - 1] = problem.keys;
    const bool int8 = problem.format == "int8";
    const Type type = problem.format == "bf16" ? Type::bf16 : Type::f32;
    if (int8 && group != 1) throw std::runtime_error("its 8-bit pattern has no grouped heads");
    if (!int8 && problem.format != "bf16" && problem.format != "f32")
      throw std::runtime_error("format " + problem.format + " is not known");

    graph::graph whole(dnnl::engine::kind::cpu);
    const auto operand = [&](const std::vector<float>& x, const Dims& shape, Type codes) {
      if (!int8) return input(shape, type, x);
      const float largest = std::fabs(
          *std::max_element(x.begin(), x.end(), [](float a, float b) { return std::fabs(a) < std::fabs(b); }));
      const float scale = largest / 127;
      const std::int64_t zero = codes == Type::u8 ? 128 : 0;
      std::vector<std::uint8_t> bytes(x.size());
      for (std::size_t i = 0; i < x.size(); ++i)
        bytes[i] = static_cast<std::uint8_t>(static_cast<int>(std::lrintf(x[i] / scale)) + static_cast<int>(zero));
      return dequantized(whole, input(shape, codes, bytes.data(), bytes.size()), shape, scale, zero);
    };
    if (int8) calibrate();
    const graph::logical_tensor q = operand(problem.q, of_q, Type::u8), k = operand(problem.k, of_k, Type::s8);
    // Scores stay in f32 between bf16 products.
    const Type inner = Type::f32;
    graph::logical_tensor s = made(of_s, inner);
    graph::op product = operation(Kind::MatMul, {q, k}, {s});
    product.set_attr<bool>(graph::op::attr::transpose_b, true);
    whole.add_op(product);
    const float scale = 1 / std::sqrt(static_cast<float>(problem.dim));
    const graph::logical_tensor scaled = made(of_s, inner);
    whole.add_op(operation(Kind::Multiply, {s, input({1}, inner, std::vector<float>{scale})}, {scaled}));
    s = scaled;
    if (problem.causal) {
      std::vector<float> mask(static_cast<std::size_t>(problem.rows * problem.keys));
      for (std::int64_t i = 0; i < problem.rows; ++i)
        for (std::int64_t j = i + problem.keys - problem.rows + 1; j < problem.keys; ++j)
          mask[static_cast<std::size_t>(i * problem.keys + j)] = -INFINITY;
      const graph::logical_tensor masked = made(of_s, inner);
      whole.add_op(operation(Kind::Add, {s, input(of_mask, inner, mask)}, {masked}));
      s = masked;
    }
    graph::logical_tensor p = made(of_s, type);
    graph::op softmax = operation(Kind::SoftMax, {s}, {p});
    softmax.set_attr<std::int64_t>(graph::op::attr::axis, -1);
    whole.add_op(softmax);
    if (int8) {
      const graph::logical_tensor codes = made(of_s, Type::u8);
      whole.add_op(scaled_op(Kind::Quantize, p, codes, p_scale_, 0));
      p = dequantized(whole, codes, of_s, p_scale_, 0);
    }
    const graph::logical_tensor v = operand(problem.v, of_k, Type::s8);
    out_ = made(of_q, type);
    whole.add_op(operation(Kind::MatMul, {p, v}, {out_}));
    if (int8) out_ = quantized_output(whole, out_);
    whole.finalize();

    const std::vector<graph::partition> partitions = whole.get_partitions();
    if (partitions.size() != 1 || !partitions[0].is_supported())
      throw std::runtime_error("oneDNN makes " + std::to_string(partitions.size()) +
                               " partitions of it instead of one");
    const std::vector<graph::logical_tensor> ports = partitions[0].get_input_ports();
    compiled_ = partitions[0].compile(ports, {out_}, engine_);
    for (const graph::logical_tensor& port : ports) inputs_.push_back(values_.at(port.get_id()));
    outputs_.push_back(graph::tensor(compiled_.query_logical_tensor(out_.get_id()), engine_));
  }

  void run() {
    compiled_.execute(stream_, inputs_, outputs_);
    stream_.wait();
  }

  std::vector<float> output() const {
    std::vector<float> o(problem_.q.size());
    const void* from = outputs_[0].get_data_handle();
    if (problem_.format == "int8") {
      const auto* codes = static_cast<const std::int8_t*>(from);
      for (std::int64_t b = 0; b < problem_.batch; ++b)
        for (std::int64_t h = 0; h < problem_.heads; ++h)
          for (std::int64_t m = 0; m < problem_.rows; ++m)
            for (std::int64_t d = 0; d < problem_.dim; ++d)
              o[static_cast<std::size_t>(((b * problem_.heads + h) * problem_.rows + m) * problem_.dim + d)] =
                  out_scale_ *
                  static_cast<float>(codes[((b * problem_.rows + m) * problem_.heads + h) * problem_.dim + d]);
    } else if (problem_.format != "bf16") {
      std::memcpy(o.data(), from, o.size() * 4);
    } else {
      for (std::size_t i = 0; i < o.size(); ++i) {
        const std::uint32_t bits = static_cast<std::uint32_t>(static_cast<const std::uint16_t*>(from)[i]) << 16;
        std::memcpy(&o[i], &bits, 4);
      }
    }
    return o;
  }

 private:
  graph::logical_tensor made(const Dims& dims, Type type) {
    return {next_++, type, dims, graph::logical_tensor::layout_type::strided};
  }

  graph::logical_tensor input(const Dims& dims, Type type, const void* data, std::size_t bytes) {
    const graph::logical_tensor port = made(dims, type);
    graph::tensor value(port, engine_);
    std::memcpy(value.get_data_handle(), data, bytes);
    values_.emplace(port.get_id(), value);
    return port;
  }
  graph::logical_tensor input(const Dims& dims, Type type, const std::vector<float>& x) {
    if (type != Type::bf16) return input(dims, type, x.data(), x.size() * 4);
    std::vector<std::uint16_t> halves(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) {
      std::uint32_t bits;
      std::memcpy(&bits, &x[i], 4);
      halves[i] = static_cast<std::uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
    }
    return input(dims, type, halves.data(), halves.size() * 2);
  }

  graph::op operation(Kind kind, const std::vector<graph::logical_tensor>& from,
                      const std::vector<graph::logical_tensor>& to) {
    const std::size_t id = next_++;
    return graph::op(id, kind, from, to, "op" + std::to_string(id));
  }
  graph::op scaled_op(Kind kind, const graph::logical_tensor& from, const graph::logical_tensor& to, float scale,
                      std::int64_t zero) {
    graph::op op = operation(kind, {from}, {to});
    op.set_attr<std::string>(graph::op::attr::qtype, "per_tensor");
    op.set_attr<std::vector<float>>(graph::op::attr::scales, {scale});
    op.set_attr<std::vector<std::int64_t>>(graph::op::attr::zps, {zero});
    return op;
  }
  graph::logical_tensor dequantized(graph::graph& whole, const graph::logical_tensor& codes, const Dims& dims,
                                    float scale, std::int64_t zero) {
    const graph::logical_tensor x = made(dims, Type::f32);
    whole.add_op(scaled_op(Kind::Dequantize, codes, x, scale, zero));
    return x;
  }

  // What its 8-bit pattern ends with: heads beside each other, then codes.
  graph::logical_tensor quantized_output(graph::graph& whole, const graph::logical_tensor& o) {
    const graph::logical_tensor turned = made({problem_.batch, problem_.rows, problem_.heads, problem_.dim}, Type::f32);
    graph::op transpose = operation(Kind::StaticTranspose, {o}, {turned});
    transpose.set_attr<std::vector<std::int64_t>>(graph::op::attr::order, {0, 2, 1, 3});
    whole.add_op(transpose);
    const Dims flat{problem_.batch, problem_.rows, problem_.heads * problem_.dim};
    const graph::logical_tensor joined = made(flat, Type::f32), codes = made(flat, Type::s8);
    graph::op reshape = operation(Kind::StaticReshape, {turned}, {joined});
    reshape.set_attr<std::vector<std::int64_t>>(graph::op::attr::shape, flat);
    reshape.set_attr<bool>(graph::op::attr::special_zero, false);
    whole.add_op(reshape);
    whole.add_op(scaled_op(Kind::Quantize, joined, codes, out_scale_, 0));
    return codes;
  }

  // Scales of P and O from the largest of a sample of rows: at 1 / 255, nearly all of a long row's P would be 0.
  void calibrate() {
    constexpr std::int64_t kSampled = 32;
    double largest = 0, largest_p = 0;
    std::vector<double> p(static_cast<std::size_t>(problem_.keys));
    for (std::int64_t head = 0; head < problem_.batch * problem_.heads; ++head) {
      for (std::int64_t row = 0; row < problem_.rows; row += std::max<std::int64_t>(1, problem_.rows / kSampled)) {
        const std::int64_t seen = problem_.causal ? row + 1 + problem_.keys - problem_.rows : problem_.keys;
        const float* q = problem_.q.data() + (head * problem_.rows + row) * problem_.dim;
        double sum = 0;
        for (std::int64_t j = 0; j < seen; ++j) {
          const float* k = problem_.k.data() + (head * problem_.keys + j) * problem_.dim;
          double s = 0;
          for (std::int64_t d = 0; d < problem_.dim; ++d) s += q[d] * k[d];
          sum += p[static_cast<std::size_t>(j)] = std::exp(s / std::sqrt(static_cast<double>(problem_.dim)));
        }
        largest_p = std::max(largest_p, *std::max_element(p.begin(), p.begin() + seen) / sum);
        for (std::int64_t d = 0; d < problem_.dim; ++d) {
          double o = 0;
          for (std::int64_t j = 0; j < seen; ++j)
            o += p[static_cast<std::size_t>(j)] *
                 problem_.v[static_cast<std::size_t>((head * problem_.keys + j) * problem_.dim + d)];
          largest = std::max(largest, std::fabs(o / sum));
        }
      }
    }
    out_scale_ = static_cast<float>(largest / 127);
    p_scale_ = static_cast<float>(largest_p / 255);
  }

  const Problem& problem_;
  float p_scale_ = 0, out_scale_ = 0;
  dnnl::engine engine_;
  dnnl::stream stream_;
  std::size_t next_ = 0;
  graph::logical_tensor out_;
  graph::compiled_partition compiled_;
  std::map<std::size_t, graph::tensor> values_;
  std::vector<graph::tensor> inputs_, outputs_;
};

int main(int argc, char** argv) { return serve<OneDnn>(argc, argv); }
