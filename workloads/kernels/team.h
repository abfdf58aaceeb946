/* Loops over items in the threads of whoever calls: included by each source of a library.
 *
 * Plain C99 that links to no OpenMP: the caller hands over the entry point of the runtime that
 * torch itself uses, so that both share one pool of threads and neither waits for the other's.
 */

#ifndef GFBENCH_TEAM_H
#define GFBENCH_TEAM_H

#include <stddef.h>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

typedef ptrdiff_t index_t;

enum { SMALL = 16384 }; /* elements below which waking threads costs more than they save */

/* GOMP_parallel of libgomp, libiomp5 or libomp; NULL runs everything on the calling thread. */
typedef struct {
    void (*parallel)(void (*)(void *), void *, unsigned, unsigned);
    index_t threads;
} team_t;

typedef struct job {
    void (*body)(const struct job *, index_t first, index_t last);
    const void *task;
    index_t items, grain, next;
} job_t;

static void work(void *shared)
{
    job_t *job = shared;
    for (;;) {
        index_t first = __atomic_fetch_add(&job->next, job->grain, __ATOMIC_RELAXED);
        if (first >= job->items)
            break;
        index_t last = first + job->grain;
        job->body(job, first, last < job->items ? last : job->items);
    }
#if defined(__SSE2__)
    _mm_sfence(); /* streamed stores are seen by whoever comes after the loop */
#endif
}

/* Run body over all items; each thread claims the next `grain` when it is done with its own. */
static void for_each(const team_t *team, void (*body)(const job_t *, index_t, index_t),
                     const void *task, index_t items, index_t grain, index_t elements)
{
    index_t threads = elements < SMALL ? 1 : team->threads;
    job_t job = {body, task, items, grain > 0 ? grain : 1, 0};
    if (threads > 1 && team->parallel)
        team->parallel(work, &job, (unsigned)threads, 0);
    else
        work(&job);
}

/* The same, items being short and alike. */
static void for_all(const team_t *team, void (*body)(const job_t *, index_t, index_t),
                    const void *task, index_t items, index_t elements)
{
    for_each(team, body, task, items, items / (team->threads * 16), elements);
}

#endif
