/* Codes and scales from C: made by octavo, made by the program, taken in place of floats, turned back into floats. */
#include "call.h"

static struct call c;

static double relative_error(const float* x, const float* y, int count) {
  double error = 0, norm = 0;
  int i;
  for (i = 0; i < count; ++i) {
    error += ((double)x[i] - y[i]) * ((double)x[i] - y[i]);
    norm += (double)x[i] * x[i];
  }
  return sqrt(error / norm);
}

static void test_round_trip(void) {
  static float back[kB * kM * kHq * kD];
  octavo_quantized_t* quantized = NULL;
  const octavo_quantized_view_t* view;
  octavo_tensor_t out = tensor4(back, OCTAVO_F32, kB, kM, kHq, kD);
  make_call(&c);
  CHECK_OK(octavo_quantize(&c.tq, OCTAVO_ROLE_Q, NULL, OCTAVO_NHD, NULL, &quantized));
  view = octavo_quantized_view(quantized);
  if (!CHECK(view != NULL)) return;
  CHECK(view->struct_size == sizeof *view && view->role == OCTAVO_ROLE_Q && view->layout == OCTAVO_NHD);
  CHECK(view->rotated == 1 && view->codes->dtype == OCTAVO_S8 && view->codes->rank == 4);
  CHECK(memcmp(view->codes->shape, c.tq.shape, sizeof c.tq.shape) == 0);
  CHECK(view->scales->rank == 3 && view->scales->shape[1] == kHq && view->scales->shape[2] == kM);
  CHECK(view->mean != NULL && view->mean->shape[3] == kD && view->recipe->smooth_q == 1);
  CHECK_OK(octavo_dequantize(view, &out, NULL));
  CHECK(relative_error(c.q, back, kB * kM * kHq * kD) < 0.02);

  CHECK_ERROR(octavo_dequantize(NULL, &out, NULL), OCTAVO_INVALID_ARGUMENT, "x is null");
  CHECK_ERROR(octavo_dequantize(view, NULL, NULL), OCTAVO_INVALID_ARGUMENT, "out is null");
  out.shape[1] = 1;
  CHECK_ERROR(octavo_dequantize(view, &out, NULL), OCTAVO_INVALID_ARGUMENT, "out has shape");
  out.rank = 9;
  CHECK_ERROR(octavo_dequantize(view, &out, NULL), OCTAVO_INVALID_ARGUMENT, "out has rank 9");
  out = tensor4(back, OCTAVO_F32, kB, kM, kHq, kD);
  c.execution.struct_size = 3;
  CHECK_ERROR(octavo_dequantize(view, &out, &c.execution), OCTAVO_INVALID_ARGUMENT, "execution.struct_size");
  octavo_quantized_free(quantized);

  CHECK(octavo_quantized_view(NULL) == NULL);
  octavo_quantized_free(NULL);
}

static void test_refusals(void) {
  octavo_quantized_t* const before = (octavo_quantized_t*)(void*)&c;
  octavo_quantized_t* result = before;
  octavo_recipe_t recipe = OCTAVO_RECIPE_INIT;
  make_call(&c);
  CHECK_ERROR(octavo_quantize(&c.tq, 0, NULL, 0, NULL, NULL), OCTAVO_INVALID_ARGUMENT, "result is null");
  CHECK_ERROR(octavo_quantize(NULL, 0, NULL, 0, NULL, &result), OCTAVO_INVALID_ARGUMENT, "x is null");
  CHECK(result == NULL);
  CHECK_ERROR(octavo_quantize(&c.tq, 3, NULL, 0, NULL, &result), OCTAVO_INVALID_ARGUMENT, "role is 3");
  CHECK_ERROR(octavo_quantize(&c.tq, 0, NULL, -1, NULL, &result), OCTAVO_INVALID_ARGUMENT, "layout is -1");
  CHECK_ERROR(octavo_quantize(&c.tq, 0, &c.recipe, 0, NULL, &result), OCTAVO_UNIMPLEMENTED, "exact");
  recipe.p = 7;
  CHECK_ERROR(octavo_quantize(&c.tq, 0, &recipe, 0, NULL, &result), OCTAVO_INVALID_ARGUMENT, "recipe.p is 7");
  c.execution.implementation = "abacus";
  CHECK_ERROR(octavo_quantize(&c.tq, 0, NULL, 0, &c.execution, &result), OCTAVO_INVALID_ARGUMENT, "abacus");
  c.execution.struct_size = 0;
  CHECK_ERROR(octavo_quantize(&c.tq, 0, NULL, 0, &c.execution, &result), OCTAVO_INVALID_ARGUMENT,
              "execution.struct_size");
  c.tq.dtype = OCTAVO_F64;
  CHECK_ERROR(octavo_quantize(&c.tq, 0, NULL, 0, NULL, &result), OCTAVO_INVALID_ARGUMENT, "x is f64");
  c.tq.rank = 0;
  CHECK_ERROR(octavo_quantize(&c.tq, 0, NULL, 0, NULL, &result), OCTAVO_INVALID_ARGUMENT, "x has rank 0");
  CHECK(result == NULL);
}

/* Quantized Q, K and V in place of the floats. */
static void test_attention(void) {
  static const struct options off;
  octavo_quantized_t *q = NULL, *k = NULL, *v = NULL;
  make_call(&c);
  c.params.recipe = NULL;
  CHECK_OK(octavo_quantize(&c.tq, OCTAVO_ROLE_Q, NULL, OCTAVO_NHD, NULL, &q));
  CHECK_OK(octavo_quantize(&c.tk, OCTAVO_ROLE_K, NULL, OCTAVO_NHD, NULL, &k));
  CHECK_OK(octavo_quantize(&c.tv, OCTAVO_ROLE_V, NULL, OCTAVO_NHD, NULL, &v));
  c.inputs.quantized_k = octavo_quantized_view(k);
  CHECK_REFUSED(c, OCTAVO_INVALID_ARGUMENT, "both given");
  c.inputs.q = c.inputs.k = c.inputs.v = NULL;
  c.inputs.quantized_q = octavo_quantized_view(q);
  c.inputs.quantized_v = octavo_quantized_view(v);
  CHECK_OK(run(&c));
  CHECK(distance(&c, off) < 0.05);
  wipe(&c);
  c.inputs.quantized_q = octavo_quantized_view(k);
  CHECK_REFUSED(c, OCTAVO_INVALID_ARGUMENT, "quantized_q");
  octavo_quantized_free(q);
  octavo_quantized_free(k);
  octavo_quantized_free(v);
}

/* Every preset, without Q's mean, gives the same O for codes as for the floats they were made of. */
static void test_every_preset(void) {
  static float expected[sizeof c.out / sizeof c.out[0]];
  size_t i;
  int quantized = 0;
  for (i = 0; i < octavo_recipe_count(); ++i) {
    octavo_quantized_t *q = NULL, *k = NULL, *v = NULL;
    make_call(&c);
    CHECK_OK(octavo_recipe_parse(octavo_recipe_name(i), &c.recipe));
    c.recipe.smooth_q = 0;
    if (strcmp(octavo_recipe_name(i), "int8") == 0) continue; /* codes are computed as those of int8_fast */
    CHECK_OK(run(&c));
    memcpy(expected, c.out, sizeof expected);
    wipe(&c);
    if (octavo_quantize(&c.tq, OCTAVO_ROLE_Q, &c.recipe, OCTAVO_NHD, NULL, &q) == OCTAVO_OK) {
      CHECK_OK(octavo_quantize(&c.tk, OCTAVO_ROLE_K, &c.recipe, OCTAVO_NHD, NULL, &k));
      c.inputs.q = c.inputs.k = NULL;
      c.inputs.quantized_q = octavo_quantized_view(q);
      c.inputs.quantized_k = octavo_quantized_view(k);
      ++quantized;
    }
    if (octavo_quantize(&c.tv, OCTAVO_ROLE_V, &c.recipe, OCTAVO_NHD, NULL, &v) == OCTAVO_OK) {
      c.inputs.v = NULL;
      c.inputs.quantized_v = octavo_quantized_view(v);
      ++quantized;
    }
    CHECK_OK(run(&c));
    CHECK(memcmp(expected, c.out, sizeof expected) == 0);
    octavo_quantized_free(q);
    octavo_quantized_free(k);
    octavo_quantized_free(v);
  }
  CHECK(quantized >= 30);
}

/* The program's own codes: V [B, N, Hkv, Dv] with one scale a head, everything else exact. */
static void test_own_codes(void) {
  static signed char codes[kB * kN * kHkv * kDv];
  static float scales[kB * kHkv];
  octavo_tensor_t tcodes = tensor4(codes, OCTAVO_S8, kB, kN, kHkv, kDv), tscales, tmean;
  octavo_quantized_view_t own = OCTAVO_QUANTIZED_VIEW_INIT, view;
  octavo_recipe_t recipe = OCTAVO_RECIPE_INIT;
  const octavo_tensor_t* null = NULL;
  const int64_t heads[2] = {kB, kHkv};
  static const struct options off;
  int i;
  make_call(&c);
  CHECK_OK(octavo_recipe_parse("int_flash,p=u8,p_range=255,p_reference=block,row_sum=weights", &recipe));
  tscales = octavo_dense_tensor(scales, OCTAVO_F32, 2, heads);
  tmean = tensor1(scales, OCTAVO_F32, kB * kHkv);
  for (i = 0; i < kB * kHkv; ++i) scales[i] = 1.0f / 127;
  for (i = 0; i < kB * kN * kHkv * kDv; ++i) codes[i] = (signed char)lrint(127 * (double)c.v[i]);
  own.codes = &tcodes;
  own.scales = &tscales;
  own.recipe = &recipe;
  own.role = OCTAVO_ROLE_V;
  c.params.recipe = &recipe;
  c.inputs.v = NULL;
  c.inputs.quantized_v = &own;
  CHECK_OK(run(&c));
  CHECK(distance(&c, off) < 0.05);
  wipe(&c);

  view = own;
  c.inputs.quantized_v = &view;
  view.codes = null;
  CHECK_REFUSED(c, OCTAVO_INVALID_ARGUMENT, "quantized_v.codes is null");
  view = own, view.scales = null;
  CHECK_REFUSED(c, OCTAVO_INVALID_ARGUMENT, "quantized_v.scales");
  view = own, view.mean = &tmean;
  CHECK_REFUSED(c, OCTAVO_INVALID_ARGUMENT, "quantized_v.mean");
  tmean.rank = 0;
  CHECK_REFUSED(c, OCTAVO_INVALID_ARGUMENT, "quantized_v.mean has rank 0");
  view = own, view.recipe = NULL;
  CHECK_REFUSED(c, OCTAVO_INVALID_ARGUMENT, "quantized_v was made with");
  view = own, view.role = OCTAVO_ROLE_K;
  CHECK_REFUSED(c, OCTAVO_INVALID_ARGUMENT, "quantized_v");
  view = own, view.role = 3;
  CHECK_REFUSED(c, OCTAVO_INVALID_ARGUMENT, "quantized_v.role is 3");
  view = own, view.layout = 2;
  CHECK_REFUSED(c, OCTAVO_INVALID_ARGUMENT, "quantized_v.layout is 2");
  view = own, view.rotated = 2;
  CHECK_REFUSED(c, OCTAVO_INVALID_ARGUMENT, "quantized_v.rotated is 2");
  view = own, view.rotated = 1;
  CHECK_REFUSED(c, OCTAVO_INVALID_ARGUMENT, "rotated");
  view = own, view.reserved = 1;
  CHECK_REFUSED(c, OCTAVO_INVALID_ARGUMENT, "quantized_v.reserved is 1");
  view = own, view.struct_size = 12;
  CHECK_REFUSED(c, OCTAVO_INVALID_ARGUMENT, "quantized_v.struct_size is 12");
  view = own, tcodes.dtype = OCTAVO_U8;
  CHECK_REFUSED(c, OCTAVO_INVALID_ARGUMENT, "quantized_v.codes");
}

/* Keys of two packed sequences as codes: the bits of the keys themselves, for a recipe that leaves Q alone. */
static void test_packed(void) {
  static float floats[kB * kM * kHq * kDv];
  int64_t q_borders[3], k_borders[3];
  octavo_tensor_t tq_borders, tk_borders;
  octavo_quantized_t* k = NULL;
  octavo_quantized_view_t view;
  octavo_recipe_t recipe = OCTAVO_RECIPE_INIT;
  make_call(&c);
  CHECK_OK(octavo_recipe_parse("sage1_int8", &recipe));
  c.params.recipe = &recipe;
  q_borders[0] = 0, q_borders[1] = 4, q_borders[2] = kB * kM;
  k_borders[0] = 0, k_borders[1] = 5, k_borders[2] = kB * kN;
  tq_borders = tensor1(q_borders, OCTAVO_S64, 3), tk_borders = tensor1(k_borders, OCTAVO_S64, 3);
  c.tq = tensor3(c.q, OCTAVO_F32, kB * kM, kHq, kD);
  c.tk = tensor3(c.k, OCTAVO_F32, kB * kN, kHkv, kD);
  c.tv = tensor3(c.v, OCTAVO_F32, kB * kN, kHkv, kDv);
  c.tout = tensor3(c.out, OCTAVO_F32, kB * kM, kHq, kDv);
  c.inputs.lse = NULL;
  c.inputs.cu_seqlens_q = &tq_borders, c.inputs.cu_seqlens_k = &tk_borders;
  CHECK_OK(run(&c));
  memcpy(floats, c.out, sizeof floats);
  wipe(&c);

  CHECK_ERROR(octavo_quantize_varlen(&c.tk, NULL, OCTAVO_ROLE_K, &recipe, OCTAVO_NHD, NULL, &k),
              OCTAVO_INVALID_ARGUMENT, "cu_seqlens is null");
  CHECK_ERROR(octavo_quantize_varlen(&c.tk, &tq_borders, OCTAVO_ROLE_K, &recipe, OCTAVO_NHD, NULL, &k),
              OCTAVO_INVALID_ARGUMENT, "cu_seqlens ends with");
  CHECK(k == NULL);
  CHECK_OK(octavo_quantize_varlen(&c.tk, &tk_borders, OCTAVO_ROLE_K, &recipe, OCTAVO_NHD, NULL, &k));
  view = *octavo_quantized_view(k);
  CHECK(view.cu_seqlens != NULL && view.cu_seqlens->shape[0] == 3 && view.codes->rank == 3);
  c.inputs.k = NULL;
  c.inputs.quantized_k = &view;
  CHECK_OK(run(&c));
  CHECK(memcmp(floats, c.out, sizeof floats) == 0);
  wipe(&c);
  view.struct_size = offsetof(octavo_quantized_view_t, cu_seqlens); /* a program that does not know the field */
  CHECK_OK(run(&c));
  CHECK(memcmp(floats, c.out, sizeof floats) == 0);
  octavo_quantized_free(k);
}

/* Keys that do not exist reach neither codes nor the output. */
static void test_padded(void) {
  static float floats[sizeof c.out / sizeof c.out[0]];
  static int32_t lens[kB];
  static uint8_t exists[kB * kN];
  octavo_quantized_t *k = NULL, *v = NULL;
  octavo_tensor_t tlens, tmask;
  const int64_t mask_shape[2] = {kB, kN};
  int i;
  make_call(&c);
  CHECK_OK(octavo_recipe_parse("int8_fast,smooth_q=off", &c.recipe));
  for (i = 0; i < kB; ++i) lens[i] = kN - 1 - i;
  for (i = 0; i < kB * kN; ++i) exists[i] = i % kN != 2;
  tlens = tensor1(lens, OCTAVO_S32, kB);
  tmask = octavo_dense_tensor(exists, OCTAVO_BOOL, 2, mask_shape);
  for (i = 0; i < kB * kN * kHkv; ++i)
    if (i / kHkv % kN == 2 || i / kHkv % kN == kN - 1) {
      int d;
      for (d = 0; d < kD; ++d) c.k[i * kD + d] = 1e4f;
      for (d = 0; d < kDv; ++d) c.v[i * kDv + d] = NAN;
    }
  c.inputs.kv_lens = &tlens;
  c.inputs.key_mask = &tmask;
  CHECK_OK(run(&c));
  memcpy(floats, c.out, sizeof floats);
  for (i = 0; i < (int)(sizeof floats / sizeof floats[0]); ++i) CHECK(isfinite(floats[i]));
  wipe(&c);
  CHECK_ERROR(octavo_quantize_padded(&c.tk, &tlens, &tmask, OCTAVO_ROLE_Q, &c.recipe, OCTAVO_NHD, NULL, &k),
              OCTAVO_INVALID_ARGUMENT, "kv_lens is given for role q");
  CHECK_ERROR(octavo_quantize_padded(&c.tk, &tmask, NULL, OCTAVO_ROLE_K, &c.recipe, OCTAVO_NHD, NULL, &k),
              OCTAVO_INVALID_ARGUMENT, "kv_lens");
  CHECK(k == NULL);
  CHECK_OK(octavo_quantize_padded(&c.tk, &tlens, &tmask, OCTAVO_ROLE_K, &c.recipe, OCTAVO_NHD, NULL, &k));
  CHECK_OK(octavo_quantize_padded(&c.tv, &tlens, &tmask, OCTAVO_ROLE_V, &c.recipe, OCTAVO_NHD, NULL, &v));
  c.inputs.k = c.inputs.v = NULL;
  c.inputs.quantized_k = octavo_quantized_view(k);
  c.inputs.quantized_v = octavo_quantized_view(v);
  CHECK_OK(run(&c));
  CHECK(memcmp(floats, c.out, sizeof floats) == 0);
  octavo_quantized_free(k);
  octavo_quantized_free(v);
}

int main(void) {
  test_padded();
  test_packed();
  test_round_trip();
  test_refusals();
  test_attention();
  test_every_preset();
  test_own_codes();
  return report();
}
