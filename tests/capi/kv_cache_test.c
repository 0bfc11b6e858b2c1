/* A KV cache from C: equal to attention on the whole sequence, changed and asked by every function, refused with words.
 */
#include "call.h"

static struct call c;

static octavo_kv_cache_options_t options_of_call(void) {
  octavo_kv_cache_options_t options = OCTAVO_KV_CACHE_OPTIONS_INIT;
  options.batch = kB;
  options.kv_heads = kHkv;
  options.head_dim = kD;
  options.value_head_dim = kDv;
  options.capacity = 2 * kN;
  options.format = OCTAVO_F32;
  return options;
}

static octavo_kv_cache_t* filled_cache(octavo_kv_cache_options_t options) {
  octavo_kv_cache_t* cache = NULL;
  make_call(&c);
  CHECK_OK(octavo_kv_cache_create(&options, &cache));
  CHECK_OK(octavo_kv_cache_append(cache, &c.tk, &c.tv, OCTAVO_NHD, NULL, NULL, 0, NULL));
  return cache;
}

static octavo_kv_cache_query_t query_of_call(void) {
  octavo_kv_cache_query_t query = OCTAVO_KV_CACHE_QUERY_INIT;
  query.q = &c.tq;
  query.out = &c.tout;
  query.lse = &c.tlse;
  return query;
}

static double largest_difference(const float* x, const float* y, int count) {
  double most = 0;
  int i;
  for (i = 0; i < count; ++i) most = fmax(most, fabs((double)x[i] - y[i]));
  return most;
}

static void test_equals_attention(void) {
  static float expected[kB * kM * kHq * kDv], lse[kB * kHq * kM];
  octavo_kv_cache_query_t query;
  octavo_kv_cache_t* cache = filled_cache(options_of_call());
  c.params.causal = OCTAVO_CAUSAL_BOTTOM_RIGHT;
  CHECK_OK(run(&c));
  memcpy(expected, c.out, sizeof expected);
  memcpy(lse, c.lse, sizeof lse);
  wipe(&c);
  query = query_of_call();
  CHECK_OK(octavo_kv_cache_attend(cache, &query, NULL, NULL));
  CHECK(largest_difference(expected, c.out, kB * kM * kHq * kDv) < 1e-5);
  CHECK(largest_difference(lse, c.lse, kB * kHq * kM) < 1e-5);

  c.params.causal = OCTAVO_CAUSAL_NONE;
  c.params.softmax_scale = 0.25;
  c.params.softcap = 2;
  c.params.window_left = 3;
  c.params.window_right = 1;
  CHECK_OK(run(&c));
  memcpy(expected, c.out, sizeof expected);
  wipe(&c);
  {
    octavo_kv_cache_params_t params = OCTAVO_KV_CACHE_PARAMS_INIT;
    params.causal = 0;
    params.softmax_scale = 0.25;
    params.softcap = 2;
    params.window_left = 3;
    params.window_right = 1;
    CHECK_OK(octavo_kv_cache_attend(cache, &query, &params, NULL));
    CHECK(largest_difference(expected, c.out, kB * kM * kHq * kDv) < 1e-5);
    params.causal = 2;
    CHECK_ERROR(octavo_kv_cache_attend(cache, &query, &params, NULL), OCTAVO_INVALID_ARGUMENT, "params.causal is 2");
    params.causal = 1;
    params.struct_size = 5;
    CHECK_ERROR(octavo_kv_cache_attend(cache, &query, &params, NULL), OCTAVO_INVALID_ARGUMENT, "params.struct_size");
  }
  octavo_kv_cache_free(cache);
}

/* Rows of one sequence by number, ragged appends. */
static void test_some_sequences(void) {
  static const int64_t swapped[] = {1, 0}, counts[] = {2, 0}, outside[] = {0, 2};
  octavo_kv_cache_query_t query;
  static float natural[kB * kM * kHq * kDv];
  const int half = kM * kHq * kDv;
  octavo_kv_cache_t* cache = filled_cache(options_of_call());
  query = query_of_call();
  CHECK_OK(octavo_kv_cache_append(cache, &c.tk, &c.tv, OCTAVO_NHD, swapped, counts, 2, NULL));
  CHECK(octavo_kv_cache_length(cache, 1) == kN + 2 && octavo_kv_cache_length(cache, 0) == kN);
  CHECK_ERROR(octavo_kv_cache_append(cache, &c.tk, &c.tv, OCTAVO_NHD, outside, NULL, 2, NULL), OCTAVO_INVALID_ARGUMENT,
              "2");
  CHECK_ERROR(octavo_kv_cache_append(cache, &c.tk, &c.tv, OCTAVO_NHD, swapped, NULL, 0, NULL), OCTAVO_INVALID_ARGUMENT,
              "sequences has no entries");
  /* An append that fails leaves both sequences as they were: the first would still have room. */
  CHECK_OK(octavo_kv_cache_trim(cache, 1, kN));
  CHECK_OK(octavo_kv_cache_append(cache, &c.tk, &c.tv, OCTAVO_NHD, NULL, NULL, 0, NULL));
  CHECK_ERROR(octavo_kv_cache_append(cache, &c.tk, &c.tv, OCTAVO_NHD, NULL, NULL, 0, NULL), OCTAVO_INVALID_ARGUMENT,
              "capacity");
  CHECK(octavo_kv_cache_length(cache, 0) == 2 * kN && octavo_kv_cache_length(cache, 1) == 2 * kN);

  /* Both rows of q alike: the order of the sequences is then the order of the results. */
  memcpy(c.q + kM * kHq * kD, c.q, sizeof(float) * kM * kHq * kD);
  CHECK_OK(octavo_kv_cache_attend(cache, &query, NULL, NULL));
  memcpy(natural, c.out, sizeof natural);
  query.sequences = swapped;
  query.num_sequences = 2;
  CHECK_OK(octavo_kv_cache_attend(cache, &query, NULL, NULL));
  CHECK(memcmp(natural, c.out + half, sizeof(float) * half) == 0);
  CHECK(memcmp(natural + half, c.out, sizeof(float) * half) == 0);
  CHECK(memcmp(natural, c.out, sizeof(float) * half) != 0);
  octavo_kv_cache_free(cache);
}

/* Masks as attention() takes them; a tree mask is a mask over the last keys; packed queries are those of calls. */
static void test_masks_and_packed_queries(void) {
  static float expected[kB * kM * kHq * kDv], slopes[kHq];
  static unsigned char mask[kM * kN], tree[kM * kM], exist[kB * kN];
  static const int64_t begins[] = {0, 2, kB * kM};
  octavo_kv_cache_params_t params = OCTAVO_KV_CACHE_PARAMS_INIT;
  octavo_tensor_t tmask, ttree, texist, tbegins, packed_q, packed_out, packed_lse;
  octavo_kv_cache_query_t query;
  int64_t extents[2];
  int i, j;
  octavo_kv_cache_t* cache = filled_cache(options_of_call());
  for (i = 0; i < kHq; ++i) slopes[i] = 0.1f * (float)(i + 1);
  for (i = 0; i < kM; ++i) {
    for (j = 0; j < kN; ++j) mask[i * kN + j] = (unsigned char)(j < kN - kM || (i + j) % 3 != 0);
    for (j = 0; j < kM; ++j) tree[i * kM + j] = mask[i * kN + kN - kM + j];
  }
  memset(exist, 1, sizeof exist);
  exist[1] = exist[kN + 2] = 0;
  extents[0] = kM, extents[1] = kN;
  tmask = octavo_dense_tensor(mask, OCTAVO_BOOL, 2, extents);
  extents[1] = kM;
  ttree = octavo_dense_tensor(tree, OCTAVO_BOOL, 2, extents);
  extents[0] = kB, extents[1] = kN;
  texist = octavo_dense_tensor(exist, OCTAVO_BOOL, 2, extents);
  c.talibi = tensor1(slopes, OCTAVO_F32, kHq);
  c.inputs.mask = &tmask;
  c.inputs.key_mask = &texist;
  c.inputs.alibi_slopes = &c.talibi;
  c.params.causal = OCTAVO_CAUSAL_NONE;
  c.params.alibi = OCTAVO_ALIBI_SYMMETRIC;
  CHECK_OK(run(&c));
  memcpy(expected, c.out, sizeof expected);

  query = query_of_call();
  params.causal = 0;
  params.alibi = OCTAVO_ALIBI_SYMMETRIC;
  query.key_mask = &texist;
  query.alibi_slopes = &c.talibi;
  wipe(&c);
  query.mask = &tmask;
  CHECK_OK(octavo_kv_cache_attend(cache, &query, &params, NULL));
  CHECK(largest_difference(expected, c.out, kB * kM * kHq * kDv) < 1e-5);
  wipe(&c);
  query.mask = NULL;
  query.tree_mask = &ttree;
  CHECK_OK(octavo_kv_cache_attend(cache, &query, &params, NULL));
  CHECK(largest_difference(expected, c.out, kB * kM * kHq * kDv) < 1e-5);
  params.alibi = 2;
  CHECK_ERROR(octavo_kv_cache_attend(cache, &query, &params, NULL), OCTAVO_INVALID_ARGUMENT, "params.alibi is 2");
  query.tree_mask = &tmask;
  params.alibi = OCTAVO_ALIBI_CAUSAL;
  CHECK_ERROR(octavo_kv_cache_attend(cache, &query, &params, NULL), OCTAVO_INVALID_ARGUMENT, "tree_mask has shape");

  /* Sequence 0 with 2 rows, sequence 1 with the other 8. */
  query = query_of_call();
  packed_q = tensor3(c.q, OCTAVO_F32, kB * kM, kHq, kD);
  packed_out = tensor3(c.out, OCTAVO_F32, kB * kM, kHq, kDv);
  extents[0] = kHq, extents[1] = kB * kM;
  packed_lse = octavo_dense_tensor(c.lse, OCTAVO_F32, 2, extents);
  tbegins = tensor1(begins, OCTAVO_S64, kB + 1);
  query.q = &packed_q, query.out = &packed_out, query.lse = &packed_lse, query.cu_seqlens_q = &tbegins;
  CHECK_OK(octavo_kv_cache_attend(cache, &query, NULL, NULL));
  memcpy(expected, c.out, sizeof expected);
  wipe(&c);
  for (i = 0; i < kB; ++i) {
    static const int64_t numbers[] = {0, 1};
    const int64_t rows = begins[i + 1] - begins[i];
    octavo_tensor_t q = tensor4(c.q + begins[i] * kHq * kD, OCTAVO_F32, 1, rows, kHq, kD);
    octavo_tensor_t out = tensor4(c.out + begins[i] * kHq * kDv, OCTAVO_F32, 1, rows, kHq, kDv);
    query = query_of_call();
    query.q = &q, query.out = &out, query.lse = NULL, query.sequences = numbers + i, query.num_sequences = 1;
    CHECK_OK(octavo_kv_cache_attend(cache, &query, NULL, NULL));
  }
  CHECK(memcmp(expected, c.out, sizeof expected) == 0);
  octavo_kv_cache_free(cache);
}

static void test_changes(void) {
  static const int64_t sources[] = {1, 0}, one[] = {1};
  octavo_kv_cache_options_t options = options_of_call();
  octavo_kv_cache_t* cache;
  options.format = OCTAVO_S8;
  options.page_size = 16;
  options.pages = 3;
  cache = filled_cache(options);
  CHECK(octavo_kv_cache_nbytes(cache) > 0 && octavo_kv_cache_free_pages(cache) == 1);
  CHECK_OK(octavo_kv_cache_trim(cache, 0, 3));
  CHECK_OK(octavo_kv_cache_reorder(cache, sources, 2));
  CHECK(octavo_kv_cache_length(cache, 0) == kN && octavo_kv_cache_length(cache, 1) == 3);
  CHECK_OK(octavo_kv_cache_fork(cache, 0, 1));
  CHECK(octavo_kv_cache_length(cache, 1) == kN);
  CHECK_OK(octavo_kv_cache_reset(cache, one, 1));
  CHECK(octavo_kv_cache_length(cache, 0) == kN && octavo_kv_cache_length(cache, 1) == 0);
  CHECK_OK(octavo_kv_cache_reset(cache, NULL, 0));
  CHECK(octavo_kv_cache_length(cache, 0) == 0 && octavo_kv_cache_free_pages(cache) == 3);

  CHECK_ERROR(octavo_kv_cache_reset(cache, one, 0), OCTAVO_INVALID_ARGUMENT, "sequences has no entries");
  CHECK_ERROR(octavo_kv_cache_trim(cache, 0, 1), OCTAVO_INVALID_ARGUMENT, "1");
  CHECK_ERROR(octavo_kv_cache_fork(cache, 0, 7), OCTAVO_INVALID_ARGUMENT, "7");
  CHECK_ERROR(octavo_kv_cache_reorder(cache, NULL, 2), OCTAVO_INVALID_ARGUMENT, "sources is null");
  CHECK_ERROR(octavo_kv_cache_reorder(cache, sources, 1), OCTAVO_INVALID_ARGUMENT, "1");
  octavo_kv_cache_free(cache);
}

/* Contents in natural order: what was appended, or its codes and scales. */
static void test_read(void) {
  static float k[kHkv * kN * kD], v[kHkv * kN * kDv], scales[kHkv * kN], mean[kHkv * kD];
  static signed char codes[kHkv * kN * kD];
  octavo_kv_cache_options_t options = options_of_call();
  octavo_tensor_t tk = tensor3(k, OCTAVO_F32, kHkv, kN, kD), tv = tensor3(v, OCTAVO_F32, kHkv, kN, kDv);
  octavo_tensor_t tcodes = tensor3(codes, OCTAVO_S8, kHkv, kN, kD), tscales, tmean;
  int64_t extents[2];
  int h, j, d;
  octavo_kv_cache_t* cache = filled_cache(options);
  extents[0] = kHkv, extents[1] = kN;
  tscales = octavo_dense_tensor(scales, OCTAVO_F32, 2, extents);
  extents[1] = kD;
  tmean = octavo_dense_tensor(mean, OCTAVO_F32, 2, extents);
  CHECK_OK(octavo_kv_cache_read_k(cache, 1, &tk, NULL, NULL));
  CHECK_OK(octavo_kv_cache_read_v(cache, 1, &tv, NULL));
  for (h = 0; h < kHkv; ++h) {
    for (j = 0; j < kN; ++j) {
      const float* given_k = c.k + ((kN + j) * kHkv + h) * kD;
      const float* given_v = c.v + ((kN + j) * kHkv + h) * kDv;
      CHECK(memcmp(k + (h * kN + j) * kD, given_k, sizeof(float) * kD) == 0);
      CHECK(memcmp(v + (h * kN + j) * kDv, given_v, sizeof(float) * kDv) == 0);
    }
  }
  CHECK_ERROR(octavo_kv_cache_read_k(cache, 2, &tk, NULL, NULL), OCTAVO_INVALID_ARGUMENT, "sequence 2");
  CHECK_ERROR(octavo_kv_cache_read_k(cache, 0, &tk, &tscales, NULL), OCTAVO_INVALID_ARGUMENT, "no scales");
  CHECK_ERROR(octavo_kv_cache_read_k(cache, 0, NULL, NULL, NULL), OCTAVO_INVALID_ARGUMENT, "codes is null");
  CHECK_ERROR(octavo_kv_cache_read_v(cache, 0, &tk, NULL), OCTAVO_INVALID_ARGUMENT, "codes has shape");
  CHECK_ERROR(octavo_kv_cache_read_v(NULL, 0, &tv, NULL), OCTAVO_INVALID_ARGUMENT, "cache is null");
  octavo_kv_cache_free(cache);

  options.format = OCTAVO_S8;
  cache = filled_cache(options);
  CHECK_ERROR(octavo_kv_cache_read_k(cache, 0, &tcodes, NULL, NULL), OCTAVO_INVALID_ARGUMENT, "scales is missing");
  CHECK_OK(octavo_kv_cache_read_k(cache, 0, &tcodes, &tscales, &tmean));
  for (h = 0; h < kHkv * kN; ++h) {
    int largest = 0;
    for (d = 0; d < kD; ++d) largest = abs(codes[h * kD + d]) > largest ? abs(codes[h * kD + d]) : largest;
    CHECK(scales[h] > 0 && largest == 127);
  }
  octavo_kv_cache_free(cache);
}

/* Evicted, saved and loaded: the same bits; one changed byte is noticed. */
static void test_evict_and_save(void) {
  static float before[kB * kM * kHq * kDv];
  octavo_kv_cache_options_t options = options_of_call();
  octavo_kv_cache_query_t query;
  octavo_kv_cache_t *cache, *loaded = NULL;
  size_t size;
  unsigned char* bytes;
  options.format = OCTAVO_S4;
  cache = filled_cache(options);
  CHECK_OK(octavo_kv_cache_evict(cache, 1, 1, kM));
  CHECK(octavo_kv_cache_length(cache, 1) == 1 + kM && octavo_kv_cache_length(cache, 0) == kN);
  CHECK_ERROR(octavo_kv_cache_evict(cache, 1, -1, 2), OCTAVO_INVALID_ARGUMENT, "-1");
  query = query_of_call();
  CHECK_OK(octavo_kv_cache_attend(cache, &query, NULL, NULL));
  memcpy(before, c.out, sizeof before);
  size = octavo_kv_cache_saved_size(cache);
  bytes = malloc(size);
  if (!CHECK(size > 100 && bytes != NULL)) return;
  CHECK_ERROR(octavo_kv_cache_save(cache, bytes, size - 8), OCTAVO_INVALID_ARGUMENT, "bytes");
  CHECK_ERROR(octavo_kv_cache_save(cache, NULL, size), OCTAVO_INVALID_ARGUMENT, "bytes is null");
  CHECK_OK(octavo_kv_cache_save(cache, bytes, size));
  CHECK_OK(octavo_kv_cache_load(bytes, size, &loaded));
  wipe(&c);
  CHECK_OK(octavo_kv_cache_attend(loaded, &query, NULL, NULL));
  CHECK(memcmp(before, c.out, sizeof before) == 0);
  octavo_kv_cache_free(loaded);
  CHECK_ERROR(octavo_kv_cache_load(bytes, size - 8, &loaded), OCTAVO_INVALID_ARGUMENT, "");
  CHECK_ERROR(octavo_kv_cache_load_on(bytes, size, 7, 0, &loaded), OCTAVO_INVALID_ARGUMENT, "device_type is 7");
  bytes[size / 2] ^= 1;
  CHECK_ERROR(octavo_kv_cache_load(bytes, size, &loaded), OCTAVO_INVALID_ARGUMENT, "");
  CHECK(loaded == NULL);
  CHECK_ERROR(octavo_kv_cache_load(NULL, size, &loaded), OCTAVO_INVALID_ARGUMENT, "bytes is null");
  free(bytes);
  octavo_kv_cache_free(cache);
}

/* The caller's memory and block tables: the bits of the cache's own memory. */
static void test_pool(void) {
  static const int32_t first[] = {3}, second[] = {1}, outside[] = {4};
  static float expected[kB * kM * kHq * kDv];
  octavo_kv_cache_options_t options = options_of_call();
  octavo_kv_cache_query_t query;
  octavo_kv_cache_t *cache, *over = NULL;
  size_t size = 0;
  unsigned char* memory;
  options.format = OCTAVO_S8;
  options.page_size = 16;
  options.pages = 4;
  CHECK_OK(octavo_kv_cache_pool_size(&options, &size));
  cache = filled_cache(options);
  query = query_of_call();
  CHECK_OK(octavo_kv_cache_attend(cache, &query, NULL, NULL));
  memcpy(expected, c.out, sizeof expected);
  CHECK_ERROR(octavo_kv_cache_set_block_table(cache, 0, first, 1), OCTAVO_INVALID_ARGUMENT, "memory of its own");
  octavo_kv_cache_free(cache);

  memory = malloc(size + 64);
  if (!CHECK(size > 0 && memory != NULL)) return;
  options.pool = memory + (64 - (size_t)memory % 64) % 64;
  CHECK_ERROR(octavo_kv_cache_create(&options, &over), OCTAVO_INVALID_ARGUMENT, "options.pool_bytes is 0");
  options.pool_bytes = size - 1;
  CHECK_ERROR(octavo_kv_cache_create(&options, &over), OCTAVO_INVALID_ARGUMENT, "4 pages need");
  options.pool_bytes = size;
  CHECK_OK(octavo_kv_cache_create(&options, &over));
  CHECK_ERROR(octavo_kv_cache_append(over, &c.tk, &c.tv, OCTAVO_NHD, NULL, NULL, 0, NULL), OCTAVO_RESOURCE_EXHAUSTED,
              "block table");
  CHECK_ERROR(octavo_kv_cache_set_block_table(over, 0, outside, 1), OCTAVO_INVALID_ARGUMENT, "pages[0] is 4");
  CHECK_ERROR(octavo_kv_cache_set_block_table(over, 0, NULL, 1), OCTAVO_INVALID_ARGUMENT, "pages is null");
  CHECK_OK(octavo_kv_cache_set_block_table(over, 0, first, 1));
  CHECK_OK(octavo_kv_cache_set_block_table(over, 1, second, 1));
  CHECK_OK(octavo_kv_cache_append(over, &c.tk, &c.tv, OCTAVO_NHD, NULL, NULL, 0, NULL));
  wipe(&c);
  CHECK_OK(octavo_kv_cache_attend(over, &query, NULL, NULL));
  CHECK(memcmp(expected, c.out, sizeof expected) == 0);
  octavo_kv_cache_free(over);
  free(memory);
}

static void test_refusals(void) {
  octavo_kv_cache_t* const before = (octavo_kv_cache_t*)(void*)&c;
  octavo_kv_cache_t* cache = before;
  octavo_kv_cache_options_t options = options_of_call();
  octavo_kv_cache_query_t query = OCTAVO_KV_CACHE_QUERY_INIT;
  CHECK_ERROR(octavo_kv_cache_create(&options, NULL), OCTAVO_INVALID_ARGUMENT, "result is null");
  CHECK_ERROR(octavo_kv_cache_create(NULL, &cache), OCTAVO_INVALID_ARGUMENT, "options is null");
  CHECK(cache == NULL);
  options.kept_keys = 2;
  CHECK_ERROR(octavo_kv_cache_create(&options, &cache), OCTAVO_INVALID_ARGUMENT, "options.kept_keys is 2");
  options.kept_keys = 1;
  options.format = 99;
  CHECK_ERROR(octavo_kv_cache_create(&options, &cache), OCTAVO_INVALID_ARGUMENT, "options.format is 99");
  options.format = OCTAVO_S8;
  options.head_dim = 0;
  CHECK_ERROR(octavo_kv_cache_create(&options, &cache), OCTAVO_INVALID_ARGUMENT, "head_dim");
  options.struct_size = 7;
  CHECK_ERROR(octavo_kv_cache_create(&options, &cache), OCTAVO_INVALID_ARGUMENT, "options.struct_size");
  CHECK(cache == NULL);

  cache = filled_cache(options_of_call());
  CHECK_ERROR(octavo_kv_cache_append(NULL, &c.tk, &c.tv, 0, NULL, NULL, 0, NULL), OCTAVO_INVALID_ARGUMENT,
              "cache is null");
  CHECK_ERROR(octavo_kv_cache_append(cache, NULL, &c.tv, 0, NULL, NULL, 0, NULL), OCTAVO_INVALID_ARGUMENT, "k is null");
  CHECK_ERROR(octavo_kv_cache_append(cache, &c.tk, NULL, 0, NULL, NULL, 0, NULL), OCTAVO_INVALID_ARGUMENT, "v is null");
  CHECK_ERROR(octavo_kv_cache_append(cache, &c.tk, &c.tv, 5, NULL, NULL, 0, NULL), OCTAVO_INVALID_ARGUMENT,
              "layout is 5");
  CHECK_ERROR(octavo_kv_cache_attend(cache, NULL, NULL, NULL), OCTAVO_INVALID_ARGUMENT, "query is null");
  CHECK_ERROR(octavo_kv_cache_attend(cache, &query, NULL, NULL), OCTAVO_INVALID_ARGUMENT, "q");
  CHECK_ERROR(octavo_kv_cache_attend(NULL, &query, NULL, NULL), OCTAVO_INVALID_ARGUMENT, "cache is null");
  query.reserved = 1;
  CHECK_ERROR(octavo_kv_cache_attend(cache, &query, NULL, NULL), OCTAVO_INVALID_ARGUMENT, "query");
  octavo_kv_cache_free(cache);

  octavo_kv_cache_free(NULL);
  CHECK(octavo_kv_cache_length(NULL, 0) == -1 && octavo_kv_cache_nbytes(NULL) == 0);
  CHECK(octavo_kv_cache_free_pages(NULL) == 0 && octavo_kv_cache_saved_size(NULL) == 0);
}

int main(void) {
  test_equals_attention();
  test_some_sequences();
  test_masks_and_packed_queries();
  test_changes();
  test_read();
  test_evict_and_save();
  test_pool();
  test_refusals();
  return report();
}
