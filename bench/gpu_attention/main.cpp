#include "attention_bench.hpp"

int main(int count, char** arguments) { return octavo::bench::attention_bench(count, arguments); }
