/* The whole backward of a depthwise layer, which needs no product: g is read once, g_x written once.
 */

#ifndef GFBENCH_DEPTHWISE_H
#define GFBENCH_DEPTHWISE_H

#include "patches.h"
#include "pixels.h"

typedef struct {
    const filter_t *of;
    const layout_t *out, *in; /* of g and g~, of g_x and x~; channels as in each */
    const REAL *grad, *x_sum, *window;
    REAL *grad_x, *grad_w, *grad_bias; /* NULL: not wanted */
    REAL *sums;                        /* of pixels: g_w and g_b of each part of the rows */
    walk_t out_walk, in_walk;
} depthwise_t;

/* planes: columns are dense ------------------------------------------------------------------- */

/* The channels of x that are done together, so that theirs of y are LANES at most. */
static inline index_t depthwise_lanes(const depthwise_t *task)
{
    return LANES / (task->out->channels / task->in->channels);
}

/* Do a block of channels [c, c + lanes) of image n: read g, add to g_w and g_b, write g_x. */
static void depthwise_block(const depthwise_t *task, index_t n, index_t c, index_t lanes,
                            const block_t *b, running_t *grad_w, running_t *grad_bias)
{
    const layout_t *out = task->out, *in = task->in;
    index_t times = out->channels / in->channels, number = cells_of(b), first = c * times;
    index_t at = n * in->grid_image + b->i0 * in->columns.number + b->j0;
    const REAL *planes = task->grad + n * out->map_image + first * out->map_channel;
    REAL means[LANES * CELLS], values[LANES * CELLS];
    pool_blocks(&task->out_walk, planes, lanes * times, b, (REAL)task->of->scale, means, grad_bias);
    for (index_t k = 0; k < lanes * times; k++) {
        const REAL *cells = means + k * CELLS;
        REAL *row = values + k / times * CELLS;
        if (task->x_sum)
            add_products(cells, task->x_sum + at + (c + k / times) * in->grid_channel, number,
                         grad_w + k);
        for (index_t j = 0; task->window && j < number; j++)
            row[j] = task->window[first + k] * cells[j] + (k % times > 0 ? row[j] : 0);
    }
    if (task->grad_x)
        expand_blocks(&task->in_walk, values, lanes, b,
                      task->grad_x + n * in->map_image + c * in->map_channel, 0);
}

static void depthwise_some_planes(const void *shared, index_t first, index_t last)
{
    const depthwise_t *task = shared;
    const layout_t *out = task->out, *in = task->in;
    index_t times = out->channels / in->channels, most = depthwise_lanes(task);
    for (index_t item = first; item < last; item++) {
        index_t c = item * most, lanes = least(most, in->channels - c);
        running_t grad_w[LANES] = {{{0}, 0}}, grad_bias[LANES] = {{{0}, 0}};
        for (index_t n = 0; n < task->of->images; n++)
            for (block_t b = before(0); next_block(&task->in_walk, &b, in->rows.number);)
                depthwise_block(task, n, c, lanes, &b, grad_w, grad_bias);
        for (index_t k = 0; k < lanes * times; k++) {
            REAL value = (REAL)ended(grad_w + k);
            for (index_t tap = 0; task->grad_w && tap < task->of->taps; tap++)
                task->grad_w[(c * times + k) * task->of->taps + tap] = value;
            if (task->grad_bias)
                task->grad_bias[c * times + k] = (REAL)ended(grad_bias + k);
        }
    }
}

/* pixels: channels are dense, those of g as many as those of x ---------------------------------- */

/* The parts of the rows of patches, each with sums of its own. */
static inline index_t depthwise_parts(const filter_t *of)
{
    return divided(of->images * of->out.rows.number, of->chunk);
}

/* The numbers from the sums of one part, g_w's and g_b's, to the next one's. */
static inline index_t part_of_sums(const filter_t *of) { return 2 * of->out.channels; }

/* Do a row of patches of image n: read g, add to the sums of g_w and g_b, write g_x. */
static void depthwise_row(const depthwise_t *task, index_t n, index_t i, REAL *grad_w,
                          REAL *grad_bias, int streaming)
{
    const layout_t *out = task->out, *in = task->in;
    index_t across = out->columns.number, from, to;
    index_t row = n * in->grid_image + i * across * in->grid_cell;
    for (index_t j = 0; j < across; j++) {
        box_t box = box_of(out, i, j, &from), covered = box_of(in, i, j, &to);
        const REAL *g = task->grad + n * out->map_image + from;
        const REAL *cell = task->x_sum ? task->x_sum + row + j * in->grid_cell : NULL;
        REAL *g_x = task->grad_x ? task->grad_x + n * in->map_image + to : NULL;
        REAL each = (REAL)task->of->scale / (REAL)(box.rows * box.columns);
        int alike = box.rows == covered.rows && box.columns == covered.columns;
#define DEPTHWISE_STRIP(at, vectors, some, high, wide)                                       \
    do {                                                                                     \
        strip_t sum;                                                                         \
        add_box(out, g + (at), high, wide, vectors, some, &sum);                             \
        for (index_t k = 0; k < (vectors); k++) {                                            \
            index_t c_k = (at) + k * WIDE;                                                   \
            wide_t mean = sum.v[k] * each;                                                   \
            if (grad_bias)                                                                   \
                join(grad_bias + c_k, sum.v[k], some);                                       \
            if (cell)                                                                        \
                join(grad_w + c_k, mean * take(cell + c_k, some), some);                     \
            if (g_x)                                                                         \
                sum.v[k] = mean * take(task->window + c_k, some);                            \
        }                                                                                    \
        if (g_x && alike)                                                                    \
            fill_box(in, g_x + (at), high, wide, vectors, some, &sum, streaming);            \
        else if (g_x)                                                                        \
            fill_box(in, g_x + (at), covered.rows, covered.columns, vectors, some, &sum,     \
                     streaming);                                                             \
    } while (0)
        EACH_STRIP_OF(box, out->channels, DEPTHWISE_STRIP);
    }
}

/* Each item is a part of the rows of patches of all images: its sums are its own. */
static void depthwise_some_pixels(const void *shared, index_t first, index_t last)
{
    const depthwise_t *task = shared;
    const filter_t *of = task->of;
    index_t channels = of->out.channels, down = of->out.rows.number;
    int streaming = of->streaming && task->grad_x && streamable(&of->in, task->grad_x);
    for (index_t item = first; item < last; item++) {
        REAL *grad_w = task->sums + item * part_of_sums(of), *grad_bias = grad_w + channels;
        CHECK((item + 1) * part_of_sums(of) <= of->work);
        memset(grad_w, 0, (size_t)(2 * channels) * sizeof(REAL));
        for (index_t row = item * of->chunk;
             row < least((item + 1) * of->chunk, of->images * down); row++)
            depthwise_row(task, row / down, row % down, grad_w,
                          task->grad_bias ? grad_bias : NULL, streaming);
    }
}

enum { GATHERED = 64 /* channels whose parts are added at a time */ };

/* Add the parts of some channels, and repeat g_w on every tap. */
static void gather_depthwise(const void *shared, index_t first, index_t last)
{
    const depthwise_t *task = shared;
    const filter_t *of = task->of;
    index_t channels = of->out.channels, parts = depthwise_parts(of);
    for (index_t item = first; item < last; item++) {
        index_t c0 = item * GATHERED, n = least(GATHERED, channels - c0);
        double grad_w[GATHERED] = {0}, grad_bias[GATHERED] = {0};
        for (index_t part = 0; part < parts; part++) {
            const REAL *sums = task->sums + part * part_of_sums(of) + c0;
            for (index_t c = 0; c < n; c++)
                grad_w[c] += sums[c], grad_bias[c] += sums[channels + c];
        }
        for (index_t c = 0; task->grad_w && c < n; c++)
            for (index_t tap = 0; tap < of->taps; tap++)
                task->grad_w[(c0 + c) * of->taps + tap] = (REAL)grad_w[c];
        for (index_t c = 0; task->grad_bias && c < n; c++)
            task->grad_bias[c0 + c] = (REAL)grad_bias[c];
    }
}

#endif
