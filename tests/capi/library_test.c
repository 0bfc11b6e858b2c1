/* What a program asks of the library as a whole: names, implementations, threads, its own threads, and whose error is
 * the last one. */
#define _POSIX_C_SOURCE 200112L
#include <pthread.h>

#include "call.h"

static struct call c;

static void test_names(void) {
  static const char* const codes[] = {"ok",          "invalid_argument",   "unimplemented",
                                      "unavailable", "resource_exhausted", "failed_precondition",
                                      "internal"};
  static const struct {
    int32_t bits;
    const char* name;
  } dtypes[] = {{32, "f32"}, {16, "f16"}, {16, "bf16"}, {64, "f64"}, {8, "s8"}, {8, "u8"},   {16, "s16"}, {16, "u16"},
                {32, "s32"}, {32, "u32"}, {64, "s64"},  {64, "u64"}, {4, "s4"}, {8, "e4m3"}, {8, "e5m2"}, {8, "bool"}};
  int32_t i;
  for (i = 0; i < 7; ++i) CHECK(strcmp(octavo_status_name(i), codes[i]) == 0);
  CHECK(strcmp(octavo_status_name(7), "unknown") == 0 && strcmp(octavo_status_name(-1), "unknown") == 0);
  for (i = 0; i < 16; ++i) {
    CHECK(octavo_dtype_bits(i) == dtypes[i].bits && strcmp(octavo_dtype_name(i), dtypes[i].name) == 0);
  }
  CHECK(octavo_dtype_bits(16) == 0 && octavo_dtype_bits(-1) == 0 && octavo_dtype_bits(256) == 0);
  CHECK(strcmp(octavo_dtype_name(16), "unknown") == 0 && strcmp(octavo_dtype_name(-1), "unknown") == 0);
  CHECK(strcmp(octavo_version(), OCTAVO_VERSION) == 0);
  CHECK(octavo_processor_features() != NULL && octavo_processor_features() == octavo_processor_features());
}

static void test_implementations(void) {
  const size_t count = octavo_implementation_count();
  const char* name = NULL;
  size_t i;
  int able = 0;
  CHECK(octavo_last_implementation()[0] == '\0'); /* nothing ran yet */
  if (!CHECK(count >= 2)) return;
  CHECK(strcmp(octavo_implementation_name(count - 1), "reference") == 0);
  CHECK(octavo_implementation_name(count) == NULL && octavo_implementation_description(count) == NULL);
  CHECK(octavo_implementation_reason(count) == NULL && octavo_implementation_name((size_t)-1) == NULL);
  make_call(&c);
  for (i = 0; i < count; ++i) {
    const char* const each = octavo_implementation_name(i);
    CHECK(octavo_implementation_description(i)[0] != '\0');
    if (octavo_implementation_reason(i)[0] != '\0') {
      CHECK_ERROR(octavo_force_implementation(each), OCTAVO_UNAVAILABLE, octavo_implementation_reason(i));
      continue;
    }
    ++able;
    CHECK_OK(octavo_force_implementation(each));
    CHECK_OK(octavo_active_implementation(&name));
    CHECK(strcmp(name, each) == 0);
    CHECK_OK(run(&c));
    CHECK(strcmp(octavo_last_implementation(), each) == 0);
  }
  CHECK(able >= 2); /* the portable kernels and the reference run everywhere */
  CHECK_ERROR(octavo_force_implementation("abacus"), OCTAVO_INVALID_ARGUMENT, "abacus");
  CHECK_OK(octavo_force_implementation(NULL));
  CHECK_OK(octavo_force_implementation(""));
  CHECK_OK(octavo_active_implementation(&name));
  CHECK(strcmp(name, "reference") != 0);
  CHECK_ERROR(octavo_active_implementation(NULL), OCTAVO_INVALID_ARGUMENT, "name is null");
}

static void test_num_threads(void) {
  const int32_t machine = octavo_num_threads();
  CHECK(machine >= 1);
  CHECK(octavo_requested_num_threads() == -1);
  octavo_set_num_threads(3);
  CHECK(octavo_num_threads() == 3 && octavo_requested_num_threads() == 3);
  octavo_set_num_threads(-5);
  CHECK(octavo_num_threads() >= 1 && octavo_num_threads() != 3 && octavo_requested_num_threads() == -1);
  octavo_set_num_threads(0);
  CHECK(octavo_num_threads() >= 1);
}

static void test_devices(void) {
  octavo_device_t device = OCTAVO_DEVICE_INIT;
  size_t count = 77;
  const octavo_status_t answer = octavo_device_count(&count);
  CHECK_ERROR(octavo_device_count(NULL), OCTAVO_INVALID_ARGUMENT, "count is null");
  CHECK_ERROR(octavo_device_info(0, NULL), OCTAVO_INVALID_ARGUMENT, "device is null");
  CHECK_OK(octavo_synchronize(OCTAVO_CPU, 0, NULL));
  CHECK_ERROR(octavo_synchronize(2, 0, NULL), OCTAVO_INVALID_ARGUMENT, "device_type is 2");
  if (answer != OCTAVO_OK) {
    CHECK(answer == OCTAVO_UNAVAILABLE && count == 77);
    CHECK(octavo_device_info(0, &device) == OCTAVO_UNAVAILABLE && device.name == NULL);
    CHECK(octavo_synchronize(OCTAVO_CUDA, 0, NULL) == OCTAVO_UNAVAILABLE);
    return;
  }
  CHECK(count >= 1 && count != 77);
  CHECK_ERROR(octavo_device_info(count, &device), OCTAVO_INVALID_ARGUMENT, "index is");
  CHECK_OK(octavo_device_info(count - 1, &device));
  CHECK(device.device_type == OCTAVO_CUDA && device.device_index == (int32_t)count - 1 && device.name[0] != '\0');
  CHECK_OK(octavo_synchronize(OCTAVO_CUDA, 0, NULL));
}

/* Runners good and bad. `user` counts the tasks asked for. */
static void run_in_order(void* user, int64_t tasks, octavo_task_t task, void* context) {
  int64_t i;
  *(int64_t*)user += tasks;
  for (i = 0; i < tasks; ++i) task(context, i);
}
static void run_nothing(void* user, int64_t tasks, octavo_task_t task, void* context) {
  *(int64_t*)user += tasks;
  (void)task, (void)context;
}
static void run_twice_and_beyond(void* user, int64_t tasks, octavo_task_t task, void* context) {
  int64_t i;
  *(int64_t*)user += tasks;
  for (i = -2; i < 2 * tasks + 2; ++i) task(context, i / 2);
}

struct share {
  int64_t tasks;
  octavo_task_t task;
  void* context;
};
static void* run_odd(void* argument) {
  const struct share* const share = argument;
  int64_t i;
  for (i = 1; i < share->tasks; i += 2) share->task(share->context, i);
  return NULL;
}
static void run_on_two(void* user, int64_t tasks, octavo_task_t task, void* context) {
  struct share share;
  pthread_t other;
  int64_t i;
  share.tasks = tasks, share.task = task, share.context = context;
  *(int64_t*)user += tasks;
  if (!CHECK(pthread_create(&other, NULL, run_odd, &share) == 0)) return;
  for (i = 0; i < tasks; i += 2) task(context, i);
  pthread_join(other, NULL);
}

static void test_runners(void) {
  static const struct {
    void (*run)(void*, int64_t, octavo_task_t, void*);
    int32_t threads;
  } runners[] = {{run_in_order, 1}, {run_in_order, 5}, {run_nothing, 3}, {run_twice_and_beyond, 4}, {run_on_two, 2}};
  static float first[sizeof c.out / sizeof c.out[0]];
  octavo_runner_t runner = OCTAVO_RUNNER_INIT;
  size_t i;
  make_call(&c);
  c.params.recipe = NULL;
  CHECK_OK(run(&c));
  memcpy(first, c.out, sizeof first);
  for (i = 0; i < sizeof runners / sizeof runners[0]; ++i) {
    int64_t tasks = 0;
    octavo_quantized_t* quantized = NULL;
    octavo_tensor_t back;
    static float values[kB * kM * kHq * kD];
    runner.run = runners[i].run;
    runner.threads = runners[i].threads;
    runner.user = &tasks;
    c.execution.runner = &runner;
    wipe(&c);
    CHECK_OK(run(&c));
    CHECK(tasks > 0 && memcmp(first, c.out, sizeof first) == 0);
    CHECK_OK(octavo_quantize(&c.tq, OCTAVO_ROLE_Q, NULL, OCTAVO_NHD, &c.execution, &quantized));
    back = tensor4(values, OCTAVO_F32, kB, kM, kHq, kD);
    memset(values, 0, sizeof values);
    CHECK_OK(octavo_dequantize(octavo_quantized_view(quantized), &back, &c.execution));
    CHECK(fabs((double)(values[kB * kM * kHq * kD - 1] - c.q[kB * kM * kHq * kD - 1])) < 0.05);
    octavo_quantized_free(quantized);
  }
  wipe(&c);
  runner.run = NULL;
  CHECK_REFUSED(c, OCTAVO_INVALID_ARGUMENT, "runner.run is null");
  runner.run = run_nothing;
  runner.threads = 0;
  CHECK_REFUSED(c, OCTAVO_INVALID_ARGUMENT, "runner.threads is 0");
  runner.threads = 1025;
  CHECK_REFUSED(c, OCTAVO_INVALID_ARGUMENT, "runner.threads is 1025");
  runner.threads = 1;
  runner.reserved = 9;
  CHECK_REFUSED(c, OCTAVO_INVALID_ARGUMENT, "runner.reserved is 9");
}

static void* fail_elsewhere(void* argument) {
  (void)argument;
  CHECK(octavo_last_error()[0] == '\0');
  CHECK_ERROR(octavo_force_implementation("elsewhere"), OCTAVO_INVALID_ARGUMENT, "elsewhere");
  return NULL;
}

static void test_last_error(void) {
  pthread_t thread;
  int created;
  CHECK_ERROR(octavo_force_implementation("here"), OCTAVO_INVALID_ARGUMENT, "\"here\"");
  /* Nothing is checked while the other thread counts its checks. */
  created = pthread_create(&thread, NULL, fail_elsewhere, NULL);
  if (created == 0) pthread_join(thread, NULL);
  CHECK(created == 0);
  CHECK(strstr(octavo_last_error(), "\"here\"") != NULL);
  CHECK(octavo_recipe_name(999) == NULL); /* returns no status, so it leaves the error alone */
  CHECK(strstr(octavo_last_error(), "\"here\"") != NULL);
  CHECK_OK(octavo_force_implementation(NULL));
}

int main(void) {
  CHECK(octavo_last_error()[0] == '\0');
  test_names();
  test_implementations();
  test_num_threads();
  test_devices();
  test_runners();
  test_last_error();
  return report();
}
