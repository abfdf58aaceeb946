/* A thread pool of pthreads, whose joins ThreadSanitizer sees: what GOMP_parallel does, with new
 * threads for every call.
 *
 * With LOST_JOIN nobody waits for the other threads: a fault that has to be found. */
#ifndef PTHREAD_TEAM_H
#define PTHREAD_TEAM_H

#include <pthread.h>
#include <stdlib.h>

typedef struct {
    void (*body)(void *);
    void *data;
    int thread_num;
} pthread_start_t;

static __thread int own_thread_num;

/* What omp_get_thread_num does. */
int pthread_thread_num(void) { return own_thread_num; }

static void *run_thread(void *given)
{
    pthread_start_t start = *(pthread_start_t *)given;
    free(given);
    own_thread_num = start.thread_num;
    start.body(start.data);
    return NULL;
}

/* What GOMP_parallel does: body(data) in each of `threads` threads, the calling one included. */
void pthread_parallel(void (*body)(void *), void *data, unsigned threads, unsigned flags)
{
    pthread_t *others = calloc(threads, sizeof *others);
    (void)flags;
    for (unsigned k = 1; k < threads; k++) {
        pthread_start_t *start = malloc(sizeof *start);
        *start = (pthread_start_t){body, data, (int)k};
        if (pthread_create(others + k, NULL, run_thread, start))
            abort();
    }
    body(data);
    for (unsigned k = 1; k < threads; k++)
#if defined(LOST_JOIN)
        pthread_detach(others[k]);
#else
        pthread_join(others[k], NULL);
#endif
    free(others);
}

#endif
