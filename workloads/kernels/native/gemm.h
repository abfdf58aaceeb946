/* The products of a filtered backward: g_w = g~ x~^T and g_x's cells = w~^T g~, by register tiles.
 *
 *     for each panel (N in tiles of NR), and within it for each KC of the sum and each MR rows:
 *         microkernel.h computes an MR x NR tile; it is stored to panels, or added to an accumulator
 *
 * Shapes and packed layouts are those of panels.h.
 */

#ifndef GFB_GEMM_H
#define GFB_GEMM_H

#include "microkernel.h"
#include "panels.h"

/* g_x's cells (C_i, cells) = w~^T g~ of one group, NCHW: tiles [first, last) of MR channels of x,
 * in one panel of NR cells. K = C_o. */
static void multiply_gx_nchw(const backward_t *b, index_t panel, index_t group, index_t first,
                             index_t last)
{
    index_t ci = group_inputs(b), co = group_outputs(b), tiles = ceil_div(ci, MR);
    const REAL *g = b->g_cells + (panel * g_panel_rows(b) + group * co) * NR;
    REAL *out = b->gx_cells + (panel * b->in->channels + group * ci) * NR;
    for (index_t t = first; t < last; t++) {
        tile_t tile = {{{{0}}}};
        microkernel(b->w_sum + (group * tiles + t) * co * MR, 1, MR, g, co, &tile);
        store_tile(&tile, out + t * MR * NR, NR, ci - t * MR, NR, 0);
    }
}

enum { MC = 4 * MR /* cells of a block of rows of g~, which stay in the L1 cache for all tiles */ };

/* g_x's cells (cells, C_i) = g~ w~ of one group, NHWC: tiles [first, last) of NR channels of x, in
 * one block of MC cells. K = C_o. */
static void multiply_gx_nhwc(const backward_t *b, index_t block, index_t group, index_t first,
                             index_t last)
{
    index_t ci = group_inputs(b), co = group_outputs(b), tiles = ceil_div(ci, NR);
    index_t cells = chunk_cells(b);
    index_t g_row = padded_row(b->out->channels), out_row = padded_row(b->in->channels);
    index_t begin = block * MC, end = min_(begin + MC, cells);
    for (index_t t = first; t < last; t++)
        for (index_t m = begin; m < end; m += MR) {
            tile_t tile = {{{{0}}}};
            microkernel(b->g_cells + m * g_row + group * co, g_row, 1,
                        b->w_sum + (group * tiles + t) * co * NR, co, &tile);
            store_tile(&tile, b->gx_cells + m * out_row + group * ci + t * NR, out_row, end - m,
                       ci - t * NR, 0);
        }
}

/* Write a finished tile of g_w's values, its first `rows` rows and `columns` columns at an edge, on
 * every tap of grad_w. `index` is that of the tile's first value in (C_o, C_i / groups). */
static void store_tile_on_taps(const backward_t *b, const tile_t *tile, index_t index, index_t rows,
                               index_t columns)
{
    REAL values[MR * NR];
    index_t n = min_(columns, NR), ci = group_inputs(b), taps = b->desc->taps;
    store_full_tile(tile, values, NR, 0);
    for (index_t i = 0; i < min_(rows, MR); i++, index += ci)
        if (b->desc->nhwc)
            repeat_on_taps_nhwc(values + i * NR, n, taps, ci,
                                b->grad_w + index / ci * ci * taps + index % ci);
        else
            repeat_on_taps_nchw(values + i * NR, n, taps, b->grad_w + index * taps);
}

/* g_w's values (C_o, C_i) = g~ x~^T: tiles [first, last) of MR channels of y of a group, in one
 * panel of NR channels of x. K = the chunk's cells. Tiles are added to the accumulator gw_values,
 * or go to grad_w where all threads work together: then a tile is final. */
static void multiply_gw(const backward_t *b, index_t panel, index_t first, index_t last)
{
    index_t ci = group_inputs(b), co = group_outputs(b), rows = g_panel_rows(b);
    index_t cells = chunk_cells(b), panels = ceil_div(ci, NR), width;
    index_t group = panel / panels, c0 = panel % panels * NR;
    index_t depth = b->desc->accumulators > 0 ? KC : cells, row = padded_row(b->out->channels);
    const REAL *x = x_panel(b, panel, &width);
    x = width < NR ? b->x_tail + group * cells * NR : x;
    for (index_t m0 = 0; m0 < cells; m0 += depth)
        for (index_t t = first; t < last; t++) {
            const REAL *g = b->g_cells + (m0 / NR * rows + group * co + t * MR) * NR;
            index_t end = min_(m0 + depth, cells), index = (group * co + t * MR) * ci + c0;
            tile_t tile = {{{{0}}}};
            if (b->desc->nhwc)
                microkernel(b->g_cells + m0 * row + group * co + t * MR, 1, row, x + m0 * NR,
                            end - m0, &tile);
            else
                for (index_t m = m0; m < end; m += NR, g += rows * NR)
                    microkernel(g, NR, 1, x + m * NR, min_(NR, end - m), &tile);
            if (b->desc->accumulators > 0)
                store_tile(&tile, b->gw_values + index, ci, co - t * MR, ci - c0,
                           !b->gw_is_empty || m0 > 0);
            else
                store_tile_on_taps(b, &tile, index, co - t * MR, ci - c0);
        }
}

/* How the products are cut into items: several for each thread. */
typedef struct {
    index_t gx_blocks;          /* of cells, in all groups: panels of NR (NCHW) or blocks of MC */
    index_t gx_tiles, gx_parts; /* of channels of x in a group, in so many parts */
    index_t gw_panels;          /* of channels of x, in all groups */
    index_t gw_tiles, gw_parts; /* of channels of y in a group, in so many parts */
} partition_t;

static partition_t partition_of(const backward_t *b)
{
    index_t block = b->desc->nhwc ? MC : NR, tile = b->desc->nhwc ? NR : MR;
    partition_t p = {b->desc->groups * ceil_div(chunk_cells(b), block),
                     ceil_div(group_inputs(b), tile), 0,
                     x_panels(b), ceil_div(group_outputs(b), MR), 0};
    p.gx_parts = min_(ceil_div(4 * b->threads, p.gx_blocks), p.gx_tiles);
    p.gw_parts = min_(4 * b->threads, p.gw_tiles);
    return p;
}

/* Items are (groups, gw_parts, panels of a group), the order of g_w in memory: a thread's share of
 * them is one piece of g_w, and what the hardware prefetches next to it is the same thread's. */
static void multiply_gw_body(const void *shared, index_t first, index_t last)
{
    const backward_t *b = shared;
    partition_t p = partition_of(b);
    index_t panels = p.gw_panels / b->desc->groups; /* of a group */
    for (index_t item = first; item < last; item++) {
        index_t part = item / panels % p.gw_parts, group = item / panels / p.gw_parts;
        multiply_gw(b, group * panels + item % panels, part * p.gw_tiles / p.gw_parts,
                    (part + 1) * p.gw_tiles / p.gw_parts);
    }
}

/* Items are (blocks of cells, groups, gx_parts). */
static void multiply_gx_body(const void *shared, index_t first, index_t last)
{
    const backward_t *b = shared;
    partition_t p = partition_of(b);
    for (index_t item = first; item < last; item++) {
        index_t block = item / p.gx_parts, part = item % p.gx_parts;
        (b->desc->nhwc ? multiply_gx_nhwc : multiply_gx_nchw)(
            b, block / b->desc->groups, block % b->desc->groups, part * p.gx_tiles / p.gx_parts,
            (part + 1) * p.gx_tiles / p.gx_parts);
    }
}

#endif
