// depth: how the error of attention grows through a stack of layers, by recipe.
#include <algorithm>
#include <cmath>

#include "common/output.hpp"
#include "study/layer_stack.hpp"
#include "study/measure.hpp"
#include "study/plot.hpp"
#include "study/study.hpp"

namespace octavo::study {
namespace {

using tool::format;

constexpr const char* kRecipes[] = {"int8",           "int8_fast", "int_flash", "int_flash,row_sum=weights",
                                    "int_flash_half", "sage2_8b",  "int4",      "fp8_e4m3",
                                    "fp8_e5m2"};
constexpr const char* kAlternating = ", every second layer exact";

const std::vector<StackKind>& kinds() {
  static const std::vector<StackKind> all = {
      {"causal, independent"},
      {"causal, sinks of 8 nats", true, 8},
      {"not causal, biased V, 4 layers over steps", false, 0, 2, 4},
  };
  return all;
}

struct Growth {
  std::vector<double> absolute, relative;  // after each layer: |x' - x| / sqrt(elements), |x' - x| / |x|
  double kl = 0, top1 = 0, exponent = 0;   // of the logits; absolute error ~ layers^exponent
};

double norm_of_difference(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
  return std::sqrt(sum);
}

double norm(const std::vector<float>& a) { return norm_of_difference(a, std::vector<float>(a.size(), 0)); }

// Mean KL(exact || recipe) of softmax(logits) over rows, and the share of rows with the same largest logit.
void compare_logits(const std::vector<float>& exact, const std::vector<float>& other, std::size_t width,
                    Growth& growth) {
  const auto log_sum = [width](const float* row) {
    const double largest = *std::max_element(row, row + width);
    double sum = 0;
    for (std::size_t i = 0; i < width; ++i) sum += std::exp(static_cast<double>(row[i]) - largest);
    return largest + std::log(sum);
  };
  const std::size_t rows = exact.size() / width;
  double kl = 0, same = 0;
  for (std::size_t r = 0; r < rows; ++r) {
    const float *p = &exact[r * width], *q = &other[r * width];
    const double log_p = log_sum(p), log_q = log_sum(q);
    for (std::size_t i = 0; i < width; ++i) {
      const double difference = (static_cast<double>(p[i]) - log_p) - (static_cast<double>(q[i]) - log_q);
      kl += std::exp(static_cast<double>(p[i]) - log_p) * difference;
    }
    same += std::max_element(p, p + width) - p == std::max_element(q, q + width) - q;
  }
  growth.kl += kl / static_cast<double>(rows), growth.top1 += same / static_cast<double>(rows);
}

// Slope of log(error) over log(layers), from the second layer on.
double exponent_of(const std::vector<double>& errors) {
  double n = 0, x = 0, y = 0, xx = 0, xy = 0;
  for (std::size_t layer = 1; layer < errors.size(); ++layer) {
    const double lx = std::log(static_cast<double>(layer + 1)), ly = std::log(errors[layer]);
    n += 1, x += lx, y += ly, xx += lx * lx, xy += lx * ly;
  }
  return (n * xy - x * y) / (n * xx - x * x);
}

Growth measure_growth(const std::vector<LayerStack>& stacks, const std::vector<StackRun>& exact,
                      const std::string& recipe, bool alternating, const StackShape& shape) {
  Growth growth;
  growth.absolute.assign(static_cast<std::size_t>(shape.layers), 0), growth.relative = growth.absolute;
  const Recipe quantized = composed(recipe), full = composed("exact");
  const double count = static_cast<double>(stacks.size());
  for (std::size_t i = 0; i < stacks.size(); ++i) {
    const StackRun run = stacks[i].run(
        [&](std::int64_t layer) -> const Recipe& { return alternating && layer % 2 == 1 ? full : quantized; });
    for (std::size_t layer = 0; layer < run.residual.size(); ++layer) {
      const std::vector<float>& x = exact[i].residual[layer];
      const double error = norm_of_difference(run.residual[layer], x);
      growth.absolute[layer] += error / std::sqrt(static_cast<double>(x.size())) / count;
      growth.relative[layer] += error / norm(x) / count;
    }
    compare_logits(exact[i].logits, run.logits, static_cast<std::size_t>(shape.vocabulary), growth);
  }
  growth.kl /= count, growth.top1 /= count;
  growth.exponent = exponent_of(growth.absolute);
  return growth;
}

}  // namespace

Report run_depth(const Options& options) {
  StackShape shape;
  if (options.quick) shape.layers = 6, shape.tokens = 160, shape.heads = 2;
  Report report;
  Table layers{
      "layers", "", {{"kind", "kind"}, {"scheme", "scheme"}, {"layer", "layer"}, {"absolute", ""}, {"relative", ""}}};
  layers.on_page = false;
  Table ends{
      "ends",
      format("After %lld layers: relative error of the residual stream, exponent e of the absolute error ~ layers^e, "
             "KL divergence and top-1 agreement of random logits of spread 2.",
             static_cast<long long>(shape.layers)),
      {{"kind", "stack"},
       {"scheme", "recipe"},
       {"first", "after 1 layer, %", 100},
       {"last", "after all, %", 100},
       {"exponent", "exponent"},
       {"kl", "KL, nats"},
       {"top1", "top-1, %", 100}}};
  double half = 0, flash = 0;
  for (const StackKind& kind : kinds()) {
    std::vector<LayerStack> stacks;
    std::vector<StackRun> exact;
    LinePlot plot{"Error of the residual stream: " + kind.name, "layers", "relative L2, %"};
    plot.log_x = plot.log_y = true;
    const Recipe full = composed("exact");
    for (int i = 0; i < options.seeds; ++i) {
      options.progress(format("%s, exact, seed %d", kind.name.c_str(), i + 1));
      stacks.emplace_back(shape, kind, options.seed + static_cast<std::uint64_t>(i));
      exact.push_back(stacks.back().run([&](std::int64_t) -> const Recipe& { return full; }));
    }
    for (const char* recipe : kRecipes) {
      for (const bool alternating : {false, true}) {
        if (alternating && recipe != std::string("int_flash") && recipe != std::string("int8_fast")) continue;
        options.progress(kind.name + ", " + recipe);
        const Growth growth = measure_growth(stacks, exact, recipe, alternating, shape);
        const std::string name = std::string(recipe) + (alternating ? kAlternating : "");
        Series series{name};
        for (std::size_t layer = 0; layer < growth.relative.size(); ++layer) {
          const double number = static_cast<double>(layer + 1);
          series.points.emplace_back(number, 100 * growth.relative[layer]);
          layers.rows.push_back({kind.name, name, number, growth.absolute[layer], growth.relative[layer]});
        }
        plot.series.push_back(std::move(series));
        ends.rows.push_back({kind.name, name, growth.relative.front(), growth.relative.back(), growth.exponent,
                             growth.kl, growth.top1});
        if (&kind == &kinds().front() && !alternating) {
          if (recipe == std::string("int8_fast")) half = growth.exponent;
          if (recipe == std::string("int_flash")) flash = growth.exponent;
        }
      }
    }
    report.plots.push_back({&kind == &kinds()[0]   ? "independent"
                            : &kind == &kinds()[1] ? "sinks"
                                                   : "steps",
                            to_svg(plot)});
  }
  const auto end = [&](std::size_t kind, const char* recipe, std::size_t column) {
    for (const auto& row : ends.rows) {
      if (row[0].text == kinds()[kind].name && row[1].text == recipe) return row[column].number;
    }
    return std::nan("");
  };
  report.answer = format(
      "The absolute error of the residual stream grows like layers^%.2f with `int8_fast` and layers^%.2f with "
      "`int_flash` "
      "(0.5: independent errors, 1: errors of one sign); relative to the stream, which grows too, %s %% and %s %% "
      "after "
      "%lld layers, with sinks %s %% and %s %%.",
      half, flash, short_number(100 * end(0, "int8_fast", 3)).c_str(),
      short_number(100 * end(0, "int_flash", 3)).c_str(), static_cast<long long>(shape.layers),
      short_number(100 * end(1, "int8_fast", 3)).c_str(), short_number(100 * end(1, "int_flash", 3)).c_str());
  report.method = format(
      "%lld layers of random weights, %lld tokens, %lld heads on %lld of %lld, RoPE, RMS norm, MLP; "
      "synthetic, not a trained model; %d seeds from %llu.",
      static_cast<long long>(shape.layers), static_cast<long long>(shape.tokens), static_cast<long long>(shape.heads),
      static_cast<long long>(shape.kv_heads), static_cast<long long>(shape.head_dim), options.seeds,
      static_cast<unsigned long long>(options.seed));
  report.tables = {layers, ends};
  return report;
}

}  // namespace octavo::study
