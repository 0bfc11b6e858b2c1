// Values of every field of a recipe, for tests that compose recipes from the whole grammar.
#pragma once

#include <map>
#include <string_view>
#include <vector>

namespace octavo::test {

// Some are not allowed. Those of enumerations are complete.
inline const std::map<std::string_view, std::vector<const char*>>& values_of_fields() {
  using Values = std::vector<const char*>;
  static const Values kFormats = {"input", "f16", "s8", "s4", "e4m3", "e5m2"};
  static const Values kScales = {"none",  "tensor",       "block",   "warp",         "thread",
                                 "token", "token_folded", "channel", "block_channel"};
  static const Values kSwitch = {"on", "off"};
  static const std::map<std::string_view, Values> kValues = {
      {"scores", kFormats},
      {"q_scale", kScales},
      {"k_scale", kScales},
      {"q_group", {"16", "32", "64", "48", "0"}},
      {"k_group", {"64", "128", "32", "-64"}},
      {"hadamard", kSwitch},
      {"smooth_q", kSwitch},
      {"smooth_k", kSwitch},
      {"smooth_v", kSwitch},
      {"hadamard_v", kSwitch},
      {"channel_gains", kSwitch},
      {"p", {"input", "f16", "s8", "u8", "u16", "e4m3", "e5m2"}},
      {"p_range", {"1", "7", "15", "100", "127", "255", "256", "448", "4095", "65535", "0", "-3", "2000000000"}},
      {"p_reference", {"running", "block"}},
      {"row_sum", {"weights", "codes"}},
      {"values", kFormats},
      {"v_scale", kScales},
      {"v_range", {"0", "2.25", "4.5", "7", "100", "127", "-1", "inf", "1e9"}},
      {"key_block", {"16", "48", "64", "128", "256", "512", "1024", "4096", "0", "100", "8192", "-128"}},
      {"accumulator", {"f32", "f16", "sm80", "sm89", "sm90", "sm100"}},
      {"two_level", kSwitch},
      {"qk_gains", kSwitch},
      {"robust", kSwitch},
      {"keep_first", {"0", "1", "16", "17", "-1"}},
      {"keep_near", {"0", "1", "2", "4", "5"}},
      {"keep_heavy", {"0", "1", "16", "32", "33"}},
  };
  return kValues;
}

}  // namespace octavo::test
