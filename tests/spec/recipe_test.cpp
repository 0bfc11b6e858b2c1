// The presets' table and the grammar: every preset and a neighbour of it goes to text and back.
#include "octavo/recipe.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <set>

namespace octavo {
namespace {

Recipe preset(std::string_view name) {
  Result<Recipe> recipe = parse_recipe(name);
  EXPECT_TRUE(recipe.ok()) << name << ": " << recipe.status().message();
  return recipe.ok() ? *recipe : Recipe{};
}

TEST(Recipe, DefaultIsInt8) {
  EXPECT_EQ(recipes().front().name, "int8");
  EXPECT_EQ(recipes().front().recipe, Recipe{});
  EXPECT_EQ(preset("int8"), Recipe{});
}

TEST(Recipe, AllPresetsOfTheContract) {
  std::set<std::string_view> names;
  for (const RecipeInfo& info : recipes()) {
    names.insert(info.name);
    EXPECT_FALSE(info.summary.empty());
    EXPECT_TRUE(check_recipe(info.recipe).ok()) << info.name << ": " << check_recipe(info.recipe).message();
  }
  EXPECT_EQ(names,
            (std::set<std::string_view>{"exact", "int8", "int8_fast", "int8_block", "int8_p16", "int4", "int_flash",
                                        "int_flash_half", "int_flash_int4", "int_flash_block_v", "sage1", "sage1_int8",
                                        "sage2_8b", "sage2_4b", "sage2pp", "fa3_fp8", "fp8_e4m3", "fp8_e5m2"}));
}

TEST(Recipe, PresetsAreDistinctAndRoundTrip) {
  for (const RecipeInfo& info : recipes()) {
    EXPECT_EQ(to_string(info.recipe), info.name);
    EXPECT_EQ(preset(info.name), info.recipe);
  }
}

TEST(Recipe, NeighboursRoundTrip) {
  for (const RecipeInfo& info : recipes()) {
    for (const auto& [field, value] : {std::pair{"key_block", "48"},
                                       {"hadamard", "on"},
                                       {"smooth_q", "off"},
                                       {"p_reference", "block"},
                                       {"two_level", "off"}}) {
      Recipe changed = info.recipe;
      ASSERT_TRUE(set_recipe_field(changed, field, value).ok());
      ASSERT_TRUE(check_recipe(changed).ok()) << info.name << " " << field;
      Result<Recipe> back = parse_recipe(to_string(changed));
      ASSERT_TRUE(back.ok()) << back.status().message();
      EXPECT_EQ(*back, changed) << to_string(changed);
    }
  }
}

TEST(Recipe, GrammarOfTheCommandLine) {
  Recipe expected;
  expected.smooth_q = false;
  expected.key_block = 64;
  EXPECT_EQ(preset("int8,smooth_q=off,key_block=64"), expected);
  EXPECT_EQ(preset(" int8 , smooth_q = false , key_block=64 "), expected);
  EXPECT_EQ(preset("int8,smooth_q=0,key_block=64"), expected);
  EXPECT_EQ(to_string(expected), "int8,smooth_q=off,key_block=64");
  EXPECT_EQ(preset("sage2pp,v_range=4.5,p_range=224").v_range, 4.5);
}

TEST(Recipe, EveryFieldReadsWhatItWrites) {
  EXPECT_EQ(recipe_fields().size(), 26u);
  for (const RecipeInfo& info : recipes()) {
    Recipe copy;
    for (std::string_view field : recipe_fields()) {
      Result<std::string> text = recipe_field(info.recipe, field);
      ASSERT_TRUE(text.ok());
      ASSERT_TRUE(set_recipe_field(copy, field, *text).ok()) << field << "=" << *text;
    }
    EXPECT_EQ(copy, info.recipe);
  }
}

TEST(Recipe, ErrorsNameTheOffender) {
  for (const auto& [text, word] :
       {std::pair{"", "recipe \"\""},
        {"int9", "int9"},
        {"int8,", "field=value"},
        {"int8,,key_block=64", "field=value"},
        {"int8,key_block", "key_block"},
        {"int8,colour=red", "colour"},
        {"int8,smooth_q=maybe", "maybe"},
        {"int8,key_block=64x", "64x"},
        {"int8,key_block=99999999999", "\"99999999999\"; allowed: a multiple of 16 in 16..4096"},
        {"int8,key_block=100", "allowed: a multiple of 16 in 16..4096"},
        {"int8,p_range=9223372036854775808", "from 1 to what p can hold"},
        {"sage2_8b,v_range=1e999", "0, or a number from 1 to"},
        {"sage2_8b,q_group=4294967296", "16, 32, 64"},
        {"int8,key_block=64,key_block=128", "key_block stands twice in \"int8,key_block=64,key"},
        {"int8,smooth_q=on, smooth_q =on", "smooth_q stands twice"},
        {"int8,smooth_q\n=on", "\"smooth_q\\x0a\" is unknown"},
        {"int8,v_range=", "v_range"}}) {
    Result<Recipe> recipe = parse_recipe(text);
    ASSERT_FALSE(recipe.ok()) << text;
    EXPECT_EQ(recipe.status().code(), StatusCode::kInvalidArgument);
    EXPECT_NE(recipe.status().message().find(word), std::string::npos) << recipe.status().message();
  }
}

TEST(Recipe, ANulDoesNotEndTheMessage) {
  using std::string_view_literals::operator""sv;
  for (const auto& [text, words] : {std::pair{"int8\0"sv, R"(recipe "int8\x00" is unknown; recipes are int8)"sv},
                                    {"int8,p\0=u8"sv, R"(recipe field "p\x00" is unknown; fields are scores)"sv},
                                    {"int8,p=u8\0"sv, R"(recipe field p cannot be "u8\x00"; allowed: )"sv},
                                    {"int8,\0"sv, R"(recipe option "\x00" in "int8,\x00" is not of the form)"sv}}) {
    const std::string message = parse_recipe(text).status().message();
    EXPECT_TRUE(message.starts_with(words)) << message;
    EXPECT_EQ(message.find('\0'), std::string::npos);
  }
}

TEST(Recipe, ContradictionsAreRefusedWithAReason) {
  for (const char* text : {"int8,k_scale=channel",
                           "int8,q_scale=token_folded",
                           "int8,q_scale=none",
                           "exact,k_scale=token",
                           "int8,p_range=256",
                           "int_flash,p_range=128",
                           "int8,p_range=0",
                           "int8,row_sum=codes",
                           "int8,key_block=100",
                           "int8,key_block=0",
                           "int8,key_block=8192",
                           "int8,v_scale=thread",
                           "int8,v_scale=none",
                           "exact,v_scale=tensor",
                           "int8,v_range=3.5",
                           "int8,v_range=200",
                           "int8,v_range=-1",
                           "sage2pp,v_range=nan",
                           "int8,keep_first=17",
                           "int8,keep_near=-1",
                           "int8,keep_near=5",
                           "int8,keep_heavy=33",
                           "int8_block,channel_gains=on",
                           "int8,accumulator=f16",
                           "sage2pp,key_block=128",
                           "sage2_8b,accumulator=f16",
                           "exact,p_range=2",
                           "int8,accumulator=sm90",
                           "sage2_8b,accumulator=sm80",
                           "fp8_e4m3,scores=s8,p=f16,p_range=1,accumulator=sm90",
                           "sage2_8b,v_scale=token,accumulator=sm90",
                           "exact,smooth_k=on,accumulator=sm80",
                           "exact,hadamard_v=on,accumulator=sm80",
                           "sage2_8b,q_group=24",
                           "sage2_8b,p_range=100",
                           "fp8_e5m2,p_range=15",
                           "sage1,p_range=4095",
                           "sage2_8b,k_group=32",
                           "int8,q_group=16",
                           "sage1,k_group=128",
                           "sage2_8b,p_reference=block,accumulator=sm89,two_level=off"}) {
    Result<Recipe> recipe = parse_recipe(text);
    ASSERT_FALSE(recipe.ok()) << text;
    EXPECT_EQ(recipe.status().code(), StatusCode::kInvalidArgument);
    EXPECT_GT(recipe.status().message().size(), 30u);
  }
}

TEST(Recipe, CompositionsStayPossible) {
  for (const char* text :
       {"int_flash,smooth_k=on,hadamard=on", "int8,q_scale=block,k_scale=warp", "sage2_8b,smooth_v=on",
        "int8,channel_gains=on", "int8,v_scale=token", "int8_block,v_scale=block", "sage1,key_block=64,accumulator=f16",
        "int8,key_block=4096", "exact,smooth_k=on", "fp8_e4m3,accumulator=sm90,two_level=off", "sage1,accumulator=sm80",
        "exact,accumulator=sm80", "int8_block,q_group=16,k_group=128", "sage1,q_scale=warp,q_group=64",
        "int8,scores=e4m3,accumulator=sm89", "int8,keep_first=16,keep_near=4,keep_heavy=32",
        "fa3_fp8,accumulator=sm100,two_level=off"}) {
    EXPECT_TRUE(parse_recipe(text).ok()) << parse_recipe(text).status().message();
  }
}

// Another thread may be in a call while the process ends.
TEST(RecipeDeathTest, ListsOutliveExit) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        // Registered before whatever the lists would register, so it runs after that.
        std::atexit(
            [] { std::_Exit(recipes().front().name == "int8" && recipe_fields().front() == "scores" ? 0 : 1); });
        std::exit(recipes().empty() || recipe_fields().empty() ? 2 : 3);
      },
      ::testing::ExitedWithCode(0), "");
}

TEST(Recipe, ValuesThatAreNoEnumeratorsAreRefused) {
  Recipe recipe;
  recipe.p = static_cast<WeightFormat>(99);
  EXPECT_FALSE(check_recipe(recipe).ok());
}

}  // namespace
}  // namespace octavo
