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

/* What every processor adds at once. */
enum { FLOATS = 4 };
typedef float floats __attribute__((vector_size(4 * FLOATS)));

/* A cache line: vectors that begin with one do not cross another. */
enum { LINE = 64 };

/* How a kernel wants the bytes. */
typedef struct {
    int levels;   /* of each sign */
    int shift;    /* what is added, so that none is negative */
    int together; /* tokens whose fours lie side by side: LANES, or 1 */
    int twice;    /* whether it also wants bytes of what these lose */
} form_t;

/* Token i stands for step[i] * (byte - shift), which as a vector is within error[i] of it; with
 * step[i] / (2 * levels) * (fine - shift) added, within error[i] - gain[i]. */
typedef struct {
    long tokens, size;
    long padded;    /* tokens, up to whole panels */
    long length;    /* size, up to whole blocks */
    long steps;     /* of FOUR values */
    form_t form;
    float *values;  /* [tokens, length], zeros after each token's size */
    float *step;    /* [padded], zeros after the last token */
    float *error;   /* [padded] */
    float *gain;    /* [padded] */
    uint8_t *fine;  /* [tokens, length], where the form wants it */
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

/* To whole numbers, whose lowest bits with `shift` added are the bytes. */
static inline void query_round(floats *values, int shift, uint8_t *bytes) {
    /* Above 2^23 a float is an integer, and has it in its lowest bits. */
    const floats near = *values + 0x1.8p23f;
    uint32_t bits[FLOATS];
    memcpy(bits, &near, sizeof bits);
    for (int lane = 0; lane < FLOATS; lane++) bytes[lane] = (uint8_t)(bits[lane] + shift);
    *values = near - 0x1.8p23f;
}

static inline float query_length(floats squares) {
    return sqrtf((squares[0] + squares[1]) + (squares[2] + squares[3]));
}

/* The bytes of one token, each in [shift - levels, shift + levels]. */
static void query_token(query_t *query, long token) {
    const float *values = query->values + token * query->length;
    const form_t form = query->form;
    uint8_t *bytes = query->bytes + token / form.together * query->steps * form.together * FOUR
                     + token % form.together * FOUR;
    uint8_t *fine = form.twice ? query->fine + token * query->length : NULL;
    const float most = query_most(values, query->length), parts = 2.0f * form.levels;
    const int usual = most / form.levels >= FLT_MIN; /* else every byte stands for zero */
    const float step = usual ? most / form.levels : INFINITY;
    floats whole = {0}, lost = {0}, least = {0}; /* sums of squares, in steps and their parts */
    for (long k = 0; k < query->size; k += FLOATS) {
        floats exact, near;
        uint8_t some[FLOATS];
        memcpy(&exact, values + k, sizeof exact);
        exact /= step;
        near = exact;
        query_round(&near, form.shift, some);
        if (k + FLOATS <= query->size)
            memcpy(bytes + k * form.together, some, sizeof some);
        else
            memcpy(bytes + k * form.together, some, query->size - k);
        whole += exact * exact;
        exact -= near;
        lost += exact * exact;
        if (!fine) continue;
        near = exact *= parts;
        query_round(&near, form.shift, fine + k);
        least += (exact - near) * (exact - near);
    }
    /* What fp32 rounds: the bounds, and the exact products that they are held against. */
    const float rounding = 0x1p-18f + (query->size / 8 + 8) * 0x1p-24f;
    const float slack = query_length(whole) * rounding;
    query->step[token] = usual ? step : 0;
    query->error[token] = usual ? step * (query_length(lost) * 1.00001f + slack)
                                : most * sqrtf((float)query->size);
    if (usual && fine)
        query->gain[token] = query->error[token]
                             - step * (query_length(least) / parts * 1.00001f + slack);
}

static void query_free(query_t *query) {
    free(query->values);
    free(query->step);
    free(query->error);
    free(query->gain);
    free(query->fine);
    free(query->bytes);
}

/* Zeros from the beginning of a line on, or NULL. */
static void *query_zeros(long bytes) {
    void *zeros = aligned_alloc(LINE, up_to(bytes, LINE));
    return zeros ? memset(zeros, 0, bytes) : NULL;
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
    query->values = query_zeros(tokens * query->length * (long)sizeof(float));
    query->step = query_zeros(query->padded * (long)sizeof(float));
    query->error = query_zeros(query->padded * (long)sizeof(float));
    query->gain = query_zeros(query->padded * (long)sizeof(float));
    query->fine = query_zeros(form->twice ? tokens * query->length : 1);
    query->bytes = query_zeros(query->padded * query->steps * FOUR);
    if (!query->values || !query->step || !query->error || !query->gain || !query->fine
        || !query->bytes)
        return 0;
    for (long token = 0; token < tokens; token++) {
        memcpy(query->values + token * query->length, values + token * size, size * sizeof(float));
        query_token(query, token);
    }
    return 1;
}
