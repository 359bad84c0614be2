/* Products of a tile on AVX2. Multiplications are what bounds it, so bytes have 6 bits, and up to
 * four products are added in 16 bits before one more multiplication widens them to 32. */
#pragma once

#include <immintrin.h>

#include "work.h"

#define AVX2 __attribute__((target("avx2")))
#define INLINE256 AVX2 static inline __attribute__((always_inline))

enum { ROWS_avx2 = 4, LEVELS_avx2 = 31 };

/* See `PARTS_avx512`. */
enum { PARTS_avx2 = 2 };
typedef __m256 part_avx2;

static const form_t FORM_avx2 = {
    .levels = LEVELS_avx2, .shift = LEVELS_avx2, .together = LANES, .twice = 1};

/* Steps whose products are added in 16 bits lie APART steps from each other, so that each adds to
 * the same lane of a vector of codes; four times as many are a block. */
enum { APART = 32 / FOUR, STEPS = 4 * APART };

/* Two of them always fit: pairs of the largest byte by the smallest code. */
_Static_assert(2 * 2 * 2 * LEVELS_avx2 * 128 <= INT16_MAX, "16 bits hold two steps");

/* sum + Σ over fours of byte * code: bytes of up to 127, as no pair of 127 * 128 leaves 16 bits. */
INLINE256 __m256i dot_avx2(__m256i sum, __m256i bytes, __m256i codes) {
    __m256i pairs = _mm256_maddubs_epi16(bytes, codes);
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

/* sum += pairs. In assembly because gcc puts such sums in an order of its own, which takes more
 * registers than there are. */
INLINE256 void add_avx2(__m256i *sum, __m256i pairs) {
    __asm__("vpaddw %1, %0, %0" : "+x"(*sum) : "x"(pairs));
}

/* sum += the products of `count` steps that lie APART. */
INLINE256 void steps_avx2(const int rows, const int count, __m256i sum[][2], const int8_t *codes,
                          long stride, const uint8_t *panel) {
    __m256i pairs[ROWS_avx2][2];
    for (int s = 0; s < count; s++) {
        const uint8_t *at = panel + s * APART * LANES * FOUR;
        const __m256i tokens[2] = {_mm256_loadu_si256((const __m256i *)at),
                                   _mm256_loadu_si256((const __m256i *)(at + 32))};
        for (int i = 0; i < rows; i++) {
            int32_t four;
            memcpy(&four, codes + i * stride + s * APART * FOUR, sizeof four);
            const __m256i row = _mm256_set1_epi32(four);
            for (int j = 0; j < 2; j++) {
                const __m256i products = _mm256_maddubs_epi16(tokens[j], row);
                if (s)
                    add_avx2(&pairs[i][j], products);
                else
                    pairs[i][j] = products;
            }
        }
    }
    const __m256i ones = _mm256_set1_epi16(1);
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < 2; j++)
            sum[i][j] = _mm256_add_epi32(sum[i][j], _mm256_madd_epi16(pairs[i][j], ones));
}

/* See `tile_avx512`. A panel is two vectors here, and panels go one after the other. `peak` is the
 * largest of the rows'. */
INLINE256 void tile_avx2(const int rows, const int panels, const int8_t *codes, long stride,
                         const query_t *query, const uint8_t *panel, int32_t peak,
                         int32_t sums[][2 * LANES]) {
    const int fits = peak <= INT16_MAX / LEVELS_avx2, wide = LANES * FOUR;
    /* As many as `totals_avx2` has looked at: a last step that is not whole is not in `peak`. */
    const long steps = query->size / FOUR;
    for (int p = 0; p < panels; p++, panel += query->steps * wide) {
        __m256i sum[ROWS_avx2][2];
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < 2; j++) sum[i][j] = _mm256_setzero_si256();
        const char *ahead = (const char *)codes + rows * stride;
        long k = 0;
        for (; k + STEPS <= steps; k += STEPS)
#pragma GCC unroll 1
            for (long step = k; step < k + APART; step++, ahead += rows * STEPS * FOUR / APART) {
                const int8_t *here = codes + step * FOUR;
                const uint8_t *at = panel + step * wide;
                _mm_prefetch(ahead, _MM_HINT_T0);
                if (fits) {
                    steps_avx2(rows, 4, sum, here, stride, at);
                } else {
                    const long half = STEPS / 2;
                    steps_avx2(rows, 2, sum, here, stride, at);
                    steps_avx2(rows, 2, sum, here + half * FOUR, stride, at + half * wide);
                }
            }
        for (; k < query->steps; k++)
            steps_avx2(rows, 1, sum, codes + k * FOUR, stride, panel + k * wide);
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

/* The largest of 16 bits that are not negative. */
INLINE256 int32_t largest_avx2(__m256i values) {
    const __m128i some = _mm_max_epi16(_mm256_castsi256_si128(values),
                                       _mm256_extracti128_si256(values, 1));
    const __m128i least = _mm_minpos_epu16(_mm_sub_epi16(_mm_set1_epi16(INT16_MAX), some));
    return INT16_MAX - _mm_extract_epi16(least, 0);
}

/* See `totals_avx512`. `peak` is for every place of a block, whose four pairs of codes a tile adds
 * up, Σ|code| + |Σ code|: twice what either sign comes to, so a sum of the products, whose bytes go
 * from 0 to 2 * LEVELS, is not above LEVELS times that. */
INLINE256 long totals_avx2(const int8_t *codes, long size, int32_t *sum, int32_t *squares,
                           int32_t *peak) {
    const __m256i ones = _mm256_set1_epi8(1), most = _mm256_set1_epi8(127);
    __m256i s = _mm256_setzero_si256(), q = s, highest = s;
    long k = 0;
    for (; k + STEPS * FOUR <= size; k += STEPS * FOUR) {
        __m256i pairs = _mm256_setzero_si256(), absolute = _mm256_setzero_si256();
        for (long j = k; j < k + STEPS * FOUR; j += 32) {
            const __m256i c = _mm256_loadu_si256((const __m256i *)(codes + j));
            const __m256i length = _mm256_abs_epi8(c), positive = _mm256_min_epu8(length, most);
            pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(ones, c));
            absolute = _mm256_add_epi16(absolute, _mm256_maddubs_epi16(length, ones));
            q = dot_avx2(q, positive, positive);
        }
        const __m256i both = _mm256_add_epi16(absolute, _mm256_abs_epi16(pairs));
        highest = _mm256_max_epi16(highest, both);
        s = _mm256_add_epi32(s, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
    }
    for (; k + 32 <= size; k += 32) {
        const __m256i c = _mm256_loadu_si256((const __m256i *)(codes + k));
        const __m256i positive = _mm256_min_epu8(_mm256_abs_epi8(c), most);
        s = dot_avx2(s, ones, c);
        q = dot_avx2(q, positive, positive);
    }
    *sum = total_avx2(s);
    *squares = total_avx2(q);
    *peak = largest_avx2(highest);
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

/* See `ruled_out_avx512`. Bytes of 6 bits leave many more tokens than those of 8; the bytes of what
 * they lose rule out nearly all of these, for a third of what fp32 takes. */
INLINE256 int ruled_out_avx2(const query_t *query, const work_t *work, const int8_t *codes,
                             long row, long lane, long token) {
    const int8_t *own = codes + row * (query->size + (long)sizeof(float));
    const uint8_t *fine = query->fine + token * query->length;
    __m256i total = _mm256_setzero_si256();
    long k = 0;
    for (; k + 64 <= query->size; k += 64) {
        __m256i pairs[2];
        for (int j = 0; j < 2; j++)
            pairs[j] = _mm256_maddubs_epi16(
                _mm256_loadu_si256((const __m256i *)(fine + k + 32 * j)),
                _mm256_loadu_si256((const __m256i *)(own + k + 32 * j)));
        pairs[0] = _mm256_add_epi16(pairs[0], pairs[1]);
        total = _mm256_add_epi32(total, _mm256_madd_epi16(pairs[0], _mm256_set1_epi16(1)));
    }
    int32_t sum = total_avx2(total);
    for (; k < query->size; k++) sum += fine[k] * own[k];
    const float part = query->step[token] / (2 * LEVELS_avx2) * work->scale[row];
    const float more = (float)(sum - LEVELS_avx2 * work->sum[row]) * part;
    return work->high[row][lane] + more - query->gain[token] * work->norm[row] < work->low[token];
}

/* Half of `widen_avx512`. */
INLINE256 void widen_avx2(const int8_t *codes, __m256 *wide) {
    __m128i bytes = _mm_loadl_epi64((const __m128i *)codes);
    *wide = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
}

/* See `gathered_avx512`. */
INLINE256 float gathered_avx2(const __m256 *lanes) {
    __m256 half = _mm256_add_ps(lanes[0], lanes[1]);
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
