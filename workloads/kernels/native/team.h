/* Loops over items in the threads of whoever calls: included by each source of a library.
 *
 * Plain C99 that links to no OpenMP: the caller hands over the entry points of the runtime that
 * torch itself uses, so that both share one pool of threads and neither waits for the other's.
 *
 * Each thread starts with a share of the items that is the same in every call, so that it finds
 * in its own caches what it left there, and goes on with the others' when it has done its own.
 */

#ifndef GFBENCH_TEAM_H
#define GFBENCH_TEAM_H

#include <stddef.h>
#if defined(__SSE2__)
#include <immintrin.h>
#endif
#if defined(GFB_DEBUG)
#include <assert.h>
#define CHECK(holds) assert(holds)
#else
#define CHECK(holds) ((void)0)
#endif

typedef ptrdiff_t index_t;

enum {
#if defined(GFB_DEBUG)
    SMALL = 0, /* all threads in every loop: what they share is small and seen at once */
#else
    SMALL = 16384, /* elements below which waking threads costs more than they save */
#endif
    LOOPS = 4,     /* that one call does */
    SHARES = 16    /* of a loop; threads beyond that start with another's */
};

/* GOMP_parallel and omp_get_thread_num of libgomp, libiomp5 or libomp; NULL runs everything on the
 * calling thread. */
typedef struct {
    void (*parallel)(void (*)(void *), void *, unsigned, unsigned);
    int (*number)(void);
    index_t threads;
} team_t;

typedef struct {
    index_t next, end;
    char apart[64 - 2 * sizeof(index_t)]; /* so that no two threads claim in one line */
} share_t;

static void divide(index_t items, index_t shares, share_t *share)
{
    for (index_t k = 0; k < shares; k++)
        share[k] = (share_t){k * items / shares, (k + 1) * items / shares, {0}};
}

/* Take the next `grain` items, at best of the own share. Returns how many there were. */
static index_t claim(share_t *share, index_t shares, index_t own, index_t grain, index_t *first)
{
    for (index_t k = 0; k < shares; k++) {
        share_t *from = share + (own + k) % shares;
        if (__atomic_load_n(&from->next, __ATOMIC_RELAXED) >= from->end)
            continue;
        *first = __atomic_fetch_add(&from->next, grain, __ATOMIC_RELAXED);
        CHECK(*first >= 0 && grain > 0);
        if (*first < from->end)
            return *first + grain < from->end ? grain : from->end - *first;
    }
    return 0;
}

/* What is to be done with items [first, last) of so many. */
typedef struct {
    void (*body)(const void *task, index_t first, index_t last);
    const void *task;
    index_t items, grain; /* grain: how many are claimed at a time */
} loop_t;

typedef struct {
    const loop_t *loops;
    int (*number)(void);
    index_t count, shares;
    share_t share[LOOPS][SHARES];
} job_t;

static void work(void *shared)
{
    job_t *job = shared;
    index_t own = job->shares > 1 ? job->number() % job->shares : 0, first, items;
    for (index_t k = 0; k < job->count; k++) {
        const loop_t *loop = job->loops + k;
        while ((items = claim(job->share[k], job->shares, own, loop->grain, &first)) > 0)
            loop->body(loop->task, first, first + items);
    }
#if defined(__SSE2__)
    _mm_sfence(); /* streamed stores are seen by whoever comes after the loop */
#endif
}

/* Run up to LOOPS loops, which do not depend on each other and go through so many elements. */
static void run_loops(const team_t *team, const loop_t *loops, index_t count, index_t elements)
{
    index_t threads = elements < SMALL || team->parallel == NULL ? 1 : team->threads;
    job_t job;
    CHECK(count <= LOOPS && team->threads > 0);
    job.loops = loops;
    job.number = team->number;
    job.count = count;
    job.shares = threads < SHARES ? threads : SHARES;
    for (index_t k = 0; k < count; k++)
        divide(loops[k].items, job.shares, job.share[k]);
    if (threads > 1)
        team->parallel(work, &job, (unsigned)threads, 0);
    else
        work(&job);
}

/* A loop whose items are short and alike. */
static inline loop_t loop_over(void (*body)(const void *, index_t, index_t), const void *task,
                               index_t items, index_t threads)
{
    index_t grain = items / (threads * 16);
    return (loop_t){body, task, items, grain > 0 ? grain : 1};
}

static void for_all(const team_t *team, void (*body)(const void *, index_t, index_t),
                    const void *task, index_t items, index_t elements)
{
    loop_t loop = loop_over(body, task, items, team->threads);
    run_loops(team, &loop, 1, elements);
}

#endif
