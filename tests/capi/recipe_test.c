/* The recipe grammar, the list of presets and the recipe's fields from C. */
#include "check.h"

static octavo_recipe_t parsed(const char* text) {
  octavo_recipe_t recipe = OCTAVO_RECIPE_INIT;
  CHECK_OK(octavo_recipe_parse(text, &recipe));
  return recipe;
}

static void test_text(void) {
  octavo_recipe_t recipe = OCTAVO_RECIPE_INIT;
  const octavo_recipe_t int8 = parsed("int8"), before = OCTAVO_RECIPE_INIT;
  char text[64] = "?";
  size_t length = 0;
  CHECK(memcmp(&recipe, &int8, sizeof recipe) == 0);

  recipe = parsed("int8,smooth_q=off,key_block=64");
  CHECK(recipe.smooth_q == 0 && recipe.key_block == 64 && recipe.smooth_k == 1);
  CHECK_OK(octavo_recipe_text(&recipe, text, sizeof text, &length));
  CHECK(length == strlen(text) && strstr(text, "smooth_q=off") != NULL && strstr(text, "key_block=64") != NULL);
  /* Cut off, or only measured. */
  CHECK_OK(octavo_recipe_text(&recipe, text, 5, &length));
  CHECK(strcmp(text, "int8") == 0 && length > 4);
  length = 0;
  CHECK_OK(octavo_recipe_text(&recipe, NULL, 0, &length));
  CHECK(length > 4);
  CHECK_OK(octavo_recipe_text(&recipe, NULL, 0, NULL));
  CHECK_ERROR(octavo_recipe_text(&recipe, NULL, 1, &length), OCTAVO_INVALID_ARGUMENT, "buffer is null");
  CHECK_ERROR(octavo_recipe_text(NULL, text, sizeof text, &length), OCTAVO_INVALID_ARGUMENT, "recipe is null");

  recipe = before;
  CHECK_ERROR(octavo_recipe_parse("int9", &recipe), OCTAVO_INVALID_ARGUMENT, "int9");
  CHECK_ERROR(octavo_recipe_parse("int8,colour=red", &recipe), OCTAVO_INVALID_ARGUMENT, "colour");
  CHECK_ERROR(octavo_recipe_parse("int8,smooth_q=perhaps", &recipe), OCTAVO_INVALID_ARGUMENT, "perhaps");
  CHECK_ERROR(octavo_recipe_parse("", &recipe), OCTAVO_INVALID_ARGUMENT, "recipe");
  CHECK_ERROR(octavo_recipe_parse(NULL, &recipe), OCTAVO_INVALID_ARGUMENT, "text is null");
  CHECK_ERROR(octavo_recipe_parse("int8", NULL), OCTAVO_INVALID_ARGUMENT, "recipe is null");
  CHECK(memcmp(&recipe, &before, sizeof recipe) == 0);
}

static void test_presets(void) {
  octavo_recipe_t recipe = OCTAVO_RECIPE_INIT;
  char text[256];
  size_t i;
  CHECK(octavo_recipe_count() >= 16);
  CHECK(strcmp(octavo_recipe_name(0), "int8") == 0);
  for (i = 0; i < octavo_recipe_count(); ++i) {
    CHECK_OK(octavo_recipe_parse(octavo_recipe_name(i), &recipe));
    CHECK_OK(octavo_recipe_check(&recipe));
    CHECK_OK(octavo_recipe_text(&recipe, text, sizeof text, NULL));
    CHECK(strcmp(text, octavo_recipe_name(i)) == 0);
    CHECK(octavo_recipe_summary(i)[0] != '\0');
  }
  CHECK(octavo_recipe_name(i) == NULL && octavo_recipe_summary(i) == NULL);
  CHECK(octavo_recipe_name((size_t)-1) == NULL && octavo_recipe_summary((size_t)-1) == NULL);
}

/* Every field by its name: what is read can be set, and there is one in the struct for each. */
static void test_fields(void) {
  octavo_recipe_t recipe = OCTAVO_RECIPE_INIT;
  const octavo_recipe_t int8 = OCTAVO_RECIPE_INIT;
  char value[32];
  size_t i, length;
  CHECK(octavo_recipe_field_count() == 26);
  for (i = 0; i < octavo_recipe_field_count(); ++i) {
    CHECK_OK(octavo_recipe_get(&recipe, octavo_recipe_field_name(i), value, sizeof value, &length));
    CHECK(length == strlen(value) && length > 0);
    CHECK_OK(octavo_recipe_set(&recipe, octavo_recipe_field_name(i), value));
  }
  CHECK(memcmp(&recipe, &int8, sizeof recipe) == 0);
  CHECK(octavo_recipe_field_name(i) == NULL && octavo_recipe_field_name((size_t)-1) == NULL);

  CHECK_OK(octavo_recipe_set(&recipe, "p", "u16"));
  CHECK(recipe.p == OCTAVO_WEIGHT_U16);
  CHECK_OK(octavo_recipe_set(&recipe, "v_range", "2.25"));
  CHECK(recipe.v_range == 2.25);
  recipe = int8;
  CHECK_ERROR(octavo_recipe_set(&recipe, "colour", "red"), OCTAVO_INVALID_ARGUMENT, "colour");
  CHECK_ERROR(octavo_recipe_set(&recipe, "p", "red"), OCTAVO_INVALID_ARGUMENT, "red");
  CHECK_ERROR(octavo_recipe_set(&recipe, NULL, "u8"), OCTAVO_INVALID_ARGUMENT, "field is null");
  CHECK_ERROR(octavo_recipe_set(&recipe, "p", NULL), OCTAVO_INVALID_ARGUMENT, "value is null");
  CHECK_ERROR(octavo_recipe_set(NULL, "p", "u8"), OCTAVO_INVALID_ARGUMENT, "recipe is null");
  CHECK_ERROR(octavo_recipe_get(NULL, "p", value, sizeof value, NULL), OCTAVO_INVALID_ARGUMENT, "recipe is null");
  CHECK_ERROR(octavo_recipe_get(&recipe, NULL, value, sizeof value, NULL), OCTAVO_INVALID_ARGUMENT, "field is null");
  CHECK_ERROR(octavo_recipe_get(&recipe, "colour", value, sizeof value, NULL), OCTAVO_INVALID_ARGUMENT, "colour");
  CHECK_ERROR(octavo_recipe_get(&recipe, "p", NULL, 3, NULL), OCTAVO_INVALID_ARGUMENT, "buffer is null");
  CHECK(memcmp(&recipe, &int8, sizeof recipe) == 0);
}

/* Each enumeration and switch refuses what lies just outside of it. */
static void test_ranges(void) {
  static const struct {
    size_t offset;
    int32_t last;
    const char* name;
  } fields[] = {{offsetof(octavo_recipe_t, scores), OCTAVO_FORMAT_E5M2, "recipe.scores"},
                {offsetof(octavo_recipe_t, q_scale), OCTAVO_GRANULARITY_BLOCK_CHANNEL, "recipe.q_scale"},
                {offsetof(octavo_recipe_t, k_scale), OCTAVO_GRANULARITY_BLOCK_CHANNEL, "recipe.k_scale"},
                {offsetof(octavo_recipe_t, hadamard), 1, "recipe.hadamard"},
                {offsetof(octavo_recipe_t, smooth_q), 1, "recipe.smooth_q"},
                {offsetof(octavo_recipe_t, smooth_k), 1, "recipe.smooth_k"},
                {offsetof(octavo_recipe_t, smooth_v), 1, "recipe.smooth_v"},
                {offsetof(octavo_recipe_t, p), OCTAVO_WEIGHT_E5M2, "recipe.p"},
                {offsetof(octavo_recipe_t, p_reference), OCTAVO_MAXIMUM_BLOCK, "recipe.p_reference"},
                {offsetof(octavo_recipe_t, row_sum), OCTAVO_ROW_SUM_CODES, "recipe.row_sum"},
                {offsetof(octavo_recipe_t, values), OCTAVO_FORMAT_E5M2, "recipe.values"},
                {offsetof(octavo_recipe_t, v_scale), OCTAVO_GRANULARITY_BLOCK_CHANNEL, "recipe.v_scale"},
                {offsetof(octavo_recipe_t, hadamard_v), 1, "recipe.hadamard_v"},
                {offsetof(octavo_recipe_t, channel_gains), 1, "recipe.channel_gains"},
                {offsetof(octavo_recipe_t, accumulator), OCTAVO_ACCUMULATOR_SM80, "recipe.accumulator"},
                {offsetof(octavo_recipe_t, two_level), 1, "recipe.two_level"}};
  size_t i;
  for (i = 0; i < sizeof fields / sizeof fields[0]; ++i) {
    octavo_recipe_t recipe = OCTAVO_RECIPE_INIT;
    int32_t* const field = (int32_t*)(void*)((char*)&recipe + fields[i].offset);
    *field = fields[i].last + 1;
    CHECK_ERROR(octavo_recipe_check(&recipe), OCTAVO_INVALID_ARGUMENT, fields[i].name);
    *field = -1;
    CHECK_ERROR(octavo_recipe_check(&recipe), OCTAVO_INVALID_ARGUMENT, fields[i].name);
    *field = 256; /* not to be taken for 0 */
    CHECK_ERROR(octavo_recipe_check(&recipe), OCTAVO_INVALID_ARGUMENT, fields[i].name);
  }
  {
    octavo_recipe_t recipe = OCTAVO_RECIPE_INIT;
    CHECK_OK(octavo_recipe_check(&recipe));
    recipe.key_block = 77;
    CHECK_ERROR(octavo_recipe_check(&recipe), OCTAVO_INVALID_ARGUMENT, "77");
    CHECK_ERROR(octavo_recipe_check(NULL), OCTAVO_INVALID_ARGUMENT, "recipe is null");
  }
}

int main(void) {
  test_text();
  test_presets();
  test_fields();
  test_ranges();
  return report();
}
