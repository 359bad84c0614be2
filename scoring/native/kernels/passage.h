/* One passage's score. Included once for each instruction set, with ISA and TARGET defined.
 *
 * Products of bytes bound every similarity from both sides: Cauchy and Schwarz say that it is no
 * further from that of the bytes than the query token's error times the passage token's norm. Only
 * where a token can still be the maximum is the similarity computed as it is defined, in fp32 and
 * always in the same order. So the score is exact, and has the same bits with whatever
 * instructions the bounds were found. */

#define JOINED_(name, isa) name##_##isa
#define JOINED(name, isa) JOINED_(name, isa)
#define OF_ISA(name) JOINED(name, ISA)

#define PART OF_ISA(part)
#define PARTS OF_ISA(PARTS)

/* sums += values * codes for BLOCK of each. */
TARGET static inline __attribute__((always_inline)) void OF_ISA(add_block)(PART sums[][PARTS],
                                                                           const float *values,
                                                                           const int8_t *codes) {
    for (int j = 0; j < BLOCK / LANES; j++)
        for (int part = 0; part < PARTS; part++) {
            const int first = j * LANES + part * LANES / PARTS;
            PART some, wide;
            memcpy(&some, values + first, sizeof some);
            OF_ISA(widen)(codes + first, &wide);
            sums[j][part] += some * wide;
        }
}

/* Σ value * code in fp32. */
TARGET static inline float OF_ISA(product)(const query_t *query, long token, const int8_t *codes) {
    const float *values = query->values + token * query->length;
    PART sums[BLOCK / LANES][PARTS];
    for (int j = 0; j < BLOCK / LANES; j++)
        for (int part = 0; part < PARTS; part++) sums[j][part] = (PART){0};
    long k = 0;
    for (; k + BLOCK <= query->size; k += BLOCK) OF_ISA(add_block)(sums, values + k, codes + k);
    if (k < query->size) {
        int8_t rest[BLOCK] = {0};
        memcpy(rest, codes + k, query->size - k);
        OF_ISA(add_block)(sums, values + k, rest);
    }
    PART all[PARTS];
    for (int part = 0; part < PARTS; part++)
        all[part] = (sums[0][part] + sums[1][part]) + (sums[2][part] + sums[3][part]);
    return OF_ISA(gathered)(all);
}

/* What the bounds need to know of a token's codes. */
TARGET static inline void OF_ISA(read_row)(work_t *work, long row, const int8_t *codes, long size) {
    int32_t sum, squares, peak = 0;
    for (long k = OF_ISA(totals)(codes, size, &sum, &squares, &peak); k < size; k++) {
        sum += codes[k];
        squares += codes[k] * codes[k];
    }
    work->peak[row] = peak;
    float scale;
    memcpy(&scale, codes + size, sizeof scale);
    work->sum[row] = sum;
    work->scale[row] = isfinite(scale) ? scale : NAN;
    work->norm[row] = fabsf(scale) * sqrtf((float)squares) * (128.0f / 127);
}

/* `tile`, with the number of rows known to the compiler: at most ROWS. */
TARGET static inline __attribute__((always_inline)) void OF_ISA(tile_rows)(
    int rows, const int panels, const query_t *query, long panel, const int8_t *codes,
    int32_t peak, int32_t sums[][2 * LANES]) {
    const long stride = query->size + (long)sizeof(float);
    const uint8_t *bytes = query->bytes + panel * query->steps * LANES * FOUR;
    switch (rows) {
#define LEAST(n) (n < OF_ISA(ROWS) ? n : OF_ISA(ROWS))
#define CASE(n)                                                                      \
    case n:                                                                          \
        if (n > OF_ISA(ROWS)) break;                                                 \
        OF_ISA(tile)(LEAST(n), panels, codes, stride, query, bytes, peak, sums);          \
        break;
        CASE(1) CASE(2) CASE(3) CASE(4)
        CASE(5) CASE(6) CASE(7) CASE(8)
        CASE(9) CASE(10) CASE(11) CASE(12)
#undef CASE
#undef LEAST
    }
}

/* Bounds of one token with a panel of the query, and what they raise. */
TARGET static void OF_ISA(bound_row)(const int32_t *restrict sums, const float *restrict step,
                                     const float *restrict error, int32_t shifted, float scale,
                                     float norm, int32_t row, float *restrict high,
                                     float *restrict low, int32_t *restrict lead) {
    for (int lane = 0; lane < LANES; lane++) {
        const float near = (float)(sums[lane] - shifted) * (step[lane] * scale);
        const float off = error[lane] * norm, least = near - off;
        /* A mask, as a condition becomes a jump that is hard to predict. */
        const int32_t raises = -(least > low[lane]);
        high[lane] = near + off;
        lead[lane] = (row & raises) | (lead[lane] & ~raises);
        low[lane] = least > low[lane] ? least : low[lane];
    }
}

/* Bounds of a few tokens with up to two panels of the query. */
TARGET static void OF_ISA(bound)(const query_t *query, work_t *work, const int8_t *codes, long row,
                                 int rows, long panel, int panels) {
    int32_t sums[OF_ISA(ROWS)][2 * LANES], peak = 0;
    for (int i = 0; i < rows; i++) peak = work->peak[row + i] > peak ? work->peak[row + i] : peak;
    if (panels == 2)
        OF_ISA(tile_rows)(rows, 2, query, panel, codes, peak, sums);
    else
        OF_ISA(tile_rows)(rows, 1, query, panel, codes, peak, sums);
    for (int i = 0; i < rows; i++) {
        const long at = row + i;
        const int32_t shifted = query->form.shift * work->sum[at];
        for (int lane = 0; lane < panels * LANES; lane += LANES) {
            const long token = panel * LANES + lane;
            OF_ISA(bound_row)(sums[i] + lane, query->step + token, query->error + token, shifted,
                              work->scale[at], work->norm[at], (int32_t)at, work->high[at] + lane,
                              work->low + token, work->lead + lane);
        }
    }
}

/* One similarity as it is defined, and what it does to the maximum. */
TARGET static void OF_ISA(compute)(const query_t *query, work_t *work, const int8_t *codes,
                                   long row, long token) {
    const long stride = query->size + (long)sizeof(float);
    float value = OF_ISA(product)(query, token, codes + row * stride) * work->scale[row];
    if (value > work->best[token] || isnan(value)) work->best[token] = value;
    if (value > work->low[token]) work->low[token] = value;
}

/* The maxima of up to two panels with a chunk whose bounds are known. */
TARGET static void OF_ISA(maximise)(const query_t *query, work_t *work, const int8_t *codes,
                                    long rows, long panel, int panels) {
    const long first = panel * LANES;
    const long tokens = query->tokens - first < panels * LANES ? query->tokens - first
                                                               : panels * LANES;
    /* The likely ones first: what they raise `low` to rules out most others. */
    for (long token = 0; token < tokens; token++) {
        const long row = work->lead[token];
        if (row < 0) continue;
        OF_ISA(compute)(query, work, codes, row, first + token);
        work->high[row][token] = -INFINITY;
    }
    for (long row = 0; row < rows; row++)
        for (long token = 0; token < tokens; token += LANES) {
            uint32_t left = OF_ISA(reaching)(work->high[row] + token, work->low + first + token);
            if (tokens - token < LANES) left &= (1u << (tokens - token)) - 1;
            for (; left; left &= left - 1) {
                const long lane = token + __builtin_ctz(left);
                if (!OF_ISA(ruled_out)(query, work, codes, row, lane, first + lane))
                    OF_ISA(compute)(query, work, codes, row, first + lane);
            }
        }
}

/* Mean over the query's tokens of the maximum over a passage's, of which there is at least one. */
TARGET static float OF_ISA(score)(const query_t *query, work_t *work, const int8_t *codes,
                                  long tokens) {
    const long stride = query->size + (long)sizeof(float);
    for (long token = 0; token < query->padded; token++)
        work->best[token] = work->low[token] = -INFINITY;
    for (long begin = 0; begin < tokens; begin += CHUNK) {
        const int8_t *chunk = codes + begin * stride;
        const long rows = tokens - begin < CHUNK ? tokens - begin : CHUNK;
        for (long panel = 0; panel < query->padded / LANES; panel += 2) {
            const int panels = panel + 1 < query->padded / LANES ? 2 : 1;
            for (int lane = 0; lane < 2 * LANES; lane++) work->lead[lane] = -1;
            for (long row = 0, share; row < rows; row += share) {
                /* Even shares: a tile of one row takes as long as one of four. */
                const long tiles = (rows - row + OF_ISA(ROWS) - 1) / OF_ISA(ROWS);
                share = (rows - row + tiles - 1) / tiles;
                if (!panel)
                    for (long i = row; i < row + share; i++)
                        OF_ISA(read_row)(work, i, chunk + i * stride, query->size);
                OF_ISA(bound)(query, work, chunk + row * stride, row, share, panel, panels);
            }
            OF_ISA(maximise)(query, work, chunk, rows, panel, panels);
        }
    }
    double sum = 0;
    for (long token = 0; token < query->tokens; token++) sum += work->best[token];
    return (float)(sum / query->tokens);
}

#undef PARTS
#undef PART
#undef OF_ISA
#undef JOINED
#undef JOINED_
