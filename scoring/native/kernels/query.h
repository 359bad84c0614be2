/* A query as the tiles read it: its tokens' values as bytes, and how far those are from them. */
#pragma once

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Tokens of a panel, and the values of each that one step multiplies. */
enum { LANES = 16, FOUR = 4 };

/* Values that the exact product takes at once. */
enum { BLOCK = 64 };

typedef float floats __attribute__((vector_size(4 * LANES)));

/* How a kernel wants the bytes. */
typedef struct {
    int levels;   /* of each sign */
    int shift;    /* what is added, so that none is negative */
    int together; /* tokens whose fours lie side by side: LANES, or 1 */
} form_t;

/* Token i stands for step[i] * (byte - shift), which as a vector is within error[i] of it. */
typedef struct {
    long tokens, size;
    long padded;    /* tokens, up to whole panels */
    long length;    /* size, up to whole blocks */
    long steps;     /* of FOUR values */
    form_t form;
    float *values;  /* [tokens, length], zeros after each token's size */
    float *step;    /* [padded], zeros after the last token */
    float *error;   /* [padded] */
    uint8_t *bytes; /* [padded / together, steps, together, FOUR], zeros where no value is */
} query_t;

static inline long up_to(long count, long multiple) {
    return (count + multiple - 1) / multiple * multiple;
}

/* The largest of absolute values. */
static float query_most(const float *values, long length) {
    float lanes[LANES] = {0}, most = 0;
    for (long k = 0; k < length; k += LANES)
        for (int lane = 0; lane < LANES; lane++) {
            float value = fabsf(values[k + lane]);
            lanes[lane] = value > lanes[lane] ? value : lanes[lane];
        }
    for (int lane = 0; lane < LANES; lane++) most = lanes[lane] > most ? lanes[lane] : most;
    return most;
}

/* The bytes of one token, each in [shift - levels, shift + levels]. */
static void query_token(query_t *query, long token) {
    const float *values = query->values + token * query->length;
    const int levels = query->form.levels, together = query->form.together;
    uint8_t *bytes = query->bytes + token / together * query->steps * together * FOUR
                     + token % together * FOUR;
    const float most = query_most(values, query->length);
    const int usual = most / levels >= FLT_MIN; /* else every byte stands for zero */
    const float step = usual ? most / levels : INFINITY;
    floats left = {0}, whole = {0}; /* sums of squares, in steps */
    for (long k = 0; k < query->size; k += LANES) {
        floats exact, near;
        uint32_t bits[LANES];
        uint8_t some[LANES];
        memcpy(&exact, values + k, sizeof exact);
        exact /= step;
        /* Above 2^23 a float is an integer, and has it in its lowest bits. */
        near = exact + 0x1.8p23f;
        memcpy(bits, &near, sizeof bits);
        near -= 0x1.8p23f;
        left += (exact - near) * (exact - near);
        whole += exact * exact;
        for (int lane = 0; lane < LANES; lane++)
            some[lane] = (uint8_t)(bits[lane] + query->form.shift);
        for (long j = 0; j < LANES && k + j < query->size; j += FOUR)
            memcpy(bytes + (k + j) * together, some + j,
                   query->size - k - j < FOUR ? query->size - k - j : FOUR);
    }
    float residue = 0, norm = 0;
    for (int lane = 0; lane < LANES; lane++) residue += left[lane], norm += whole[lane];
    /* What fp32 rounds: the bounds, and the exact products that they are held against. */
    const float rounding = 0x1p-18f + (query->size / 8 + 8) * 0x1p-24f;
    query->step[token] = usual ? step : 0;
    query->error[token] = usual ? step * (sqrtf(residue) * 1.00001f + sqrtf(norm) * rounding)
                                : most * sqrtf((float)query->size);
}

static void query_free(query_t *query) {
    free(query->values);
    free(query->step);
    free(query->error);
    free(query->bytes);
}

/* Whether there was memory for it; `query_free` is called for it either way. */
static int query_make(query_t *query, const float *values, long tokens, long size,
                      const form_t *form) {
    *query = (query_t){.tokens = tokens,
                       .size = size,
                       .padded = up_to(tokens, LANES),
                       .length = up_to(size, BLOCK),
                       .steps = up_to(size, FOUR) / FOUR,
                       .form = *form};
    query->values = calloc(tokens * query->length, sizeof(float));
    query->step = calloc(query->padded, sizeof(float));
    query->error = calloc(query->padded, sizeof(float));
    query->bytes = calloc(query->padded * query->steps, FOUR);
    if (!query->values || !query->step || !query->error || !query->bytes) return 0;
    for (long token = 0; token < tokens; token++) {
        memcpy(query->values + token * query->length, values + token * size, size * sizeof(float));
        query_token(query, token);
    }
    return 1;
}
