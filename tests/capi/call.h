/* A small attention call whose parts a test can bend one at a time, and softmax(QK^T)V as it is defined, to compare. */
#pragma once

#include <math.h>
#include <stdlib.h>

#include "check.h"

enum { kB = 2, kHq = 4, kHkv = 2, kM = 5, kN = 7, kD = 8, kDv = 6 };
static const float kUntouched = -77;

struct call {
  float q[kB * kM * kHq * kD], k[kB * kN * kHkv * kD], v[kB * kN * kHkv * kDv];
  float out[kB * kM * kHq * kDv], lse[kB * kHq * kM];
  octavo_tensor_t tq, tk, tv, tout, tlse, tmask, talibi, tsinks, tlens, tcu_q, tcu_k;
  octavo_attention_inputs_t inputs;
  octavo_recipe_t recipe;
  octavo_attention_params_t params;
  octavo_execution_t execution;
};

static inline octavo_tensor_t tensor4(const void* data, int32_t dtype, int64_t a, int64_t b, int64_t c, int64_t d) {
  int64_t shape[4];
  shape[0] = a, shape[1] = b, shape[2] = c, shape[3] = d;
  return octavo_dense_tensor(data, dtype, 4, shape);
}
static inline octavo_tensor_t tensor3(const void* data, int32_t dtype, int64_t a, int64_t b, int64_t c) {
  int64_t shape[3];
  shape[0] = a, shape[1] = b, shape[2] = c;
  return octavo_dense_tensor(data, dtype, 3, shape);
}
static inline octavo_tensor_t tensor1(const void* data, int32_t dtype, int64_t a) {
  return octavo_dense_tensor(data, dtype, 1, &a);
}

static inline void fill(float* values, int count, unsigned seed) {
  int i;
  for (i = 0; i < count; ++i) {
    seed = seed * 1664525u + 1013904223u;
    values[i] = (float)(seed >> 8) / (1 << 23) - 1;
  }
}

static inline void wipe(struct call* c) {
  size_t i;
  for (i = 0; i < sizeof c->out / sizeof c->out[0]; ++i) c->out[i] = kUntouched;
  for (i = 0; i < sizeof c->lse / sizeof c->lse[0]; ++i) c->lse[i] = kUntouched;
}

/* "exact", so that results can be told from the definition. */
static inline void make_call(struct call* c) {
  static const octavo_attention_inputs_t inputs = OCTAVO_ATTENTION_INPUTS_INIT;
  static const octavo_attention_params_t params = OCTAVO_ATTENTION_PARAMS_INIT;
  static const octavo_execution_t execution = OCTAVO_EXECUTION_INIT;
  memset(c, 0, sizeof *c);
  fill(c->q, kB * kM * kHq * kD, 1);
  fill(c->k, kB * kN * kHkv * kD, 2);
  fill(c->v, kB * kN * kHkv * kDv, 3);
  wipe(c);
  c->tq = tensor4(c->q, OCTAVO_F32, kB, kM, kHq, kD);
  c->tk = tensor4(c->k, OCTAVO_F32, kB, kN, kHkv, kD);
  c->tv = tensor4(c->v, OCTAVO_F32, kB, kN, kHkv, kDv);
  c->tout = tensor4(c->out, OCTAVO_F32, kB, kM, kHq, kDv);
  c->tlse = tensor3(c->lse, OCTAVO_F32, kB, kHq, kM);
  c->inputs = inputs;
  c->inputs.q = &c->tq;
  c->inputs.k = &c->tk;
  c->inputs.v = &c->tv;
  c->inputs.out = &c->tout;
  c->inputs.lse = &c->tlse;
  c->recipe.struct_size = sizeof c->recipe;
  CHECK_OK(octavo_recipe_parse("exact", &c->recipe));
  c->params = params;
  c->params.recipe = &c->recipe;
  c->execution = execution;
}

static inline octavo_status_t run(struct call* c) { return octavo_attention(&c->inputs, &c->params, &c->execution); }

static inline int untouched(const struct call* c) {
  size_t i;
  for (i = 0; i < sizeof c->out / sizeof c->out[0]; ++i)
    if (c->out[i] != kUntouched) return 0;
  for (i = 0; i < sizeof c->lse / sizeof c->lse[0]; ++i)
    if (c->lse[i] != kUntouched) return 0;
  return 1;
}
/* The call is refused and writes nothing. */
#define CHECK_REFUSED(c, code, words)    \
  do {                                   \
    CHECK_ERROR(run(&(c)), code, words); \
    CHECK(untouched(&(c)));              \
  } while (0)

/* What the definition needs to know beyond Q, K and V; zeros switch everything off. */
struct options {
  double scale; /* 0: 1 / sqrt(D) */
  double softcap;
  int causal; /* bottom right */
  int window; /* > 0: so many keys to the left of the diagonal, all to the right */
  const float* alibi;
  int symmetric;
  const float* sinks;
  const float* mask; /* [M, N], added */
  const int32_t* lens;
};

/* Largest difference of `out` and `lse` (as a call with these options left them) from the definition. */
static inline double distance(const struct call* c, struct options o) {
  double worst = 0;
  int b, h, i, j, d;
  for (b = 0; b < kB; ++b)
    for (h = 0; h < kHq; ++h)
      for (i = 0; i < kM; ++i) {
        const int keys = o.lens != NULL ? o.lens[b] : kN;
        double weights[kN], high = -INFINITY, sum = 0, lse;
        for (j = 0; j < kN; ++j) {
          const int diagonal = i + keys - kM;
          double s = 0;
          for (d = 0; d < kD; ++d) {
            s += (double)c->q[((b * kM + i) * kHq + h) * kD + d] *
                 c->k[((b * kN + j) * kHkv + h / (kHq / kHkv)) * kD + d];
          }
          s *= o.scale != 0 ? o.scale : 1 / sqrt(kD);
          if (o.softcap > 0) s = o.softcap * tanh(s / o.softcap);
          if (o.alibi != NULL) s += (double)o.alibi[h] * (o.symmetric ? -abs(j - diagonal) : j - diagonal);
          if (o.mask != NULL) s += (double)o.mask[i * kN + j];
          if (j >= keys || (o.causal && j > diagonal) || (o.window > 0 && j < diagonal - o.window)) s = -INFINITY;
          weights[j] = s;
          if (s > high) high = s;
        }
        if (o.sinks != NULL && o.sinks[h] > high) high = o.sinks[h];
        for (j = 0; j < kN; ++j) sum += weights[j] = high == -INFINITY ? 0 : exp(weights[j] - high);
        if (o.sinks != NULL) sum += exp(o.sinks[h] - high);
        for (d = 0; d < kDv; ++d) {
          double value = 0;
          for (j = 0; j < kN; ++j) {
            value += weights[j] * (double)c->v[((b * kN + j) * kHkv + h / (kHq / kHkv)) * kDv + d];
          }
          value = fabs((sum > 0 ? value / sum : 0) - (double)c->out[((b * kM + i) * kHq + h) * kDv + d]);
          if (!(value <= worst)) worst = value;
        }
        lse = high + log(sum);
        if (high == -INFINITY) {
          if (c->lse[(b * kHq + h) * kM + i] != -INFINITY) worst = INFINITY;
        } else if (!(fabs(lse - (double)c->lse[(b * kHq + h) * kM + i]) <= worst)) {
          worst = fabs(lse - (double)c->lse[(b * kHq + h) * kM + i]);
        }
      }
  return worst;
}
