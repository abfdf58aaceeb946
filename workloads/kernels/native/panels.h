/* The whole backward of a filtered layer: pool g, two matrix products, expand to g_x.
 *
 * Per group, with cells = N P_h P_w patches and the patch sums or means as matrices:
 *
 *     g_x's cells (C_i, cells) = w~^T (C_i, C_o) g~ (C_o, cells)
 *     g_w         (C_o, C_i)   = g~   (C_o, cells) x~^T (cells, C_i)
 *
 * The loop nest, for NCHW; M is cut in tiles of MR, N in tiles of NR, K in blocks of KC:
 *
 *     for each chunk of patch rows                      in parallel, or one chunk at a time
 *       pack g~: pool g to panels of NR cells           g is read once
 *       for each panel of NR channels of x~             g_w:  N = C_i, K = the chunk's cells
 *         for each KC cells
 *           for each MR channels of y                   M = C_o
 *             microkernel; add the tile to an accumulator of g_w
 *       for each panel of NR cells of g~                g_x:  N = cells, K = C_o
 *         for each MR channels of x                     M = C_i
 *           microkernel; store the tile to panels of NR cells
 *       expand these panels to g_x                      g_x is written once
 *     add up the accumulators of g_w, repeat each value on every tap
 *
 * A chunk's g~ and g_x's cells stay in a thread's caches from one step to the next. There are two
 * schedules: each thread does chunks alone, with a g_w accumulator of its own; or, if there are too
 * few patch rows for that, there is a single chunk and all threads share the work of each step.
 * Patch rows are counted through all images: row n P_h + i is patch row i of image n.
 *
 * Layouts, of a chunk except for x~:
 *     g~ and g_x's cells, NCHW   packed panels (cells / NR, C, NR): cell m of channel c is at
 *                                [m / NR][c][m % NR]
 *     g~ and g_x's cells, NHWC   a row of channels for each cell, padded: (cells, padded_row(C))
 *     x~                         packed panels (groups, panels, all cells, NR channels); the last
 *                                panel of a group is only as wide as it has channels left
 *     w~                         packed tiles (groups, tiles, C_o / groups, MR channels of x), or
 *                                NR of them in NHWC, where cells and channels swap M and N in g_x
 */

#ifndef GFB_PANELS_H
#define GFB_PANELS_H

#include "channels.h"
#include "patches.h"
#include "pixels.h"
#include "windows.h"

/* One backward, on one chunk of it; each thread that works alone has a copy of its own. */
typedef struct {
    const backward_desc_t *desc;
    const layout_t *out, *in; /* of g and of g_x */
    index_t threads;
    const REAL *grad, *x_sum, *w_sum;  /* g; x~ and w~, packed */
    REAL *grad_x, *grad_w, *grad_bias; /* NULL: not wanted */
    tiling_t out_tiling, in_tiling;
    REAL *g_cells;   /* g~ */
    REAL *x_tail;    /* each group's last panel of x~, widened by zeros: (groups, cells, NR) */
    REAL *gx_cells;  /* g_x's values on the patch grid */
    REAL *gw_values; /* accumulator of g_w, one value per window: (C_o, C_i / groups) */
    REAL *gb_sums;   /* sums of g: (workspaces, N, C_o) or, in NHWC, (N, P_h, C_o) */
    index_t thread_size;         /* elements from one thread's g_cells .. gw_values to the next's */
    int gw_is_empty;             /* nothing has been added to gw_values yet */
    index_t first_row, last_row; /* the chunk: patch rows [first_row, last_row) */
} backward_t;

/* sizes --------------------------------------------------------------------------------------- */

/* Channels of x or of y in one group. */
static inline index_t group_inputs(const backward_t *b)
{
    return b->in->channels / b->desc->groups;
}

static inline index_t group_outputs(const backward_t *b)
{
    return b->out->channels / b->desc->groups;
}

/* Panels of x~, in all groups. */
static inline index_t x_panels(const backward_t *b)
{
    return b->desc->groups * ceil_div(group_inputs(b), NR);
}

/* Cells of the chunk, and of all images. */
static inline index_t chunk_cells(const backward_t *b)
{
    return (b->last_row - b->first_row) * b->out->columns.count;
}

static inline index_t all_cells(const backward_t *b)
{
    return b->desc->images * b->out->rows.count * b->out->columns.count;
}

/* Threads that work alone, each with a workspace of its own, or 1 if all work together. */
static inline index_t workspaces(const backward_t *b)
{
    return b->desc->accumulators > 0 ? b->desc->accumulators : 1;
}

/* Rows of a packed panel of g~: C_o, and some to spare, as the last tile of the last group may read
 * up to MR - 1 rows after them. What comes of those is never stored. */
static inline index_t g_panel_rows(const backward_t *b) { return b->out->channels + MR - 1; }

/* Elements of a cell's row of channels in NHWC, padded to an odd number of vectors: a column of the
 * matrix then does not map to only a few sets of a cache. */
static inline index_t padded_row(index_t channels) { return (ceil_div(channels, VLEN) | 1) * VLEN; }

/* Rows (C_o) of gb_sums. */
static inline index_t gb_sum_rows(const backward_t *b)
{
    return b->desc->images * (b->desc->nhwc ? b->out->rows.count : workspaces(b));
}

/* workspace ----------------------------------------------------------------------------------- */

enum {
    WORKSPACE_PARTS = 5, /* gb_sums; for each thread g_cells, x_tail, gx_cells, gw_values */
#if defined(GFB_DEBUG)
    GUARD_ELEMENTS = 64 /* elements after each part, which nothing may touch */
#else
    GUARD_ELEMENTS = 0
#endif
};

/* Compute the elements of each part of the workspace; of all but the first, of one thread's. */
static inline void part_sizes(const backward_t *b, index_t *sizes)
{
    index_t cells = b->desc->chunk_rows * b->out->columns.count;
    index_t panelled_cells = ceil_div(cells, NR) * NR;
    index_t co = b->out->channels, ci = b->in->channels;
    int has_tail = b->grad_w && group_inputs(b) % NR > 0;
    int accumulates = b->grad_w && b->desc->accumulators > 0;
    sizes[0] = b->grad_bias ? gb_sum_rows(b) * co : 0;
    sizes[1] = b->desc->nhwc ? (cells + MR) * padded_row(co) : panelled_cells * g_panel_rows(b);
    sizes[2] = has_tail ? cells * b->desc->groups * NR : 0;
    sizes[3] = 0;
    if (b->grad_x)
        sizes[3] = b->desc->nhwc ? cells * padded_row(ci) : panelled_cells * ci;
    sizes[4] = accumulates ? co * group_inputs(b) : 0;
}

/* Elements from the start of a part to that of the next, which is aligned as the workspace is. */
static inline index_t padded_size(index_t size) { return ceil_div(size, 16) * 16 + GUARD_ELEMENTS; }

/* Set the pointers of all parts, the first thread's; `workspace` is aligned to 64 bytes, or NULL.
 * Returns the elements that it takes. */
static index_t divide_workspace(backward_t *b, REAL *workspace)
{
    REAL **parts[WORKSPACE_PARTS] = {&b->gb_sums, &b->g_cells, &b->x_tail, &b->gx_cells,
                                     &b->gw_values};
    index_t sizes[WORKSPACE_PARTS], at = 0;
    part_sizes(b, sizes);
    for (int k = 0; k < WORKSPACE_PARTS; k++) {
        *parts[k] = workspace ? workspace + at : NULL;
        at += padded_size(sizes[k]);
    }
    b->thread_size = at - padded_size(sizes[0]);
    return padded_size(sizes[0]) + b->thread_size * workspaces(b);
}

#if defined(GFB_DEBUG)
/* Mark the guards between the parts of the workspace, or return whether all marks are intact. */
static int guards_are_intact(const backward_t *b, int mark)
{
    REAL *parts[WORKSPACE_PARTS] = {b->gb_sums, b->g_cells, b->x_tail, b->gx_cells, b->gw_values};
    index_t sizes[WORKSPACE_PARTS];
    part_sizes(b, sizes);
    for (int k = 0; k < WORKSPACE_PARTS; k++)
        for (index_t thread = 0; thread < (k > 0 ? workspaces(b) : 1); thread++) {
            unsigned char *guard = (unsigned char *)(parts[k] + thread * b->thread_size + sizes[k]);
            size_t bytes = (size_t)(padded_size(sizes[k]) - sizes[k]) * sizeof(REAL);
            for (size_t i = 0; i < bytes; i++)
                if (mark)
                    guard[i] = 0xff; /* NaN, so that reading it shows as well */
                else if (guard[i] != 0xff)
                    return 0;
        }
    return 1;
}
#endif

/* packing: g to g~, and g_x's cells to g_x ----------------------------------------------------- */

/* Write cells[0 .. n), dense, as cells [m, m + n) of a channel in packed panels, `panel_stride`
 * apart; `panels` is the channel's row in the first of them. */
static void store_panels(const REAL *cells, index_t n, REAL *panels, index_t panel_stride,
                         index_t m)
{
    index_t at = m % NR;
    panels += m / NR * panel_stride;
    for (index_t count; n > 0; n -= count, cells += count, panels += panel_stride, at = 0) {
        count = min_(NR - at, n);
        copy_panel_row(panels + at, cells, count);
    }
}

/* The reverse of store_panels. */
static void load_panels(const REAL *panels, index_t panel_stride, index_t m, index_t n,
                        REAL *cells)
{
    index_t at = m % NR;
    panels += m / NR * panel_stride;
    for (index_t count; n > 0; n -= count, cells += count, panels += panel_stride, at = 0) {
        count = min_(NR - at, n);
        copy_panel_row(cells, panels + at, count);
    }
}

/* What a chunk has of one plane: patch rows [begin, end) of image n, channel c. */
typedef struct {
    index_t n, c, begin, end;
    index_t first_cell; /* of `begin`, among the chunk's */
} plane_rows_t;

/* Return how many images the chunk has rows of. */
static inline index_t chunk_images(const backward_t *b)
{
    index_t down = b->out->rows.count;
    return b->last_row > b->first_row ? (b->last_row - 1) / down - b->first_row / down + 1 : 0;
}

/* Return what the chunk has of plane `item`, planes being (chunk_images, channels). */
static inline plane_rows_t plane_rows_of(const backward_t *b, index_t channels, index_t item)
{
    index_t down = b->out->rows.count, n = b->first_row / down + item / channels;
    index_t begin = b->first_row - n * down > 0 ? b->first_row - n * down : 0;
    plane_rows_t rows = {n, item % channels, begin, min_(b->last_row - n * down, down),
                         (n * down + begin - b->first_row) * b->out->columns.count};
    return rows;
}

/* pack_g_planes of small maps: all channels of a block of patches together. */
static void pack_small_g_planes(const backward_t *b, plane_rows_t rows, index_t channels,
                                const REAL *plane, accumulator_t *accumulators)
{
    REAL cells[CHANNEL_BLOCK * BLOCK_CELLS], *panels = b->g_cells + rows.c * NR;
    index_t m = rows.first_cell;
    for (block_t block = before_row(rows.begin); next_block(&b->out_tiling, &block, rows.end);
         m += block_cells(&block)) {
        pool_channels(&b->out_tiling, plane, channels, &block, (REAL)b->desc->scale, cells,
                      accumulators);
        for (index_t c = 0; c < channels; c++)
            store_panels(cells + c * BLOCK_CELLS, block_cells(&block), panels + c * NR,
                         g_panel_rows(b) * NR, m);
    }
}

/* expand_gx_planes of small maps. */
static void expand_small_gx_planes(const backward_t *b, plane_rows_t rows, index_t channels,
                                   REAL *plane)
{
    REAL cells[CHANNEL_BLOCK * BLOCK_CELLS];
    const REAL *panels = b->gx_cells + rows.c * NR;
    index_t m = rows.first_cell;
    for (block_t block = before_row(rows.begin); next_block(&b->in_tiling, &block, rows.end);
         m += block_cells(&block)) {
        for (index_t c = 0; c < channels; c++)
            load_panels(panels + c * NR, b->in->channels * NR, m, block_cells(&block),
                        cells + c * BLOCK_CELLS);
        expand_channels(&b->in_tiling, cells, channels, &block, plane, b->desc->streaming);
    }
}

/* Pool `channels` planes of g from rows.c on, one after the other, as memory is read fastest: their
 * cells to the packed panels of g~, their sums to gb_sums. */
static void pack_g_planes(const backward_t *b, plane_rows_t rows, index_t channels)
{
    const layout_t *l = b->out;
    const REAL *plane = b->grad + rows.n * l->map_stride.n + rows.c * l->map_stride.c;
    REAL *panels = b->g_cells + rows.c * NR, scale = (REAL)b->desc->scale;
    index_t panel_stride = g_panel_rows(b) * NR;
    REAL *sums = b->gb_sums + rows.n * l->channels + rows.c;
    int adds = rows.begin > 0 || b->desc->accumulators > 0; /* sums of other rows are there */
    accumulator_t accumulators[CHANNEL_BLOCK] = {{{0}, 0}};
#if defined(__AVX512F__)
    if (b->out_tiling.row_vectors > 0) {
        narrow_rows_t narrow = {&b->out_tiling, channels,     rows.begin, rows.end,
                                rows.first_cell, panel_stride, NR};
        pool_narrow(&narrow, plane, scale, panels, accumulators);
        rows.begin = rows.end;
    }
#endif
    if (b->out_tiling.small_rows > 0) {
        pack_small_g_planes(b, rows, channels, plane, accumulators);
        rows.begin = rows.end;
    }
    for (index_t c = 0; rows.begin < rows.end && c < channels; c++) {
        REAL cells[BLOCK_CELLS];
        index_t m = rows.first_cell;
        for (block_t block = before_row(rows.begin);
             next_block(&b->out_tiling, &block, rows.end); m += block_cells(&block)) {
            pool_block(&b->out_tiling, plane + c * l->map_stride.c, &block, scale, cells,
                       accumulators + c);
            store_panels(cells, block_cells(&block), panels + c * NR, panel_stride, m);
        }
    }
    for (index_t c = 0; b->grad_bias && c < channels; c++)
        sums[c] = (adds ? sums[c] : 0) + (REAL)accumulated(accumulators + c);
}

/* The reverse: expand the packed panels of g_x's cells to `channels` planes of g_x. */
static void expand_gx_planes(const backward_t *b, plane_rows_t rows, index_t channels)
{
    const layout_t *l = b->in;
    REAL *plane = b->grad_x + rows.n * l->map_stride.n + rows.c * l->map_stride.c;
    const REAL *panels = b->gx_cells + rows.c * NR;
    index_t panel_stride = l->channels * NR;
#if defined(__AVX512F__)
    if (b->in_tiling.row_vectors > 0 && !b->desc->streaming) {
        narrow_rows_t narrow = {&b->in_tiling, channels,     rows.begin, rows.end,
                                rows.first_cell, panel_stride, NR};
        expand_narrow(&narrow, panels, plane);
        return;
    }
#endif
    if (b->in_tiling.small_rows > 0) {
        expand_small_gx_planes(b, rows, channels, plane);
        return;
    }
    for (index_t c = 0; c < channels; c++) {
        REAL cells[BLOCK_CELLS];
        index_t m = rows.first_cell;
        for (block_t block = before_row(rows.begin);
             next_block(&b->in_tiling, &block, rows.end); m += block_cells(&block)) {
            load_panels(panels + c * NR, panel_stride, m, block_cells(&block), cells);
            expand_block(&b->in_tiling, cells, &block, plane + c * l->map_stride.c,
                         b->desc->streaming);
        }
    }
}

/* Items are the chunk's planes of g, (images, channels), taken CHANNEL_BLOCK at a time. */
static void pack_g_nchw_body(const void *shared, index_t first, index_t last)
{
    const backward_t *b = shared;
    index_t channels = b->out->channels;
    for (index_t count; first < last; first += count) {
        plane_rows_t rows = plane_rows_of(b, channels, first);
        count = min_(min_(CHANNEL_BLOCK, channels - rows.c), last - first);
        pack_g_planes(b, rows, count);
    }
}

/* Items are the chunk's planes of g_x, taken CHANNEL_BLOCK at a time. */
static void expand_gx_nchw_body(const void *shared, index_t first, index_t last)
{
    const backward_t *b = shared;
    index_t channels = b->in->channels;
    for (index_t count; first < last; first += count) {
        plane_rows_t rows = plane_rows_of(b, channels, first);
        count = min_(min_(CHANNEL_BLOCK, channels - rows.c), last - first);
        expand_gx_planes(b, rows, count);
    }
}

/* Items are the chunk's patch rows: pool g to rows of channels, with sums of their own. */
static void pack_g_nhwc_body(const void *shared, index_t first, index_t last)
{
    const backward_t *b = shared;
    const layout_t *l = b->out;
    index_t down = l->rows.count, cell_stride = padded_row(l->channels);
    for (index_t row = b->first_row + first; row < b->first_row + last; row++)
        pool_patch_row(l, b->grad + row / down * l->map_stride.n, row % down,
                       (REAL)b->desc->scale,
                       b->g_cells + (row - b->first_row) * l->columns.count * cell_stride,
                       cell_stride, b->grad_bias ? b->gb_sums + row * l->channels : NULL);
}

/* Items are the chunk's patch rows: expand rows of channels to g_x. */
static void expand_gx_nhwc_body(const void *shared, index_t first, index_t last)
{
    const backward_t *b = shared;
    const layout_t *l = b->in;
    index_t down = l->rows.count, cell_stride = padded_row(l->channels);
    int streaming = b->desc->streaming && can_stream(l, b->grad_x);
    for (index_t row = b->first_row + first; row < b->first_row + last; row++)
        expand_patch_row(l, b->gx_cells + (row - b->first_row) * l->columns.count * cell_stride,
                         cell_stride, row % down, b->grad_x + row / down * l->map_stride.n,
                         streaming);
}

/* The loop that pools the chunk's g to g~. */
static inline loop_t pack_g_loop(const backward_t *b)
{
    if (b->desc->nhwc)
        return fine_grained_loop(pack_g_nhwc_body, b, b->last_row - b->first_row, b->threads);
    return fine_grained_loop(pack_g_nchw_body, b, chunk_images(b) * b->out->channels, b->threads);
}

/* The loop that expands the chunk's g_x; empty if g_x is not wanted. */
static inline loop_t expand_gx_loop(const backward_t *b)
{
    index_t items = 0;
    if (b->desc->nhwc) {
        if (b->grad_x)
            items = b->last_row - b->first_row;
        return fine_grained_loop(expand_gx_nhwc_body, b, items, b->threads);
    }
    if (b->grad_x)
        items = chunk_images(b) * b->in->channels;
    return fine_grained_loop(expand_gx_nchw_body, b, items, b->threads);
}

/* packing: x~, whose panels come from the forward ---------------------------------------------- */

/* Items of pad_x_tail_body: NR cells of the chunk each; none if every panel is NR channels wide. */
static index_t x_tail_items(const backward_t *b)
{
    return b->grad_w && group_inputs(b) % NR > 0 ? ceil_div(chunk_cells(b), NR) : 0;
}

/* Return x~'s panel `index` from the chunk's first cell on: (cells, *width channels), dense. */
static inline const REAL *x_panel(const backward_t *b, index_t index, index_t *width)
{
    index_t ci = group_inputs(b), panels = ceil_div(ci, NR), c0 = index % panels * NR;
    *width = min_(NR, ci - c0);
    return b->x_sum + (index / panels * ci + c0) * all_cells(b) +
           b->first_row * b->out->columns.count * *width;
}

/* Copy each group's last, narrower panel of x~ to x_tail, (cells, NR), zeros after its channels. */
static void pad_x_tail_body(const void *shared, index_t begin, index_t end)
{
    const backward_t *b = shared;
    index_t cells = chunk_cells(b), panels = ceil_div(group_inputs(b), NR);
    index_t last = min_(end * NR, cells), width;
    for (index_t group = 0; group < b->desc->groups; group++) {
        const REAL *x = x_panel(b, group * panels + panels - 1, &width);
        REAL *to = b->x_tail + group * cells * NR;
        for (index_t m = begin * NR; m < last; m++)
            for (index_t j = 0; j < NR; j++)
                to[m * NR + j] = j < width ? x[m * width + j] : 0;
    }
}

#endif
