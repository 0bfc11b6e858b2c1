// octavo bench quantize: time to make the codes and scales of one operand, x [B, N, H, D].
#include <memory>

#include "bench_shape.hpp"
#include "commands.hpp"
#include "common/failure.hpp"
#include "common/machine.hpp"
#include "common/random_tensor.hpp"
#include "common/timing.hpp"
#include "device_tensors.hpp"
#include "octavo/implementation.hpp"
#include "octavo/parallel.hpp"
#include "octavo/quantize.hpp"
#include "role_option.hpp"

namespace octavo::tool {
namespace {

constexpr int kWarmUp = 2;

struct Options {
  BenchShape shape;
  CallOptions call;
  std::string role = "k";
};

void run(Options& options) {
  BenchShape& shape = options.shape;
  resolve(shape);
  const Recipe recipe = params_of(options.call).recipe;
  const Execution execution = device_execution_of(options.call);
  DeviceTensors device(device_of(options.call));
  const Role role = role_of(options.role);
  const std::int64_t rows = role == Role::q ? shape.seqlen_q : shape.seqlen_k;
  const std::int64_t heads = role == Role::q ? shape.heads : shape.kv_heads;
  const std::int64_t dim = role == Role::v ? shape.value_head_dim : shape.head_dim;
  const io::Tensor x = random_tensor("x", float_dtype_of(shape.dtype), {shape.batch, rows, heads, dim}, 1);

  const TensorView operand = device.moved(x.view());
  const auto call = [&] {
    require(quantize(operand, role, recipe, Layout::nhd, execution).status());
    device.wait();
  };
  for (int i = 0; i < kWarmUp; ++i) call();
  const Times measured = repeat(shape.repeat, num_threads(), call);
  const std::vector<double>& times = measured.microseconds;

  const double gbs = static_cast<double>(x.bytes()) / median(times) / 1e3;
  Json parameters = parameters_json(shape, options.call);
  parameters["role"] = options.role;
  // No product is computed here: gops has no meaning, bytes of the input per second have.
  write_json(options.call.json, {{"schema_version", kSchemaVersion},
                                 {"kind", "quantize"},
                                 {"machine", machine()},
                                 {"parameters", parameters},
                                 {"time_us", time_json(times)},
                                 {"cpu_share", measured.cpu_share},
                                 {"gops", nullptr},
                                 {"input_gbs", gbs},
                                 {"with_quantization", true},
                                 {"implementation", last_implementation()}});
  std::fprintf(text_stream(options.call.json), "%s %s  %s  median %.1f us (min %.1f, max %.1f)  %.2f GB/s of input\n",
               to_string(recipe).c_str(), options.role.c_str(), std::string(last_implementation()).c_str(),
               median(times), *std::min_element(times.begin(), times.end()),
               *std::max_element(times.begin(), times.end()), gbs);
}

}  // namespace

void add_bench_quantize(CLI::App& bench) {
  auto options = std::make_shared<Options>();
  CLI::App* command = bench.add_subcommand("quantize", "Time to quantize one operand of N(0, 1) data");
  add_recipe_option(*command, options->call);
  add_role_option(*command, options->role);
  add_shape_options(*command, options->shape);
  add_machine_options(*command, options->call);
  command->footer("Example:\n  octavo bench quantize --recipe int8 --role k --seqlen-k 4096 --json -");
  command->callback([options] { run(*options); });
}

}  // namespace octavo::tool
