/* A library that is closed while its threads live: they must not find their code gone, and it can be opened again.
 * Argument: the library's path. */
#define _POSIX_C_SOURCE 200112L
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "octavo/octavo.h"

static void* symbol(void* library, const char* name) {
  void* const found = dlsym(library, name);
  if (found == NULL) {
    printf("%s\n", dlerror());
    exit(1);
  }
  return found;
}

/* ISO C has no cast from a pointer to data to one to a function: their bytes are read instead. */
#define LOAD(library, name)                                                                     \
  union {                                                                                       \
    void* data;                                                                                 \
    octavo_status_t (*call)(const octavo_attention_inputs_t*, const octavo_attention_params_t*, \
                            const octavo_execution_t*);                                         \
    void (*set)(int32_t);                                                                       \
  } name;                                                                                       \
  name.data = symbol(library, #name)

int main(int count, char** arguments) {
  enum { kRows = 512, kHeads = 4, kDim = 32 };
  static float q[kRows * kHeads * kDim], out[kRows * kHeads * kDim];
  static const int64_t shape[4] = {1, kRows, kHeads, kDim};
  const octavo_tensor_t tensor = octavo_dense_tensor(q, OCTAVO_F32, 4, shape);
  const octavo_tensor_t result = octavo_dense_tensor(out, OCTAVO_F32, 4, shape);
  octavo_attention_inputs_t inputs = OCTAVO_ATTENTION_INPUTS_INIT;
  const struct timespec pause = {0, 20 * 1000 * 1000};
  int round, i;
  if (count != 2) return 2;
  inputs.q = inputs.k = inputs.v = &tensor;
  inputs.out = &result;
  for (i = 0; i < kRows * kHeads * kDim; ++i) q[i] = 1;
  for (round = 0; round < 3; ++round) {
    void* const library = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
      printf("%s\n", dlerror());
      return 1;
    }
    {
      LOAD(library, octavo_attention);
      LOAD(library, octavo_set_num_threads);
      octavo_set_num_threads.set(4);
      out[0] = 0;
      if (octavo_attention.call(&inputs, NULL, NULL) != OCTAVO_OK || !(out[0] > 0.98f && out[0] < 1.02f)) {
        printf("round %d: attention failed, %g\n", round, (double)out[0]);
        return 1;
      }
    }
    /* Once while the threads still look for work, then when they sleep. */
    if (round > 0) nanosleep(&pause, NULL);
    dlclose(library);
    nanosleep(&pause, NULL);
  }
  return 0;
}
