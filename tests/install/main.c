/* A user's program in C. With all values alike, attention returns that value. */
#include <stdio.h>
#include <string.h>

#include "octavo/octavo.h"

enum { kRows = 33, kHeads = 2, kDim = 16, kValues = kRows * kHeads * kDim };

int main(void) {
  static const char* const names[] = {"exact", "int8"};
  static float x[kValues], out[kValues];
  const int64_t shape[4] = {1, kRows, kHeads, kDim};
  const octavo_tensor_t input = octavo_dense_tensor(x, OCTAVO_F32, 4, shape);
  const octavo_tensor_t output = octavo_dense_tensor(out, OCTAVO_F32, 4, shape);
  octavo_attention_inputs_t inputs = OCTAVO_ATTENTION_INPUTS_INIT;
  octavo_attention_params_t params = OCTAVO_ATTENTION_PARAMS_INIT;
  octavo_recipe_t recipe = OCTAVO_RECIPE_INIT;
  int i, n;
  if (strcmp(octavo_version(), OCTAVO_VERSION) != 0) {
    fprintf(stderr, "headers of %s, library %s\n", OCTAVO_VERSION, octavo_version());
    return 1;
  }
  for (i = 0; i < kValues; ++i) x[i] = 2;
  inputs.q = inputs.k = inputs.v = &input;
  inputs.out = &output;
  params.recipe = &recipe;
  for (n = 0; n < 2; ++n) {
    if (octavo_recipe_parse(names[n], &recipe) != OCTAVO_OK || octavo_attention(&inputs, &params, NULL) != OCTAVO_OK) {
      fprintf(stderr, "%s: %s\n", names[n], octavo_last_error());
      return 1;
    }
    for (i = 0; i < kValues; ++i) {
      if (!(out[i] > 1.98f && out[i] < 2.02f)) {
        fprintf(stderr, "%s: %g, not 2\n", names[n], (double)out[i]);
        return 1;
      }
    }
    printf("%s by %s\n", names[n], octavo_last_implementation());
  }
  return 0;
}
