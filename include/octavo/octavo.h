/* octavo's C interface, the only stable ABI. This header documents the ABI; the C++ declarations of the same names
 * document what the functions compute (attention.hpp, quantize.hpp, merge.hpp).
 *
 * - Every struct starts with its size: initialise it with the OCTAVO_*_INIT macro of its name, then set other fields.
 *   A program built with an older, smaller struct keeps working: missing fields have their defaults. A newer, larger
 *   struct is accepted if the bytes unknown to this library are zero.
 * - Enumerations are int32_t fields; their values and the functions' signatures never change.
 * - A function that can fail returns octavo_status_t. On an error no output is written, and octavo_last_error() returns
 *   a message with the offending value and what is allowed.
 * - All functions may be called from any thread. The library does not exit, and prints only the lines of OCTAVO_LOG.
 * - Returned strings live as long as the process unless documented otherwise. */
#pragma once

#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include "octavo/export.hpp"
#include "octavo/version.hpp"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Errors ---- */

typedef int32_t octavo_status_t;
enum {
  OCTAVO_OK = 0,
  OCTAVO_INVALID_ARGUMENT = 1,    /* the call is invalid: shape, dtype, stride, value */
  OCTAVO_UNIMPLEMENTED = 2,       /* valid, but not supported by this build or implementation */
  OCTAVO_UNAVAILABLE = 3,         /* a device, driver or instruction set is missing on this machine */
  OCTAVO_RESOURCE_EXHAUSTED = 4,  /* out of memory */
  OCTAVO_FAILED_PRECONDITION = 5, /* an object is not in the required state */
  OCTAVO_INTERNAL = 6             /* a bug in octavo */
};

/** Error message of the calling thread's last call that returned a status; "" if it succeeded. Valid until the
 *  thread's next such call. */
OCTAVO_API const char* octavo_last_error(void);
/** "invalid_argument"; "unknown" for a number that is no status. */
OCTAVO_API const char* octavo_status_name(octavo_status_t status);

/* ---- Tensors ---- */

enum {
  OCTAVO_F32 = 0,
  OCTAVO_F16 = 1,
  OCTAVO_BF16 = 2,
  OCTAVO_F64 = 3,
  OCTAVO_S8 = 4,
  OCTAVO_U8 = 5,
  OCTAVO_S16 = 6,
  OCTAVO_U16 = 7,
  OCTAVO_S32 = 8,
  OCTAVO_U32 = 9,
  OCTAVO_S64 = 10,
  OCTAVO_U64 = 11,
  OCTAVO_S4 = 12,   /* two per byte along the last axis, the even index in the low nibble */
  OCTAVO_E4M3 = 13, /* the "fn" variant: no infinity, largest value 448 */
  OCTAVO_E5M2 = 14,
  OCTAVO_BOOL = 15
};
enum { OCTAVO_CPU = 0, OCTAVO_CUDA = 1 };
/** NHD = [batch, seqlen, heads, head_dim], HND = [batch, heads, seqlen, head_dim]. */
enum { OCTAVO_NHD = 0, OCTAVO_HND = 1 };

/** A non-owning view with one to four axes. Strides count elements (not bytes) and may be zero or negative. */
typedef struct octavo_tensor_t {
  size_t struct_size;
  void* data; /* inputs are never written */
  int32_t dtype;
  int32_t rank;
  int32_t device_type;
  int32_t device_index;
  int64_t shape[4];
  int64_t strides[4];
} octavo_tensor_t;
#define OCTAVO_TENSOR_INIT {sizeof(octavo_tensor_t), NULL, OCTAVO_F32, 0, OCTAVO_CPU, 0, {0, 0, 0, 0}, {0, 0, 0, 0}}

/** A dense row-major tensor on the CPU: the last axis has stride 1. */
static inline octavo_tensor_t octavo_dense_tensor(const void* data, int32_t dtype, int32_t rank, const int64_t* shape) {
  octavo_tensor_t tensor = OCTAVO_TENSOR_INIT;
  int64_t stride = 1;
  int32_t axis;
  tensor.data = (void*)data;
  tensor.dtype = dtype;
  tensor.rank = rank;
  for (axis = rank < 4 ? rank : 4; axis-- > 0;) {
    tensor.shape[axis] = shape[axis];
    tensor.strides[axis] = stride;
    stride *= shape[axis];
  }
  return tensor;
}

/** Bits of an element: 32 for OCTAVO_F32, 4 for OCTAVO_S4, 0 for an unknown dtype. */
OCTAVO_API int32_t octavo_dtype_bits(int32_t dtype);
/** "bf16"; "unknown" for a number that is no dtype. */
OCTAVO_API const char* octavo_dtype_name(int32_t dtype);

/* ---- Recipes: how Q, K, P and V are represented (recipe.hpp explains the fields) ---- */

enum { /* scores, values */
       OCTAVO_FORMAT_INPUT = 0,
       OCTAVO_FORMAT_F16 = 1,
       OCTAVO_FORMAT_S8 = 2,
       OCTAVO_FORMAT_S4 = 3,
       OCTAVO_FORMAT_E4M3 = 4,
       OCTAVO_FORMAT_E5M2 = 5
};
enum { /* q_scale, k_scale, v_scale */
       OCTAVO_GRANULARITY_NONE = 0,
       OCTAVO_GRANULARITY_TENSOR = 1,
       OCTAVO_GRANULARITY_BLOCK = 2,
       OCTAVO_GRANULARITY_WARP = 3,
       OCTAVO_GRANULARITY_THREAD = 4,
       OCTAVO_GRANULARITY_TOKEN = 5,
       OCTAVO_GRANULARITY_TOKEN_FOLDED = 6,
       OCTAVO_GRANULARITY_CHANNEL = 7,
       OCTAVO_GRANULARITY_BLOCK_CHANNEL = 8
};
enum { /* p */
       OCTAVO_WEIGHT_INPUT = 0,
       OCTAVO_WEIGHT_F16 = 1,
       OCTAVO_WEIGHT_S8 = 2,
       OCTAVO_WEIGHT_U8 = 3,
       OCTAVO_WEIGHT_U16 = 4,
       OCTAVO_WEIGHT_E4M3 = 5,
       OCTAVO_WEIGHT_E5M2 = 6
};
enum { OCTAVO_MAXIMUM_RUNNING = 0, OCTAVO_MAXIMUM_BLOCK = 1 }; /* p_reference */
enum { OCTAVO_ROW_SUM_WEIGHTS = 0, OCTAVO_ROW_SUM_CODES = 1 }; /* row_sum */
enum {                                                         /* accumulator */
       OCTAVO_ACCUMULATOR_F32 = 0,
       OCTAVO_ACCUMULATOR_F16 = 1,
       OCTAVO_ACCUMULATOR_SM89 = 2,
       OCTAVO_ACCUMULATOR_SM90 = 3,
       OCTAVO_ACCUMULATOR_SM100 = 4,
       OCTAVO_ACCUMULATOR_SM80 = 5
};

typedef struct octavo_recipe_t {
  size_t struct_size;
  int32_t scores;
  int32_t q_scale;
  int32_t k_scale;
  int32_t hadamard; /* this and the other switches: 0 or 1 */
  int32_t smooth_q;
  int32_t smooth_k;
  int32_t smooth_v;
  int32_t p;
  int32_t p_range;
  int32_t p_reference;
  int32_t row_sum;
  int32_t values;
  int32_t v_scale;
  int32_t hadamard_v;
  int32_t channel_gains;
  int32_t key_block;
  int32_t accumulator;
  int32_t two_level;
  double v_range;  /* 0 = that of the format */
  int32_t q_group; /* rows of Q in a slice of per-warp and per-thread groups: 16, 32 or 64 */
  int32_t k_group; /* keys in such a slice: 64 or 128 */
  int32_t qk_gains;
  int32_t robust;
  int32_t keep_first; /* kept keys: 0..16, 0..4 strips of 16, 0..32 */
  int32_t keep_near;
  int32_t keep_heavy;
  int32_t reserved;
} octavo_recipe_t;
/** The default, "int8". */
/* clang-format off */
#define OCTAVO_RECIPE_INIT                                                                                     \
  {sizeof(octavo_recipe_t), OCTAVO_FORMAT_S8, OCTAVO_GRANULARITY_TOKEN, OCTAVO_GRANULARITY_TOKEN, 1, 1, 1, 1,  \
   OCTAVO_WEIGHT_U8, 255, OCTAVO_MAXIMUM_BLOCK, OCTAVO_ROW_SUM_WEIGHTS, OCTAVO_FORMAT_S8,                      \
   OCTAVO_GRANULARITY_TOKEN_FOLDED, 1, 0, 128, OCTAVO_ACCUMULATOR_F32, 1, 0, 32, 64, 1, 1, 1, 2, 16, 0}
/* clang-format on */

/** Parses a preset's name followed by ",field=value" for any fields, each at most once ("int8,smooth_q=off").
 *  `recipe->struct_size` must be set. */
OCTAVO_API octavo_status_t octavo_recipe_parse(const char* text, octavo_recipe_t* recipe);
/** The recipe as text, truncated to `capacity` bytes including the final zero. `length`, if not null, is set to the
 *  length of the whole text without the zero; with a capacity of 0 nothing else is written. */
OCTAVO_API octavo_status_t octavo_recipe_text(const octavo_recipe_t* recipe, char* buffer, size_t capacity,
                                              size_t* length);
/** One field as text ("smooth_q" -> "on"), written like octavo_recipe_text(). */
OCTAVO_API octavo_status_t octavo_recipe_get(const octavo_recipe_t* recipe, const char* field, char* buffer,
                                             size_t capacity, size_t* length);
OCTAVO_API octavo_status_t octavo_recipe_set(octavo_recipe_t* recipe, const char* field, const char* value);
/** Checks the combination of fields. */
OCTAVO_API octavo_status_t octavo_recipe_check(const octavo_recipe_t* recipe);

/** Presets, the default first; NULL from octavo_recipe_count() on. */
OCTAVO_API size_t octavo_recipe_count(void);
OCTAVO_API const char* octavo_recipe_name(size_t index);
OCTAVO_API const char* octavo_recipe_summary(size_t index);
/** The fields' names; NULL from octavo_recipe_field_count() on. */
OCTAVO_API size_t octavo_recipe_field_count(void);
OCTAVO_API const char* octavo_recipe_field_name(size_t index);

/* ---- Execution ---- */

typedef void (*octavo_task_t)(void* context, int64_t task);

/** A thread pool of the caller. run() calls task(context, i) once for every i in 0..tasks-1, in any order and on any
 *  threads, and returns when all these calls have returned. It must not throw or longjmp. */
typedef struct octavo_runner_t {
  size_t struct_size;
  void (*run)(void* user, int64_t tasks, octavo_task_t task, void* context);
  void* user;
  int32_t threads; /* maximum number of concurrent tasks, 1 to 1024 */
  int32_t reserved;
} octavo_runner_t;
#define OCTAVO_RUNNER_INIT {sizeof(octavo_runner_t), NULL, NULL, 1, 0}

typedef struct octavo_execution_t {
  size_t struct_size;
  const char* implementation;    /* "avx512_vnni"; NULL or "" = the best one for this machine and call */
  const octavo_runner_t* runner; /* NULL = octavo's own threads */
  void* stream;                  /* CUDA stream for device tensors; NULL on the CPU */
  void* workspace;               /* scratch memory, aligned to 64 bytes, on CUDA to 256 (execution.hpp) */
  size_t workspace_bytes;
} octavo_execution_t;
#define OCTAVO_EXECUTION_INIT {sizeof(octavo_execution_t), NULL, NULL, NULL, NULL, 0}

/** Threads of octavo's own pool, including the caller: 1 to 1024 (larger values are clamped); 0 = all available
 *  processors; negative = the value of OCTAVO_NUM_THREADS, as before the first call. */
OCTAVO_API void octavo_set_num_threads(int32_t threads);
/** The last value of octavo_set_num_threads(), to restore it later: 0 to 1024, or -1 if OCTAVO_NUM_THREADS
 *  applies. */
OCTAVO_API int32_t octavo_requested_num_threads(void);
/** Threads of a call that starts now, at least 1. */
OCTAVO_API int32_t octavo_num_threads(void);

/** Implementations of this build, in order of preference; NULL from octavo_implementation_count() on. */
OCTAVO_API size_t octavo_implementation_count(void);
OCTAVO_API const char* octavo_implementation_name(size_t index);
OCTAVO_API const char* octavo_implementation_description(size_t index);
/** The reason why it cannot run on this machine; "" if it can. */
OCTAVO_API const char* octavo_implementation_reason(size_t index);
/** For later calls of the whole process; NULL or "" restores the automatic choice. */
OCTAVO_API octavo_status_t octavo_force_implementation(const char* name);
/** The implementation of calls that name none. */
OCTAVO_API octavo_status_t octavo_active_implementation(const char** name);
/** The implementation of the calling thread's last successful call; "" before the first. */
OCTAVO_API const char* octavo_last_implementation(void);
/** "avx2 fma avx512f ..."; NULL if out of memory. */
OCTAVO_API const char* octavo_processor_features(void);

/** Version of the library; OCTAVO_VERSION is that of the headers. */
OCTAVO_API const char* octavo_version(void);

/* ---- CUDA devices ---- */

/** Properties of one CUDA device. */
typedef struct octavo_device_t {
  size_t struct_size;
  int32_t device_type;
  int32_t device_index;
  const char* name;               /* "NVIDIA H200" */
  const char* compute_capability; /* "9.0" */
  size_t memory_bytes;
  int32_t multiprocessors;
  int32_t reserved;
} octavo_device_t;
#define OCTAVO_DEVICE_INIT {sizeof(octavo_device_t), OCTAVO_CUDA, 0, NULL, NULL, 0, 0, 0}

/** Number of CUDA devices. Errors: unavailable, with the reason; the next call queries again. The first list returned
 *  by the driver is kept for the life of the process, while C++'s devices() queries each time. */
OCTAVO_API octavo_status_t octavo_device_count(size_t* count);
/** Device 0 to octavo_device_count() - 1 of that list; `device->struct_size` must be set. */
OCTAVO_API octavo_status_t octavo_device_info(size_t index, octavo_device_t* device);
/** Waits for all work of a stream (cudaStream_t; NULL: the legacy default stream) and returns whether it
 *  succeeded. Does nothing on the CPU. Errors: invalid_argument (no such device), unavailable (no CUDA), internal (the
 *  work failed). */
OCTAVO_API octavo_status_t octavo_synchronize(int32_t device_type, int32_t device_index, void* stream);

/* ---- Quantized tensors ---- */

enum { OCTAVO_ROLE_Q = 0, OCTAVO_ROLE_K = 1, OCTAVO_ROLE_V = 2 };

/** A non-owning view of codes and scales; quantize.hpp has the shapes. */
typedef struct octavo_quantized_view_t {
  size_t struct_size;
  const octavo_tensor_t* codes;
  const octavo_tensor_t* scales; /* NULL if the recipe has none */
  const octavo_tensor_t* mean;   /* NULL if nothing was subtracted */
  const octavo_recipe_t* recipe; /* the one the codes were made for; NULL = the default */
  int32_t role;
  int32_t layout;
  int32_t rotated; /* 0 or 1 */
  int32_t reserved;
  const octavo_tensor_t* cu_seqlens; /* start of each varlen sequence; NULL = batched codes */
} octavo_quantized_view_t;
#define OCTAVO_QUANTIZED_VIEW_INIT \
  {sizeof(octavo_quantized_view_t), NULL, NULL, NULL, NULL, OCTAVO_ROLE_Q, OCTAVO_NHD, 0, 0, NULL}

/** Codes and scales that octavo owns, until octavo_quantized_free(). */
typedef struct octavo_quantized_t octavo_quantized_t;

/** Errors: invalid_argument (shape, dtype), unimplemented (the recipe keeps this operand in floats). On an error
 *  *result is NULL. */
OCTAVO_API octavo_status_t octavo_quantize(const octavo_tensor_t* x, int32_t role, const octavo_recipe_t* recipe,
                                           int32_t layout, const octavo_execution_t* execution,
                                           octavo_quantized_t** result);
/** The same for varlen sequences, x [total, heads, head_dim] or [heads, total, head_dim]: each has the codes and scales
 *  that it would have alone. cu_seqlens s32 or s64 [B + 1], on x's device; the scales' shape there: quantize.hpp. */
OCTAVO_API octavo_status_t octavo_quantize_varlen(const octavo_tensor_t* x, const octavo_tensor_t* cu_seqlens,
                                                  int32_t role, const octavo_recipe_t* recipe, int32_t layout,
                                                  const octavo_execution_t* execution, octavo_quantized_t** result);
/** The same for K and V with keys that do not exist: kv_lens s32 or s64 [B], key_mask bool [B, N], as in
 *  octavo_attention_inputs_t; NULL = not given. They take part in nothing, and their codes are 0. */
OCTAVO_API octavo_status_t octavo_quantize_padded(const octavo_tensor_t* x, const octavo_tensor_t* kv_lens,
                                                  const octavo_tensor_t* key_mask, int32_t role,
                                                  const octavo_recipe_t* recipe, int32_t layout,
                                                  const octavo_execution_t* execution, octavo_quantized_t** result);
/** A view of its contents, valid until it is freed; NULL for NULL. Use it by pointer, without copying: its struct_size
 *  is the library's, which may be larger than the program's. */
OCTAVO_API const octavo_quantized_view_t* octavo_quantized_view(const octavo_quantized_t* quantized);
OCTAVO_API void octavo_quantized_free(octavo_quantized_t* quantized);
OCTAVO_API octavo_status_t octavo_dequantize(const octavo_quantized_view_t* x, const octavo_tensor_t* out,
                                             const octavo_execution_t* execution);

/* ---- Attention ---- */

enum { OCTAVO_CAUSAL_NONE = 0, OCTAVO_CAUSAL_BOTTOM_RIGHT = 1, OCTAVO_CAUSAL_TOP_LEFT = 2 };
/** What alibi_slopes multiply: j - d, or -|j - d| (attention.hpp). */
enum { OCTAVO_ALIBI_CAUSAL = 0, OCTAVO_ALIBI_SYMMETRIC = 1 };

/** NULL = not given. q, k and v each as floats or as codes. */
typedef struct octavo_attention_inputs_t {
  size_t struct_size;
  const octavo_tensor_t* q;
  const octavo_tensor_t* k;
  const octavo_tensor_t* v;
  const octavo_tensor_t* out;
  const octavo_tensor_t* lse;
  const octavo_quantized_view_t* quantized_q;
  const octavo_quantized_view_t* quantized_k;
  const octavo_quantized_view_t* quantized_v;
  const octavo_tensor_t* mask;
  const octavo_tensor_t* alibi_slopes;
  const octavo_tensor_t* sinks;
  const octavo_tensor_t* kv_lens;
  const octavo_tensor_t* cu_seqlens_q;
  const octavo_tensor_t* cu_seqlens_k;
  int32_t layout;
  int32_t reserved;
  const octavo_tensor_t* key_mask; /* bool [B, N]: false = the key does not exist */
} octavo_attention_inputs_t;
/* clang-format off */
#define OCTAVO_ATTENTION_INPUTS_INIT                                                                        \
  {sizeof(octavo_attention_inputs_t), NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, \
   NULL, NULL, OCTAVO_NHD, 0, NULL}
/* clang-format on */

typedef struct octavo_attention_params_t {
  size_t struct_size;
  const octavo_recipe_t* recipe; /* NULL = the default */
  double softmax_scale;          /* NaN = 1 / sqrt(head_dim) */
  int64_t window_left;           /* -1 = unlimited */
  int64_t window_right;
  double softcap; /* 0 = off */
  int32_t causal;
  int32_t alibi;
} octavo_attention_params_t;
#define OCTAVO_ATTENTION_PARAMS_INIT \
  {sizeof(octavo_attention_params_t), NULL, NAN, -1, -1, 0, OCTAVO_CAUSAL_NONE, OCTAVO_ALIBI_CAUSAL}

/** params and execution may be NULL: the defaults. */
OCTAVO_API octavo_status_t octavo_attention(const octavo_attention_inputs_t* inputs,
                                            const octavo_attention_params_t* params,
                                            const octavo_execution_t* execution);
/** Bytes of scratch memory with which octavo_attention() on these arguments allocates no memory; data pointers
 *  may be NULL here, except those of kv_lens and cu_seqlens. */
OCTAVO_API octavo_status_t octavo_workspace_size(const octavo_attention_inputs_t* inputs,
                                                 const octavo_attention_params_t* params,
                                                 const octavo_execution_t* execution, size_t* bytes);

/** Merges partial results over disjoint key sets; o_*: f32 [B, M, H, Dv] or [B, H, M, Dv], lse_*: f32 [B, H, M].
 *  execution may be NULL: the defaults. */
OCTAVO_API octavo_status_t octavo_merge_state(const octavo_tensor_t* o_a, const octavo_tensor_t* lse_a,
                                              const octavo_tensor_t* o_b, const octavo_tensor_t* lse_b,
                                              const octavo_tensor_t* out, const octavo_tensor_t* lse, int32_t layout,
                                              const octavo_execution_t* execution);

/* ---- KV cache ---- */

/** K and V of the tokens that a model has seen (kv_cache.hpp, docs/kv_cache.md). Not synchronized: a call that changes
 * a cache must not run beside any other call on it. A call that fails leaves the cache as it was. On a CUDA device
 * calls enqueue work on their stream; the streams of one cache must be ordered. */
typedef struct octavo_kv_cache_t octavo_kv_cache_t;

typedef struct octavo_kv_cache_options_t {
  size_t struct_size;
  int64_t batch;          /* sequences, at least 1 */
  int64_t kv_heads;       /* at least 1 */
  int64_t head_dim;       /* 1 to 512 */
  int64_t value_head_dim; /* 0 = head_dim */
  int64_t capacity;       /* tokens that one sequence can hold, at least 1 */
  int32_t format;         /* a dtype that kv_cache.hpp lists */
  int32_t kept_keys;      /* 0 or 1 */
  int64_t page_size;      /* a multiple of 16; 0 = contiguous memory */
  int64_t pages;          /* 0 = enough for all sequences at full capacity */
  void* pool;             /* the caller's memory of the pages, at a multiple of 64; NULL = the cache's own */
  size_t pool_bytes;      /* octavo_kv_cache_pool_size() or more */
  int32_t device_type;    /* where the cache and the tensors of its calls are; OCTAVO_CUDA: not OCTAVO_F32 */
  int32_t device_index;
} octavo_kv_cache_options_t;
#define OCTAVO_KV_CACHE_OPTIONS_INIT \
  {sizeof(octavo_kv_cache_options_t), 0, 0, 0, 0, 0, OCTAVO_S8, 1, 0, 0, NULL, 0, OCTAVO_CPU, 0}

/** M query rows of a sequence are its last M tokens: append their K and V first. NULL = not given. Masks: M is the
 * largest number of rows, N the largest length of the call's sequences; see kv_cache.hpp. */
typedef struct octavo_kv_cache_query_t {
  size_t struct_size;
  const octavo_tensor_t* q;   /* [B, M, Hq, D] nhd, [B, Hq, M, D] hnd; varlen [total_q, Hq, D], [Hq, total_q, D] */
  const octavo_tensor_t* out; /* [B, M, Hq, Dv] ... */
  const octavo_tensor_t* lse; /* f32 [B, Hq, M]; varlen [Hq, total_q] */
  const octavo_tensor_t* sinks;
  const int64_t* sequences; /* of the rows of q, distinct; NULL = 0 to B - 1 */
  size_t num_sequences;
  int32_t layout;
  int32_t reserved;
  const octavo_tensor_t* cu_seqlens_q; /* s32 or s64 [B + 1] on the CPU: varlen queries */
  const octavo_tensor_t* mask;         /* bool or floats, broadcast to [B, Hq, M, N] */
  const octavo_tensor_t* key_mask;     /* bool [B, N]: false = the key does not exist */
  const octavo_tensor_t* tree_mask;    /* bool [M, M] or [B, M, M]: which of its last M keys a row sees */
  const octavo_tensor_t* alibi_slopes; /* [Hq] or [B, Hq] */
} octavo_kv_cache_query_t;
#define OCTAVO_KV_CACHE_QUERY_INIT \
  {sizeof(octavo_kv_cache_query_t), NULL, NULL, NULL, NULL, NULL, 0, OCTAVO_NHD, 0, NULL, NULL, NULL, NULL, NULL}

typedef struct octavo_kv_cache_params_t {
  size_t struct_size;
  double softmax_scale; /* NaN = 1 / sqrt(head_dim) */
  int64_t window_left;  /* -1 = unlimited */
  int64_t window_right;
  double softcap; /* 0 = off */
  int32_t causal; /* 1: query i of M sees key j of a sequence of length N iff j <= i + N - M; 0: all keys */
  int32_t alibi;  /* OCTAVO_ALIBI_CAUSAL or OCTAVO_ALIBI_SYMMETRIC */
} octavo_kv_cache_params_t;
#define OCTAVO_KV_CACHE_PARAMS_INIT {sizeof(octavo_kv_cache_params_t), NAN, -1, -1, 0, 1, 0}

OCTAVO_API octavo_status_t octavo_kv_cache_create(const octavo_kv_cache_options_t* options, octavo_kv_cache_t** result);
OCTAVO_API void octavo_kv_cache_free(octavo_kv_cache_t* cache);

/** Tokens of a sequence; -1 if there is no such sequence, or for NULL. */
OCTAVO_API int64_t octavo_kv_cache_length(const octavo_kv_cache_t* cache, int64_t sequence);
/** Bytes of memory that the cache holds; 0 for NULL. */
OCTAVO_API size_t octavo_kv_cache_nbytes(const octavo_kv_cache_t* cache);
/** Pages that no sequence uses; 0 for contiguous memory, or for NULL. */
OCTAVO_API int64_t octavo_kv_cache_free_pages(const octavo_kv_cache_t* cache);

/** Appends T tokens to each of B sequences: k [B, T, Hkv, D], v [B, T, Hkv, Dv] (hnd: [B, Hkv, T, ...]).
 *  sequences: the sequences of the B rows, distinct, or NULL: 0 to B - 1. counts: of row b only the first counts[b]
 * tokens are appended, or NULL: all. Both have num_rows entries, B. execution may be NULL. */
OCTAVO_API octavo_status_t octavo_kv_cache_append(octavo_kv_cache_t* cache, const octavo_tensor_t* k,
                                                  const octavo_tensor_t* v, int32_t layout, const int64_t* sequences,
                                                  const int64_t* counts, size_t num_rows,
                                                  const octavo_execution_t* execution);
/** Attention over the tokens of each sequence. params and execution may be NULL: the defaults. */
OCTAVO_API octavo_status_t octavo_kv_cache_attend(const octavo_kv_cache_t* cache, const octavo_kv_cache_query_t* query,
                                                  const octavo_kv_cache_params_t* params,
                                                  const octavo_execution_t* execution);

/** Bytes of a caller's pool; page_size and pages must be given. */
OCTAVO_API octavo_status_t octavo_kv_cache_pool_size(const octavo_kv_cache_options_t* options, size_t* result);
/** Caches over a caller's pool: pages[i] holds tokens i * page_size and following of the sequence. */
OCTAVO_API octavo_status_t octavo_kv_cache_set_block_table(octavo_kv_cache_t* cache, int64_t sequence,
                                                           const int32_t* pages, size_t num_pages);

/** Of a cache on a device, after graphs that hold its appends have run: they have added `tokens` to each of these
 *  sequences; sequences NULL: all. */
OCTAVO_API octavo_status_t octavo_kv_cache_advance(octavo_kv_cache_t* cache, int64_t tokens, const int64_t* sequences,
                                                   size_t num_sequences);

/** Keeps the first `length` tokens of a sequence. */
OCTAVO_API octavo_status_t octavo_kv_cache_trim(octavo_kv_cache_t* cache, int64_t sequence, int64_t length);
/** Removes the tokens between the first `keep_first` and the last `keep_last`; the others are numbered anew from 0 on.
 */
OCTAVO_API octavo_status_t octavo_kv_cache_evict(octavo_kv_cache_t* cache, int64_t sequence, int64_t keep_first,
                                                 int64_t keep_last);
/** Empties sequences; sequences NULL: all. The next append fixes a new mean of K. */
OCTAVO_API octavo_status_t octavo_kv_cache_reset(octavo_kv_cache_t* cache, const int64_t* sequences,
                                                 size_t num_sequences);
/** `destination` becomes a copy of `source`; paged, they share all full pages. */
OCTAVO_API octavo_status_t octavo_kv_cache_fork(octavo_kv_cache_t* cache, int64_t source, int64_t destination);
/** Sequence b becomes what sequence sources[b] was, for all b at once; num_sources is the cache's batch. */
OCTAVO_API octavo_status_t octavo_kv_cache_reorder(octavo_kv_cache_t* cache, const int64_t* sources,
                                                   size_t num_sources);

/** Codes (floats: values) and scales of a sequence in natural order, for tests and tools. codes: the cache's format,
 *  [Hkv, N, D] or [Hkv, N, Dv] dense (s4: no padding after an odd D); scales: f32 [Hkv, N], NULL for f32, f16 and bf16;
 *  mean: K's mean of rotated rows, f32 [Hkv, D], of s8 and s4 only, or NULL. */
OCTAVO_API octavo_status_t octavo_kv_cache_read_k(const octavo_kv_cache_t* cache, int64_t sequence,
                                                  const octavo_tensor_t* codes, const octavo_tensor_t* scales,
                                                  const octavo_tensor_t* mean);
OCTAVO_API octavo_status_t octavo_kv_cache_read_v(const octavo_kv_cache_t* cache, int64_t sequence,
                                                  const octavo_tensor_t* codes, const octavo_tensor_t* scales);

/** Bytes that octavo_kv_cache_save() writes now; 0 for NULL. */
OCTAVO_API size_t octavo_kv_cache_saved_size(const octavo_kv_cache_t* cache);
/** Writes options, lengths and contents, in the format of docs/kv_cache.md; num_bytes is
 *  octavo_kv_cache_saved_size(). */
OCTAVO_API octavo_status_t octavo_kv_cache_save(const octavo_kv_cache_t* cache, void* bytes, size_t num_bytes);
/** A cache as it was when its bytes were saved, to the bit; damaged bytes are refused. */
OCTAVO_API octavo_status_t octavo_kv_cache_load(const void* bytes, size_t num_bytes, octavo_kv_cache_t** result);
/** The same on a device, wherever the bytes were saved. */
OCTAVO_API octavo_status_t octavo_kv_cache_load_on(const void* bytes, size_t num_bytes, int32_t device_type,
                                                   int32_t device_index, octavo_kv_cache_t** result);

#ifdef __cplusplus
}
#endif
