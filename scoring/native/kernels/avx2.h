/* Products of a tile on AVX2: bytes of 7 bits, so that two products fit 16 bits. */
#pragma once

#include <immintrin.h>

#include "query.h"

#define AVX2 __attribute__((target("avx2")))
#define INLINE256 AVX2 static inline __attribute__((always_inline))

enum { ROWS_avx2 = 4 };

static const form_t FORM_avx2 = {.levels = 63, .shift = 64, .together = LANES};

/* sum + Σ over fours of byte * code: no pair of 127 * 128 leaves 16 bits. */
INLINE256 __m256i dot_avx2(__m256i sum, __m256i bytes, __m256i codes) {
    __m256i pairs = _mm256_maddubs_epi16(bytes, codes);
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

/* See `tile_avx512`. A panel is two vectors here, and panels go one after the other. */
INLINE256 void tile_avx2(const int rows, const int panels, const int8_t *codes, long stride,
                         const query_t *query, const uint8_t *panel, int32_t sums[][2 * LANES]) {
    for (int p = 0; p < panels; p++) {
        __m256i sum[ROWS_avx2][2];
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < 2; j++) sum[i][j] = _mm256_setzero_si256();
        const char *ahead = (const char *)codes + rows * stride;
#pragma GCC unroll 1
        for (long k = 0; k < query->steps; k++) {
            const uint8_t *at = panel + (p * query->steps + k) * LANES * FOUR;
            __m256i tokens[2] = {_mm256_loadu_si256((const __m256i *)at),
                                 _mm256_loadu_si256((const __m256i *)(at + 32))};
            _mm_prefetch(ahead + k * rows * FOUR, _MM_HINT_T0);
            for (int i = 0; i < rows; i++) {
                int32_t four;
                memcpy(&four, codes + i * stride + k * FOUR, sizeof four);
                __m256i row = _mm256_set1_epi32(four);
                for (int j = 0; j < 2; j++) sum[i][j] = dot_avx2(sum[i][j], tokens[j], row);
            }
        }
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < 2; j++)
                _mm256_storeu_si256((__m256i *)(sums[i] + p * LANES + j * 8), sum[i][j]);
    }
}

INLINE256 int32_t total_avx2(__m256i sum) {
    __m128i four = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
    four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(four, _mm_shuffle_epi32(four, 0xb1)));
}

/* See `totals_avx512`. */
INLINE256 long totals_avx2(const int8_t *codes, long size, int32_t *sum, int32_t *squares) {
    const __m256i ones = _mm256_set1_epi8(1), most = _mm256_set1_epi8(127);
    __m256i s = _mm256_setzero_si256(), q = _mm256_setzero_si256();
    long k = 0;
    for (; k + 32 <= size; k += 32) {
        __m256i c = _mm256_loadu_si256((const __m256i *)(codes + k));
        __m256i positive = _mm256_min_epu8(_mm256_abs_epi8(c), most);
        s = dot_avx2(s, ones, c);
        q = dot_avx2(q, positive, positive);
    }
    *sum = total_avx2(s);
    *squares = total_avx2(q);
    return k;
}

/* See `reaching_avx512`. */
INLINE256 uint32_t reaching_avx2(const float *values, const float *limits) {
    uint32_t bits = 0;
    for (int j = 0; j < LANES; j += 8) {
        __m256 reach =
            _mm256_cmp_ps(_mm256_loadu_ps(values + j), _mm256_loadu_ps(limits + j), _CMP_NLT_UQ);
        bits |= (uint32_t)_mm256_movemask_ps(reach) << j;
    }
    return bits;
}

/* See `widen_avx512`. */
INLINE256 void widen_avx2(const int8_t *codes, floats *wide) {
    __m256 halves[2];
    for (int j = 0; j < 2; j++) {
        __m128i bytes = _mm_loadl_epi64((const __m128i *)(codes + j * 8));
        halves[j] = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
    }
    memcpy(wide, halves, sizeof *wide);
}

/* See `gathered_avx512`. */
INLINE256 float gathered_avx2(const floats *lanes) {
    __m256 halves[2];
    memcpy(halves, lanes, sizeof *lanes);
    __m256 half = _mm256_add_ps(halves[0], halves[1]);
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
