/* Products of a tile in C alone, for every processor, in loops that compilers make vectors of. */
#pragma once

#include "work.h"

#define PLAIN

enum { ROWS_plain = 4 };

/* See `PARTS_avx512`. */
enum { PARTS_plain = 1 };
typedef float part_plain __attribute__((vector_size(4 * LANES)));

static const form_t FORM_plain = {.levels = 127, .shift = 0, .together = 1};

/* See `tile_avx512`. */
static inline void tile_plain(const int rows, const int panels, const int8_t *codes, long stride,
                              const query_t *query, const uint8_t *bytes, int32_t peak,
                              int32_t sums[][2 * LANES]) {
    (void)peak;
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
static inline long totals_plain(const int8_t *codes, long size, int32_t *sum, int32_t *squares,
                                int32_t *peak) {
    (void)codes, (void)size, (void)peak;
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

/* See `ruled_out_avx512`. */
static inline int ruled_out_plain(const query_t *query, const work_t *work, const int8_t *codes,
                                  long row, long lane, long token) {
    (void)query, (void)work, (void)codes, (void)row, (void)lane, (void)token;
    return 0;
}

/* See `widen_avx512`. */
static inline void widen_plain(const int8_t *codes, part_plain *wide) {
    for (int lane = 0; lane < LANES / PARTS_plain; lane++) (*wide)[lane] = codes[lane];
}

/* See `gathered_avx512`. */
static inline float gathered_plain(const part_plain *lanes) {
    float sums[LANES];
    memcpy(sums, lanes, sizeof sums);
    for (int half = LANES / 2; half; half /= 2)
        for (int lane = 0; lane < half; lane++) sums[lane] += sums[lane + half];
    return sums[0];
}
