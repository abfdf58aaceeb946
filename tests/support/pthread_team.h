/* A team of pthreads, which ThreadSanitizer sees meet: what GOMP_parallel does, with new threads.
 *
 * With LOST_JOIN nobody waits for the others, which has to be found. */
#ifndef PTHREAD_TEAM_H
#define PTHREAD_TEAM_H

#include <pthread.h>
#include <stdlib.h>

typedef struct {
    void (*body)(void *);
    void *shared;
    int number;
} teammate_t;

static __thread int teammate_number;

int pthread_number(void) { return teammate_number; }

static void *run_teammate(void *given)
{
    teammate_t mate = *(teammate_t *)given;
    free(given);
    teammate_number = mate.number;
    mate.body(mate.shared);
    return NULL;
}

void pthread_parallel(void (*body)(void *), void *shared, unsigned threads, unsigned flags)
{
    pthread_t *mates = calloc(threads, sizeof *mates);
    (void)flags;
    for (unsigned k = 1; k < threads; k++) {
        teammate_t *mate = malloc(sizeof *mate);
        *mate = (teammate_t){body, shared, (int)k};
        if (pthread_create(mates + k, NULL, run_teammate, mate))
            abort();
    }
    body(shared);
    for (unsigned k = 1; k < threads; k++)
#if defined(LOST_JOIN)
        pthread_detach(mates[k]);
#else
        pthread_join(mates[k], NULL);
#endif
    free(mates);
}

#endif
