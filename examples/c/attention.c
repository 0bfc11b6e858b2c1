/* Attention from C: exact, then in 8 bits with scratch memory that is allocated once; prints the difference. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "octavo/octavo.h"

enum { kBatch = 1, kRows = 512, kHeads = 8, kKvHeads = 2, kDim = 64 };

static int failed(octavo_status_t status) {
  if (status == OCTAVO_OK) return 0;
  printf("%s: %s\n", octavo_status_name(status), octavo_last_error());
  return 1;
}

int main(void) {
  static float q[kBatch * kRows * kHeads * kDim], k[kBatch * kRows * kKvHeads * kDim],
      v[kBatch * kRows * kKvHeads * kDim];
  static float exact[kBatch * kRows * kHeads * kDim], out[kBatch * kRows * kHeads * kDim];
  const int64_t q_shape[4] = {kBatch, kRows, kHeads, kDim}, k_shape[4] = {kBatch, kRows, kKvHeads, kDim};
  const octavo_tensor_t tq = octavo_dense_tensor(q, OCTAVO_F32, 4, q_shape);
  const octavo_tensor_t tk = octavo_dense_tensor(k, OCTAVO_F32, 4, k_shape);
  const octavo_tensor_t tv = octavo_dense_tensor(v, OCTAVO_F32, 4, k_shape);
  const octavo_tensor_t texact = octavo_dense_tensor(exact, OCTAVO_F32, 4, q_shape);
  const octavo_tensor_t tout = octavo_dense_tensor(out, OCTAVO_F32, 4, q_shape);
  octavo_attention_inputs_t inputs = OCTAVO_ATTENTION_INPUTS_INIT;
  octavo_attention_params_t params = OCTAVO_ATTENTION_PARAMS_INIT;
  octavo_execution_t execution = OCTAVO_EXECUTION_INIT;
  octavo_recipe_t recipe = OCTAVO_RECIPE_INIT;
  double error = 0, norm = 0;
  size_t i;

  for (i = 0; i < sizeof q / sizeof q[0]; ++i) q[i] = (float)rand() / RAND_MAX - 0.5f;
  for (i = 0; i < sizeof k / sizeof k[0]; ++i) k[i] = (float)rand() / RAND_MAX - 0.5f;
  for (i = 0; i < sizeof v / sizeof v[0]; ++i) v[i] = (float)rand() / RAND_MAX - 0.5f;

  inputs.q = &tq;
  inputs.k = &tk;
  inputs.v = &tv;
  inputs.out = &texact;
  params.causal = OCTAVO_CAUSAL_BOTTOM_RIGHT;
  params.recipe = &recipe;
  if (failed(octavo_recipe_parse("exact", &recipe))) return 1;
  if (failed(octavo_attention(&inputs, &params, NULL))) return 1;

  inputs.out = &tout;
  if (failed(octavo_recipe_parse("int8", &recipe))) return 1;
  if (failed(octavo_workspace_size(&inputs, &params, &execution, &execution.workspace_bytes))) return 1;
  if (posix_memalign(&execution.workspace, 64, execution.workspace_bytes) != 0) return 1;
  if (failed(octavo_attention(&inputs, &params, &execution))) return 1;
  free(execution.workspace);

  for (i = 0; i < sizeof out / sizeof out[0]; ++i) {
    error += pow((double)out[i] - exact[i], 2);
    norm += pow(exact[i], 2);
  }
  error = sqrt(error / norm);
  printf("int8 on %s: %.2f %% from exact\n", octavo_last_implementation(), 100 * error);
  return error < 0.03 ? 0 : 1;
}
