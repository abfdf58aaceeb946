/* Memory bandwidth: long rows read, written and copied, for the floor under a case's time.
 *
 *     parallel for each block of 32768 elements:   sum, fill or copy it
 */

#include "rows.h"
#include "team.h"

typedef struct {
    const REAL *src;
    REAL *out;
    double *sums;
    index_t count; /* elements of src and out */
    int streaming;
} row_args_t;

enum { BLOCK = 16 * SCRATCH /* elements of an item */ };

/* sums[item] = the sum of block `item` of src. */
static void read_body(const void *shared, index_t first, index_t last)
{
    const row_args_t *args = shared;
    for (index_t item = first; item < last; item++) {
        index_t begin = item * BLOCK;
        args->sums[item] = sum_row(args->src + begin, min_(BLOCK, args->count - begin));
    }
}

/* Blocks [first, last) of out = src[0]. */
static void write_body(const void *shared, index_t first, index_t last)
{
    const row_args_t *args = shared;
    REAL scratch[SCRATCH];
    for (index_t k = 0; k < SCRATCH; k++)
        scratch[k] = args->src[0];
    for (index_t at = first * BLOCK; at < min_(last * BLOCK, args->count); at += SCRATCH)
        store_row(args->out + at, scratch, min_(SCRATCH, args->count - at), args->streaming);
}

/* Blocks [first, last) of out = those of src. */
static void copy_body(const void *shared, index_t first, index_t last)
{
    const row_args_t *args = shared;
    for (index_t at = first * BLOCK; at < min_(last * BLOCK, args->count); at += SCRATCH)
        store_row(args->out + at, args->src + at, min_(SCRATCH, args->count - at),
                  args->streaming);
}

/* Read src[0 .. count): sums[i] = the sum of its block i of 32768 elements, so that the compiler
 * cannot leave the reads out. */
void gfb_read_rows(const thread_pool_t *thread_pool, const REAL *src, index_t count, double *sums)
{
    row_args_t args = {src, NULL, sums, count, 0};
    parallel_for(thread_pool, read_body, &args, ceil_div(count, BLOCK), count);
}

/* out[0 .. count) = src[0]. */
void gfb_write_rows(const thread_pool_t *thread_pool, const REAL *src, index_t count, REAL *out,
                    int streaming)
{
    row_args_t args = {src, out, NULL, count, streaming};
    parallel_for(thread_pool, write_body, &args, ceil_div(count, BLOCK), count);
}

/* out[0 .. count) = src[0 .. count). */
void gfb_copy_rows(const thread_pool_t *thread_pool, const REAL *src, index_t count, REAL *out,
                   int streaming)
{
    row_args_t args = {src, out, NULL, count, streaming};
    parallel_for(thread_pool, copy_body, &args, ceil_div(count, BLOCK), count);
}
