/* Products of a tile in C alone, for every processor, in loops that compilers make vectors of. */
#pragma once

#include "query.h"

#define PLAIN

enum { ROWS_plain = 4 };

static const form_t FORM_plain = {.levels = 127, .shift = 0, .together = 1};

/* See `tile_avx512`. */
static inline void tile_plain(const int rows, const int panels, const int8_t *codes, long stride,
                              const query_t *query, const uint8_t *bytes,
                              int32_t sums[][2 * LANES]) {
    for (int lane = 0; lane < panels * LANES; lane++)
        for (int i = 0; i < rows; i++) {
            const int8_t *token = (const int8_t *)bytes + lane * query->steps * FOUR;
            const int8_t *row = codes + i * stride;
            int32_t sum = 0;
            for (long k = 0; k < query->size; k++) sum += token[k] * row[k];
            sums[i][lane] = sum;
        }
}

/* See `totals_avx512`: no whole vectors, so all is left to the caller. */
static inline long totals_plain(const int8_t *codes, long size, int32_t *sum, int32_t *squares) {
    (void)codes, (void)size;
    *sum = *squares = 0;
    return 0;
}

/* See `reaching_avx512`. */
static inline uint32_t reaching_plain(const float *values, const float *limits) {
    uint32_t bits = 0;
    for (int lane = 0; lane < LANES; lane++)
        bits |= (uint32_t)!(values[lane] < limits[lane]) << lane;
    return bits;
}

/* See `widen_avx512`. */
static inline void widen_plain(const int8_t *codes, floats *wide) {
    for (int lane = 0; lane < LANES; lane++) (*wide)[lane] = codes[lane];
}

/* See `gathered_avx512`. */
static inline float gathered_plain(const floats *lanes) {
    float sums[LANES];
    memcpy(sums, lanes, sizeof sums);
    for (int half = LANES / 2; half; half /= 2)
        for (int lane = 0; lane < half; lane++) sums[lane] += sums[lane + half];
    return sums[0];
}
