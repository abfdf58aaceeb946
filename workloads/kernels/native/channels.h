/* Pooling and expanding of several neighbouring channels of NCHW maps together.
 *
 * Narrow maps go by rows, in registers (narrow.h), and wide ones plane by plane (patches.h). Small
 * maps, whose rows are too short for vectors, are transposed, so that channels fill them:
 *
 *     for some patch rows:   planes (C, pixels) to pixels (pixels, C)   in the L1 cache
 *                            pool these as NHWC maps (pixels.h)
 *
 * and the reverse to expand.
 */

#ifndef GFB_CHANNELS_H
#define GFB_CHANNELS_H

#include "patches.h"
#include "pixels.h"

/* small maps ---------------------------------------------------------------------------------- */

/* Return patch rows [i, i + count) of `channels` planes as maps of their own, (H, W, CHANNEL_BLOCK)
 * in memory. */
static inline layout_t transposed_rows(const layout_t *l, index_t i, index_t count,
                                       index_t channels)
{
    layout_t rows = *l;
    rows.channels = channels;
    rows.rows.count = count;
    rows.rows.stop = patch_begin(&l->rows, i + count) - patch_begin(&l->rows, i);
    rows.map_stride.h = l->columns.stop * CHANNEL_BLOCK;
    rows.map_stride.w = CHANNEL_BLOCK;
    return rows;
}

/* Pool a block of at most CHANNEL_BLOCK small planes, the first being `map`, to rows of channels,
 * cell_stride apart: sums, or `scale` times the means if it is not 0. accumulators[c] takes the sum
 * of channel c's pixels. */
static void pool_small(const tiling_t *tiling, const REAL *map, index_t channels, const block_t *b,
                       REAL scale, REAL *cells, index_t cell_stride, accumulator_t *accumulators)
{
    const layout_t *l = tiling->l;
    REAL pixels[SMALL_PIXELS * CHANNEL_BLOCK], sums[CHANNEL_BLOCK];
    for (index_t i = b->i0, count; i < b->i1; i += count) {
        count = min_(tiling->small_rows, b->i1 - i);
        layout_t rows = transposed_rows(l, i, count, channels);
        transpose(map + patch_begin(&l->rows, i) * l->map_stride.h, l->map_stride.c,
                  rows.rows.stop * l->columns.stop, channels, pixels, CHANNEL_BLOCK);
        for (index_t row = 0; row < count; row++) {
            pool_patch_row(&rows, pixels, row, scale, cells, cell_stride, sums);
            cells += l->columns.count * cell_stride;
            for (index_t c = 0; c < channels; c++)
                accumulators[c].tail += sums[c];
        }
    }
}

/* The reverse of pool_small. */
static void expand_small(const tiling_t *tiling, const REAL *cells, index_t cell_stride,
                         index_t channels, const block_t *b, REAL *map)
{
    const layout_t *l = tiling->l;
    REAL pixels[SMALL_PIXELS * CHANNEL_BLOCK];
    for (index_t i = b->i0, count; i < b->i1; i += count) {
        count = min_(tiling->small_rows, b->i1 - i);
        layout_t rows = transposed_rows(l, i, count, channels);
        for (index_t row = 0; row < count; row++) {
            expand_patch_row(&rows, cells, cell_stride, row, pixels, 0);
            cells += l->columns.count * cell_stride;
        }
        transpose(pixels, CHANNEL_BLOCK, channels, rows.rows.stop * l->columns.stop,
                  map + patch_begin(&l->rows, i) * l->map_stride.h, l->map_stride.c);
    }
}

/* maps of any size ---------------------------------------------------------------------------- */

/* Pool a block of `channels` neighbouring planes, the first being `map`: cells are (channels, cells of
 * the block), BLOCK_CELLS apart, and accumulators[c] is channel c's. */
static void pool_channels(const tiling_t *tiling, const REAL *map, index_t channels,
                          const block_t *b, REAL scale, REAL *cells, accumulator_t *accumulators)
{
#if defined(__AVX512F__)
    if (tiling->row_vectors > 0) {
        narrow_rows_t rows = {tiling, channels, b->i0, b->i1, 0, NR, BLOCK_CELLS};
        pool_narrow(&rows, map, scale, cells, accumulators);
        return;
    }
#endif
    if (tiling->small_rows > 0) {
        REAL rows[BLOCK_CELLS * CHANNEL_BLOCK];
        pool_small(tiling, map, channels, b, scale, rows, CHANNEL_BLOCK, accumulators);
        transpose(rows, CHANNEL_BLOCK, channels, block_cells(b), cells, BLOCK_CELLS);
        return;
    }
    for (index_t c = 0; c < channels; c++)
        pool_block(tiling, map + c * tiling->l->map_stride.c, b, scale, cells + c * BLOCK_CELLS,
                   accumulators + c);
}

/* The reverse of pool_channels. */
static void expand_channels(const tiling_t *tiling, const REAL *cells, index_t channels,
                            const block_t *b, REAL *map, int streaming)
{
#if defined(__AVX512F__)
    if (tiling->row_vectors > 0 && !streaming) {
        narrow_rows_t rows = {tiling, channels, b->i0, b->i1, 0, NR, BLOCK_CELLS};
        expand_narrow(&rows, cells, map);
        return;
    }
#endif
    if (tiling->small_rows > 0) {
        REAL rows[BLOCK_CELLS * CHANNEL_BLOCK];
        transpose(cells, BLOCK_CELLS, block_cells(b), channels, rows, CHANNEL_BLOCK);
        expand_small(tiling, rows, CHANNEL_BLOCK, channels, b, map);
        return;
    }
    for (index_t c = 0; c < channels; c++)
        expand_block(tiling, cells + c * BLOCK_CELLS, b, map + c * tiling->l->map_stride.c,
                     streaming);
}

#endif
