/* Pooling and expanding of NCHW maps (columns dense): pixels to cells of the patch grid, and back.
 *
 *     for each block of patches of a plane (one channel of one image):
 *       for each patch row:        add up its pixel rows, vector by vector     (sum_bands)
 *         for each patch:          add up its columns                          (sum_segments)
 *       sums to scaled means, and a running sum of all pixels for g_b
 *
 * and the reverse to expand: each cell's value on all pixels of its patch. A block's cells are
 * written dense, BLOCK_CELLS apart for each channel; the callers put them into a grid or into the
 * packed panels of a product.
 *
 * This file also has the structures that Python passes; their fields are mirrored there.
 */

#ifndef GFB_PATCHES_H
#define GFB_PATCHES_H

#include "narrow.h"
#include "runs.h"
#include "team.h"

/* Patches along one axis: patch i is [start + i length, start + (i + 1) length), cut to
 * [0, stop). `start` may be negative. */
typedef struct {
    index_t start, length, count, stop;
} patches_t;

/* Maps (N, C, H, W) and the grid of their patches (N, C, P_h, P_w); strides in elements. Cells of
 * a grid are evenly spaced, row-major. */
typedef struct {
    index_t channels;
    patches_t rows, columns;
    struct {
        index_t n, c, h, w;
    } map_stride;
    struct {
        index_t n, c, cell;
    } grid_stride;
} layout_t;

/* A backward but for its tensors; prepared once per geometry. */
typedef struct {
    layout_t out, in; /* of g and of g_x; a grid's strides are used of x~ only, by gfb_depthwise */
    index_t images, groups, taps;
    index_t accumulators; /* threads that work on chunks alone, each with an accumulator of g_w of
                           * its own; 0: all threads work on all rows together */
    index_t chunk_rows;   /* patch rows of a chunk, counted through all images */
    double scale;         /* 1 / s^2 */
    index_t streaming;    /* write g_x past the caches */
    index_t nhwc;         /* channels are dense; otherwise columns are */
    index_t workspace;    /* elements; see gfb_filtered_workspace and gfb_depthwise_workspace */
} backward_desc_t;

/* How every plane of a layout is cut into blocks: of `block_rows` patch rows and all columns, or of
 * one patch row and `block_columns` columns. */
typedef struct {
    const layout_t *l;
    index_t block_rows, block_columns;
    index_t first_full, end_full; /* patch rows [first_full, end_full) have their full height, the
                                   * others are cut off at the map's edge */
    int row_vectors;    /* vectors of a pixel row, if pool_narrow can do these maps; otherwise 0 */
    index_t small_rows; /* patch rows that pool_small does at a time, if it can do these maps;
                         * otherwise 0 */
} tiling_t;

/* What the loops that pool maps into a grid share. */
typedef struct {
    const layout_t *l;
    const REAL *map;
    REAL *grid;
    REAL *sums; /* of each map; NULL: not wanted */
    REAL scale; /* of the means; 0: sums */
    tiling_t tiling;
    index_t images, groups; /* of packed panels */
} pool_args_t;

/* What the loops that expand a grid to maps share. */
typedef struct {
    const layout_t *l;
    const REAL *grid;
    REAL *map;
    int streaming;
    tiling_t tiling;
} expand_args_t;

/* A block of patches: rows [i0, i1) and columns [j0, j1) of a grid; all columns unless
 * i1 = i0 + 1, so that the cells of a block follow each other. */
typedef struct {
    index_t i0, i1, j0, j1;
} block_t;

/* Return the first pixel of patch i along its axis, or `stop` after the last one. */
static inline index_t patch_begin(const patches_t *patches, index_t i)
{
    index_t at = patches->start + i * patches->length;
    return at < 0 ? 0 : min_(at, patches->stop);
}

/* Whether the patches start at pixel 0 and reach just to the axis' end. */
static inline int cover_exactly(const patches_t *patches)
{
    return patches->start == 0 && patches->count == ceil_div(patches->stop, patches->length);
}

/* Return the vectors of a pixel row where pool_narrow and expand_narrow can do these maps. */
static inline int narrow_row_vectors(const layout_t *l)
{
#if defined(__AVX512F__)
    index_t length = l->columns.length, vectors = ceil_div(l->columns.stop, VLEN);
    if ((length == 2 || length == 4) && vectors <= MAX_ROW_VECTORS && cover_exactly(&l->rows) &&
        cover_exactly(&l->columns))
        return (int)vectors;
#endif
    (void)l;
    return 0;
}

enum {
    SMALL_WIDTH = 2 * VLEN,            /* most pixels of a row of a small map */
    SMALL_PIXELS = 1024 / sizeof(REAL) /* pixels of a plane that are transposed at a time */
};

/* Return how many patch rows pool_small and expand_small do at a time: if rows are short, follow each
 * other in memory and lie in patches, all of them. Otherwise 0. */
static inline index_t small_patch_rows(const layout_t *l)
{
    index_t width = l->columns.stop, height = min_(l->rows.length, l->rows.stop);
    if (width <= SMALL_WIDTH && l->map_stride.h == width && cover_exactly(&l->rows) &&
        cover_exactly(&l->columns))
        return SMALL_PIXELS / (height * width);
    return 0;
}

/* Return blocks of at most BLOCK_CELLS cells and SCRATCH columns of pixels, or of one cell where
 * even a single patch is wider than that. */
static tiling_t tiling_of(const layout_t *l)
{
    index_t most = min_(BLOCK_CELLS, SCRATCH / l->columns.length), count = l->columns.count;
    const patches_t *rows = &l->rows;
    tiling_t tiling = {l, 1, count, 0, 0, narrow_row_vectors(l), 0};
    if (tiling.row_vectors == 0)
        tiling.small_rows = small_patch_rows(l);
    if (count <= most)
        tiling.block_rows = most / count;
    else
        tiling.block_columns = most > 0 ? most : 1;
    tiling.first_full = rows->start < 0 ? (rows->length - 1 - rows->start) / rows->length : 0;
    tiling.end_full = rows->stop > rows->start ? (rows->stop - rows->start) / rows->length : 0;
    return tiling;
}

/* Return the state from which next_block steps to the first block of patch rows from i on. */
static inline block_t before_row(index_t i) { return (block_t){i, i, 0, 0}; }

/* Step to the next block of patch rows before `end`; returns 0 if there is none. */
static inline int next_block(const tiling_t *tiling, block_t *b, index_t end)
{
    index_t count = tiling->l->columns.count;
    int same_row = b->j1 > 0 && b->j1 < count;
    b->i0 = same_row ? b->i0 : b->i1;
    b->j0 = same_row ? b->j1 : 0;
    b->i1 = min_(b->i0 + tiling->block_rows, end);
    b->j1 = min_(b->j0 + tiling->block_columns, count);
    return b->i0 < end;
}

static inline index_t block_cells(const block_t *b) { return (b->i1 - b->i0) * (b->j1 - b->j0); }

/* Return how many patch rows from i on, before `end`, can be done alike: all that have their full
 * height, or one that is cut off. */
static inline index_t uniform_rows(const tiling_t *tiling, index_t i, index_t end)
{
    return i < tiling->first_full || i >= tiling->end_full ? 1 : min_(tiling->end_full, end) - i;
}

/* Accumulate the sums over patches in cells (bands, j1 - j0), whose patches are `rows` pixels high,
 * and turn them into `scale` times the means; a scale of 0 leaves them. */
static void accumulate_and_average(const layout_t *l, REAL *cells, index_t bands, index_t rows,
                                   index_t j0, index_t j1, REAL scale, accumulator_t *accumulator)
{
    const patches_t *columns = &l->columns;
    index_t across = j1 - j0, last = columns->stop - (columns->count - 1) * columns->length;
    REAL each = scale != 0 ? scale / (REAL)(rows * columns->length) : 0;
    accumulate_and_scale(cells, bands * across, each, accumulator);
    if (scale != 0 && j1 == columns->count && last < columns->length)
        for (index_t i = 0; i < bands; i++) /* the last patch of a row has fewer columns */
            cells[(i + 1) * across - 1] *= (REAL)columns->length / (REAL)last;
}

/* Return the sum of pixels (rows, columns), row-major with a stride: a patch wider than a scratch
 * row. */
static REAL sum_wide_patch(const REAL *pixels, index_t stride, index_t rows, index_t columns)
{
    double sum = 0;
    for (index_t h = 0; h < rows; h++)
        sum += sum_row(pixels + h * stride, columns);
    return (REAL)sum;
}

/* narrow maps --------------------------------------------------------------------------------- */

#if defined(__AVX512F__)
/* Call `does` with (vectors of a pixel row, log2 of the patches' width) as constants. */
#define GFB_EACH_ROW_WIDTH(tiling, does)                                      \
    switch ((tiling)->row_vectors * 2 + ((tiling)->l->columns.length == 4)) { \
    case 2: does(1, 1); break;                                                \
    case 3: does(1, 2); break;                                                \
    case 4: does(2, 1); break;                                                \
    case 5: does(2, 2); break;                                                \
    case 6: does(3, 1); break;                                                \
    case 7: does(3, 2); break;                                                \
    case 8: does(4, 1); break;                                                \
    case 9: does(4, 2); break;                                                \
    }

/* Patch rows [begin, end) of `channels` channels, and where their cells lie in panels: cell m of
 * channel c at panels[c * channel_stride + m / NR * panel_stride + m % NR], the first one being
 * m = first_cell. With a panel_stride of NR that is a dense row of cells for each channel. */
typedef struct {
    const tiling_t *tiling;
    index_t channels, begin, end, first_cell, panel_stride, channel_stride;
} narrow_rows_t;

/* Return how many of the patch rows have their full height. */
GFB_INLINE index_t full_rows(const narrow_rows_t *r)
{
    index_t end = min_(r->tiling->end_full, r->end);
    return end > r->begin ? end - r->begin : 0;
}

/* Return the pixel rows of the last patch row if it is cut off, otherwise 0. */
GFB_INLINE index_t last_row_height(const narrow_rows_t *r)
{
    const patches_t *rows = &r->tiling->l->rows;
    return r->end > r->tiling->end_full ? rows->stop - r->tiling->end_full * rows->length : 0;
}

/* pool_narrow with two constants where this is inlined: vectors of a pixel row, and log2 of the
 * patches' width. */
GFB_INLINE void pool_narrow_of(const narrow_rows_t *r, const REAL *map, REAL scale, REAL *panels,
                               accumulator_t *accumulators, int vectors, int halvings)
{
    const layout_t *l = r->tiling->l;
    index_t width = l->columns.stop, patches = l->columns.count, length = 1 << halvings;
    index_t full = full_rows(r), last_height = last_row_height(r);
    index_t rows = l->rows.length, stride = l->map_stride.h;
    vec_t cut_column = broadcast(1); /* corrects the mean of a last patch with fewer columns */
    if (scale != 0)
        cut_column[(patches - 1) % VLEN] = (REAL)length / (REAL)((width - 1) % length + 1);
    vec_t each = broadcast(scale != 0 ? scale / (REAL)(rows * length) : 1);
    vec_t last =
        broadcast(scale != 0 && last_height > 0 ? scale / (REAL)(last_height * length) : 1);
    vec_t each_cut = each * cut_column, last_cut = last * cut_column;
    for (index_t c = 0; c < r->channels; c++, panels += r->channel_stride) {
        const REAL *pixels = map + c * l->map_stride.c + r->begin * rows * stride;
        index_t m = r->first_cell;
        vec_t lanes = accumulators[c].lanes;
        for (index_t i = 0; i < full; i++, pixels += rows * stride, m += patches)
            if (rows == length)
                pool_narrow_patch_row(pixels, stride, length, width, patches, vectors, halvings,
                                      each, each_cut, panels, r->panel_stride, m, &lanes);
            else
                pool_narrow_patch_row(pixels, stride, rows, width, patches, vectors, halvings,
                                      each, each_cut, panels, r->panel_stride, m, &lanes);
        if (last_height > 0)
            pool_narrow_patch_row(pixels, stride, last_height, width, patches, vectors, halvings,
                                  last, last_cut, panels, r->panel_stride, m, &lanes);
        accumulators[c].lanes = lanes;
    }
}

/* Pool patch rows of narrow maps into panels: sums, or `scale` times the means if it is not 0.
 * accumulators[c] takes the sum of channel c's pixels. `map` is the first channel's plane. */
static void pool_narrow(const narrow_rows_t *r, const REAL *map, REAL scale, REAL *panels,
                        accumulator_t *accumulators)
{
#define GFB_POOL(vectors, halvings) \
    pool_narrow_of(r, map, scale, panels, accumulators, vectors, halvings)
    GFB_EACH_ROW_WIDTH(r->tiling, GFB_POOL)
}

/* expand_narrow with constants, as pool_narrow_of. */
GFB_INLINE void expand_narrow_of(const narrow_rows_t *r, const REAL *panels, REAL *map,
                                 int vectors, int halvings)
{
    const layout_t *l = r->tiling->l;
    index_t width = l->columns.stop, patches = l->columns.count, length = 1 << halvings;
    index_t full = full_rows(r), last_height = last_row_height(r);
    index_t rows = l->rows.length, stride = l->map_stride.h;
    for (index_t c = 0; c < r->channels; c++, panels += r->channel_stride) {
        REAL *pixels = map + c * l->map_stride.c + r->begin * rows * stride;
        index_t m = r->first_cell;
        for (index_t i = 0; i < full; i++, pixels += rows * stride, m += patches)
            if (rows == length)
                expand_narrow_patch_row(panels, r->panel_stride, m, patches, width, vectors,
                                        halvings, pixels, stride, length);
            else
                expand_narrow_patch_row(panels, r->panel_stride, m, patches, width, vectors,
                                        halvings, pixels, stride, rows);
        if (last_height > 0)
            expand_narrow_patch_row(panels, r->panel_stride, m, patches, width, vectors, halvings,
                                    pixels, stride, last_height);
    }
}

/* The reverse of pool_narrow: each cell's value on all pixels of its patch. */
static void expand_narrow(const narrow_rows_t *r, const REAL *panels, REAL *map)
{
#define GFB_EXPAND(vectors, halvings) expand_narrow_of(r, panels, map, vectors, halvings)
    GFB_EACH_ROW_WIDTH(r->tiling, GFB_EXPAND)
}
#endif

/* maps of any width --------------------------------------------------------------------------- */

/* Pool a block of one plane into cells (i1 - i0, j1 - j0), dense: sums, or `scale` times the means
 * if it is not 0. The accumulator takes the sum of the block's pixels. */
static void pool_block(const tiling_t *tiling, const REAL *plane, const block_t *b, REAL scale,
                       REAL *cells, accumulator_t *accumulator)
{
    const layout_t *l = tiling->l;
    index_t length = l->columns.length, across = b->j1 - b->j0, wide = across * length;
    index_t left = patch_begin(&l->columns, b->j0);
    index_t columns = patch_begin(&l->columns, b->j1) - left;
    index_t lead = columns > 0 ? left - (l->columns.start + b->j0 * length) : 0;
    REAL scratch[SCRATCH]; /* (patch rows, wide): the pixel rows of each patch row, added up */
    if (columns < wide && length <= SCRATCH)
        memset(scratch, 0, (size_t)(wide * (b->i1 - b->i0)) * sizeof(REAL));
    for (index_t i = b->i0, bands; i < b->i1; i += bands) {
        bands = uniform_rows(tiling, i, b->i1);
        index_t top = patch_begin(&l->rows, i), rows = patch_begin(&l->rows, i + bands) - top;
        index_t high = i < tiling->first_full || i >= tiling->end_full ? rows : l->rows.length;
        const REAL *pixels = plane + top * l->map_stride.h + left;
        REAL *band = scratch + (i - b->i0) * wide, *row = cells + (i - b->i0) * across;
        if (length > SCRATCH) {
            *row = sum_wide_patch(pixels, l->map_stride.h, rows, columns); /* one cell */
        } else if (columns == wide && rows > 0 && length % 2 == 0 && across * length / 2 >= VLEN) {
            REAL *half = length == 2 ? row : band;
            sum_bands_pairs(pixels, l->map_stride.h, high, bands, wide / 2, half);
            if (length > 2)
                sum_scratch_segments(band, bands * across, length / 2, row);
        } else {
            if (columns > 0 && rows > 0)
                sum_bands(pixels, l->map_stride.h, high, bands, band + lead, wide, columns);
            else
                memset(band, 0, (size_t)wide * sizeof(REAL));
            sum_scratch_segments(band, bands * across, length, row);
        }
        accumulate_and_average(l, row, bands, high, b->j0, b->j1, scale, accumulator);
    }
}

/* Expand a block: cells (i1 - i0, j1 - j0), dense, each to all pixels of its patch in one plane. */
static void expand_block(const tiling_t *tiling, const REAL *cells, const block_t *b, REAL *plane,
                         int streaming)
{
    const layout_t *l = tiling->l;
    index_t length = l->columns.length, across = b->j1 - b->j0;
    index_t left = patch_begin(&l->columns, b->j0);
    index_t columns = patch_begin(&l->columns, b->j1) - left;
    index_t lead = left - (l->columns.start + b->j0 * length);
    REAL scratch[SCRATCH + FILL]; /* (patch rows, across * length): a pixel row of each patch row */
    if (columns < 1)
        return;
    if (length <= SCRATCH)
        fill_segments(cells, block_cells(b), length, scratch);
    for (index_t i = b->i0; i < b->i1; i++) {
        index_t top = patch_begin(&l->rows, i), rows = patch_begin(&l->rows, i + 1) - top;
        REAL *pixels = plane + top * l->map_stride.h + left;
        if (length <= SCRATCH)
            replicate_row(pixels, l->map_stride.h, rows,
                          scratch + (i - b->i0) * across * length + lead, columns, streaming);
        else
            for (index_t k = 0; k < rows * columns; k++)
                pixels[k / columns * l->map_stride.h + k % columns] = cells[i - b->i0];
    }
}

#endif
