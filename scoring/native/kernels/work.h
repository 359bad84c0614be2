/* What a thread keeps of the passage that it scores. */
#pragma once

#include "query.h"

/* Tokens of a passage that are bounded before any is computed: their codes stay in the cache. */
enum { CHUNK = 192 };

typedef struct {
    float *best; /* [padded]: maxima that were computed */
    float *low;  /* [padded]: what the maxima are at the least */
    int32_t lead[2 * LANES]; /* the row of the chunk that raised a token's `low` last, or -1 */
    float scale[CHUNK], norm[CHUNK];
    int32_t sum[CHUNK];
    int32_t peak[CHUNK]; /* see `totals_avx2`; others leave it zero */
    float high[CHUNK][2 * LANES]; /* what a similarity is at the most */
} work_t;
