/* In which order, and by which threads, the steps of a filtered backward run.
 *
 *     together:  all threads share each step, and meet after it: pack, multiply, expand, finish
 *     apart:     each thread does chunks of patch rows alone, with an accumulator of g_w of its
 *                own; they meet once, to add the accumulators up and write g_w and g_b
 *
 * What a step does, and the shapes, are in panels.h and gemm.h.
 */

#ifndef GFB_SCHEDULE_H
#define GFB_SCHEDULE_H

#include "gemm.h"
#include "panels.h"
#include "windows.h"

/* schedule: all threads together --------------------------------------------------------------- */

/* Pool g to g~ and widen the last panels of x~, in all threads. */
static void pack_all(const thread_pool_t *thread_pool, const backward_t *b)
{
    index_t pixels = all_cells(b) * b->out->rows.length * b->out->columns.length;
    loop_t loops[] = {
        fine_grained_loop(pad_x_tail_body, b, x_tail_items(b), b->threads),
        pack_g_loop(b),
    };
    run_loops(thread_pool, loops, 2, pixels * b->out->channels);
}

/* Do both products, in all threads; g_w's items come first because they take longer. */
static void multiply_all(const thread_pool_t *thread_pool, const backward_t *b)
{
    partition_t p = partition_of(b);
    loop_t loops[] = {
        {multiply_gw_body, b, b->grad_w ? p.gw_panels * p.gw_parts : 0, 1},
        {multiply_gx_body, b, b->grad_x ? p.gx_blocks * p.gx_parts : 0, 1},
    };
    run_loops(thread_pool, loops, 2, chunk_cells(b) * group_inputs(b) * group_outputs(b));
}

/* schedule: each thread alone, chunk by chunk -------------------------------------------------- */

/* What the threads that work alone share: the chunks that are left. */
typedef struct {
    const backward_t *backward;
    share_t shares[MAX_SHARES];
} chunks_t;

/* Do all of a chunk in the calling thread, whose caches keep what lies between its steps. */
static void do_chunk(backward_t *b)
{
    partition_t p = partition_of(b);
    loop_t pack = pack_g_loop(b), expand = expand_gx_loop(b);
    pack.body(b, 0, pack.items);
    if (x_tail_items(b) > 0)
        pad_x_tail_body(b, 0, x_tail_items(b));
    for (index_t panel = 0; b->grad_w && panel < p.gw_panels; panel++)
        multiply_gw(b, panel, 0, p.gw_tiles);
    b->gw_is_empty = 0;
    if (!b->grad_x)
        return;
    for (index_t block = 0; block < p.gx_blocks; block++)
        (b->desc->nhwc ? multiply_gx_nhwc : multiply_gx_nchw)(b, block / b->desc->groups,
                                                              block % b->desc->groups, 0,
                                                              p.gx_tiles);
    expand.body(b, 0, expand.items);
}

/* Each item is a workspace: the thread that takes it does chunks in it while there are any. */
static void chunks_body(const void *shared, index_t first, index_t last)
{
    chunks_t *chunks = (chunks_t *)shared;
    index_t rows = chunks->backward->desc->images * chunks->backward->out->rows.count;
    index_t shares = min_(chunks->backward->desc->accumulators, MAX_SHARES), chunk;
    for (index_t item = first; item < last; item++) {
        backward_t b = *chunks->backward;
        index_t offset = item * b.thread_size, sums = b.desc->images * b.out->channels;
        GFB_CHECK(item < workspaces(&b));
        b.g_cells += offset, b.x_tail += offset, b.gx_cells += offset, b.gw_values += offset;
        b.gb_sums += b.desc->nhwc ? 0 : item * sums; /* in NHWC each patch row has its own */
        b.gw_is_empty = 1;
        if (b.grad_bias && !b.desc->nhwc)
            memset(b.gb_sums, 0, (size_t)sums * sizeof(REAL));
        while (claim_items(chunks->shares, shares, item % shares, 1, &chunk)) {
            b.first_row = chunk * b.desc->chunk_rows;
            b.last_row = min_(b.first_row + b.desc->chunk_rows, rows);
            GFB_CHECK(b.first_row < b.last_row && b.last_row - b.first_row <= b.desc->chunk_rows);
            do_chunk(&b);
        }
        if (b.grad_w && b.gw_is_empty)
            memset(b.gw_values, 0, (size_t)(b.out->channels * group_inputs(&b)) * sizeof(REAL));
    }
}

/* Return how many windows of g_w are written at a time. */
static index_t windows_at_once(const backward_t *b)
{
    return b->desc->taps < SCRATCH ? SCRATCH / b->desc->taps : 1;
}

/* out[0 .. n) = g_w's values [begin, begin + n): the sums over all accumulators. */
static void sum_accumulators(const backward_t *b, index_t begin, index_t n, REAL *out)
{
    copy_row(out, b->gw_values + begin, n);
    for (index_t thread = 1; thread < b->desc->accumulators; thread++) {
        const REAL *other = b->gw_values + thread * b->thread_size + begin;
        for (index_t i = 0; i < n; i++)
            out[i] += other[i];
    }
}

enum { SUMMED = 64 /* channels of an item of sum_gb_body */ };

/* g_b = the sums over all rows of gb_sums. Each item is SUMMED channels. */
static void sum_gb_body(const void *shared, index_t first, index_t last)
{
    const backward_t *b = shared;
    index_t channels = b->out->channels;
    for (index_t c0 = first * SUMMED; c0 < min_(last * SUMMED, channels); c0 += SUMMED) {
        index_t count = min_(SUMMED, channels - c0);
        double sums[SUMMED] = {0};
        for (index_t n = 0; n < gb_sum_rows(b); n++)
            for (index_t c = 0; c < count; c++)
                sums[c] += b->gb_sums[n * channels + c0 + c];
        for (index_t c = 0; c < count; c++)
            b->grad_bias[c0 + c] = (REAL)sums[c];
    }
}

/* The loop that finishes g_b; empty if g_b is not wanted. */
static inline loop_t sum_gb_loop(const backward_t *b)
{
    return (loop_t){sum_gb_body, b, b->grad_bias ? ceil_div(b->out->channels, SUMMED) : 0, 1};
}

/* Finish g_w in NCHW: add up the accumulators, write each value on every tap of its window. Each
 * item is windows_at_once windows. */
static void finish_gw_nchw_body(const void *shared, index_t first, index_t last)
{
    const backward_t *b = shared;
    index_t count = b->out->channels * group_inputs(b), most = windows_at_once(b);
    REAL values[SCRATCH];
    for (index_t item = first; item < last; item++) {
        index_t begin = item * most, n = min_(most, count - begin);
        sum_accumulators(b, begin, n, values);
        repeat_on_taps_nchw(values, n, b->desc->taps, b->grad_w + begin * b->desc->taps);
    }
}

/* The same in NHWC: each item is a channel of y. */
static void finish_gw_nhwc_body(const void *shared, index_t first, index_t last)
{
    const backward_t *b = shared;
    index_t ci = group_inputs(b), taps = b->desc->taps;
    REAL values[SCRATCH];
    for (index_t item = first; item < last; item++)
        for (index_t c = 0; c < ci; c += SCRATCH) {
            index_t n = min_(SCRATCH, ci - c);
            sum_accumulators(b, item * ci + c, n, values);
            repeat_on_taps_nhwc(values, n, taps, ci, b->grad_w + item * ci * taps + c);
        }
}

/* The loop that finishes g_w; empty if g_w is not wanted. */
static inline loop_t finish_gw_loop(const backward_t *b)
{
    index_t count = b->grad_w ? b->out->channels * group_inputs(b) : 0;
    if (b->desc->nhwc)
        return fine_grained_loop(finish_gw_nhwc_body, b, b->grad_w ? b->out->channels : 0,
                                 b->threads);
    return fine_grained_loop(finish_gw_nchw_body, b, ceil_div(count, windows_at_once(b)),
                             b->threads);
}

/* The schedule in which all threads do all rows together: they meet after each step. */
static void filter_together(const thread_pool_t *thread_pool, backward_t *b)
{
    b->last_row = b->desc->images * b->out->rows.count;
    loop_t loops[] = {
        expand_gx_loop(b),
        sum_gb_loop(b),
    };
    pack_all(thread_pool, b);
    multiply_all(thread_pool, b);
    run_loops(thread_pool, loops, 2, MIN_PARALLEL);
}

/* The schedule in which each thread does chunks alone: they meet once, to finish g_w and g_b. */
static void filter_apart(const thread_pool_t *thread_pool, const backward_t *b)
{
    chunks_t chunks = {b, {{0}}};
    index_t rows = b->desc->images * b->out->rows.count;
    index_t count = b->grad_w ? b->out->channels * group_inputs(b) : 0;
    split_items(ceil_div(rows, b->desc->chunk_rows), min_(b->desc->accumulators, MAX_SHARES),
                chunks.shares);
    loop_t chunk_loop = {chunks_body, &chunks, b->desc->accumulators, 1};
    loop_t loops[] = {
        finish_gw_loop(b),
        sum_gb_loop(b),
    };
    run_loops(thread_pool, &chunk_loop, 1, MIN_PARALLEL);
    run_loops(thread_pool, loops, 2, count * b->desc->taps);
}

#endif
