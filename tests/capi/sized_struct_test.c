/* Programs of other versions: smaller structs get defaults for what they lack, larger ones may only bring zeros. */
#include <stddef.h>

#include "call.h"

static struct call c;

static const size_t kNeverSizes[] = {0, 1, 7, 9, 4104, (size_t)-1};
enum { kNevers = sizeof kNeverSizes / sizeof kNeverSizes[0] };

/* A struct as a later version might have it. */
#define LATER(type) \
  struct {          \
    type known;     \
    int64_t more;   \
  }

static void test_inputs(void) {
  static const struct options off;
  LATER(octavo_attention_inputs_t) later;
  size_t i;
  make_call(&c);
  for (i = 0; i < kNevers; ++i) {
    c.inputs.struct_size = kNeverSizes[i];
    CHECK_REFUSED(c, OCTAVO_INVALID_ARGUMENT, "inputs.struct_size is ");
  }
  /* From before masks and layouts: whatever stands there is not read. */
  c.inputs.struct_size = offsetof(octavo_attention_inputs_t, mask);
  c.inputs.mask = (const octavo_tensor_t*)(size_t)1;
  c.inputs.cu_seqlens_k = c.inputs.mask;
  c.inputs.layout = 1234;
  CHECK_OK(run(&c));
  CHECK(distance(&c, off) <= 1e-5);

  make_call(&c);
  later.known = c.inputs;
  later.known.struct_size = sizeof later;
  later.more = 0;
  CHECK_OK(octavo_attention(&later.known, &c.params, NULL));
  CHECK(distance(&c, off) <= 1e-5);
  wipe(&c);
  later.more = 1;
  CHECK_ERROR(octavo_attention(&later.known, &c.params, NULL), OCTAVO_UNIMPLEMENTED, "is not zero");
  CHECK(untouched(&c));
}

static void test_params(void) {
  static const struct options off;
  LATER(octavo_attention_params_t) later;
  size_t i;
  make_call(&c);
  for (i = 0; i < kNevers; ++i) {
    c.params.struct_size = kNeverSizes[i];
    CHECK_REFUSED(c, OCTAVO_INVALID_ARGUMENT, "params.struct_size is ");
  }
  c.params.struct_size = offsetof(octavo_attention_params_t, softmax_scale);
  c.params.softmax_scale = 5;
  c.params.window_left = c.params.window_right = 0;
  c.params.softcap = 1;
  c.params.causal = OCTAVO_CAUSAL_TOP_LEFT;
  CHECK_OK(run(&c));
  CHECK(distance(&c, off) <= 1e-5);
  /* Without a recipe: the default one. */
  c.params.struct_size = sizeof(size_t);
  CHECK_OK(run(&c));
  CHECK(distance(&c, off) < 0.05);

  make_call(&c);
  later.known = c.params;
  later.known.struct_size = sizeof later;
  later.more = 0;
  CHECK_OK(octavo_attention(&c.inputs, &later.known, NULL));
  wipe(&c);
  later.more = (int64_t)1 << 56;
  CHECK_ERROR(octavo_attention(&c.inputs, &later.known, NULL), OCTAVO_UNIMPLEMENTED, "params");
  CHECK(untouched(&c));
}

static void test_execution(void) {
  LATER(octavo_execution_t) later;
  octavo_runner_t runner = OCTAVO_RUNNER_INIT;
  size_t i;
  make_call(&c);
  for (i = 0; i < kNevers; ++i) {
    c.execution.struct_size = kNeverSizes[i];
    CHECK_REFUSED(c, OCTAVO_INVALID_ARGUMENT, "execution.struct_size is ");
  }
  c.execution.struct_size = offsetof(octavo_execution_t, runner);
  c.execution.runner = (const octavo_runner_t*)(size_t)1;
  c.execution.stream = &c;
  CHECK_OK(run(&c));

  make_call(&c);
  c.execution.runner = &runner;
  for (i = 0; i < kNevers; ++i) {
    runner.struct_size = kNeverSizes[i];
    CHECK_REFUSED(c, OCTAVO_INVALID_ARGUMENT, "runner.struct_size is ");
  }
  make_call(&c);
  later.known = c.execution;
  later.known.struct_size = sizeof later;
  later.more = 0;
  CHECK_OK(octavo_attention(&c.inputs, NULL, &later.known));
  wipe(&c);
  later.more = -1;
  CHECK_ERROR(octavo_attention(&c.inputs, NULL, &later.known), OCTAVO_UNIMPLEMENTED, "execution");
  CHECK(untouched(&c));
}

static void test_tensor(void) {
  LATER(octavo_tensor_t) later;
  make_call(&c);
  later.known = c.tq;
  later.known.struct_size = sizeof later;
  later.more = 0;
  c.inputs.q = &later.known;
  CHECK_OK(run(&c));
  wipe(&c);
  later.more = 2;
  CHECK_REFUSED(c, OCTAVO_UNIMPLEMENTED, "q.struct_size is ");
  /* Without a rank there is no tensor. */
  c.inputs.q = &c.tq;
  c.tq.struct_size = offsetof(octavo_tensor_t, dtype);
  CHECK_REFUSED(c, OCTAVO_INVALID_ARGUMENT, "q has rank 0");
}

static void test_recipe(void) {
  LATER(octavo_recipe_t) later;
  struct {
    octavo_recipe_t recipe;
    double behind;
  } guarded;
  octavo_recipe_t recipe = OCTAVO_RECIPE_INIT, expected = OCTAVO_RECIPE_INIT;
  char text[64];
  size_t i;
  for (i = 0; i < kNevers; ++i) {
    recipe.struct_size = kNeverSizes[i];
    CHECK_ERROR(octavo_recipe_parse("exact", &recipe), OCTAVO_INVALID_ARGUMENT, "recipe.struct_size is ");
    CHECK_ERROR(octavo_recipe_check(&recipe), OCTAVO_INVALID_ARGUMENT, "recipe.struct_size is ");
    recipe.struct_size = sizeof recipe;
    CHECK(memcmp(&recipe, &expected, sizeof recipe) == 0);
  }
  /* From before v_range: not read, not written, and what needs it is not handed out. Gains, kept keys and robust means
   * are off. */
  recipe.struct_size = offsetof(octavo_recipe_t, v_range);
  recipe.v_range = 99;
  CHECK_OK(octavo_recipe_check(&recipe));
  CHECK_OK(octavo_recipe_text(&recipe, text, sizeof text, NULL));
  CHECK(strcmp(text, "int8_fast,smooth_v=on,robust=off") == 0);
  CHECK_OK(octavo_recipe_parse("sage2_8b", &recipe));
  CHECK(recipe.scores == OCTAVO_FORMAT_S8 && recipe.values == OCTAVO_FORMAT_E4M3 && recipe.v_range == 99);
  CHECK_ERROR(octavo_recipe_parse("sage2pp", &recipe), OCTAVO_UNIMPLEMENTED, "struct_size");
  CHECK_OK(octavo_recipe_text(&recipe, text, sizeof text, NULL));
  CHECK(strcmp(text, "sage2_8b") == 0);
  CHECK_ERROR(octavo_recipe_set(&recipe, "v_range", "2.25"), OCTAVO_UNIMPLEMENTED, "struct_size");
  CHECK(recipe.v_range == 99);

  /* From before the slices of groups: they are 32 and 64. */
  recipe = expected;
  recipe.struct_size = offsetof(octavo_recipe_t, q_group);
  recipe.q_group = recipe.k_group = 7;
  CHECK_OK(octavo_recipe_check(&recipe));
  CHECK_OK(octavo_recipe_parse("sage2pp", &recipe));
  CHECK(recipe.v_range == 2.25 && recipe.q_group == 7);
  CHECK_ERROR(octavo_recipe_parse("sage2pp,q_group=16", &recipe), OCTAVO_UNIMPLEMENTED, "struct_size");
  recipe = expected;
  CHECK_OK(octavo_recipe_parse("sage2pp,q_group=16,k_group=128", &recipe));
  CHECK(recipe.q_group == 16 && recipe.k_group == 128);

  later.known = expected;
  later.known.struct_size = sizeof later;
  later.more = 17;
  CHECK_ERROR(octavo_recipe_check(&later.known), OCTAVO_UNIMPLEMENTED, "is not zero");
  CHECK_OK(octavo_recipe_parse("exact", &later.known));
  CHECK(later.more == 0 && later.known.struct_size == sizeof later);
  CHECK_OK(octavo_recipe_check(&later.known));

  guarded.recipe = expected;
  guarded.behind = 5;
  CHECK_OK(octavo_recipe_parse("exact", &guarded.recipe));
  CHECK(guarded.behind == 5);
}

int main(void) {
  test_inputs();
  test_params();
  test_execution();
  test_tensor();
  test_recipe();
  return report();
}
