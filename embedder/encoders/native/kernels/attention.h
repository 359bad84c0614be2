/* softmax(Q Kᵀ / sqrt(size)) V of one head over one text.
 *
 * Keys and values are packed once, as weights are. Then six queries at a time: all their scores,
 * which fit the cache up to thousands of keys, the softmax, and the product with the values. */
#pragma once

#include "gemm.h"
#include "pool.h"

enum { KEYS = COLUMNS };

typedef struct {
    const bf16 *qkv;  /* [tokens, 3, heads, size] of one text */
    bf16 *out;        /* [tokens, heads, size] */
    int tokens, heads, size, head;
} attention_t;

typedef struct {
    bf16 *keys;     /* [tokens / KEYS, size / 2, KEYS, 2] */
    bf16 *values;   /* [tokens / 2, size, 2] */
    float *scores;  /* [ROWS, padded] */
    bf16 *shares;   /* [ROWS, padded] */
    long padded;    /* tokens, up to a whole block of keys */
} attention_memory;

static long padded_tokens(int tokens) { return ((long)tokens + KEYS - 1) / KEYS * KEYS; }

static size_t attention_bytes(int tokens, int size) {
    return padded_tokens(tokens) * (4 * (size_t)size + ROWS * (sizeof(float) + sizeof(bf16)));
}

static attention_memory attention_divide(char *memory, int tokens, int size) {
    long padded = padded_tokens(tokens);
    attention_memory parts = {.padded = padded};
    parts.keys = (bf16 *)memory;
    parts.values = parts.keys + padded * size;
    parts.scores = (float *)(parts.values + padded * size);
    parts.shares = (bf16 *)(parts.scores + ROWS * padded);
    return parts;
}

static void pack_keys(const attention_t *a, const attention_memory *to) {
    const bf16 *from = a->qkv + ((long)a->heads + a->head) * a->size;
    long stride = 3L * a->heads * a->size;
    for (long first = 0; first < to->padded; first += 16)
        for (int pair = 0; pair < a->size / 2; pair += 16) {
            __m512i block[16];
            for (int i = 0; i < 16; i++)
                block[i] = first + i < a->tokens
                               ? _mm512_loadu_si512(from + (first + i) * stride + 2 * pair)
                               : _mm512_setzero_si512();
            transpose16(block);
            bf16 *out = to->keys + first / KEYS * KEYS * a->size + first % KEYS * 2;
            for (int i = 0; i < 16; i++)
                _mm512_storeu_si512(out + (pair + i) * KEYS * 2L, block[i]);
        }
}

static void pack_values(const attention_t *a, const attention_memory *to) {
    const bf16 *from = a->qkv + (2L * a->heads + a->head) * a->size;
    long stride = 3L * a->heads * a->size;
    const __m512i low = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40,
                                         8, 39, 7, 38, 6, 37, 5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
    const __m512i high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
    for (int first = 0; first < a->tokens; first += 2)
        for (int column = 0; column < a->size; column += 32) {
            __m512i even = _mm512_loadu_si512(from + first * stride + column);
            __m512i odd = first + 1 < a->tokens
                              ? _mm512_loadu_si512(from + (first + 1) * stride + column)
                              : _mm512_setzero_si512();
            bf16 *out = to->values + (long)first * a->size + 2 * column;
            _mm512_storeu_si512(out, _mm512_permutex2var_epi16(even, low, odd));
            _mm512_storeu_si512(out + 32, _mm512_permutex2var_epi16(even, high, odd));
        }
}

/* Each row's exponentials in bf16, and one over their sum. */
static void softmax(const attention_memory *m, int rows, int tokens, float step, float *inverse) {
    const __m512 factor = _mm512_set1_ps(step * 1.44269504089f);
    for (int i = 0; i < rows; i++) {
        float *scores = m->scores + i * m->padded;
        bf16 *shares = m->shares + i * m->padded;
        for (long k = tokens; k < m->padded; k++) scores[k] = -INFINITY;
        __m512 most = _mm512_loadu_ps(scores);
        for (long k = 16; k < tokens; k += 16) most = _mm512_max_ps(most, _mm512_loadu_ps(scores + k));
        const __m512 top = _mm512_mul_ps(_mm512_set1_ps(_mm512_reduce_max_ps(most)), factor);
        __m512 sum = _mm512_setzero_ps();
        for (long k = 0; k < tokens; k += 32) {
            __m512 a = exp2_ps(_mm512_fmsub_ps(_mm512_loadu_ps(scores + k), factor, top));
            __m512 b = exp2_ps(_mm512_fmsub_ps(_mm512_loadu_ps(scores + k + 16), factor, top));
            sum = _mm512_add_ps(sum, _mm512_add_ps(a, b));
            store_bf16(shares + k, a, b);
        }
        inverse[i] = 1.0f / _mm512_reduce_add_ps(sum);
    }
}

static void attend_rows(const attention_t *a, const attention_memory *m, int first, int rows) {
    const long stride = 3L * a->heads * a->size;
    const bf16 *queries = a->qkv + first * stride + a->head * a->size;
    tile_t tile;
    for (long k = 0; k < m->padded; k += KEYS) {
        tile_bf16(&tile, rows, KEYS, queries, stride, m->keys + k * a->size, a->size / 2);
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < VECTORS; j++)
                _mm512_storeu_ps(m->scores + i * m->padded + k + j * 16, tile.rows[i][j]);
    }
    float inverse[ROWS];
    softmax(m, rows, a->tokens, 1.0f / sqrtf((float)a->size), inverse);
    tile_bf16(&tile, rows, a->size, m->shares, m->padded, m->values, (a->tokens + 1) / 2);
    for (int i = 0; i < rows; i++) {
        bf16 *out = a->out + ((long)(first + i) * a->heads + a->head) * a->size;
        __m512 share = _mm512_set1_ps(inverse[i]);
        for (int j = 0; j < a->size / 16; j += 2)
            store_bf16(out + j * 16, _mm512_mul_ps(tile.rows[i][j], share),
                       _mm512_mul_ps(tile.rows[i][j + 1], share));
    }
}

/* A head of 32 or 64 dimensions; `memory` of attention_bytes. */
static void attend(const attention_t *a, void *memory) {
    attention_memory parts = attention_divide(memory, a->tokens, a->size);
    pack_keys(a, &parts);
    pack_values(a, &parts);
    for (int first = 0, rows; first < a->tokens; first += rows) {
        rows = block_rows(a->tokens - first);
        attend_rows(a, &parts, first, rows);
    }
}
