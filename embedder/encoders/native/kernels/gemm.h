/* Tiles of a product of activations [tokens, k] with packed weights, ROWS x COLUMNS at a time.
 *
 * Weights are packed in panels of 64 output columns: for each group of k values that one
 * instruction multiplies (2 bf16, 4 int8) the 64 columns side by side, so that a panel is read
 * from its first byte to its last. Six rows by four vectors fill 24 of the 32 registers. */
#pragma once

#include "panels.h"
#include "vector.h"

enum { ROWS = 6, VECTORS = COLUMNS / 16 };

/* Bytes that are fetched ahead of their use: about what memory takes to answer. */
enum { AHEAD = 2048 };

typedef struct {
    __m512 rows[ROWS][VECTORS];
} tile_t;

/* Rows of the next tile, where `left` remain: as even a share as ROWS allows, because a tile of one
 * row takes nearly as long as one of four. */
INLINE int block_rows(int left) {
    int blocks = (left + ROWS - 1) / ROWS;
    return (left + blocks - 1) / blocks;
}

/* sum + a · b in pairs of bf16, and in fours of unsigned by signed bytes. In assembly because
 * compilers copy the accumulators of the intrinsics around until they no longer fit the registers,
 * at half the speed. */
INLINE __m512 dpbf16(__m512 sum, __m512i a, __m512i b) {
    __asm__("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
    return sum;
}

INLINE __m512i dpbusd(__m512i sum, __m512i a, __m512i b) {
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
    return sum;
}

/* rows x (vectors * 16) of fp32 sums over `pairs` pairs of bf16. */
INLINE void sum_bf16(tile_t *tile, const int rows, const int vectors, const bf16 *a,
                     long a_stride, const bf16 *b, long pairs) {
    __m512 sums[ROWS][VECTORS];
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < vectors; j++) sums[i][j] = _mm512_setzero_ps();
#pragma GCC unroll 1
    for (long p = 0; p < pairs; p++) {
        __m512i columns[VECTORS];
        for (int j = 0; j < vectors; j++) {
            columns[j] = _mm512_loadu_si512(b + (p * vectors + j) * 32);
            _mm_prefetch((const char *)(b + (p * vectors + j) * 32) + AHEAD, _MM_HINT_T0);
        }
        for (int i = 0; i < rows; i++) {
            int32_t pair;
            memcpy(&pair, a + i * a_stride + 2 * p, sizeof pair);
            __m512i row = _mm512_set1_epi32(pair);
            for (int j = 0; j < vectors; j++) 
                sums[i][j] = dpbf16(sums[i][j], row, columns[j]);
        }
    }
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < vectors; j++) tile->rows[i][j] = sums[i][j];
}

/* How bytes stand for numbers: value = least + step * byte. */
typedef struct {
    float step, least;
} bytes_t;

/* Adds one group to a tile: Σ (least + step a) b = step Σ a b + least Σ b.
 *
 * steps: [64], the value of one step of b; totals: [64], Σ b. */
INLINE void add_group(tile_t *tile, const int rows, const uint8_t *a, long a_stride,
                      const bytes_t *a_bytes, long bytes_stride, const int8_t *b,
                      const float *steps, const float *totals) {
    __m512i sums[ROWS][VECTORS];
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < VECTORS; j++) sums[i][j] = _mm512_setzero_si512();
#pragma GCC unroll 1
    for (int q = 0; q < GROUP / 4; q++) {
        __m512i columns[VECTORS];
        for (int j = 0; j < VECTORS; j++) {
            columns[j] = _mm512_loadu_si512(b + (q * VECTORS + j) * 64);
            _mm_prefetch((const char *)(b + (q * VECTORS + j) * 64) + AHEAD, _MM_HINT_T0);
        }
        for (int i = 0; i < rows; i++) {
            int32_t four;
            memcpy(&four, a + i * a_stride + 4 * q, sizeof four);
            __m512i row = _mm512_set1_epi32(four);
            for (int j = 0; j < VECTORS; j++) sums[i][j] = dpbusd(sums[i][j], row, columns[j]);
        }
    }
    for (int i = 0; i < rows; i++) {
        const __m512 step = _mm512_set1_ps(a_bytes[i * bytes_stride].step);
        const __m512 least = _mm512_set1_ps(a_bytes[i * bytes_stride].least);
        for (int j = 0; j < VECTORS; j++) {
            __m512 sum = _mm512_fmadd_ps(least, _mm512_loadu_ps(totals + j * 16), tile->rows[i][j]);
            __m512 scale = _mm512_mul_ps(step, _mm512_loadu_ps(steps + j * 16));
            tile->rows[i][j] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[i][j]), scale, sum);
        }
    }
}

/* Weights in bytes: see `tile_int8`. */
typedef struct {
    const int8_t *weights;
    const float *steps, *totals;
} panel_t;

/* rows x 64 of fp32 sums over groups of GROUP bytes; see `tile_int8`. */
INLINE void sum_int8(tile_t *tile, const int rows, const uint8_t *a, long stride,
                     const bytes_t *bytes, long bytes_stride, const panel_t *b, int groups) {
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < VECTORS; j++) tile->rows[i][j] = _mm512_setzero_ps();
    for (int g = 0; g < groups; g++) {
        /* The tile stays in memory: a group's own sums fill the registers. */
        __asm__ volatile("" : "+m"(*tile));
        add_group(tile, rows, a + g * GROUP, stride, bytes + g, bytes_stride,
                  b->weights + (long)g * GROUP * COLUMNS, b->steps + g * COLUMNS,
                  b->totals + g * COLUMNS);
    }
}

/* Each count of rows in a function of its own: the loops are unrolled for it, and what callers do
 * with a tile takes no register from them. */
#define TILES(rows)                                                                             \
    static __attribute__((noinline)) void bf16_64_##rows(tile_t *tile, const bf16 *a, long stride, \
                                                         const bf16 *b, long pairs) {           \
        sum_bf16(tile, rows, 4, a, stride, b, pairs);                                           \
    }                                                                                           \
    static __attribute__((noinline)) void bf16_32_##rows(tile_t *tile, const bf16 *a, long stride, \
                                                         const bf16 *b, long pairs) {           \
        sum_bf16(tile, rows, 2, a, stride, b, pairs);                                           \
    }                                                                                           \
    static __attribute__((noinline)) void int8_64_##rows(                                       \
        tile_t *tile, const uint8_t *a, long stride, const bytes_t *bytes, long bytes_stride,   \
        const panel_t *b, int groups) {                                                         \
        sum_int8(tile, rows, a, stride, bytes, bytes_stride, b, groups);                        \
    }
TILES(1)
TILES(2)
TILES(3)
TILES(4)
TILES(5)
TILES(6)

/* The first `rows` of a tile, 1 to ROWS: fp32 sums over `pairs` pairs of bf16.
 *
 * a: [rows, 2 pairs] with a stride; b: [pairs, columns, 2], of 64 or 32 columns. */
static void tile_bf16(tile_t *tile, int rows, int columns, const bf16 *a, long stride,
                      const bf16 *b, long pairs) {
    typedef void (*tile_f)(tile_t *, const bf16 *, long, const bf16 *, long);
    static const tile_f wide[] = {NULL, bf16_64_1, bf16_64_2, bf16_64_3, bf16_64_4, bf16_64_5, bf16_64_6};
    static const tile_f narrow[] = {NULL, bf16_32_1, bf16_32_2, bf16_32_3, bf16_32_4, bf16_32_5, bf16_32_6};
    (columns == 64 ? wide : narrow)[rows](tile, a, stride, b, pairs);
}

/* The first `rows` of a tile: fp32 sums over groups of GROUP bytes.
 *
 * a: [rows, groups * GROUP] with a stride; bytes: [rows, groups] with another, what they stand for.
 * b: weights [groups * GROUP / 4, 64, 4]; steps [groups, 64], the value of one step; totals
 * [groups, 64], the sums of a group's values. */
static void tile_int8(tile_t *tile, int rows, const uint8_t *a, long stride, const bytes_t *bytes,
                      long bytes_stride, const panel_t *b, int groups) {
    typedef void (*tile_f)(tile_t *, const uint8_t *, long, const bytes_t *, long, const panel_t *,
                           int);
    static const tile_f all[] = {NULL,      int8_64_1, int8_64_2, int8_64_3,
                                 int8_64_4, int8_64_5, int8_64_6};
    all[rows](tile, a, stride, bytes, bytes_stride, b, groups);
}
