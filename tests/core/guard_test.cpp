// Public functions without memory: whichever allocation of theirs fails, a Status or Result comes back, no exception.
#include "core/guard.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <limits>
#include <new>
#include <string>

#include "octavo/octavo.h"
#include "octavo/octavo.hpp"

// Allocations that this thread may still make.
static thread_local long allowed = std::numeric_limits<long>::max();

void* operator new(std::size_t bytes) {
  if (--allowed < 0) throw std::bad_alloc();
  if (void* memory = std::malloc(bytes > 0 ? bytes : 1)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace octavo {
namespace {

// Calls with 0, 1, 2, ... allocations until they are enough; returns how many that are.
template <class Call>
long try_with_little_memory(const char* name, const Call& call) {
  const StatusCode expected = call();
  for (long enough = 0; enough < 1000; ++enough) {
    allowed = enough;
    StatusCode code = StatusCode::kOk;
    bool thrown = false;
    try {
      code = call();
    } catch (...) {
      thrown = true;
    }
    const bool short_of_memory = allowed < 0;
    allowed = std::numeric_limits<long>::max();
    EXPECT_FALSE(thrown) << name << " threw with " << enough << " allocations";
    if (thrown || !short_of_memory) return enough;
    EXPECT_EQ(code, StatusCode::kResourceExhausted) << name << " with " << enough << " allocations";
  }
  ADD_FAILURE() << name << " never came to an end, which should be " << to_string(expected);
  return 0;
}

TEST(GuardTest, ListsWithoutMemoryAreEmptyInC) {
  // The first calls of this process, which make the lists.
  allowed = 0;
  const size_t recipes = octavo_recipe_count(), fields = octavo_recipe_field_count();
  const char* const name = octavo_recipe_name(0);
  allowed = std::numeric_limits<long>::max();
  EXPECT_EQ(recipes, 0u);
  EXPECT_EQ(fields, 0u);
  EXPECT_EQ(name, nullptr);
  EXPECT_GT(octavo_recipe_count(), 10u);
  EXPECT_GT(octavo_recipe_field_count(), 10u);
  EXPECT_STREQ(octavo_recipe_name(0), "int8");
}

TEST(GuardTest, NoAllocationOfAStatusOrResultThrows) {
  Recipe senseless;
  senseless.key_block = -1;
  const struct {
    const char* name;
    std::function<StatusCode()> call;  // not the Status: its copy allocates
  } calls[] = {
      {"parse_recipe", [] { return parse_recipe("int8,smooth_q=maybe").status().code(); }},
      {"recipe_field", [] { return recipe_field({}, "no_such_field_anywhere").status().code(); }},
      {"set_recipe_field",
       [] {
         Recipe recipe;
         return set_recipe_field(recipe, "smooth_q", "neither on nor off").code();
       }},
      {"check_recipe", [&] { return check_recipe(senseless).code(); }},
      {"force_implementation", [] { return force_implementation("no_such_implementation").code(); }},
  };
  for (const auto& [name, call] : calls) {
    EXPECT_EQ(call(), StatusCode::kInvalidArgument) << name;
    EXPECT_GT(try_with_little_memory(name, call), 0) << name << " allocates nothing: the test says nothing";
  }
  try_with_little_memory("active_implementation", [] { return active_implementation().status().code(); });
}

}  // namespace
}  // namespace octavo
