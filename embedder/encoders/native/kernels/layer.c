/* One layer of BERT or XLM-RoBERTa over texts packed end to end, in bf16 or int8, on AVX-512.
 *
 * The residual stream, norms, softmax and every sum are fp32. In bf16 the products read bf16; in
 * int8 they read bytes: weights with one scale for each output, activations with one for each
 * token and GROUP of their values. Attention is bf16 in both. */
#include <math.h>
#include <stdint.h>

#include "attention.h"
#include "gemm.h"
#include "panels.h"
#include "pool.h"
#include "vector.h"

/* Tokens that go through all panels before the next ones do: their activations and a panel stay
 * in the core's cache together. */
enum { CHUNK = 32 * ROWS };

typedef struct {
    const void *weights;  /* panels, see gemm.h */
    const float *bias;    /* [out] */
    const float *steps;   /* [out / 64, in / GROUP, 64], int8 */
    const float *totals;  /* [out / 64, in / GROUP, 64], int8 */
} linear_t;

typedef struct {
    const float *weight, *bias; /* [size] */
} norm_t;

typedef struct {
    linear_t qkv, mixed, wide, narrow;
    norm_t mixed_norm, narrow_norm;
} layer_t;

typedef struct {
    int32_t size, wide, heads, int8;
    float epsilon;
} model_t;

typedef struct {
    int32_t tokens, texts;
    const int32_t *starts; /* [texts + 1] */
    float *x;              /* [tokens, size]: the residual stream, normed in place */
    void *in;              /* [tokens, size] bf16 or bytes: what products read */
    bytes_t *in_bytes;     /* [tokens, size / GROUP], int8: what they stand for */
    bf16 *qkv;             /* [tokens, 3 size] */
    bf16 *mixed;           /* [tokens, size]: what attention gives */
    void *wide;            /* [tokens, wide] bf16 or bytes */
    bytes_t *wide_bytes;   /* [tokens, wide / GROUP], int8 */
} batch_t;

typedef struct {
    pool_t *pool;
    const model_t *model;
    const layer_t *layer;
    const batch_t *batch;
} run_t;

/* What becomes of a product. */
typedef enum { AS_BF16, GELU, ADDED } fate;

typedef struct {
    const linear_t *linear;
    const void *in;
    const bytes_t *in_bytes;
    int tokens, in_size, out_size;
    void *out;          /* bf16, or bytes of GELU in int8; ADDED: fp32, which has the product added */
    bytes_t *out_bytes; /* GELU in int8 */
} product_t;

/* GROUP values to bytes: the least of them is 0, the largest 255. */
INLINE void quantise(const float *from, uint8_t *to, bytes_t *bytes) {
    __m512 least = _mm512_loadu_ps(from), most = least;
    __mmask16 spoilt = 0;
    for (int j = 0; j < GROUP; j += 32) {
        __m512 a = _mm512_loadu_ps(from + j), b = _mm512_loadu_ps(from + j + 16);
        least = _mm512_min_ps(least, _mm512_min_ps(a, b));
        most = _mm512_max_ps(most, _mm512_max_ps(a, b));
        /* A NaN may get lost in these. */
        spoilt |= _mm512_cmp_ps_mask(a, b, _CMP_UNORD_Q);
    }
    bytes->least = _mm512_reduce_min_ps(least);
    const float range = _mm512_reduce_max_ps(most) - bytes->least;
    bytes->step = spoilt ? NAN : range / 255.0f;
    const __m512 factor = _mm512_set1_ps(range > 0 ? 255.0f / range : 0);
    least = _mm512_set1_ps(bytes->least);
    for (int j = 0; j < GROUP; j += 16) {
        __m512 steps = _mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(from + j), least), factor);
        _mm_storeu_si128((__m128i *)(to + j), _mm512_cvtusepi32_epi8(_mm512_cvtps_epu32(steps)));
    }
}

/* Asks for the memory that a tile will be written to: it comes while the tile is computed. */
INLINE void fetch_out(const product_t *p, int row, int rows, int column, const fate fate,
                      const int int8) {
    const long size = fate == ADDED ? sizeof(float) : fate == GELU && int8 ? 1 : sizeof(bf16);
    for (int i = 0; i < rows; i++) {
        const char *out = (const char *)p->out + ((long)(row + i) * p->out_size + column) * size;
        for (long at = 0; at < COLUMNS * size; at += 64) __builtin_prefetch(out + at, 1);
    }
}

/* One tile: rows from `row`, 64 columns from `column`; GELU's values in int8 go to `gelu`. */
INLINE void product_tile(const product_t *p, int row, int rows, int column, const fate fate,
                         const int int8, float *gelu) {
    tile_t tile;
    long panel = (long)column * p->in_size;
    int groups = p->in_size / GROUP;
    fetch_out(p, row, rows, column, fate, int8);
    if (int8) {
        const long group = (long)column * groups;
        const panel_t b = {(const int8_t *)p->linear->weights + panel, p->linear->steps + group,
                           p->linear->totals + group};
        tile_int8(&tile, rows, (const uint8_t *)p->in + (long)row * p->in_size, p->in_size,
                  p->in_bytes + (long)row * groups, groups, &b, groups);
    } else
        tile_bf16(&tile, rows, COLUMNS, (const bf16 *)p->in + (long)row * p->in_size, p->in_size,
                  (const bf16 *)p->linear->weights + panel, p->in_size / 2);
    for (int i = 0; i < rows; i++) {
        long at = (long)(row + i) * p->out_size + column;
        __m512 values[VECTORS];
        for (int j = 0; j < VECTORS; j++) {
            values[j] =
                _mm512_add_ps(tile.rows[i][j], _mm512_loadu_ps(p->linear->bias + column + j * 16));
            if (fate == GELU) values[j] = gelu_ps(values[j]);
            if (fate == ADDED) {
                float *sum = (float *)p->out + at + j * 16;
                _mm512_storeu_ps(sum, _mm512_add_ps(values[j], _mm512_loadu_ps(sum)));
            }
            if (fate == GELU && int8) _mm512_storeu_ps(gelu + i * GROUP + j * 16, values[j]);
        }
        if (fate == AS_BF16 || (fate == GELU && !int8))
            for (int j = 0; j < VECTORS; j += 2)
                store_bf16((bf16 *)p->out + at + j * 16, values[j], values[j + 1]);
    }
}

/* A block of rows by the columns of one task: a panel, or a group of them that is quantised. */
INLINE void product_block(const product_t *p, int row, int rows, int column, const fate fate,
                          const int int8) {
    if (fate != GELU || !int8) {
        product_tile(p, row, rows, column, fate, int8, NULL);
        return;
    }
    float gelu[ROWS * GROUP];
    for (int part = 0; part < GROUP; part += COLUMNS)
        product_tile(p, row, rows, column + part, fate, int8, gelu + part);
    for (int i = 0; i < rows; i++)
        quantise(gelu + i * GROUP, (uint8_t *)p->out + (long)(row + i) * p->out_size + column,
                 p->out_bytes + (long)(row + i) * (p->out_size / GROUP) + column / GROUP);
}

INLINE void product(pool_t *pool, int *phase, const product_t *p, const fate fate, const int int8) {
    const int columns = fate == GELU && int8 ? GROUP : COLUMNS;
    const int panels = p->out_size / columns, chunks = (p->tokens + CHUNK - 1) / CHUNK;
    for (int task; (task = pool_task(pool, *phase)) < panels * chunks;) {
        int row = task / panels * CHUNK, column = task % panels * columns;
        int end = row + CHUNK < p->tokens ? row + CHUNK : p->tokens;
        for (int rows; row < end; row += rows) {
            rows = block_rows(end - row);
            product_block(p, row, rows, column, fate, int8);
        }
    }
    pool_phase(pool, phase);
}

#define PRODUCT(name, fate, int8)                                            \
    static void name(pool_t *pool, int *phase, const product_t *p) {         \
        product(pool, phase, p, fate, int8);                                 \
    }
PRODUCT(product_bf16, AS_BF16, 0)
PRODUCT(product_gelu, GELU, 0)
PRODUCT(product_added, ADDED, 0)
PRODUCT(product_bf16_int8, AS_BF16, 1)
PRODUCT(product_gelu_int8, GELU, 1)
PRODUCT(product_added_int8, ADDED, 1)

/* One row normalised into the residual stream, and what the next product reads of it. */
static void norm_row(const run_t *run, const norm_t *norm, int row) {
    const model_t *m = run->model;
    const batch_t *b = run->batch;
    float *x = b->x + (long)row * m->size;
    __m512 sum = _mm512_setzero_ps(), squares = _mm512_setzero_ps();
    for (int j = 0; j < m->size; j += 16) sum = _mm512_add_ps(sum, _mm512_loadu_ps(x + j));
    const __m512 mean = _mm512_set1_ps(_mm512_reduce_add_ps(sum) / (float)m->size);
    for (int j = 0; j < m->size; j += 16) {
        __m512 centred = _mm512_sub_ps(_mm512_loadu_ps(x + j), mean);
        squares = _mm512_fmadd_ps(centred, centred, squares);
    }
    const float variance = _mm512_reduce_add_ps(squares) / (float)m->size;
    const __m512 factor = _mm512_set1_ps(1.0f / sqrtf(variance + m->epsilon));
    for (int j = 0; j < m->size; j += 32) {
        __m512 values[2];
        for (int half = 0; half < 2; half++) {
            int at = j + half * 16;
            __m512 centred = _mm512_sub_ps(_mm512_loadu_ps(x + at), mean);
            values[half] = _mm512_fmadd_ps(_mm512_mul_ps(centred, factor),
                                           _mm512_loadu_ps(norm->weight + at),
                                           _mm512_loadu_ps(norm->bias + at));
            _mm512_storeu_ps(x + at, values[half]);
        }
        if (!m->int8) store_bf16((bf16 *)b->in + (long)row * m->size + j, values[0], values[1]);
    }
    if (m->int8)
        for (int j = 0; j < m->size; j += GROUP)
            quantise(x + j, (uint8_t *)b->in + (long)row * m->size + j,
                     b->in_bytes + ((long)row * m->size + j) / GROUP);
}

enum { NORM_ROWS = 16 };

static void norm_rows(const run_t *run, int *phase, const norm_t *norm) {
    const int tokens = run->batch->tokens;
    for (int first; (first = pool_task(run->pool, *phase) * NORM_ROWS) < tokens;)
        for (int row = first; row < tokens && row < first + NORM_ROWS; row++)
            norm_row(run, norm, row);
    pool_phase(run->pool, phase);
}

static void attention(const run_t *run, int *phase, int thread) {
    const model_t *m = run->model;
    const batch_t *b = run->batch;
    for (int task; (task = pool_task(run->pool, *phase)) < b->texts * m->heads;) {
        int start = b->starts[task / m->heads];
        attention_t a = {
            .qkv = b->qkv + 3L * start * m->size,
            .out = b->mixed + (long)start * m->size,
            .tokens = b->starts[task / m->heads + 1] - start,
            .heads = m->heads,
            .size = m->size / m->heads,
            .head = task % m->heads,
        };
        attend(&a, pool_scratch(run->pool, thread, attention_bytes(a.tokens, a.size)));
    }
    pool_phase(run->pool, phase);
}

/* What attention gave, as the bytes that the next product reads. */
static void quantise_mixed(const run_t *run, int *phase) {
    const int size = run->model->size, tokens = run->batch->tokens;
    for (int first; (first = pool_task(run->pool, *phase) * NORM_ROWS) < tokens;)
        for (int row = first; row < tokens && row < first + NORM_ROWS; row++)
            for (long at = (long)row * size; at < (row + 1L) * size; at += GROUP) {
                float values[GROUP];
                for (int j = 0; j < GROUP; j += 16)
                    _mm512_storeu_ps(values + j, load_bf16(run->batch->mixed + at + j));
                quantise(values, (uint8_t *)run->batch->in + at, run->batch->in_bytes + at / GROUP);
            }
    pool_phase(run->pool, phase);
}

static void layer_body(void *argument, int thread) {
    const run_t *run = argument;
    const model_t *m = run->model;
    const layer_t *layer = run->layer;
    const batch_t *b = run->batch;
    const void *mixed = m->int8 ? b->in : (const void *)b->mixed;
    const product_t qkv = {.linear = &layer->qkv, .in = b->in, .in_bytes = b->in_bytes,
                           .tokens = b->tokens, .in_size = m->size, .out_size = 3 * m->size,
                           .out = b->qkv};
    const product_t added = {.linear = &layer->mixed, .in = mixed, .in_bytes = b->in_bytes,
                             .tokens = b->tokens, .in_size = m->size, .out_size = m->size,
                             .out = b->x};
    const product_t wide = {.linear = &layer->wide, .in = b->in, .in_bytes = b->in_bytes,
                            .tokens = b->tokens, .in_size = m->size, .out_size = m->wide,
                            .out = b->wide, .out_bytes = b->wide_bytes};
    const product_t narrow = {.linear = &layer->narrow, .in = b->wide, .in_bytes = b->wide_bytes,
                              .tokens = b->tokens, .in_size = m->wide, .out_size = m->size,
                              .out = b->x};
    int phase = 0;
    (m->int8 ? product_bf16_int8 : product_bf16)(run->pool, &phase, &qkv);
    attention(run, &phase, thread);
    if (m->int8) quantise_mixed(run, &phase);
    (m->int8 ? product_added_int8 : product_added)(run->pool, &phase, &added);
    norm_rows(run, &phase, &layer->mixed_norm);
    (m->int8 ? product_gelu_int8 : product_gelu)(run->pool, &phase, &wide);
    (m->int8 ? product_added_int8 : product_added)(run->pool, &phase, &narrow);
    norm_rows(run, &phase, &layer->narrow_norm);
}

static void enter_body(void *argument, int thread) {
    (void)thread;
    int phase = 0;
    norm_rows(argument, &phase, &((const run_t *)argument)->layer->narrow_norm);
}

/* ---- what native/binding.py calls ---- */

int m3_kernels(void) { return KERNELS; }

int m3_group(void) { return GROUP; }

/* 1 where this processor has the instructions. */
int m3_supported(void) {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vnni");
}

void *m3_pool_new(int threads) { return pool_new(threads); }

void m3_pool_free(void *pool) { pool_free(pool); }

/* The embeddings in `x` normed by `layer`'s second norm, and as `in`. */
void m3_enter(void *pool, const model_t *model, const layer_t *layer, const batch_t *batch) {
    run_t run = {pool, model, layer, batch};
    pool_run(pool, enter_body, &run);
}

/* `x` and `in` through one layer. */
void m3_layer(void *pool, const model_t *model, const layer_t *layer, const batch_t *batch) {
    run_t run = {pool, model, layer, batch};
    pool_run(pool, layer_body, &run);
}
