// Times octavo::attention() on CUDA device 0 without Python: what make gpu-check measures where the Python package
// cannot be built.
#pragma once

namespace octavo::bench {

/// The program; returns its exit code: 0, 1 where a recipe failed, 2 for a wrong argument, 3 without a GPU.
int attention_bench(int count, char** arguments);

}  // namespace octavo::bench
