/* Codes made by the program: V of an int8 cache, one scale per head, is passed to attention without conversion. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "octavo/octavo.h"

enum { kBatch = 2, kRows = 16, kKeys = 300, kHeads = 4, kDim = 32 };

int main(void) {
  static float q[kBatch * kRows * kHeads * kDim], k[kBatch * kKeys * kHeads * kDim],
      out[kBatch * kRows * kHeads * kDim];
  static int8_t codes[kBatch * kKeys * kHeads * kDim];
  static float scales[kBatch * kHeads];
  const int64_t q_shape[4] = {kBatch, kRows, kHeads, kDim}, k_shape[4] = {kBatch, kKeys, kHeads, kDim};
  const int64_t scale_shape[2] = {kBatch, kHeads};
  const octavo_tensor_t tq = octavo_dense_tensor(q, OCTAVO_F32, 4, q_shape);
  const octavo_tensor_t tk = octavo_dense_tensor(k, OCTAVO_F32, 4, k_shape);
  const octavo_tensor_t tout = octavo_dense_tensor(out, OCTAVO_F32, 4, q_shape);
  const octavo_tensor_t tcodes = octavo_dense_tensor(codes, OCTAVO_S8, 4, k_shape);
  const octavo_tensor_t tscales = octavo_dense_tensor(scales, OCTAVO_F32, 2, scale_shape);
  octavo_quantized_view_t v = OCTAVO_QUANTIZED_VIEW_INIT;
  octavo_attention_inputs_t inputs = OCTAVO_ATTENTION_INPUTS_INIT;
  octavo_attention_params_t params = OCTAVO_ATTENTION_PARAMS_INIT;
  octavo_recipe_t recipe = OCTAVO_RECIPE_INIT;
  size_t i;

  /* Each head of V has one value everywhere, which must be the result of attention. */
  for (i = 0; i < sizeof q / sizeof q[0]; ++i) q[i] = (float)rand() / RAND_MAX - 0.5f;
  for (i = 0; i < sizeof k / sizeof k[0]; ++i) k[i] = (float)rand() / RAND_MAX - 0.5f;
  for (i = 0; i < sizeof codes; ++i) codes[i] = 100;
  for (i = 0; i < kBatch * kHeads; ++i) scales[i] = 0.01f * (float)(i + 1);

  /* A recipe says what codes mean: V in s8 with one scale per batch and head, as int_flash has it. */
  if (octavo_recipe_parse("int_flash", &recipe) != OCTAVO_OK) return 1;
  v.codes = &tcodes;
  v.scales = &tscales;
  v.recipe = &recipe;
  v.role = OCTAVO_ROLE_V;
  inputs.q = &tq;
  inputs.k = &tk;
  inputs.quantized_v = &v;
  inputs.out = &tout;
  params.recipe = &recipe;
  if (octavo_attention(&inputs, &params, NULL) != OCTAVO_OK) {
    printf("%s\n", octavo_last_error());
    return 1;
  }
  for (i = 0; i < sizeof out / sizeof out[0]; ++i) {
    const size_t head = i / (kRows * kHeads * kDim) * kHeads + i / kDim % kHeads;
    if (!(fabs((double)out[i] - (double)(head + 1)) < 1e-4 * (double)(head + 1))) {
      printf("out[%zu] is %g, expected %zu\n", i, (double)out[i], head + 1);
      return 1;
    }
  }
  printf("%zu values as expected, by %s\n", i, octavo_last_implementation());
  return 0;
}
