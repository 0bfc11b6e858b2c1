// octavo info: what this build is, what this machine can run of it, and what the environment asks for.
#include <cstdlib>
#include <memory>
#include <vector>

#include "call_options.hpp"
#include "commands.hpp"
#include "common/failure.hpp"
#include "common/machine.hpp"
#include "octavo/attention.hpp"
#include "octavo/device.hpp"
#include "octavo/implementation.hpp"
#include "octavo/parallel.hpp"
#include "octavo/recipe.hpp"
#include "octavo/version.hpp"

namespace octavo::tool {
namespace {

constexpr const char* kVariables[] = {"OCTAVO_FORCE_IMPLEMENTATION", "OCTAVO_NUM_THREADS", "OCTAVO_LOG",
                                      "OCTAVO_INTERLEAVE_SOFTMAX", "OCTAVO_CUDA_PING_PONG"};

// Whether a plain call with this recipe would be served: asked without data, through the size of its workspace.
Status serves(const Recipe& recipe) {
  constexpr std::int64_t kRows = 256, kHeads = 2, kDim = 64;
  AttentionInputs inputs;
  inputs.q = inputs.k = inputs.v = inputs.out = TensorView(nullptr, DType::f16, {1, kRows, kHeads, kDim});
  AttentionParams params;
  params.recipe = recipe;
  return workspace_size(inputs, params).status();
}

Json collect() {
  Json json = {{"schema_version", kSchemaVersion}, {"kind", "info"}, {"version", version()}, {"machine", machine()}};
  json["slow_features"] = slow_processor_features();
  json["interleaves_softmax"] = interleaves_softmax();
  json["implementations"] = Json::array();
  for (const ImplementationInfo& info : implementations()) {
    json["implementations"].push_back({{"name", info.name},
                                       {"description", info.description},
                                       {"supported", info.supported},
                                       {"reason", info.reason}});
  }
  json["devices"] = Json::array();
  const Result<std::vector<DeviceInfo>> found = devices();
  json["devices_reason"] = found.status().message();
  for (std::size_t i = 0; found.ok() && i < (*found).size(); ++i) {
    const DeviceInfo& info = (*found)[i];
    json["devices"].push_back({{"index", info.device.index},
                               {"name", info.name},
                               {"compute_capability", info.compute_capability},
                               {"memory_bytes", info.memory_bytes},
                               {"multiprocessors", info.multiprocessors}});
  }
  const Result<std::string_view> active = active_implementation();
  json["active_implementation"] = active.ok() ? Json(*active) : Json(nullptr);
  if (!active.ok()) json["active_implementation_reason"] = active.status().message();
  json["recipes"] = Json::array();
  for (const RecipeInfo& info : recipes()) {
    const Status status = serves(info.recipe);
    json["recipes"].push_back(
        {{"name", info.name}, {"summary", info.summary}, {"supported", status.ok()}, {"reason", status.message()}});
  }
  json["threads"] = num_threads();
  json["environment"] = Json::object();
  for (const char* variable : kVariables) {
    const char* value = std::getenv(variable);
    json["environment"][variable] = value == nullptr ? Json(nullptr) : Json(value);
  }
  return json;
}

std::string word(const Json& value) { return value.is_string() ? value.get<std::string>() : "not set"; }

void print(const Json& json, std::FILE* stream) {
  using Align = Table::Align;
  std::fprintf(stream, "octavo %s\n", word(json["version"]).c_str());
  std::fprintf(stream, "processor   %s\nfeatures    %s\nthreads     %d\n", word(json["machine"]["processor"]).c_str(),
               word(json["machine"]["features"]).c_str(), json["threads"].get<int>());
  if (const std::string slow = word(json["slow_features"]); !slow.empty())
    std::fprintf(stream, "slow here   %s: implementations that need it are not preferred\n", slow.c_str());
  std::fprintf(stream, "softmax     %s the products, in kernels that can interleave them\n",
               json["interleaves_softmax"].get<bool>() ? "between" : "apart from");
  std::fprintf(
      stream, "active      %s\n",
      word(json[json["active_implementation"].is_null() ? "active_implementation_reason" : "active_implementation"])
          .c_str());
  std::fprintf(stream, "\nCUDA devices\n");
  if (json["devices"].empty()) std::fprintf(stream, "  none: %s\n", word(json["devices_reason"]).c_str());
  Table gpus({Align::left, Align::left, Align::left, Align::left});
  for (const Json& gpu : json["devices"]) {
    gpus.add({"", "cuda:" + gpu["index"].dump(), word(gpu["name"]),
              "compute capability " + word(gpu["compute_capability"])});
  }
  gpus.print(stream);
  std::fprintf(stream, "\nimplementations, in order of preference\n");
  Table implementations({Align::left, Align::left, Align::left, Align::left});
  for (const Json& entry : json["implementations"]) {
    implementations.add({"", word(entry["name"]),
                         entry["supported"].get<bool>() ? "yes" : "no: " + word(entry["reason"]),
                         word(entry["description"])});
  }
  implementations.print(stream);
  std::fprintf(stream, "\nrecipes (the first is the default)\n");
  Table recipes({Align::left, Align::left, Align::left, Align::left});
  for (const Json& entry : json["recipes"]) {
    recipes.add({"", word(entry["name"]), entry["supported"].get<bool>() ? "yes" : "not here", word(entry["summary"])});
  }
  recipes.print(stream);
  std::fprintf(stream, "\nenvironment\n");
  Table environment({Align::left, Align::left, Align::left});
  for (const auto& [name, value] : json["environment"].items()) environment.add({"", name, word(value)});
  environment.print(stream);
}

}  // namespace

void add_info(CLI::App& octavo) {
  auto json = std::make_shared<std::string>();
  CLI::App* command =
      octavo.add_subcommand("info", "Processor, implementations and why one cannot run, recipes, environment");
  add_json_option(*command, *json);
  command->footer("Examples:\n  octavo info\n  octavo info --json -");
  command->callback([json] {
    const Json collected = collect();
    print(collected, text_stream(*json));
    write_json(*json, collected);
  });
}

}  // namespace octavo::tool
