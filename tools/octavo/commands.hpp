// The list of subcommands; each is defined in the file of its name and declares its options and its callback here.
#pragma once

#include <CLI/CLI.hpp>

namespace octavo::tool {

void add_info(CLI::App& octavo);
void add_demo(CLI::App& octavo);
void add_run(CLI::App& octavo);
void add_compare(CLI::App& octavo);
void add_quantize(CLI::App& octavo);
void add_study(CLI::App& octavo);

// octavo bench ...
void add_bench_attention(CLI::App& bench);
void add_bench_choose(CLI::App& bench);
void add_bench_decode(CLI::App& bench);
void add_bench_quantize(CLI::App& bench);
void add_bench_peak(CLI::App& bench);

}  // namespace octavo::tool
