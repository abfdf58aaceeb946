/* Parallel loops on the caller's OpenMP thread pool; included by every source of a library.
 *
 *     for each thread:               own = thread number % shares
 *       for each loop:
 *         while (claim_items(...))   own share first, then what is left of the other shares
 *           body(args, first, last)
 *
 * Plain C99 that links to no OpenMP: the caller passes the entry points of the runtime that torch
 * uses. With a runtime of its own this library would bring a second thread pool, and the idle
 * threads of each pool would spin on the processors that the other one needs.
 *
 * The items of a loop are split into contiguous shares, one per thread and the same in every call,
 * so that a thread finds in its own caches what it left there in the call before. A thread that
 * has finished its share takes items of the others'.
 */

#ifndef GFB_TEAM_H
#define GFB_TEAM_H

#include <stddef.h>
#if defined(__SSE2__)
#include <immintrin.h>
#endif
#if defined(GFB_DEBUG)
#include <assert.h>
#define GFB_CHECK(condition) assert(condition)
#else
#define GFB_CHECK(condition) ((void)0)
#endif

typedef ptrdiff_t index_t;

enum {
#if defined(GFB_DEBUG)
    MIN_PARALLEL = 0, /* every loop runs in all threads, so that small tests cover sharing too */
#else
    MIN_PARALLEL = 16384, /* elements below which waking the threads takes longer than it saves */
#endif
    MAX_LOOPS = 4,  /* loops of one run_loops call */
    MAX_SHARES = 16 /* shares of a loop; thread t starts with share t % MAX_SHARES */
};

/* GOMP_parallel and omp_get_thread_num of libgomp, libiomp5 or libomp. Without them (NULL)
 * everything runs in the calling thread. */
typedef struct {
    void (*parallel)(void (*body)(void *), void *data, unsigned threads, unsigned flags);
    int (*thread_num)(void);
    index_t threads;
} thread_pool_t;

/* Items [next, end) of a loop that nobody has claimed yet, padded to a cache line: two threads
 * that claim from different shares must not write to the same line. */
typedef struct {
    index_t next, end;
    char padding[64 - 2 * sizeof(index_t)];
} share_t;

/* Split items [0, items) into `count` contiguous shares of equal size, give or take one item. */
static void split_items(index_t items, index_t count, share_t *shares)
{
    for (index_t k = 0; k < count; k++)
        shares[k] = (share_t){k * items / count, (k + 1) * items / count, {0}};
}

/* Claim up to `grain` items: of share `own` while it has any, then of the shares that follow.
 * Returns how many items were claimed, 0 when none are left; *first is the first of them. */
static index_t claim_items(share_t *shares, index_t count, index_t own, index_t grain,
                           index_t *first)
{
    for (index_t k = 0; k < count; k++) {
        share_t *share = shares + (own + k) % count;
        if (__atomic_load_n(&share->next, __ATOMIC_RELAXED) >= share->end)
            continue;
        *first = __atomic_fetch_add(&share->next, grain, __ATOMIC_RELAXED);
        GFB_CHECK(*first >= 0 && grain > 0);
        if (*first < share->end)
            return *first + grain < share->end ? grain : share->end - *first;
    }
    return 0;
}

/* A parallel loop: body(args, first, last) does items [first, last). */
typedef struct {
    void (*body)(const void *args, index_t first, index_t last);
    const void *args;
    index_t items, grain; /* grain: items claimed at a time */
} loop_t;

/* The loops of one run_loops call and their shares. */
typedef struct {
    const loop_t *loops;
    int (*thread_num)(void);
    index_t loop_count, share_count;
    share_t shares[MAX_LOOPS][MAX_SHARES];
} job_t;

/* What each thread does: claim and run items of every loop of a job_t until none are left. */
static void run_job(void *data)
{
    job_t *job = data;
    index_t own = job->share_count > 1 ? job->thread_num() % job->share_count : 0, first, items;
    for (index_t k = 0; k < job->loop_count; k++) {
        const loop_t *loop = job->loops + k;
        while ((items = claim_items(job->shares[k], job->share_count, own, loop->grain, &first)) >
               0)
            loop->body(loop->args, first, first + items);
    }
#if defined(__SSE2__)
    _mm_sfence(); /* make streaming stores visible to the threads that run after this loop */
#endif
}

/* Run up to MAX_LOOPS loops that are independent of each other and return when all are done.
 * `elements` is the amount of data they go through together: little data is left to one thread. */
static void run_loops(const thread_pool_t *thread_pool, const loop_t *loops, index_t count,
                      index_t elements)
{
    index_t threads =
        elements < MIN_PARALLEL || thread_pool->parallel == NULL ? 1 : thread_pool->threads;
    job_t job;
    GFB_CHECK(count <= MAX_LOOPS && thread_pool->threads > 0);
    job.loops = loops;
    job.thread_num = thread_pool->thread_num;
    job.loop_count = count;
    job.share_count = threads < MAX_SHARES ? threads : MAX_SHARES;
    for (index_t k = 0; k < count; k++)
        split_items(loops[k].items, job.share_count, job.shares[k]);
    if (threads > 1)
        thread_pool->parallel(run_job, &job, (unsigned)threads, 0);
    else
        run_job(&job);
}

/* Return a loop over many short items of equal cost, claimed about 16 times per thread. */
static inline loop_t fine_grained_loop(void (*body)(const void *, index_t, index_t),
                                       const void *args, index_t items, index_t threads)
{
    index_t grain = items / (threads * 16);
    return (loop_t){body, args, items, grain > 0 ? grain : 1};
}

/* Run one loop over many short items of equal cost. */
static void parallel_for(const thread_pool_t *thread_pool,
                         void (*body)(const void *, index_t, index_t), const void *args,
                         index_t items, index_t elements)
{
    loop_t loop = fine_grained_loop(body, args, items, thread_pool->threads);
    run_loops(thread_pool, &loop, 1, elements);
}

#endif
