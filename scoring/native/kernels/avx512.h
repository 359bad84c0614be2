/* Products of a tile on AVX-512 with VNNI: 12 rows by two panels fill 24 of the 32 registers. */
#pragma once

#include <immintrin.h>

#include "work.h"

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")))
#define INLINE512 AVX512 static inline __attribute__((always_inline))

enum { ROWS_avx512 = 12 };

/* LANES are so many vectors. */
enum { PARTS_avx512 = 1 };
typedef __m512 part_avx512;

static const form_t FORM_avx512 = {.levels = 127, .shift = 128, .together = LANES};

/* In assembly because compilers copy the accumulators of the intrinsic around until they no longer
 * fit the registers. */
INLINE512 __m512i dpbusd(__m512i sum, __m512i a, __m512i b) {
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
    return sum;
}

/* sums[i][token]: Σ byte * code over a row's values. What lies after the rows is fetched ahead. */
INLINE512 void tile_avx512(const int rows, const int panels, const int8_t *codes, long stride,
                           const query_t *query, const uint8_t *panel, int32_t peak,
                           int32_t sums[][2 * LANES]) {
    (void)peak;
    __m512i sum[ROWS_avx512][2];
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < panels; j++) sum[i][j] = _mm512_setzero_si512();
    const char *ahead = (const char *)codes + rows * stride;
#pragma GCC unroll 1
    for (long k = 0; k < query->steps; k++) {
        __m512i tokens[2];
        for (int j = 0; j < panels; j++)
            tokens[j] = _mm512_loadu_si512(panel + (j * query->steps + k) * LANES * FOUR);
        _mm_prefetch(ahead + k * rows * FOUR, _MM_HINT_T0);
        for (int i = 0; i < rows; i++) {
            int32_t four;
            memcpy(&four, codes + i * stride + k * FOUR, sizeof four);
            __m512i row = _mm512_set1_epi32(four);
            for (int j = 0; j < panels; j++) sum[i][j] = dpbusd(sum[i][j], tokens[j], row);
        }
    }
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < panels; j++) _mm512_storeu_si512(sums[i] + j * LANES, sum[i][j]);
}

/* Sum, and sum of squares with -128 taken for -127, of the codes that fill whole vectors; how many
 * those are. */
INLINE512 long totals_avx512(const int8_t *codes, long size, int32_t *sum, int32_t *squares,
                             int32_t *peak) {
    (void)peak;
    const __m512i ones = _mm512_set1_epi8(1), most = _mm512_set1_epi8(127);
    __m512i s = _mm512_setzero_si512(), q = _mm512_setzero_si512();
    long k = 0;
    for (; k + 64 <= size; k += 64) {
        __m512i c = _mm512_loadu_si512(codes + k);
        __m512i positive = _mm512_min_epu8(_mm512_abs_epi8(c), most);
        s = dpbusd(s, ones, c);
        q = dpbusd(q, positive, positive);
    }
    /* Both at once: the even lanes are of one, the odd ones of the other. */
    __m512i both = _mm512_add_epi32(_mm512_unpacklo_epi32(s, q), _mm512_unpackhi_epi32(s, q));
    __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(both),
                                    _mm512_extracti64x4_epi64(both, 1));
    __m128i quarter = _mm_add_epi32(_mm256_castsi256_si128(half),
                                    _mm256_extracti128_si256(half, 1));
    quarter = _mm_add_epi32(quarter, _mm_unpackhi_epi64(quarter, quarter));
    *sum = _mm_extract_epi32(quarter, 0);
    *squares = _mm_extract_epi32(quarter, 1);
    return k;
}

/* A bit for each of LANES tokens whose value is not below its limit. */
INLINE512 uint32_t reaching_avx512(const float *values, const float *limits) {
    return _mm512_cmp_ps_mask(_mm512_loadu_ps(values), _mm512_loadu_ps(limits), _CMP_NLT_UQ);
}

/* Whether what the bytes lost rules a token out that its bound did not: bytes lose little here. */
INLINE512 int ruled_out_avx512(const query_t *query, const work_t *work, const int8_t *codes,
                               long row, long lane, long token) {
    (void)query, (void)work, (void)codes, (void)row, (void)lane, (void)token;
    return 0;
}

/* LANES codes as fp32. */
INLINE512 void widen_avx512(const int8_t *codes, __m512 *wide) {
    __m128i bytes = _mm_loadu_si128((const __m128i *)codes);
    *wide = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes));
}

/* The lanes' sum, half onto half. */
INLINE512 float gathered_avx512(const __m512 *lanes) {
    __m512 all = *lanes;
    __m256 half = _mm256_add_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
