/* Threads that run one function together, and meet at barriers inside it.
 *
 * A thread that waits spins for some microseconds and then sleeps: phases are short, but a core
 * that spins is taken from whatever else the machine does. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include <immintrin.h>

enum { SPINS = 4000, MAX_THREADS = 256 };

typedef void (*pool_body)(void *argument, int thread);

typedef struct {
    atomic_int value;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
} signal_t;

typedef struct {
    void *memory;
    size_t size;
} scratch_t;

typedef struct {
    int threads;
    pthread_t ids[MAX_THREADS];
    scratch_t scratch[MAX_THREADS];
    signal_t started;  /* counts runs */
    signal_t passed;   /* counts barriers */
    atomic_int arrived;
    atomic_int next[2];  /* the tasks of this phase and of the one after it */
    atomic_int born;
    pool_body body;
    void *argument;
    int ending;
} pool_t;

static void signal_init(signal_t *signal) {
    atomic_init(&signal->value, 0);
    pthread_mutex_init(&signal->mutex, NULL);
    pthread_cond_init(&signal->changed, NULL);
}

static void signal_destroy(signal_t *signal) {
    pthread_mutex_destroy(&signal->mutex);
    pthread_cond_destroy(&signal->changed);
}

static void signal_raise(signal_t *signal) {
    pthread_mutex_lock(&signal->mutex);
    atomic_fetch_add_explicit(&signal->value, 1, memory_order_release);
    pthread_cond_broadcast(&signal->changed);
    pthread_mutex_unlock(&signal->mutex);
}

/* Until the value is another than `seen`. */
static void signal_await(signal_t *signal, int seen) {
    for (int spin = 0; spin < SPINS; spin++) {
        if (atomic_load_explicit(&signal->value, memory_order_acquire) != seen) return;
        _mm_pause();
    }
    pthread_mutex_lock(&signal->mutex);
    while (atomic_load_explicit(&signal->value, memory_order_acquire) == seen)
        pthread_cond_wait(&signal->changed, &signal->mutex);
    pthread_mutex_unlock(&signal->mutex);
}

/* All threads meet; what they wrote before is seen by all after. */
static void pool_barrier(pool_t *pool) {
    if (pool->threads == 1) return;
    int seen = atomic_load_explicit(&pool->passed.value, memory_order_acquire);
    if (atomic_fetch_add_explicit(&pool->arrived, 1, memory_order_acq_rel) == pool->threads - 1) {
        atomic_store_explicit(&pool->arrived, 0, memory_order_relaxed);
        signal_raise(&pool->passed);
    } else {
        signal_await(&pool->passed, seen);
    }
}

/* The next task of a phase, whose number every thread counts for itself. */
static inline int pool_task(pool_t *pool, int phase) {
    return atomic_fetch_add_explicit(&pool->next[phase & 1], 1, memory_order_relaxed);
}

/* Ends a phase; the counter that it used is ready again two phases later. */
static void pool_phase(pool_t *pool, int *phase) {
    pool_barrier(pool);
    atomic_store_explicit(&pool->next[*phase & 1], 0, memory_order_relaxed);
    *phase += 1;
    /* The phase after the coming one takes the counter just reset: all threads pass the coming
     * phase's barrier first, so that the reset cannot overtake a task. */
}

/* At least `size` bytes of the thread's own, on a cache line; their content is not kept. */
static void *pool_scratch(pool_t *pool, int thread, size_t size) {
    scratch_t *scratch = &pool->scratch[thread];
    if (scratch->size < size) {
        free(scratch->memory);
        size = (size + 4095) & ~(size_t)4095;
        scratch->memory = aligned_alloc(4096, size);
        scratch->size = scratch->memory ? size : 0;
    }
    return scratch->memory;
}

static void *pool_thread(void *argument) {
    pool_t *pool = argument;
    int thread = atomic_fetch_add(&pool->born, 1) + 1;
    for (int seen = 0;; seen++) {
        signal_await(&pool->started, seen);
        if (pool->ending) return NULL;
        pool->body(pool->argument, thread);
        pool_barrier(pool);
    }
}

/* Run `body` once in every thread, the caller's among them. */
static void pool_run(pool_t *pool, pool_body body, void *argument) {
    pool->body = body;
    pool->argument = argument;
    atomic_store(&pool->next[0], 0);
    atomic_store(&pool->next[1], 0);
    if (pool->threads > 1) signal_raise(&pool->started);
    body(argument, 0);
    pool_barrier(pool);
}

static pool_t *pool_new(int threads) {
    pool_t *pool = calloc(1, sizeof *pool);
    if (!pool) return NULL;
    pool->threads = threads < 1 ? 1 : threads > MAX_THREADS ? MAX_THREADS : threads;
    signal_init(&pool->started);
    signal_init(&pool->passed);
    for (int i = 1; i < pool->threads; i++)
        if (pthread_create(&pool->ids[i], NULL, pool_thread, pool)) {
            pool->threads = i;
            break;
        }
    return pool;
}

static void pool_free(pool_t *pool) {
    pool->ending = 1;
    signal_raise(&pool->started);
    for (int i = 1; i < pool->threads; i++) pthread_join(pool->ids[i], NULL);
    for (int i = 0; i < pool->threads; i++) free(pool->scratch[i].memory);
    signal_destroy(&pool->started);
    signal_destroy(&pool->passed);
    free(pool);
}
