/* What the memory gives: reading, writing and copying long rows, for the floor under a case. */

#include "rows.h"
#include "team.h"

typedef struct {
    const REAL *src;
    REAL *out;
    double *sums;
    index_t number;
    int streaming;
} rows_t;

enum { BLOCK = 16 * TILE };

static void read_some(const void *shared, index_t first, index_t last)
{
    const rows_t *task = shared;
    for (index_t item = first; item < last; item++) {
        index_t begin = item * BLOCK;
        task->sums[item] = total(task->src + begin, least(BLOCK, task->number - begin));
    }
}

static void write_some(const void *shared, index_t first, index_t last)
{
    const rows_t *task = shared;
    REAL scratch[TILE];
    for (index_t k = 0; k < TILE; k++)
        scratch[k] = task->src[0];
    for (index_t at = first * BLOCK; at < least(last * BLOCK, task->number); at += TILE)
        put(task->out + at, scratch, least(TILE, task->number - at), task->streaming);
}

static void copy_some(const void *shared, index_t first, index_t last)
{
    const rows_t *task = shared;
    for (index_t at = first * BLOCK; at < least(last * BLOCK, task->number); at += TILE)
        put(task->out + at, task->src + at, least(TILE, task->number - at), task->streaming);
}

static index_t blocks(index_t number) { return (number + BLOCK - 1) / BLOCK; }

/* sums[i] = the sum of block i of 16384 elements: a read that cannot be left out. */
void read_rows(const team_t *team, const REAL *src, index_t number, double *sums)
{
    rows_t task = {src, NULL, sums, number, 0};
    for_all(team, read_some, &task, blocks(number), number);
}

/* out = src[0] everywhere. */
void write_rows(const team_t *team, const REAL *src, index_t number, REAL *out, int streaming)
{
    rows_t task = {src, out, NULL, number, streaming};
    for_all(team, write_some, &task, blocks(number), number);
}

void copy_rows(const team_t *team, const REAL *src, index_t number, REAL *out, int streaming)
{
    rows_t task = {src, out, NULL, number, streaming};
    for_all(team, copy_some, &task, blocks(number), number);
}
