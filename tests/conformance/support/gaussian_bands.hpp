// Relative L2 of O, per cent, on N(0, 1) at D 128 and N 4096: around what each recipe's arithmetic gives. The lower
// ends show a step that was left out, since a recipe cannot be better than its bits; the upper ends of int8 and
// int_flash_half are the gates that they must pass.
#pragma once

namespace octavo::test {

struct Band {
  const char* recipe;
  double least, most;
};

inline constexpr Band kGaussianBands[] = {
    {"int8", 0.8, 1.50},  {"int_flash_half", 0.6, 1.3}, {"int8_block", 1.0, 1.9},        {"int8_p16", 0.5, 1.2},
    {"int4", 12, 22},     {"int_flash", 2.5, 4.5},      {"int_flash_block_v", 2.0, 4.5}, {"int_flash_int4", 60, 105},
    {"sage1", 0.9, 1.7},  {"sage1_int8", 2.0, 4.5},     {"sage2_8b", 3.0, 4.7},          {"sage2pp", 3.0, 4.7},
    {"sage2_4b", 16, 26}, {"fa3_fp8", 4.2, 6.5},        {"fp8_e4m3", 4.0, 7.5},          {"fp8_e5m2", 8.5, 13}};

inline constexpr Band kInt8Band = kGaussianBands[0];

}  // namespace octavo::test
