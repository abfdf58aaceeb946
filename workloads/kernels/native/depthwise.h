/* The whole backward of a depthwise layer (C_i / groups = 1), which needs no matrix product.
 *
 *     for each channel, or patch row, and each image:
 *       g~ = the scaled means of g over patches       g is read once
 *       g_w += g~ x~, g_b += g                        in accumulators
 *       g_x = w~ g~ on all pixels of the patch        g_x is written once
 *
 * NCHW: items are blocks of channels; each channel's sums are finished within its item. NHWC: items
 * are parts of the patch rows, each with partial sums of all channels, which a second loop adds up.
 */

#ifndef GFB_DEPTHWISE_H
#define GFB_DEPTHWISE_H

#include "channels.h"
#include "patches.h"
#include "pixels.h"

/* What the loops share. x~ is a grid in the layout of the maps, w~ is dense (C_o). */
typedef struct {
    const backward_desc_t *desc;
    const layout_t *out, *in; /* of g and g~, of g_x and x~; out has C_o channels, in has C_i */
    const REAL *grad, *x_sum, *w_sum;
    REAL *grad_x, *grad_w, *grad_bias; /* NULL: not wanted */
    REAL *partial_sums;                /* NHWC: (parts, 2, C_o), of g_w and of g_b */
    tiling_t out_tiling, in_tiling;
} depthwise_args_t;

/* NCHW: columns are dense --------------------------------------------------------------------- */

/* Return how many channels of x are done together: theirs of y are at most CHANNEL_BLOCK. */
static inline index_t depthwise_channels(const depthwise_args_t *args)
{
    return CHANNEL_BLOCK / (args->out->channels / args->in->channels);
}

/* Do a block of patches of channels [c, c + channels) of image n: read g, accumulate g_w and g_b,
 * write g_x. grad_w and grad_bias have an accumulator for each of the channels of y. */
static void depthwise_block_nchw(const depthwise_args_t *args, index_t n, index_t c,
                                 index_t channels, const block_t *b, accumulator_t *grad_w,
                                 accumulator_t *grad_bias)
{
    const layout_t *out = args->out, *in = args->in;
    index_t multiplier = out->channels / in->channels; /* channels of y for each of x */
    index_t count = block_cells(b), first = c * multiplier;
    index_t at = n * in->grid_stride.n + b->i0 * in->columns.count + b->j0;
    const REAL *planes = args->grad + n * out->map_stride.n + first * out->map_stride.c;
    REAL means[CHANNEL_BLOCK * BLOCK_CELLS], values[CHANNEL_BLOCK * BLOCK_CELLS];
    pool_channels(&args->out_tiling, planes, channels * multiplier, b, (REAL)args->desc->scale,
                  means, grad_bias);
    for (index_t k = 0; k < channels * multiplier; k++) {
        const REAL *cells = means + k * BLOCK_CELLS;
        REAL *row = values + k / multiplier * BLOCK_CELLS;
        if (args->x_sum)
            accumulate_dot(cells, args->x_sum + at + (c + k / multiplier) * in->grid_stride.c,
                           count, grad_w + k);
        for (index_t j = 0; args->w_sum && j < count; j++)
            row[j] = args->w_sum[first + k] * cells[j] + (k % multiplier > 0 ? row[j] : 0);
    }
    if (args->grad_x)
        expand_channels(&args->in_tiling, values, channels, b,
                        args->grad_x + n * in->map_stride.n + c * in->map_stride.c, 0);
}

/* Each item is a block of channels of x, in all images. */
static void depthwise_nchw_body(const void *shared, index_t first, index_t last)
{
    const depthwise_args_t *args = shared;
    const layout_t *out = args->out, *in = args->in;
    index_t multiplier = out->channels / in->channels, most = depthwise_channels(args);
    for (index_t item = first; item < last; item++) {
        index_t c = item * most, channels = min_(most, in->channels - c);
        accumulator_t grad_w[CHANNEL_BLOCK] = {{{0}, 0}}, grad_bias[CHANNEL_BLOCK] = {{{0}, 0}};
        for (index_t n = 0; n < args->desc->images; n++)
            for (block_t b = before_row(0); next_block(&args->in_tiling, &b, in->rows.count);)
                depthwise_block_nchw(args, n, c, channels, &b, grad_w, grad_bias);
        for (index_t k = 0; k < channels * multiplier; k++) {
            REAL value = (REAL)accumulated(grad_w + k);
            for (index_t tap = 0; args->grad_w && tap < args->desc->taps; tap++)
                args->grad_w[(c * multiplier + k) * args->desc->taps + tap] = value;
            if (args->grad_bias)
                args->grad_bias[c * multiplier + k] = (REAL)accumulated(grad_bias + k);
        }
    }
}

/* NHWC: channels are dense, and C_o = C_i ------------------------------------------------------ */

/* Return the parts into which the patch rows of all images are cut, each with sums of its own. */
static inline index_t depthwise_parts(const backward_desc_t *desc)
{
    return ceil_div(desc->images * desc->out.rows.count, desc->chunk_rows);
}

/* Return the elements of one part's sums: g_w's and g_b's. */
static inline index_t partial_sums_size(const backward_desc_t *desc)
{
    return 2 * desc->out.channels;
}

/* Do patch row i of image n: read g, add to the part's sums of g_w and g_b (C_o), write g_x. */
static void depthwise_patch_row_nhwc(const depthwise_args_t *args, index_t n, index_t i,
                                     REAL *grad_w, REAL *grad_bias, int streaming)
{
    const layout_t *out = args->out, *in = args->in;
    index_t across = out->columns.count, from, to;
    index_t row = n * in->grid_stride.n + i * across * in->grid_stride.cell;
    for (index_t j = 0; j < across; j++) {
        extent_t extent = patch_extent(out, i, j, &from), in_extent = patch_extent(in, i, j, &to);
        const REAL *g = args->grad + n * out->map_stride.n + from;
        const REAL *cell = args->x_sum ? args->x_sum + row + j * in->grid_stride.cell : NULL;
        REAL *g_x = args->grad_x ? args->grad_x + n * in->map_stride.n + to : NULL;
        REAL each = (REAL)args->desc->scale / (REAL)(extent.rows * extent.columns);
        int alike = extent.rows == in_extent.rows && extent.columns == in_extent.columns;
#define GFB_DEPTHWISE_STRIP(at, vectors, some, high, wide)                                   \
    do {                                                                                     \
        strip_t sum;                                                                         \
        sum_strip(out, g + (at), high, wide, vectors, some, &sum);                           \
        for (index_t k = 0; k < (vectors); k++) {                                            \
            index_t c_k = (at) + k * VLEN;                                                   \
            vec_t mean = sum.v[k] * each;                                                    \
            if (grad_bias)                                                                   \
                add_partial(grad_bias + c_k, sum.v[k], some);                                \
            if (cell)                                                                        \
                add_partial(grad_w + c_k, mean * load_partial(cell + c_k, some), some);      \
            if (g_x)                                                                         \
                sum.v[k] = mean * load_partial(args->w_sum + c_k, some);                     \
        }                                                                                    \
        if (g_x && alike)                                                                    \
            fill_strip(in, g_x + (at), high, wide, vectors, some, &sum, streaming);          \
        else if (g_x)                                                                        \
            fill_strip(in, g_x + (at), in_extent.rows, in_extent.columns, vectors, some,     \
                       &sum, streaming);                                                     \
    } while (0)
        GFB_EACH_STRIP(extent, out->channels, GFB_DEPTHWISE_STRIP);
    }
}

/* Each item is a part of the patch rows of all images, with sums of its own. */
static void depthwise_nhwc_body(const void *shared, index_t first, index_t last)
{
    const depthwise_args_t *args = shared;
    const backward_desc_t *desc = args->desc;
    index_t channels = desc->out.channels, down = desc->out.rows.count;
    int streaming = desc->streaming && args->grad_x && can_stream(&desc->in, args->grad_x);
    for (index_t item = first; item < last; item++) {
        REAL *grad_w = args->partial_sums + item * partial_sums_size(desc);
        REAL *grad_bias = grad_w + channels;
        GFB_CHECK((item + 1) * partial_sums_size(desc) <= desc->workspace);
        memset(grad_w, 0, (size_t)(2 * channels) * sizeof(REAL));
        for (index_t row = item * desc->chunk_rows;
             row < min_((item + 1) * desc->chunk_rows, desc->images * down); row++)
            depthwise_patch_row_nhwc(args, row / down, row % down, grad_w,
                                     args->grad_bias ? grad_bias : NULL, streaming);
    }
}

enum { REDUCED = 64 /* channels of an item whose partial sums are added up */ };

/* Add the partial sums of all parts; write g_w, repeated on every tap, and g_b. */
static void reduce_depthwise_nhwc_body(const void *shared, index_t first, index_t last)
{
    const depthwise_args_t *args = shared;
    const backward_desc_t *desc = args->desc;
    index_t channels = desc->out.channels, parts = depthwise_parts(desc);
    for (index_t item = first; item < last; item++) {
        index_t c0 = item * REDUCED, n = min_(REDUCED, channels - c0);
        double grad_w[REDUCED] = {0}, grad_bias[REDUCED] = {0};
        for (index_t part = 0; part < parts; part++) {
            const REAL *sums = args->partial_sums + part * partial_sums_size(desc) + c0;
            for (index_t c = 0; c < n; c++)
                grad_w[c] += sums[c], grad_bias[c] += sums[channels + c];
        }
        for (index_t c = 0; args->grad_w && c < n; c++)
            for (index_t tap = 0; tap < desc->taps; tap++)
                args->grad_w[(c0 + c) * desc->taps + tap] = (REAL)grad_w[c];
        for (index_t c = 0; args->grad_bias && c < n; c++)
            args->grad_bias[c0 + c] = (REAL)grad_bias[c];
    }
}

#endif
