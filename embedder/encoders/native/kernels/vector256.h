/* Eight fp32 at a time: what vector.h has for sixteen. */
#pragma once

#include <immintrin.h>
#include <stdint.h>

#include "polynomials.h"

#define AVX2 __attribute__((target("avx2,fma")))
#define INLINE256 AVX2 static inline __attribute__((always_inline))

INLINE256 float reduce_add(__m256 v) {
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

INLINE256 float reduce_max(__m256 v) {
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

INLINE256 float reduce_min(__m256 v) { return -reduce_max(_mm256_xor_ps(v, _mm256_set1_ps(-0.0f))); }

INLINE256 int32_t reduce_add_int(__m256i v) {
    __m128i four = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(four, _mm_shuffle_epi32(four, 0xb1)));
}

/* 2^x to 2e-7 of its value; 0 below -126. */
INLINE256 __m256 exp2_256(__m256 x) {
    /* In this order a NaN stays one. */
    x = _mm256_max_ps(_mm256_set1_ps(-127.0f), x);
    __m256 n = _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 f = _mm256_sub_ps(x, n);
    __m256 p = _mm256_set1_ps(EXP2[0]);
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(EXP2[1]));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(EXP2[2]));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(EXP2[3]));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(EXP2[4]));
    p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(EXP2[5]));
    __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    return _mm256_mul_ps(p, _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23)));
}

/* x Φ(x), by the formula of vector.h. torch's depends on where a number stands in its tensor: those
 * that fill no vector go another way, to other bits. */
INLINE256 __m256 gelu_256(__m256 x) {
    const __m256 one = _mm256_set1_ps(1.0f), sign = _mm256_set1_ps(-0.0f);
    __m256 z = _mm256_mul_ps(_mm256_andnot_ps(sign, x), _mm256_set1_ps(0.70710678118f));
    __m256 t = _mm256_div_ps(one, _mm256_fmadd_ps(z, _mm256_set1_ps(ERF_P), one));
    __m256 p = _mm256_set1_ps(ERF[0]);
    p = _mm256_fmadd_ps(p, t, _mm256_set1_ps(ERF[1]));
    p = _mm256_fmadd_ps(p, t, _mm256_set1_ps(ERF[2]));
    p = _mm256_fmadd_ps(p, t, _mm256_set1_ps(ERF[3]));
    p = _mm256_fmadd_ps(p, t, _mm256_set1_ps(ERF[4]));
    __m256 decay = exp2_256(_mm256_mul_ps(_mm256_mul_ps(z, z), _mm256_set1_ps(-1.44269504089f)));
    __m256 half = _mm256_mul_ps(_mm256_mul_ps(p, t), _mm256_mul_ps(decay, _mm256_set1_ps(0.5f)));
    __m256 above = _mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_GE_OQ);
    /* An unordered x takes the other branch and stays what it is. */
    return _mm256_mul_ps(x, _mm256_blendv_ps(half, _mm256_sub_ps(one, half), above));
}
