/* What no program should hand in, and what it may do at any time: NaN, infinities, huge and tiny numbers, absurd shapes
 * and strides, devices that are not there, calls from many threads, calls after fork. */
#define _POSIX_C_SOURCE 200112L
#include <pthread.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "call.h"

static struct call c;
static struct options o;

enum { kRow = 3, kHead = 2, kRows = kB * kHq * kM };

/* Elements of O that belong to row (b, h, i). */
static const float* row_of(const struct call* call, int b, int h, int i) {
  return call->out + ((b * kM + i) * kHq + h) * kDv;
}

static int is_finite_row(const struct call* call, int b, int h, int i) {
  int d, finite = isfinite(call->lse[(b * kHq + h) * kM + i]);
  for (d = 0; d < kDv; ++d) finite = finite && isfinite(row_of(call, b, h, i)[d]);
  return finite;
}

static int is_nan_row(const struct call* call, int b, int h, int i) {
  int d, nan = isnan(call->lse[(b * kHq + h) * kM + i]);
  for (d = 0; d < kDv; ++d) nan = nan && isnan(row_of(call, b, h, i)[d]);
  return nan;
}

/* Every preset on every implementation that runs here. */
static void for_each_case(void (*body)(void)) {
  size_t i, j;
  for (i = 0; i < octavo_implementation_count(); ++i) {
    if (octavo_implementation_reason(i)[0] != '\0') continue;
    for (j = 0; j < octavo_recipe_count(); ++j) {
      make_call(&c);
      CHECK_OK(octavo_recipe_parse(octavo_recipe_name(j), &c.recipe));
      c.execution.implementation = octavo_implementation_name(i);
      if (run(&c) == OCTAVO_UNIMPLEMENTED) continue; /* a device's */
      wipe(&c);
      body();
    }
  }
}

static void poison_q(void) {
  static const float poisons[] = {NAN, INFINITY, -INFINITY};
  const int shared = c.recipe.scores != OCTAVO_FORMAT_INPUT && c.recipe.q_scale != OCTAVO_GRANULARITY_TOKEN;
  int p, b, h, i;
  for (p = 0; p < 3; ++p) {
    c.q[((1 * kM + kRow) * kHq + kHead) * kD + 5] = poisons[p];
    CHECK_OK(run(&c));
    for (b = 0; b < kB; ++b)
      for (h = 0; h < kHq; ++h)
        for (i = 0; i < kM; ++i) {
          if (b == 1 && h == kHead && i == kRow) {
            CHECK(is_nan_row(&c, b, h, i));
          } else if (!(shared && b == 1 && h == kHead)) {
            CHECK(is_finite_row(&c, b, h, i));
          }
        }
  }
}

/* Heads that the key or value serves are never finite and wrong; the others know nothing of it. */
static void poison_k_and_v(void) {
  static const float poisons[] = {NAN, INFINITY, -INFINITY};
  int p, of_v, b, h, i;
  for (of_v = 0; of_v < 2; ++of_v)
    for (p = 0; p < 3; ++p) {
      float* const element =
          of_v ? c.v + ((1 * kN + 4) * kHkv + 1) * kDv + 2 : c.k + ((1 * kN + 4) * kHkv + 1) * kD + 2;
      const float before = *element;
      *element = poisons[p];
      CHECK_OK(run(&c));
      *element = before;
      for (b = 0; b < kB; ++b)
        for (h = 0; h < kHq; ++h)
          for (i = 0; i < kM; ++i) {
            if (b == 1 && h / (kHq / kHkv) == 1) {
              CHECK(!isfinite(row_of(&c, b, h, i)[2]));
            } else {
              CHECK(is_finite_row(&c, b, h, i));
            }
          }
    }
}

/* Finite in, finite out; `exact` still knows the definition. */
static void extremes(void) {
  static const float sizes[][3] = {
      {1e30f, 1, 1}, {1, 1e30f, 1},   {1, 1, 1e30f}, {1e-40f, 1, 1}, {1e-40f, 1e-40f, 1e-40f},
      {0, 0, 0},     {1, 1, 3.4e38f}, {1, 1, 1e-40f}};
  size_t s;
  int i;
  for (s = 0; s < sizeof sizes / sizeof sizes[0]; ++s) {
    const octavo_recipe_t recipe = c.recipe;
    const char* const implementation = c.execution.implementation;
    make_call(&c);
    c.recipe = recipe;
    c.execution.implementation = implementation;
    for (i = 0; i < kB * kM * kHq * kD; ++i) c.q[i] *= sizes[s][0];
    for (i = 0; i < kB * kN * kHkv * kD; ++i) c.k[i] *= sizes[s][1];
    for (i = 0; i < kB * kN * kHkv * kDv; ++i) c.v[i] *= sizes[s][2];
    CHECK_OK(run(&c));
    for (i = 0; i < kRows; ++i) CHECK(is_finite_row(&c, i / (kHq * kM), i / kM % kHq, i % kM));
    if (c.recipe.scores == OCTAVO_FORMAT_INPUT && sizes[s][0] < 1) CHECK(distance(&c, o) < 1e-5);
  }
}

static void test_shapes(void) {
  const int64_t huge = INT64_MAX;
  int axis;
  for (axis = 0; axis < 4; ++axis) {
    make_call(&c);
    c.tq.shape[axis] = huge;
    CHECK_REFUSED(c, OCTAVO_INVALID_ARGUMENT, "q");
    make_call(&c);
    c.tk.shape[axis] = c.tv.shape[axis] = INT64_C(1) << 62;
    CHECK(run(&c) != OCTAVO_OK && untouched(&c));
    make_call(&c);
    c.tv.shape[axis] = -1;
    CHECK_REFUSED(c, OCTAVO_INVALID_ARGUMENT, "-1");
    make_call(&c);
    c.tk.strides[axis] = INT64_MIN;
    CHECK(run(&c) != OCTAVO_OK && untouched(&c));
    make_call(&c);
    c.tout.strides[axis] = INT64_MAX;
    CHECK(run(&c) != OCTAVO_OK && untouched(&c));
  }
  make_call(&c); /* a view of one row as 2^40 keys: no memory holds their codes */
  c.tk.shape[1] = c.tv.shape[1] = INT64_C(1) << 40;
  c.tk.strides[1] = c.tv.strides[1] = 0;
  CHECK_REFUSED(c, OCTAVO_RESOURCE_EXHAUSTED, "");
  make_call(&c); /* one row of Q as many */
  c.tq.strides[1] = 0;
  CHECK_OK(run(&c));
  CHECK(memcmp(row_of(&c, 0, 1, 0), row_of(&c, 0, 1, kM - 1), kDv * sizeof(float)) == 0);
}

static void test_devices(void) {
  octavo_tensor_t* const tensors[] = {&c.tq, &c.tk, &c.tv, &c.tout, &c.tlse};
  size_t i;
  for (i = 0; i < sizeof tensors / sizeof tensors[0]; ++i) {
    make_call(&c);
    tensors[i]->device_type = OCTAVO_CUDA;
    CHECK(run(&c) != OCTAVO_OK && untouched(&c)); /* which error depends on whether there is a GPU */
    CHECK(strstr(octavo_last_error(), "CUDA") != NULL);
    make_call(&c);
    tensors[i]->device_type = 7;
    CHECK_REFUSED(c, OCTAVO_INVALID_ARGUMENT, "7");
  }
}

struct caller {
  struct call call;
  float first[sizeof c.out / sizeof c.out[0]];
  int number, wrong;
};

/* Threads whose calls differ in recipe and options, each again and again: the bits of the first time. Counted apart:
 * the counts of checks are one thread's. */
static void* call_often(void* argument) {
  static const char* const recipes[] = {"int8", "exact", "sage2_8b", "int_flash", "int8_block"};
  struct caller* const caller = argument;
  struct call* const mine = &caller->call;
  int turn;
  if (octavo_recipe_parse(recipes[caller->number % 5], &mine->recipe) != OCTAVO_OK) ++caller->wrong;
  mine->params.causal = caller->number % 3;
  for (turn = 0; turn < 50; ++turn) {
    wipe(mine);
    if (caller->number == 0) octavo_set_num_threads(1 + turn % 4);
    if (run(mine) != OCTAVO_OK) ++caller->wrong;
    if (turn == 0) memcpy(caller->first, mine->out, sizeof caller->first);
    if (memcmp(mine->out, caller->first, sizeof caller->first) != 0) ++caller->wrong;
    mine->tq.rank = 3; /* an error now and then, of this thread alone */
    if (run(mine) != OCTAVO_INVALID_ARGUMENT || strstr(octavo_last_error(), "q") == NULL) ++caller->wrong;
    mine->tq.rank = 4;
  }
  return NULL;
}

static void test_threads(void) {
  enum { kThreads = 8 };
  static struct caller callers[kThreads];
  pthread_t threads[kThreads];
  int i, started = 0;
  for (i = 0; i < kThreads; ++i) {
    make_call(&callers[i].call);
    callers[i].number = i;
  }
  while (started < kThreads && pthread_create(&threads[started], NULL, call_often, &callers[started]) == 0) ++started;
  for (i = 0; i < started; ++i) pthread_join(threads[i], NULL);
  CHECK(started == kThreads);
  for (i = 0; i < kThreads; ++i) CHECK(callers[i].wrong == 0);
  octavo_set_num_threads(0);
}

/* The child has none of the parent's threads; it must not wait for them. */
static inline void test_fork(void) {
  static float expected[sizeof c.out / sizeof c.out[0]];
  int turn;
  octavo_set_num_threads(4);
  make_call(&c);
  CHECK_OK(octavo_recipe_parse("int8", &c.recipe));
  CHECK_OK(run(&c));
  memcpy(expected, c.out, sizeof expected);
  for (turn = 0; turn < 4; ++turn) {
    int status = -1;
    const pid_t child = fork();
    if (child == 0) {
      alarm(60);
      wipe(&c);
      _exit(run(&c) == OCTAVO_OK && memcmp(c.out, expected, sizeof expected) == 0 ? 0 : 1);
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    wipe(&c);
    CHECK_OK(run(&c));
    CHECK(memcmp(c.out, expected, sizeof expected) == 0);
  }
  octavo_set_num_threads(0);
}

int main(void) {
  for_each_case(poison_q);
  for_each_case(poison_k_and_v);
  for_each_case(extremes);
  test_shapes();
  test_devices();
  test_threads();
#ifndef __SANITIZE_THREAD__ /* it does not follow threads that a forked child starts */
  test_fork();
#endif
  return report();
}
