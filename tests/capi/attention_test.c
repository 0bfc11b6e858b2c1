/* octavo_attention(), octavo_workspace_size() and octavo_merge_state(): every argument arrives, every wrong one is
 * refused in words and leaves the outputs alone. */
#include "call.h"

static const double kTolerance = 1e-5; /* exact, f32, values around 1 */
static struct call c;
static struct options o;

static void restart(void) {
  static const struct options off;
  make_call(&c);
  o = off;
}

static void test_results(void) {
  static float mask[kM * kN];
  static const float alibi[kHq] = {0.1f, 0.2f, -0.3f, 0}, sinks[kHq] = {0.5f, -1, 2, 0};
  static const int32_t lens[kB] = {4, 7};
  static unsigned char visible[kM * kN];
  static float first[kB * kM * kHq * kDv];
  int i;

  restart();
  CHECK_OK(run(&c));
  CHECK(distance(&c, o) <= kTolerance);
  memcpy(first, c.out, sizeof first);
  CHECK(octavo_last_implementation()[0] != '\0');

  /* The same memory with the axes in HND's order. */
  restart();
  c.tq = tensor4(c.q, OCTAVO_F32, kB, kHq, kM, kD);
  c.tk = tensor4(c.k, OCTAVO_F32, kB, kHkv, kN, kD);
  c.tv = tensor4(c.v, OCTAVO_F32, kB, kHkv, kN, kDv);
  c.tout = tensor4(c.out, OCTAVO_F32, kB, kHq, kM, kDv);
  c.tq.strides[1] = kD, c.tq.strides[2] = kHq * kD;
  c.tk.strides[1] = kD, c.tk.strides[2] = kHkv * kD;
  c.tv.strides[1] = kDv, c.tv.strides[2] = kHkv * kDv;
  c.tout.strides[1] = kDv, c.tout.strides[2] = kHq * kDv;
  c.inputs.layout = OCTAVO_HND;
  CHECK_OK(run(&c));
  CHECK(memcmp(first, c.out, sizeof first) == 0);

  restart();
  c.inputs.lse = NULL;
  CHECK_OK(octavo_attention(&c.inputs, &c.params, NULL));
  CHECK(memcmp(first, c.out, sizeof first) == 0);

  restart();
  c.params.softmax_scale = o.scale = -0.7;
  CHECK_OK(run(&c));
  CHECK(distance(&c, o) <= kTolerance);

  restart();
  c.params.softcap = o.softcap = 0.5;
  CHECK_OK(run(&c));
  CHECK(distance(&c, o) <= kTolerance);

  restart();
  o.causal = 1;
  c.params.causal = OCTAVO_CAUSAL_BOTTOM_RIGHT;
  CHECK_OK(run(&c));
  CHECK(distance(&c, o) <= kTolerance);
  c.params.causal = OCTAVO_CAUSAL_TOP_LEFT; /* M < N: row 0 sees one key less than before */
  CHECK_OK(run(&c));
  CHECK(distance(&c, o) > 0.01);

  restart();
  c.params.window_left = o.window = 1;
  CHECK_OK(run(&c));
  CHECK(distance(&c, o) <= kTolerance);
  c.params.window_left = -1;
  c.params.window_right = 0;
  o.window = 0, o.causal = 1;
  CHECK_OK(run(&c));
  CHECK(distance(&c, o) <= kTolerance);

  restart();
  for (i = 0; i < kM * kN; ++i) mask[i] = i % 3 == 0 ? -INFINITY : (float)(i % 5) / 4;
  for (i = 0; i < kM * kN; ++i) visible[i] = i % 3 != 0;
  c.tmask = tensor4(mask, OCTAVO_F32, 1, 1, kM, kN);
  c.inputs.mask = &c.tmask;
  o.mask = mask;
  CHECK_OK(run(&c));
  CHECK(distance(&c, o) <= kTolerance);
  c.tmask = tensor4(visible, OCTAVO_BOOL, 1, 1, kM, kN);
  for (i = 0; i < kM * kN; ++i) mask[i] = i % 3 == 0 ? -INFINITY : 0;
  CHECK_OK(run(&c));
  CHECK(distance(&c, o) <= kTolerance);

  restart();
  c.talibi = tensor1(alibi, OCTAVO_F32, kHq);
  c.inputs.alibi_slopes = &c.talibi;
  o.alibi = alibi;
  CHECK_OK(run(&c));
  CHECK(distance(&c, o) <= kTolerance);
  c.params.alibi = OCTAVO_ALIBI_SYMMETRIC;
  CHECK(distance(&c, o) <= kTolerance);
  o.symmetric = 1;
  CHECK(distance(&c, o) > kTolerance);
  CHECK_OK(run(&c));
  CHECK(distance(&c, o) <= kTolerance);

  restart();
  c.tsinks = tensor1(sinks, OCTAVO_F32, kHq);
  c.inputs.sinks = &c.tsinks;
  o.sinks = sinks;
  CHECK_OK(run(&c));
  CHECK(distance(&c, o) <= kTolerance);

  restart();
  c.tlens = tensor1(lens, OCTAVO_S32, kB);
  c.inputs.kv_lens = &c.tlens;
  o.lens = lens;
  CHECK_OK(run(&c));
  CHECK(distance(&c, o) <= kTolerance);

  /* The same keys by key_mask. */
  restart();
  {
    static unsigned char exists[kB * kN];
    static const int64_t shape[4] = {kB, kN};
    octavo_tensor_t key_mask = octavo_dense_tensor(exists, OCTAVO_BOOL, 2, shape);
    int b, key;
    for (b = 0; b < kB; ++b)
      for (key = 0; key < kN; ++key) exists[b * kN + key] = key < lens[b];
    c.inputs.key_mask = &key_mask;
    o.lens = lens;
    CHECK_OK(run(&c));
    CHECK(distance(&c, o) <= kTolerance);
    key_mask.dtype = OCTAVO_U8;
    wipe(&c);
    CHECK_REFUSED(c, OCTAVO_INVALID_ARGUMENT, "key_mask");
  }

  /* The default recipe, by null and by the initializer. */
  restart();
  c.params.recipe = NULL;
  CHECK_OK(octavo_attention(&c.inputs, NULL, &c.execution));
  CHECK(distance(&c, o) <= 0.05);
  memcpy(first, c.out, sizeof first);
  {
    const octavo_recipe_t int8 = OCTAVO_RECIPE_INIT;
    c.params.recipe = &int8;
    wipe(&c);
    CHECK_OK(run(&c));
    CHECK(memcmp(first, c.out, sizeof first) == 0);
  }
}

/* The batch as two varlen sequences gives the bits it gives as a batch. */
static void test_packed(void) {
  static const int64_t borders_q[kB + 1] = {0, kM, 2 * kM};
  static const int32_t borders_k[kB + 1] = {0, kN, 2 * kN};
  static float first[kB * kM * kHq * kDv];
  restart();
  CHECK_OK(run(&c));
  memcpy(first, c.out, sizeof first);
  wipe(&c);
  c.tq = tensor3(c.q, OCTAVO_F32, kB * kM, kHq, kD);
  c.tk = tensor3(c.k, OCTAVO_F32, kB * kN, kHkv, kD);
  c.tv = tensor3(c.v, OCTAVO_F32, kB * kN, kHkv, kDv);
  c.tout = tensor3(c.out, OCTAVO_F32, kB * kM, kHq, kDv);
  c.inputs.lse = NULL;
  c.tcu_q = tensor1(borders_q, OCTAVO_S64, kB + 1);
  c.tcu_k = tensor1(borders_k, OCTAVO_S32, kB + 1);
  c.inputs.cu_seqlens_q = &c.tcu_q;
  CHECK_REFUSED(c, OCTAVO_INVALID_ARGUMENT, "cu_seqlens_k");
  c.inputs.cu_seqlens_k = &c.tcu_k;
  CHECK_OK(run(&c));
  CHECK(memcmp(first, c.out, sizeof first) == 0);
}

static void test_tensors(void) {
  static const struct {
    int32_t dtype, rank, device_type;
    size_t struct_size;
    octavo_status_t code;
    const char* words;
  } wrong[] = {{16, 4, 0, sizeof(octavo_tensor_t), OCTAVO_INVALID_ARGUMENT, "unknown dtype 16"},
               {-1, 4, 0, sizeof(octavo_tensor_t), OCTAVO_INVALID_ARGUMENT, "unknown dtype -1"},
               {256, 4, 0, sizeof(octavo_tensor_t), OCTAVO_INVALID_ARGUMENT, "unknown dtype 256"},
               {OCTAVO_S32, 4, 0, sizeof(octavo_tensor_t), OCTAVO_INVALID_ARGUMENT, "is s32"},
               {0, 0, 0, sizeof(octavo_tensor_t), OCTAVO_INVALID_ARGUMENT, "has rank 0"},
               {0, 5, 0, sizeof(octavo_tensor_t), OCTAVO_INVALID_ARGUMENT, "has rank 5"},
               {0, -1, 0, sizeof(octavo_tensor_t), OCTAVO_INVALID_ARGUMENT, "has rank -1"},
               {0, 2, 0, sizeof(octavo_tensor_t), OCTAVO_INVALID_ARGUMENT, "has shape"},
               {0, 4, 2, sizeof(octavo_tensor_t), OCTAVO_INVALID_ARGUMENT, "device type 2"},
               {0, 4, -1, sizeof(octavo_tensor_t), OCTAVO_INVALID_ARGUMENT, "device type -1"},
               {0, 4, OCTAVO_CUDA, sizeof(octavo_tensor_t), OCTAVO_UNAVAILABLE, "CUDA"},
               {0, 4, 0, 0, OCTAVO_INVALID_ARGUMENT, "struct_size is 0"},
               {0, 4, 0, 1, OCTAVO_INVALID_ARGUMENT, "struct_size is 1;"},
               {0, 4, 0, (size_t)-8, OCTAVO_INVALID_ARGUMENT, "struct_size is 18446744073709551608"}};
  static const char* const names[] = {"q", "k", "v", "out", "lse"};
  size_t i, t;
  for (i = 0; i < sizeof wrong / sizeof wrong[0]; ++i) {
    for (t = 0; t < 5; ++t) {
      octavo_tensor_t* tensor;
      restart();
      tensor = t == 0 ? &c.tq : t == 1 ? &c.tk : t == 2 ? &c.tv : t == 3 ? &c.tout : &c.tlse;
      tensor->dtype = wrong[i].dtype;
      if (wrong[i].rank != 4) tensor->rank = wrong[i].rank;
      tensor->device_type = wrong[i].device_type;
      tensor->struct_size = wrong[i].struct_size;
      CHECK_REFUSED(c, wrong[i].code, wrong[i].words);
      CHECK(strstr(octavo_last_error(), names[t]) != NULL);
    }
  }
  restart();
  c.tk.data = NULL;
  CHECK_REFUSED(c, OCTAVO_INVALID_ARGUMENT, "null pointer");
  restart();
  c.tv.shape[3] = -1;
  CHECK_REFUSED(c, OCTAVO_INVALID_ARGUMENT, "negative");
  restart();
  c.tq.strides[0] = (int64_t)1 << 62;
  CHECK_REFUSED(c, OCTAVO_INVALID_ARGUMENT, "address space");
  restart();
  c.tout.data = c.q;
  CHECK_REFUSED(c, OCTAVO_INVALID_ARGUMENT, "overlaps");
  /* Any order of axes and broadcasts of inputs are fine. */
  restart();
  c.tk.strides[1] = 0;
  CHECK_OK(run(&c));
}

static void test_missing(void) {
  static const char* const names[] = {"q", "k", "v", "out"};
  size_t t;
  restart();
  CHECK_ERROR(octavo_attention(NULL, &c.params, &c.execution), OCTAVO_INVALID_ARGUMENT, "inputs is null");
  for (t = 0; t < 4; ++t) {
    restart();
    *(t == 0 ? &c.inputs.q : t == 1 ? &c.inputs.k : t == 2 ? &c.inputs.v : &c.inputs.out) = NULL;
    CHECK_REFUSED(c, OCTAVO_INVALID_ARGUMENT, names[t]);
    CHECK(strstr(octavo_last_error(), "missing") != NULL);
  }
}

static void test_numbers(void) {
  static const float numbers[8] = {0, 0, 0, 0, 0, 0, 0, 0};
  restart();
  c.inputs.layout = 2;
  CHECK_REFUSED(c, OCTAVO_INVALID_ARGUMENT, "inputs.layout is 2");
  c.inputs.layout = -1;
  CHECK_REFUSED(c, OCTAVO_INVALID_ARGUMENT, "inputs.layout is -1");
  restart();
  c.inputs.reserved = 1;
  CHECK_REFUSED(c, OCTAVO_INVALID_ARGUMENT, "inputs.reserved is 1");
  restart();
  c.params.alibi = -3;
  CHECK_REFUSED(c, OCTAVO_INVALID_ARGUMENT, "params.alibi is -3");
  restart();
  c.params.causal = 3;
  CHECK_REFUSED(c, OCTAVO_INVALID_ARGUMENT, "params.causal is 3");
  c.params.causal = 256;
  CHECK_REFUSED(c, OCTAVO_INVALID_ARGUMENT, "params.causal is 256");
  restart();
  c.params.softmax_scale = INFINITY;
  CHECK_REFUSED(c, OCTAVO_INVALID_ARGUMENT, "softmax_scale");
  restart();
  c.params.softcap = -1;
  CHECK_REFUSED(c, OCTAVO_INVALID_ARGUMENT, "softcap");
  restart();
  c.params.window_left = -2;
  CHECK_REFUSED(c, OCTAVO_INVALID_ARGUMENT, "window");
  restart();
  c.params.window_right = -2;
  CHECK_REFUSED(c, OCTAVO_INVALID_ARGUMENT, "window");
  restart();
  c.recipe.key_block = 77;
  CHECK_REFUSED(c, OCTAVO_INVALID_ARGUMENT, "key_block");

  restart();
  c.tmask = tensor1(numbers, OCTAVO_S32, kN);
  c.inputs.mask = &c.tmask;
  CHECK_REFUSED(c, OCTAVO_INVALID_ARGUMENT, "mask");
  restart();
  c.talibi = tensor1(numbers, OCTAVO_F32, kHq - 1);
  c.inputs.alibi_slopes = &c.talibi;
  CHECK_REFUSED(c, OCTAVO_INVALID_ARGUMENT, "alibi_slopes");
  restart();
  c.tsinks = tensor1(numbers, OCTAVO_F32, kHq + 1);
  c.inputs.sinks = &c.tsinks;
  CHECK_REFUSED(c, OCTAVO_INVALID_ARGUMENT, "sinks");
  restart();
  c.tlens = tensor1(numbers, OCTAVO_F32, kB);
  c.inputs.kv_lens = &c.tlens;
  CHECK_REFUSED(c, OCTAVO_INVALID_ARGUMENT, "kv_lens");
}

static void test_execution(void) {
  static char memory[1 << 20];
  static float first[kB * kM * kHq * kDv];
  char* const workspace = memory + (64 - (size_t)memory % 64) % 64;
  size_t bytes = 0;

  restart();
  c.execution.implementation = "abacus";
  CHECK_REFUSED(c, OCTAVO_INVALID_ARGUMENT, "abacus");
  c.execution.implementation = "";
  CHECK_OK(run(&c));
  memcpy(first, c.out, sizeof first);
  c.execution.implementation = "reference";
  CHECK_OK(run(&c));
  CHECK(strcmp(octavo_last_implementation(), "reference") == 0);
  CHECK_OK(octavo_workspace_size(&c.inputs, &c.params, &c.execution, &bytes));
  CHECK(bytes == 0);

  restart();
  c.execution.stream = memory;
  CHECK_REFUSED(c, OCTAVO_INVALID_ARGUMENT, "stream");

  restart();
  c.tq.data = c.tk.data = c.tv.data = c.tout.data = c.tlse.data = NULL;
  CHECK_OK(octavo_workspace_size(&c.inputs, &c.params, &c.execution, &bytes));
  if (!CHECK(bytes > 0 && bytes <= sizeof memory - 64)) return;
  CHECK_ERROR(octavo_workspace_size(&c.inputs, &c.params, &c.execution, NULL), OCTAVO_INVALID_ARGUMENT,
              "bytes is null");
  CHECK_ERROR(octavo_workspace_size(NULL, &c.params, &c.execution, &bytes), OCTAVO_INVALID_ARGUMENT, "inputs is null");
  c.inputs.q = NULL;
  CHECK_ERROR(octavo_workspace_size(&c.inputs, NULL, NULL, &bytes), OCTAVO_INVALID_ARGUMENT, "q is missing");

  restart();
  c.execution.workspace = workspace;
  c.execution.workspace_bytes = bytes - 1;
  CHECK_REFUSED(c, OCTAVO_INVALID_ARGUMENT, "workspace has");
  c.execution.workspace = workspace + 1;
  c.execution.workspace_bytes = bytes;
  CHECK_REFUSED(c, OCTAVO_INVALID_ARGUMENT, "not aligned");
  c.execution.workspace = NULL;
  CHECK_REFUSED(c, OCTAVO_INVALID_ARGUMENT, "workspace is null");
  c.execution.workspace = workspace;
  CHECK_OK(run(&c));
  CHECK(memcmp(first, c.out, sizeof first) == 0);
}

/* Halves of the keys, joined, are the whole. */
static void test_merge(void) {
  static struct call half;
  static float o_a[kB * kM * kHq * kDv], lse_a[kB * kHq * kM];
  octavo_tensor_t part, log_part;
  const octavo_tensor_t* six[6];
  octavo_execution_t execution = OCTAVO_EXECUTION_INIT;
  int i;

  make_call(&half);
  half.tk.shape[1] = half.tv.shape[1] = 3;
  CHECK_OK(run(&half));
  memcpy(o_a, half.out, sizeof o_a);
  memcpy(lse_a, half.lse, sizeof lse_a);
  half.tk.shape[1] = half.tv.shape[1] = kN - 3;
  half.tk.data = half.k + 3 * kHkv * kD;
  half.tv.data = half.v + 3 * kHkv * kDv;
  CHECK_OK(run(&half));
  part = tensor4(o_a, OCTAVO_F32, kB, kM, kHq, kDv);
  log_part = tensor3(lse_a, OCTAVO_F32, kB, kHq, kM);

  restart();
  CHECK_OK(octavo_merge_state(&part, &log_part, &half.tout, &half.tlse, &c.tout, &c.tlse, OCTAVO_NHD, NULL));
  CHECK(distance(&c, o) <= kTolerance);
  /* In place. */
  CHECK_OK(octavo_merge_state(&part, &log_part, &half.tout, &half.tlse, &half.tout, &half.tlse, OCTAVO_NHD, NULL));
  CHECK(memcmp(half.out, c.out, sizeof c.out) == 0 && memcmp(half.lse, c.lse, sizeof c.lse) == 0);

  wipe(&c);
  CHECK_OK(octavo_merge_state(&part, &log_part, &half.tout, &half.tlse, &c.tout, &c.tlse, OCTAVO_NHD, &execution));
  wipe(&c);
  execution.stream = &c;
  CHECK_ERROR(octavo_merge_state(&part, &log_part, &half.tout, &half.tlse, &c.tout, &c.tlse, OCTAVO_NHD, &execution),
              OCTAVO_INVALID_ARGUMENT, "stream is given");
  execution.struct_size = 3;
  CHECK_ERROR(octavo_merge_state(&part, &log_part, &half.tout, &half.tlse, &c.tout, &c.tlse, OCTAVO_NHD, &execution),
              OCTAVO_INVALID_ARGUMENT, "execution.struct_size is 3");
  CHECK(untouched(&c));
  for (i = 0; i < 6; ++i) {
    static const char* const names[] = {"o_a is null",   "lse_a is null", "o_b is null",
                                        "lse_b is null", "out is null",   "lse is null"};
    six[0] = &part, six[1] = &log_part, six[2] = &half.tout, six[3] = &half.tlse, six[4] = &c.tout, six[5] = &c.tlse;
    six[i] = NULL;
    CHECK_ERROR(octavo_merge_state(six[0], six[1], six[2], six[3], six[4], six[5], OCTAVO_NHD, NULL),
                OCTAVO_INVALID_ARGUMENT, names[i]);
  }
  CHECK_ERROR(octavo_merge_state(&part, &log_part, &half.tout, &half.tlse, &c.tout, &c.tlse, 2, NULL),
              OCTAVO_INVALID_ARGUMENT, "layout is 2");
  CHECK_ERROR(octavo_merge_state(&part, &log_part, &half.tout, &half.tlse, &c.tout, &log_part, OCTAVO_NHD, NULL),
              OCTAVO_OK, "");
  CHECK_ERROR(octavo_merge_state(&part, &log_part, &half.tout, &half.tlse, &log_part, &c.tlse, OCTAVO_NHD, NULL),
              OCTAVO_INVALID_ARGUMENT, "shape");
  part.dtype = OCTAVO_F16;
  wipe(&c);
  CHECK_ERROR(octavo_merge_state(&part, &log_part, &half.tout, &half.tlse, &c.tout, &c.tlse, OCTAVO_NHD, NULL),
              OCTAVO_INVALID_ARGUMENT, "o_a is f16");
  part.rank = 0;
  CHECK_ERROR(octavo_merge_state(&part, &log_part, &half.tout, &half.tlse, &c.tout, &c.tlse, OCTAVO_NHD, NULL),
              OCTAVO_INVALID_ARGUMENT, "o_a has rank 0");
  CHECK(untouched(&c));
}

int main(void) {
  test_results();
  test_packed();
  test_tensors();
  test_missing();
  test_numbers();
  test_execution();
  test_merge();
  return report();
}
