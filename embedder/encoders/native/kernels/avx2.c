/* Linear layers in int8 on AVX2: the numbers of layer.c, from the same file, to the same sums.
 *
 * AVX2 multiplies bytes only where two products fit 16 bits, so bytes become words. Of a sum's terms
 * two are taken at a time, as (a + b') (a' + b) = a b + a' b' + a a' + b' b: half as many
 * multiplications, which two of a core's four pipes do, and more additions, which all four do. What
 * is too much depends on a row or on a column alone and is taken off; all of it is exact. */
#if defined(__x86_64__)
#include <string.h>

#include "panels.h"
#include "pool.h"
#include "vector256.h"

/* Rows by two vectors of sums, two by two of weights, a row's words, and what comes of them: all 16
 * registers. Rows past the last are computed from whatever lies there, and kept nowhere. */
enum { ROWS = 4, VECTORS = 2, STRIP = 8 * VECTORS };

/* Rows by strip that are computed together, DEPTH groups at a time: what they read stays in the
 * core's cache, and a strip's words in its first. */
enum { CHUNK = 256, DEPTH = 8 };

typedef struct {
    const int8_t *weights;
    const float *bias; /* [out] */
    const float *steps, *totals;
} linear_t;

/* What a row's words of one group stand for, least + step * word, and Σ of each by its partner. */
typedef struct {
    float step, least;
    int32_t partners;
} group_t;

typedef struct {
    float rows[ROWS][STRIP];
} tile_t;

/* DEPTH groups of STRIP columns, as a thread has them in its cache. */
typedef struct {
    int16_t words[DEPTH * GROUP / 4][2][STRIP][2]; /* of four inputs the first two, the last two */
    int32_t partners[DEPTH][STRIP];                /* Σ of each word by its partner, negative */
    tile_t tiles[CHUNK / ROWS];
} work_t;

typedef struct {
    pool_t *pool;
    const linear_t *linear;
    const float *x; /* [tokens, in] */
    int tokens, in, out, gelu;
    uint16_t *words; /* [tokens / ROWS, in / 4, ROWS, 4] */
    group_t *groups; /* [tokens / ROWS, in / GROUP, ROWS] */
    float *y;        /* [tokens, out] */
} product_t;

/* Eight numbers in steps above the least of their group. */
INLINE256 __m256i in_steps(const float *from, __m256 least, __m256 factor) {
    __m256 steps = _mm256_mul_ps(_mm256_sub_ps(_mm256_loadu_ps(from), least), factor);
    return _mm256_cvtps_epi32(_mm256_min_ps(steps, _mm256_set1_ps(255.0f)));
}

/* Sixteen words of one row to where its tile has them. */
INLINE256 void store_fours(uint16_t *to, __m256i words) {
    const __m128i low = _mm256_castsi256_si128(words), high = _mm256_extracti128_si256(words, 1);
    _mm_storel_epi64((__m128i *)to, low);
    _mm_storeh_pd((double *)(to + 4 * ROWS), _mm_castsi128_pd(low));
    _mm_storel_epi64((__m128i *)(to + 8 * ROWS), high);
    _mm_storeh_pd((double *)(to + 12 * ROWS), _mm_castsi128_pd(high));
}

/* GROUP values to words: the least of them is 0, the largest 255. */
INLINE256 void quantise(const float *from, uint16_t *to, group_t *group) {
    __m256 low = _mm256_loadu_ps(from), high = low, spoilt = _mm256_setzero_ps();
    for (int j = 0; j < GROUP; j += 8) {
        __m256 v = _mm256_loadu_ps(from + j);
        low = _mm256_min_ps(low, v);
        high = _mm256_max_ps(high, v);
        /* A NaN may get lost in these; what is not finite leaves one here. */
        spoilt = _mm256_fmadd_ps(v, _mm256_setzero_ps(), spoilt);
    }
    const float least = reduce_min(low), range = reduce_max(high) - least;
    const __m256 base = _mm256_set1_ps(least);
    const __m256 factor = _mm256_set1_ps(range > 0 ? 255.0f / range : 0);
    __m256i partners = _mm256_setzero_si256();
    for (int j = 0; j < GROUP; j += 16) {
        __m256i words = _mm256_packus_epi32(in_steps(from + j, base, factor),
                                            in_steps(from + j + 8, base, factor));
        words = _mm256_permute4x64_epi64(words, 0xd8);
        store_fours(to + j * ROWS, words);
        __m256i swapped = _mm256_shuffle_epi32(words, 0xb1);
        partners = _mm256_add_epi32(partners, _mm256_madd_epi16(words, swapped));
    }
    *group = (group_t){range / 255.0f + reduce_add(spoilt), least, reduce_add_int(partners) / 2};
}

AVX2 static void quantise_rows(const product_t *p, int *phase) {
    const long blocks = (p->tokens + ROWS - 1) / ROWS, groups = p->in / GROUP;
    for (long block; (block = pool_task(p->pool, *phase)) < blocks;)
        for (long row = block * ROWS; row < p->tokens && row < (block + 1) * ROWS; row++)
            for (long g = 0; g < groups; g++) {
                const long at = (block * groups + g) * ROWS;
                quantise(p->x + row * p->in + g * GROUP, p->words + at * GROUP + row % ROWS * 4,
                         p->groups + at + row % ROWS);
            }
    pool_phase(p->pool, phase);
}

/* Eight columns' fours of bytes: the first two of each column as words, and the last two. */
INLINE256 void halves(const int8_t *from, __m256i *first, __m256i *last) {
    __m256i a = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)from));
    __m256i b = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(from + 16)));
    __m256 x = _mm256_castsi256_ps(a), y = _mm256_castsi256_ps(b);
    *first = _mm256_permute4x64_epi64(_mm256_castps_si256(_mm256_shuffle_ps(x, y, 0x88)), 0xd8);
    *last = _mm256_permute4x64_epi64(_mm256_castps_si256(_mm256_shuffle_ps(x, y, 0xdd)), 0xd8);
}

/* The strip's words; `from`: its first four bytes in the panel, in the first of the groups. */
AVX2 static void widen(const int8_t *from, int groups, work_t *to) {
    for (int g = 0; g < groups; g++) {
        __m256i partners[VECTORS] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
        for (int q = g * GROUP / 4; q < (g + 1) * GROUP / 4; q++)
            for (int j = 0; j < VECTORS; j++) {
                __m256i first, last;
                halves(from + (long)q * COLUMNS * 4 + j * 32, &first, &last);
                _mm256_store_si256((__m256i *)to->words[q][0] + j, first);
                _mm256_store_si256((__m256i *)to->words[q][1] + j, last);
                partners[j] = _mm256_sub_epi32(partners[j], _mm256_madd_epi16(first, last));
            }
        for (int j = 0; j < VECTORS; j++)
            _mm256_store_si256((__m256i *)to->partners[g] + j, partners[j]);
    }
}

/* sum + Σ over pairs of words of (a + b') (a' + b). In assembly because compilers copy the sums of
 * the intrinsics around until they no longer fit the registers. */
INLINE256 __m256i add_products(__m256i sum, __m256i a_first, __m256i a_last, __m256i b_first,
                               __m256i b_last) {
    __m256i x, y;
    __asm__("vpaddw %6, %3, %1\n\t"
            "vpaddw %5, %4, %2\n\t"
            "vpmaddwd %2, %1, %1\n\t"
            "vpaddd %1, %0, %0"
            : "+x"(sum), "=&x"(x), "=&x"(y)
            : "x"(a_first), "x"(a_last), "x"(b_first), "x"(b_last));
    return sum;
}

/* Adds one group to a tile: Σ (least + step a) b = step Σ a b + least Σ b. */
INLINE256 void add_group(tile_t *tile, const uint16_t *a, const group_t *groups, const work_t *b,
                         int g, const float *steps, const float *totals) {
    __m256i sums[ROWS][VECTORS];
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < VECTORS; j++)
            sums[i][j] = _mm256_load_si256((const __m256i *)b->partners[g] + j);
#pragma GCC unroll 1
    for (int q = 0; q < GROUP / 4; q++) {
        const int16_t(*words)[STRIP][2] = b->words[g * GROUP / 4 + q];
        __m256i first[VECTORS], last[VECTORS];
        for (int j = 0; j < VECTORS; j++) {
            first[j] = _mm256_load_si256((const __m256i *)words[0] + j);
            last[j] = _mm256_load_si256((const __m256i *)words[1] + j);
        }
        for (int i = 0; i < ROWS; i++) {
            /* Apart, as each is then broadcast by the load itself. */
            int32_t one, other;
            memcpy(&one, a + (q * ROWS + i) * 4, sizeof one);
            memcpy(&other, a + (q * ROWS + i) * 4 + 2, sizeof other);
            const __m256i a_first = _mm256_set1_epi32(one), a_last = _mm256_set1_epi32(other);
            for (int j = 0; j < VECTORS; j++)
                sums[i][j] = add_products(sums[i][j], a_first, a_last, first[j], last[j]);
        }
    }
    for (int i = 0; i < ROWS; i++) {
        const __m256 step = _mm256_set1_ps(groups[i].step), least = _mm256_set1_ps(groups[i].least);
        const __m256i partners = _mm256_set1_epi32(groups[i].partners);
        for (int j = 0; j < VECTORS; j++) {
            __m256 sum = _mm256_loadu_ps(tile->rows[i] + j * 8);
            sum = _mm256_fmadd_ps(least, _mm256_loadu_ps(totals + j * 8), sum);
            __m256 scale = _mm256_mul_ps(step, _mm256_loadu_ps(steps + j * 8));
            __m256 exact = _mm256_cvtepi32_ps(_mm256_sub_epi32(sums[i][j], partners));
            _mm256_storeu_ps(tile->rows[i] + j * 8, _mm256_fmadd_ps(exact, scale, sum));
        }
    }
}

/* A function of its own, so that what callers do with a tile takes no register from it. */
AVX2 static __attribute__((noinline)) void add_groups(tile_t *tile, const uint16_t *a,
                                                      const group_t *groups, const work_t *b,
                                                      int depth, const float *steps,
                                                      const float *totals) {
    for (int g = 0; g < depth; g++) {
        /* The tile stays in memory: a group's own sums fill the registers. */
        __asm__ volatile("" : "+m"(*tile));
        add_group(tile, a + g * GROUP * ROWS, groups + g * ROWS, b, g, steps + g * COLUMNS,
                  totals + g * COLUMNS);
    }
}

/* Rows `row` to `end` by the strip from `column`, into the tiles. */
AVX2 static void add_strip(const product_t *p, long row, long end, int column, work_t *work) {
    const long groups = p->in / GROUP, panel = column / COLUMNS * groups;
    const int within = column % COLUMNS;
    memset(work->tiles, 0, sizeof work->tiles);
    for (long g = 0; g < groups; g += DEPTH) {
        const int depth = g + DEPTH < groups ? DEPTH : groups - g;
        const long at = (panel + g) * COLUMNS + within;
        widen(p->linear->weights + (panel + g) * COLUMNS * GROUP + within * 4, depth, work);
        tile_t *tile = work->tiles;
        for (long block = row / ROWS; block * ROWS < end; block++)
            add_groups(tile++, p->words + (block * groups + g) * ROWS * GROUP,
                       p->groups + (block * groups + g) * ROWS, work, depth, p->linear->steps + at,
                       p->linear->totals + at);
    }
}

AVX2 static void finish_row(const product_t *p, const float *sums, long row, int column) {
    for (int j = 0; j < STRIP; j += 8) {
        __m256 v = _mm256_loadu_ps(sums + j);
        v = _mm256_add_ps(v, _mm256_loadu_ps(p->linear->bias + column + j));
        if (p->gelu) v = gelu_256(v);
        _mm256_storeu_ps(p->y + row * p->out + column + j, v);
    }
}

static void multiply(const product_t *p, int *phase, int thread) {
    work_t *work = pool_scratch(p->pool, thread, sizeof *work);
    const int strips = p->out / STRIP, chunks = (p->tokens + CHUNK - 1) / CHUNK;
    for (int task; (task = pool_task(p->pool, *phase)) < strips * chunks;) {
        const int column = task % strips * STRIP;
        const long first = (long)(task / strips) * CHUNK;
        const long end = first + CHUNK < p->tokens ? first + CHUNK : p->tokens;
        add_strip(p, first, end, column, work);
        for (long row = first; row < end; row++)
            finish_row(p, work->tiles[(row - first) / ROWS].rows[row % ROWS], row, column);
    }
    pool_phase(p->pool, phase);
}

static void product_body(void *argument, int thread) {
    int phase = 0;
    quantise_rows(argument, &phase);
    multiply(argument, &phase, thread);
}

/* ---- what native/binding.py calls ---- */

int m3_kernels(void) { return KERNELS; }

int m3_group(void) { return GROUP; }

/* 1 where this processor has the instructions. */
int m3_supported(void) {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

void *m3_pool_new(int threads) { return pool_new(threads); }

void m3_pool_free(void *pool) { pool_free(pool); }

/* y = x Wᵀ + b, or its GELU. See product_t for `words` and `groups`, in which it works. */
void m3_linear(void *pool, const linear_t *linear, const float *x, int tokens, int in, int out,
               int gelu, uint16_t *words, void *groups, float *y) {
    product_t product = {pool, linear, x, tokens, in, out, gelu, words, groups, y};
    pool_run(pool, product_body, &product);
}
#else
int m3_supported(void) { return 0; }
#endif
