/* Sixteen fp32 at a time: exponential, GELU, sums, conversions. */
#pragma once

#include <stdint.h>
#include <math.h>
#include <string.h>

#include <immintrin.h>

#include "polynomials.h"

#define INLINE static inline __attribute__((always_inline))

typedef uint16_t bf16;

/* 2^x to 2e-7 of its value; 0 below -126. Minimax polynomial of 2^f on [-1/2, 1/2]. */
INLINE __m512 exp2_ps(__m512 x) {
    /* In this order a NaN stays one. */
    x = _mm512_max_ps(_mm512_set1_ps(-127.0f), x);
    __m512 n = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 f = _mm512_sub_ps(x, n);
    __m512 p = _mm512_set1_ps(EXP2[0]);
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(EXP2[1]));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(EXP2[2]));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(EXP2[3]));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(EXP2[4]));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(EXP2[5]));
    return _mm512_scalef_ps(p, n);
}

/* x Φ(x), by erf's formula 7.1.26 of Abramowitz and Stegun: 1.5e-7 of |x|. */
INLINE __m512 gelu_ps(__m512 x) {
    const __m512 one = _mm512_set1_ps(1.0f);
    __m512 z = _mm512_mul_ps(_mm512_abs_ps(x), _mm512_set1_ps(0.70710678118f));
    __m512 denominator = _mm512_fmadd_ps(z, _mm512_set1_ps(ERF_P), one);
    __m512 t = _mm512_rcp14_ps(denominator);
    t = _mm512_mul_ps(t, _mm512_fnmadd_ps(denominator, t, _mm512_set1_ps(2.0f)));
    __m512 p = _mm512_set1_ps(ERF[0]);
    p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(ERF[1]));
    p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(ERF[2]));
    p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(ERF[3]));
    p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(ERF[4]));
    __m512 decay = exp2_ps(_mm512_mul_ps(_mm512_mul_ps(z, z), _mm512_set1_ps(-1.44269504089f)));
    /* erfc(z) = p t e^(-z²), so Φ(x) is 1 - erfc/2 above zero and erfc/2 below. */
    __m512 half = _mm512_mul_ps(_mm512_mul_ps(p, t), _mm512_mul_ps(decay, _mm512_set1_ps(0.5f)));
    __mmask16 above = _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_GE_OQ);
    /* An unordered x takes the other branch and stays what it is. */
    return _mm512_mul_ps(x, _mm512_mask_sub_ps(half, above, one, half));
}

INLINE __m512 load_bf16(const bf16 *from) {
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)from));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

/* 32 values, the first sixteen from `low`. */
INLINE void store_bf16(bf16 *to, __m512 low, __m512 high) {
    _mm512_storeu_si512(to, (__m512i)_mm512_cvtne2ps_pbh(high, low));
}

/* Rows and columns of 16 x 16 dwords change places. */
INLINE void transpose16(__m512i r[16]) {
    __m512i t[16];
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    for (int i = 0; i < 4; i++) {
        t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
        t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
        t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
    }
    for (int i = 0; i < 4; i++) {
        r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
        r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
        r[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
        r[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
    }
}
