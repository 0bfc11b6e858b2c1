// v: how V and P are represented (INT-FlashAttention's first open question).
#include <algorithm>
#include <cmath>

#include "common/output.hpp"
#include "octavo/parallel.hpp"
#include "study/distributions.hpp"
#include "study/grid.hpp"
#include "study/plot.hpp"
#include "study/timed_call.hpp"

namespace octavo::study {
namespace {

using tool::format;

struct Strategy {
  const char* name;
  const char* fields;  // on int8_fast without V's rotation
};

// With P of 255 levels relative to the block's maximum and a row sum of weights.
constexpr Strategy kStrategies[] = {
    {"tensor", "v_scale=tensor"},
    {"channel", "v_scale=channel"},
    {"block", "v_scale=block"},
    {"block and channel", "v_scale=block_channel"},
    {"token, not folded", "v_scale=token"},
    {"token, folded", ""},
    {"folded, channel gains", "channel_gains=on"},
    {"folded, V rotated (int8_fast)", "hadamard_v=on"},
    {"folded, V smoothed", "smooth_v=on"},
    {"folded, rotated, smoothed", "hadamard_v=on,smooth_v=on"},
    {"channel, V smoothed", "v_scale=channel,smooth_v=on"},
};
constexpr const char* kFold = "folded, V rotated (int8_fast)";
constexpr const char* kInt8 = "int8";

std::string strategy_fields(const Strategy& strategy) {
  return std::string("hadamard_v=off") + (*strategy.fields == 0 ? "" : ",") + strategy.fields;
}

// Everything but P and V in full precision.
Recipe second_product(const std::string& fields) {
  return composed("int8_fast", "scores=input,q_scale=none,k_scale=none,hadamard=off,smooth_q=off,smooth_k=off" +
                                   std::string(fields.empty() ? "" : ",") + fields);
}

NamedScheme named(const std::string& name, const Recipe& recipe) {
  return {name, [recipe](const Problem& problem) { return run(problem, recipe); }};
}

std::vector<NamedScheme> strategies() {
  std::vector<NamedScheme> all;
  for (const Strategy& each : kStrategies)
    all.push_back(named(each.name, composed("int8_fast", strategy_fields(each))));
  for (const char* preset : {kInt8, "int_flash", "sage1_int8", "sage2_8b", "sage2pp", "fa3_fp8"}) {
    all.push_back(named(preset, composed(preset)));
  }
  return all;
}

// QK alone, P alone, V alone and all of each strategy, gaussian data and a sink.
Table parts(const Options& options, const std::vector<DataSet>& data) {
  std::vector<NamedScheme> all;
  for (const Strategy& each : kStrategies) {
    const Recipe recipe = composed("int8_fast", strategy_fields(each));
    for (const Part part : {Part::qk, Part::p, Part::v, Part::all}) {
      if (part != Part::v && part != Part::all && &each != &kStrategies[5]) continue;  // the same for all of them
      all.push_back(named(std::string(each.name) + ": " + to_string(part), only(recipe, part)));
    }
  }
  return grid("parts", all, data, options);
}

// P's range, reference and row sum, and the key block, with V per token and per channel.
Table weights(const Options& options, const std::vector<DataSet>& data) {
  std::vector<NamedScheme> all;
  for (const char* v : {"channel", "token_folded"}) {
    for (const int range : {127, 255}) {
      for (const char* reference : {"block", "running"}) {
        for (const char* sum : {"weights", "codes"}) {
          if (sum == std::string("codes") && v == std::string("token_folded")) continue;  // has no meaning
          all.push_back(
              named(format("V %s, R %d, %s maximum, sum of %s", v, range, reference, sum),
                    second_product(format("v_scale=%s,hadamard_v=off,p=%s,p_range=%d,p_reference=%s,row_sum=%s", v,
                                          range == 127 ? "s8" : "u8", range, reference, sum))));
        }
      }
    }
  }
  for (const int block : {64, 128, 256, 512}) {
    all.push_back(named(format("V token_folded, R 255, key block %d", block),
                        second_product(format("hadamard_v=off,key_block=%d", block))));
  }
  return grid("weights", all, data, options);
}

// Time of a call relative to V per tensor, quantization inside and outside the time.
Table times(const Options& options) {
  const std::int64_t rows = options.quick ? 256 : 2048;
  Table table{"times",
              format("Time of a call relative to `v_scale=tensor`, 2 heads, %lld x %lld, D 128, f32 inputs, processor "
                     "time of one thread, median of ratios to the call next to it.",
                     static_cast<long long>(rows), static_cast<long long>(rows)),
              {{"scheme", "scheme"},
               {"with_quantization", "with quantization"},
               {"without", "without"},
               {"implementation", "implementation"}}};
  const int threads = num_threads();
  set_num_threads(1);
  const TimedCall call({2, rows, rows, 128});
  std::vector<TimedCall::Entry> entries;
  for (const Strategy& each : kStrategies) entries.push_back({each.name, composed("int8_fast", strategy_fields(each))});
  entries.push_back({kInt8, composed(kInt8)});
  entries.push_back({"exact", composed("exact")});
  const int rounds = options.quick ? 2 : 15;
  const std::vector<TimedCall::Ratio> with = call.ratios(entries, rounds, true, options.progress);
  const std::vector<TimedCall::Ratio> without = call.ratios(entries, rounds, false, options.progress);
  set_num_threads(threads);
  for (std::size_t i = 0; i < entries.size(); ++i) {
    table.rows.push_back({entries[i].name, with[i].ratio, without[i].ratio, with[i].implementation});
  }
  return table;
}

// Error against time: schemes that no other one beats in both.
Plot pareto(const Table& errors, const Table& time, const std::string& data) {
  LinePlot plot{"Error and time of a call, " + data, "time relative to V per tensor", "relative L2, %"};
  plot.log_y = true, plot.x_from_zero = false;
  for (const auto& row : time.rows) {
    const double error = 100 * figure(errors, row[0].text, data);
    if (std::isnan(error) || std::isnan(row[1].number)) continue;
    plot.series.push_back({row[0].text, {{row[1].number, error}}, false, {}});
  }
  return {"pareto", to_svg(plot)};
}

Plot sinks_plot(const Table& errors, const std::vector<std::string>& schemes, bool tiny) {
  LinePlot plot{std::string("A sink with ") + (tiny ? "a tiny value" : "an ordinary value"),
                "scores of key 0 above the others, nats", "relative L2, %"};
  plot.log_y = true;
  for (const std::string& scheme : schemes) {
    Series series{scheme};
    for (const int nats : {3, 6, 8, 10, 12}) {
      series.points.emplace_back(nats, 100 * figure(errors, scheme, format("sink%d%s", nats, tiny ? "_tiny" : "")));
    }
    plot.series.push_back(std::move(series));
  }
  return {tiny ? "sinks_tiny" : "sinks", to_svg(plot)};
}

// The best of the other presets whose P and V have 8 bits, over int8, on the sinks: above 1, int8 is the most accurate.
Bar sink_bar(const Table& errors, const std::vector<std::string>& sinks) {
  double least = 1e300;
  std::string where;
  for (const std::string& sink : sinks) {
    for (const char* other :
         {kFold, "block and channel", "int_flash", "sage1_int8", "sage2_8b", "sage2pp", "fa3_fp8"}) {
      const double ratio = figure(errors, other, sink) / figure(errors, kInt8, sink);
      if (ratio < least) least = ratio, where = std::string(other) + ", " + sink;
    }
  }
  return {"sinks: the best other recipe with 8-bit P and V over `int8` (" + where + ")", least, 1, false};
}

}  // namespace

Report run_v(const Options& options) {
  const Shape shape = options.quick ? Shape{2, 32, 512, 64} : Shape{2, 64, 4096, 128};
  std::vector<std::string> sinks;
  for (const int nats : {3, 6, 8, 10, 12}) {
    sinks.push_back(format("sink%d", nats));
    sinks.push_back(format("sink%d_tiny", nats));
  }
  std::vector<std::string> names = {"gaussian", "uniform", "v_channels", "v_tokens", "outliers", "v_bias"};
  names.insert(names.end(), sinks.begin(), sinks.end());
  const std::vector<DataSet> data = data_sets(options, names, shape);
  const Table errors = grid("errors", strategies(), data, options);

  // The rest runs in the reference: fewer rows and keys.
  const Shape small = options.quick ? Shape{1, 16, 256, 64} : Shape{1, 32, 2048, 64};
  std::vector<DataSet> few = data_sets(options, {"gaussian", "sink8_tiny"}, small);
  if (options.captures.empty()) few.resize(2);
  Table part = parts(options, few), weight = weights(options, few);
  const Table time = times(options);

  Report report;
  const std::string first = data.front().name;
  const auto error = [&](const char* scheme, const std::string& where) { return 100 * figure(errors, scheme, where); };
  report.method = said(options, shape) + " Q and K as in `int8_fast`. Parts and weights: " + to_string(small) + ".";
  if (options.captures.empty()) {
    report.answer = format(
        "Per token, folded into P: V's scale per tensor costs %s %% of error on Gaussian data and %s %% with a sink of "
        "8 nats and a tiny value; the fold %s and %s %%, at %.2f of the time. A scale per block and channel is as good "
        "(%s %%) without such a sink and fails with it (%s %%).",
        short_number(error("tensor", "gaussian")).c_str(), short_number(error("tensor", "sink8_tiny")).c_str(),
        short_number(error(kFold, "gaussian")).c_str(), short_number(error(kFold, "sink8_tiny")).c_str(),
        time.rows[7][1].number, short_number(error("block and channel", "gaussian")).c_str(),
        short_number(error("block and channel", "sink8_tiny")).c_str());
    report.bars = {sink_bar(errors, sinks)};
    const std::vector<std::string> shown = {"tensor", "channel",   "block and channel", kFold,
                                            "int8",   "int_flash", "sage2_8b",          "fa3_fp8"};
    report.plots = {sinks_plot(errors, shown, false), sinks_plot(errors, shown, true)};
  } else {
    report.answer = format(
        "In this file V per tensor has %s %% of error, per block and channel %s %%, folded per token "
        "%s %%.",
        short_number(error("tensor", first)).c_str(), short_number(error("block and channel", first)).c_str(),
        short_number(error(kFold, first)).c_str());
  }
  report.plots.push_back(pareto(errors, time, data.back().name));
  report.tables = {
      errors,
      pivot(errors, "scheme", "data", "relative_l2", "by_data", "Relative L2 error, mean, %.", 100),
      part,
      pivot(part, "scheme", "data", "relative_l2", "by_part", "One source of error alone, relative L2, %.", 100),
      weight,
      pivot(weight, "scheme", "data", "relative_l2", "by_weights", "P and V alone (Q and K exact), relative L2, %.",
            100),
      pivot(weight, "scheme", "data", "bias", "bias", "The same: relative error of the output's size, %.", 100),
      time};
  return report;
}

}  // namespace octavo::study
