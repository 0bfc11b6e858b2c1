// ik_llama.cpp's flash attention (ggml_flash_attn_ext): Q f32 [D, M, H], K and V in FORMAT (f16, bf16, q8_0, q6_0),
// quantized beforehand as a cache would be; the f16 mask that it wants is zeros, or -infinity above the diagonal.
#include <cmath>

#include "ggml.h"
#include "program.hpp"

class IkLlama {
 public:
  explicit IkLlama(const Problem& problem) : problem_(problem) {
    if (problem.batch != 1) throw std::runtime_error("one sequence at a time");
    const ggml_type type = type_of(problem.format);
    const std::int64_t padded_rows = (problem.rows + 63) / 64 * 64;
    const std::int64_t floats = problem.heads * problem.rows * problem.dim;
    const std::size_t bytes = 8 * static_cast<std::size_t>(floats + problem.kv_heads * problem.keys * problem.dim) +
                              2 * static_cast<std::size_t>(padded_rows * problem.keys) + (64u << 20);
    context_ = ggml_init({bytes, nullptr, false});
    ggml_tensor* q = ggml_new_tensor_4d(context_, GGML_TYPE_F32, problem.dim, problem.rows, problem.heads, 1);
    std::copy(problem.q.begin(), problem.q.end(), static_cast<float*>(q->data));
    ggml_tensor* k = quantized(type, problem.k);
    ggml_tensor* v = quantized(type, problem.v);
    ggml_tensor* mask = ggml_new_tensor_2d(context_, GGML_TYPE_F16, problem.keys, padded_rows);
    const ggml_fp16_t zero = ggml_fp32_to_fp16(0), hidden = ggml_fp32_to_fp16(-INFINITY);
    auto* masked = static_cast<ggml_fp16_t*>(mask->data);
    for (std::int64_t i = 0; i < padded_rows; ++i)
      for (std::int64_t j = 0; j < problem.keys; ++j)
        masked[i * problem.keys + j] = problem.causal && j > i + problem.keys - problem.rows ? hidden : zero;
    out_ = ggml_flash_attn_ext(context_, q, k, v, mask, 1 / std::sqrt(static_cast<float>(problem.dim)), 0, 0);
    graph_ = ggml_new_graph(context_);
    ggml_build_forward_expand(graph_, out_);
    plan_ = ggml_graph_plan(graph_, problem.threads);
    work_.resize(plan_.work_size);
    plan_.work_data = work_.data();
  }

  void run() {
    if (ggml_graph_compute(graph_, &plan_) != GGML_STATUS_SUCCESS)
      throw std::runtime_error("ggml_graph_compute failed");
  }

  // [D, H, M] -> [H, M, D]
  std::vector<float> output() const {
    std::vector<float> o(problem_.q.size());
    const float* from = static_cast<const float*>(out_->data);
    for (std::int64_t m = 0; m < problem_.rows; ++m)
      for (std::int64_t h = 0; h < problem_.heads; ++h)
        for (std::int64_t d = 0; d < problem_.dim; ++d)
          o[static_cast<std::size_t>((h * problem_.rows + m) * problem_.dim + d)] =
              from[(m * problem_.heads + h) * problem_.dim + d];
    return o;
  }

 private:
  static ggml_type type_of(const std::string& format) {
    if (format == "f16") return GGML_TYPE_F16;
    if (format == "bf16") return GGML_TYPE_BF16;
    if (format == "q8_0") return GGML_TYPE_Q8_0;
    if (format == "q6_0") return GGML_TYPE_Q6_0;
    throw std::runtime_error("format " + format + " is not known");
  }

  ggml_tensor* quantized(ggml_type type, const std::vector<float>& x) {
    ggml_tensor* tensor = ggml_new_tensor_4d(context_, type, problem_.dim, problem_.keys, problem_.kv_heads, 1);
    ggml_quantize_chunk(type, x.data(), tensor->data, 0, problem_.kv_heads * problem_.keys, problem_.dim, nullptr,
                        nullptr);
    return tensor;
  }

  const Problem& problem_;
  ggml_context* context_;
  ggml_tensor* out_;
  ggml_cgraph* graph_;
  ggml_cplan plan_;
  std::vector<std::uint8_t> work_;
};

int main(int argc, char** argv) { return serve<IkLlama>(argc, argv); }
