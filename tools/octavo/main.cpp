// The command `octavo`: parses, runs one subcommand, and turns every way of ending into an exit code.
#include <cstdio>
#include <exception>
#include <new>
#include <string>
#include <string_view>
#include <vector>

#include "commands.hpp"
#include "common/failure.hpp"
#include "octavo/version.hpp"

namespace {

// A full disk or a closed pipe behind stdout is known only after the last flush.
int finish(int exit_code) {
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    std::fputs("octavo: writing to stdout failed\n", stderr);
    return octavo::tool::kExitIo;
  }
  return exit_code;
}

// What CLI11 only calls a missing subcommand: which one is wanted, or which word is none.
void report_missing_subcommand(const CLI::App& app) {
  const CLI::App* parent = &app;
  while (!parent->get_subcommands().empty()) parent = parent->get_subcommands().front();
  std::string names;
  for (const CLI::App* command : parent->get_subcommands([](const CLI::App*) { return true; })) {
    names += (names.empty() ? "" : ", ") + command->get_name();
  }
  const std::vector<std::string> words = parent->remaining();
  std::fprintf(stderr, "octavo: %s; the subcommands%s are %s\n",
               words.empty() ? "a subcommand is needed" : ("unknown subcommand '" + words.front() + "'").c_str(),
               parent == &app ? "" : (" of " + parent->get_name()).c_str(), names.c_str());
}

}  // namespace

int main(int argc, char** argv) {
  using namespace octavo::tool;
  try {
    CLI::App app("Quantized attention: supported implementations, accuracy and speed on this machine.", "octavo");
    app.set_version_flag("--version", std::string("octavo ") + octavo::version());
    app.require_subcommand(1);
    app.footer(
        "Exit codes: 0 ok, 1 a check failed, 2 usage, 3 unsupported, 4 input or output.\n"
        "'octavo COMMAND --help' describes a command, with examples.");
    add_info(app);
    add_demo(app);
    add_run(app);
    add_compare(app);
    add_quantize(app);
    add_study(app);
    CLI::App* bench = app.add_subcommand("bench", "Benchmarks: attention, decode, quantize, and the machine's peaks");
    bench->require_subcommand(1);
    bench->footer(
        "Examples:\n"
        "  octavo bench attention --recipe int8 --seqlen-q 4096 --seqlen-k 4096 --json -\n"
        "  octavo bench peak --threads 2");
    add_bench_attention(*bench);
    add_bench_choose(*bench);
    add_bench_decode(*bench);
    add_bench_quantize(*bench);
    add_bench_peak(*bench);
    try {
      app.parse(argc, argv);
    } catch (const CLI::RequiredError& error) {
      if (std::string_view(error.what()).find("subcommand") == std::string_view::npos) {
        app.exit(error);
      } else {
        report_missing_subcommand(app);
      }
      return kExitUsage;
    } catch (const CLI::ParseError& error) {
      return finish(app.exit(error) == 0 ? kExitOk : kExitUsage);
    }
    return finish(kExitOk);
  } catch (const Failure& failure) {
    std::fflush(stdout);
    std::fprintf(stderr, "octavo: %s\n", failure.message.c_str());
    return failure.exit_code;
  } catch (const std::bad_alloc&) {
    std::fputs("octavo: out of memory\n", stderr);
    return kExitUnsupported;
  } catch (const std::exception& error) {
    std::fflush(stdout);
    std::fprintf(stderr, "octavo: %s\n", error.what());
    return kExitUnsupported;  // what was asked for could not be done here; no check has failed
  }
}
