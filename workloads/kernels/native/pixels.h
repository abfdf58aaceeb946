/* Pooling and expanding of NHWC maps (channels dense): pixels to cells of the grid, and back.
 *
 *     for each patch row, for each patch:
 *       for each strip of channels:          4 vectors, or 1, in registers
 *         for each pixel of the patch:       add the strip's vectors, or write them
 *
 * Patches of 2 x 2 and 4 x 4 pixels, the usual ones, have loops of constant length.
 */

#ifndef GFB_PIXELS_H
#define GFB_PIXELS_H

#include "patches.h"

/* The size of a patch in pixels, after what lies outside of the map has been cut off. */
typedef struct {
    index_t rows, columns;
} extent_t;

/* Return the extent of patch (i, j); *offset: of its first pixel from the map's. */
static inline extent_t patch_extent(const layout_t *l, index_t i, index_t j, index_t *offset)
{
    index_t top = patch_begin(&l->rows, i), left = patch_begin(&l->columns, j);
    *offset = top * l->map_stride.h + left * l->map_stride.w;
    return (extent_t){patch_begin(&l->rows, i + 1) - top, patch_begin(&l->columns, j + 1) - left};
}

/* Whether maps can be written by streaming stores: whole vectors, all of them aligned. */
static inline int can_stream(const layout_t *l, const REAL *map)
{
    return (size_t)map % sizeof(vec_t) == 0 && l->channels % VLEN == 0 &&
           l->map_stride.n % VLEN == 0 && l->map_stride.h % VLEN == 0 &&
           l->map_stride.w % VLEN == 0;
}

/* A strip: up to 4 vectors of neighbouring channels of a pixel, or of a cell. Their cache lines are
 * read and written in ascending order. */
enum { STRIP = 4 };
typedef struct {
    vec_t v[STRIP];
} strip_t;

/* sum = the sum over pixels (rows, columns) of one strip, `vectors` vectors of n channels each. */
GFB_INLINE void sum_strip(const layout_t *l, const REAL *first, index_t rows, index_t columns,
                          index_t vectors, index_t n, strip_t *sum)
{
    for (index_t k = 0; k < vectors; k++)
        sum->v[k] = (vec_t){0};
    for (index_t h = 0; h < rows; h++)
        for (index_t w = 0; w < columns; w++)
            for (index_t k = 0; k < vectors; k++) {
                const REAL *from = first + h * l->map_stride.h + w * l->map_stride.w + k * VLEN;
                __builtin_prefetch(from + PREFETCH); /* for the reason given at sum_band_pairs */
                sum->v[k] += load_partial(from, n);
            }
}

/* The reverse: write one strip to each of the pixels (rows, columns). */
GFB_INLINE void fill_strip(const layout_t *l, REAL *first, index_t rows, index_t columns,
                           index_t vectors, index_t n, const strip_t *value, int streaming)
{
    for (index_t h = 0; h < rows; h++)
        for (index_t w = 0; w < columns; w++)
            for (index_t k = 0; k < vectors; k++)
                store_partial(first + h * l->map_stride.h + w * l->map_stride.w + k * VLEN,
                              value->v[k], n, streaming);
}

/* Call does(first channel, vectors, channels of each vector, rows, columns) for strips that make up
 * all channels. */
#define GFB_EACH_STRIP_OF(channels, does, rows, columns)          \
    do {                                                          \
        index_t c = 0;                                            \
        for (; c + STRIP * VLEN <= (channels); c += STRIP * VLEN) \
            does(c, STRIP, VLEN, rows, columns);                  \
        for (; c + VLEN <= (channels); c += VLEN)                 \
            does(c, 1, VLEN, rows, columns);                      \
        if (c < (channels))                                       \
            does(c, 1, (channels) - c, rows, columns);            \
    } while (0)

/* Do so with the rows and columns of an extent, as constants if they are usual ones. */
#define GFB_EACH_STRIP(extent, channels, does)                                    \
    do {                                                                          \
        if ((extent).rows == 2 && (extent).columns == 2)                          \
            GFB_EACH_STRIP_OF(channels, does, 2, 2);                              \
        else if ((extent).rows == 4 && (extent).columns == 4)                     \
            GFB_EACH_STRIP_OF(channels, does, 4, 4);                              \
        else                                                                      \
            GFB_EACH_STRIP_OF(channels, does, (extent).rows, (extent).columns);   \
    } while (0)

/* Pool one patch, whose first pixel is `pixel`: out[c] = the sum over it, times `scale`, for each
 * of some channels. Adds the sums to sums[c] unless that is NULL. */
static void pool_patch(const layout_t *l, const REAL *pixel, extent_t extent, index_t channels,
                       REAL scale, REAL *out, REAL *sums)
{
#define GFB_POOL_STRIP(at, vectors, some, high, wide)                                        \
    do {                                                                                     \
        strip_t sum;                                                                         \
        sum_strip(l, pixel + (at), high, wide, vectors, some, &sum);                         \
        for (index_t k = 0; k < (vectors); k++) {                                            \
            store_partial(out + (at) + k * VLEN, sum.v[k] * scale, some, 0);                 \
            if (sums)                                                                        \
                add_partial(sums + (at) + k * VLEN, sum.v[k], some);                         \
        }                                                                                    \
    } while (0)
    GFB_EACH_STRIP(extent, channels, GFB_POOL_STRIP);
}

/* Pool patch row i of a map (H, W, C) to cells (P_w, C), cell_stride apart: sums, or `scale` times
 * the means if it is not 0. sums, unless NULL: (C), those of the patch row. */
static void pool_patch_row(const layout_t *l, const REAL *map, index_t i, REAL scale, REAL *cell,
                           index_t cell_stride, REAL *sums)
{
    index_t offset;
    if (sums)
        memset(sums, 0, (size_t)l->channels * sizeof(REAL));
    for (index_t j = 0; j < l->columns.count; j++, cell += cell_stride) {
        extent_t extent = patch_extent(l, i, j, &offset);
        REAL each = scale == 0 ? 1 : scale / (REAL)(extent.rows * extent.columns);
        pool_patch(l, map + offset, extent, l->channels, each, cell, sums);
    }
}

/* Expand cells (P_w, C), cell_stride apart, each to all pixels of its patch in patch row i of a map
 * (H, W, C). */
static void expand_patch_row(const layout_t *l, const REAL *cell, index_t cell_stride, index_t i,
                             REAL *map, int streaming)
{
    index_t offset;
    for (index_t j = 0; j < l->columns.count; j++, cell += cell_stride) {
        extent_t extent = patch_extent(l, i, j, &offset);
        REAL *pixel = map + offset;
#define GFB_EXPAND_STRIP(at, vectors, some, high, wide)                                      \
    do {                                                                                     \
        strip_t value;                                                                       \
        for (index_t k = 0; k < (vectors); k++)                                              \
            value.v[k] = load_partial(cell + (at) + k * VLEN, some);                         \
        fill_strip(l, pixel + (at), high, wide, vectors, some, &value, streaming);           \
    } while (0)
        GFB_EACH_STRIP(extent, l->channels, GFB_EXPAND_STRIP);
    }
}

/* Pool maps (N, H, W, C) to a grid (N, P_h, P_w, C). Each item is a patch row of an image, with
 * sums of its own: (N, P_h, C). */
static void pool_nhwc_body(const void *shared, index_t first, index_t last)
{
    const pool_args_t *args = shared;
    const layout_t *l = args->l;
    index_t down = l->rows.count, across = l->columns.count;
    for (index_t item = first; item < last; item++) {
        index_t n = item / down, i = item % down;
        REAL *sums = args->sums ? args->sums + item * l->channels : NULL;
        pool_patch_row(l, args->map + n * l->map_stride.n, i, args->scale,
                       args->grid + n * l->grid_stride.n + i * across * l->grid_stride.cell,
                       l->grid_stride.cell, sums);
    }
}

/* Expand a grid (N, P_h, P_w, C) to maps (N, H, W, C). Each item is a patch row of an image. */
static void expand_nhwc_body(const void *shared, index_t first, index_t last)
{
    const expand_args_t *args = shared;
    const layout_t *l = args->l;
    index_t down = l->rows.count, across = l->columns.count;
    int streaming = args->streaming && can_stream(l, args->map);
    for (index_t item = first; item < last; item++) {
        index_t n = item / down, i = item % down;
        expand_patch_row(l, args->grid + n * l->grid_stride.n + i * across * l->grid_stride.cell,
                         l->grid_stride.cell, i, args->map + n * l->map_stride.n, streaming);
    }
}

/* Pool patch row i of a map (H, W, C) of fewer channels than a vector has, all of them dense, to cells
 * (P_w, C): sums. Adds up pixel rows first, in vectors across pixels. */
static void pool_few_channels(const layout_t *l, const REAL *map, index_t i, REAL *cells)
{
    index_t channels = l->channels, count = l->columns.count;
    index_t most = SCRATCH / (l->columns.length * channels); /* patches at a time */
    index_t top = patch_begin(&l->rows, i), rows = patch_begin(&l->rows, i + 1) - top;
    REAL sums[SCRATCH];
    for (index_t j = 0, end; j < count; j = end) {
        end = min_(j + most, count);
        index_t left = patch_begin(&l->columns, j);
        index_t columns = patch_begin(&l->columns, end) - left;
        const REAL *pixels = map + top * l->map_stride.h + left * channels;
        sum_bands(pixels, l->map_stride.h, rows, 1, sums, 0, columns * channels);
        for (; j < end; j++, cells += channels)
            for (index_t c = 0; c < channels; c++) {
                cells[c] = 0;
                for (index_t w = patch_begin(&l->columns, j); w < patch_begin(&l->columns, j + 1); w++)
                    cells[c] += sums[(w - left) * channels + c];
            }
    }
}

/* Whether pool_few_channels can do these maps: a pixel row is dense, and no patch is empty. */
static inline int are_few_channels(const layout_t *l)
{
    return l->channels < VLEN && l->map_stride.w == l->channels &&
           l->columns.length * l->channels <= SCRATCH && cover_exactly(&l->rows) &&
           cover_exactly(&l->columns);
}

/* Pool maps (N, H, W, C) to the packed panels of x~: (groups, panels, cells, NR), the last panel of
 * a group only as wide as it has channels. Each item is a patch row of an image. */
static void pack_x_sums_nhwc_body(const void *shared, index_t first, index_t last)
{
    const pool_args_t *args = shared;
    const layout_t *l = args->l;
    index_t down = l->rows.count, across = l->columns.count, offset;
    index_t ci = l->channels / args->groups, cells = args->images * down * across;
    int few_channels = args->groups == 1 && are_few_channels(l);
    for (index_t item = first; item < last; item++) {
        const REAL *map = args->map + item / down * l->map_stride.n;
        if (few_channels)
            pool_few_channels(l, map, item % down, args->grid + item * across * l->channels);
        for (index_t j = 0; !few_channels && j < across; j++) {
            extent_t extent = patch_extent(l, item % down, j, &offset);
            for (index_t c = 0, width; c < l->channels; c += width) { /* panel by panel */
                width = min_(NR, ci - c % ci);
                pool_patch(l, map + offset + c, extent, width, 1,
                           args->grid + c * cells + (item * across + j) * width, NULL);
            }
        }
    }
}

#endif
