/* ColBERT's MaxSim of one query over many passages, on int8 codes as they are stored. */
#include <pthread.h>
#include <stdatomic.h>

#include "plain.h"
#include "work.h"

#define ISA plain
#define TARGET PLAIN
#include "passage.h"
#undef ISA
#undef TARGET

#if defined(__x86_64__)
#include "avx2.h"
#include "avx512.h"

#define ISA avx2
#define TARGET AVX2
#include "passage.h"
#undef ISA
#undef TARGET

#define ISA avx512
#define TARGET AVX512
#include "passage.h"
#undef ISA
#undef TARGET
#endif

typedef struct {
    const form_t *form;
    float (*score)(const query_t *, work_t *, const int8_t *, long);
} kernel_t;

enum { PLAIN_C, WITH_AVX2, WITH_AVX512, KERNELS };

static const kernel_t KERNEL[KERNELS] = {
    [PLAIN_C] = {&FORM_plain, score_plain},
#if defined(__x86_64__)
    [WITH_AVX2] = {&FORM_avx2, score_avx2},
    [WITH_AVX512] = {&FORM_avx512, score_avx512},
#endif
};

enum { NO_MEMORY = 1, NO_SUCH_KERNEL };

typedef struct {
    const query_t *query;
    const kernel_t *kernel;
    const int8_t *const *codes;
    const int64_t *lengths;
    int64_t passages;
    float *scores;
    atomic_llong next;
    atomic_int failed;
} job_t;

/* Passages, one after the other, until there are no more; every thread runs this. */
static void *take_passages(void *argument) {
    job_t *job = argument;
    const query_t *query = job->query;
    work_t *work = malloc(sizeof *work + 2 * query->padded * sizeof(float));
    if (!work) {
        atomic_store(&job->failed, 1);
        return NULL;
    }
    work->best = (float *)(work + 1);
    work->low = work->best + query->padded;
    for (long long i; (i = atomic_fetch_add(&job->next, 1)) < job->passages;) {
        const long tokens = job->lengths[i];
        job->scores[i] = tokens ? job->kernel->score(query, work, job->codes[i], tokens) : 0;
    }
    free(work);
    return NULL;
}

static void run(job_t *job, int threads) {
    enum { MOST = 64 };
    pthread_t others[MOST];
    int started = 0;
    while (started < threads - 1 && started < MOST
           && !pthread_create(&others[started], NULL, take_passages, job))
        started++;
    take_passages(job);
    while (started) pthread_join(others[--started], NULL);
}

/* The fastest kernel that this processor runs. */
int m3_maxsim_kernel(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
        && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")
        && __builtin_cpu_supports("avx512vnni"))
        return WITH_AVX512;
    if (__builtin_cpu_supports("avx2")) return WITH_AVX2;
#endif
    return PLAIN_C;
}

/* scores[i]: of query [tokens, size], finite, with passage i, whose lengths[i] codes [size + 4] lie
 * one after the other from codes[i] on, wherever that is. Zero, or what went wrong. */
int m3_maxsim(const float *values, int64_t tokens, int64_t size, const int8_t *const *codes,
              const int64_t *lengths, int64_t passages, int kernel, int threads, float *scores) {
    if (kernel < 0 || kernel > m3_maxsim_kernel()) return NO_SUCH_KERNEL;
    query_t query;
    job_t job = {&query, &KERNEL[kernel], codes, lengths, passages, scores, 0, 0};
    if (query_make(&query, values, tokens, size, job.kernel->form))
        run(&job, threads);
    else
        atomic_store(&job.failed, 1);
    query_free(&query);
    return atomic_load(&job.failed) ? NO_MEMORY : 0;
}
