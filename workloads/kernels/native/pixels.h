/* Maps whose channels are dense (NHWC): pooled to cells of a grid, and back, by vectors of channels. */

#ifndef GFBENCH_PIXELS_H
#define GFBENCH_PIXELS_H

#include "patches.h"

/* The pixels of a patch, from the first one on. */
typedef struct {
    index_t rows, columns;
} box_t;

/* Whether whole vectors may be streamed to maps: they have to be aligned, all of them. */
static inline int streamable(const layout_t *l, const REAL *map)
{
    return (size_t)map % sizeof(wide_t) == 0 && l->channels % WIDE == 0 &&
           l->map_image % WIDE == 0 && l->map_row % WIDE == 0 && l->map_column % WIDE == 0;
}

/* A few vectors of channels that lie side by side: their lines are read and written in the order of
 * addresses. */
enum { STRIP = 4 };
typedef struct {
    wide_t v[STRIP];
} strip_t;

/* sum = the sum over a box of pixels, of so many vectors, each of n channels. */
INLINE void add_box(const layout_t *l, const REAL *first, index_t rows, index_t columns,
                    index_t vectors, index_t n, strip_t *sum)
{
    for (index_t k = 0; k < vectors; k++)
        sum->v[k] = (wide_t){0};
    for (index_t h = 0; h < rows; h++)
        for (index_t w = 0; w < columns; w++)
            for (index_t k = 0; k < vectors; k++) {
                const REAL *from = first + h * l->map_row + w * l->map_column + k * WIDE;
                __builtin_prefetch(from + AHEAD); /* rows of a box are no pattern: see runs.h */
                sum->v[k] += take(from, n);
            }
}

INLINE void fill_box(const layout_t *l, REAL *first, index_t rows, index_t columns,
                     index_t vectors, index_t n, const strip_t *value, int streaming)
{
    for (index_t h = 0; h < rows; h++)
        for (index_t w = 0; w < columns; w++)
            for (index_t k = 0; k < vectors; k++)
                give(first + h * l->map_row + w * l->map_column + k * WIDE, value->v[k], n,
                     streaming);
}

/* does(first channel, vectors, channels of each, rows, columns) for all channels; the usual boxes are
 * constants, which are unrolled. */
#define EACH_STRIP(channels, does, high, wide)                    \
    do {                                                          \
        index_t c = 0;                                            \
        for (; c + STRIP * WIDE <= (channels); c += STRIP * WIDE) \
            does(c, STRIP, WIDE, high, wide);                     \
        for (; c + WIDE <= (channels); c += WIDE)                 \
            does(c, 1, WIDE, high, wide);                         \
        if (c < (channels))                                       \
            does(c, 1, (channels) - c, high, wide);               \
    } while (0)
#define EACH_STRIP_OF(box, channels, does)                        \
    do {                                                          \
        if ((box).rows == 2 && (box).columns == 2)                \
            EACH_STRIP(channels, does, 2, 2);                     \
        else if ((box).rows == 4 && (box).columns == 4)           \
            EACH_STRIP(channels, does, 4, 4);                     \
        else                                                      \
            EACH_STRIP(channels, does, (box).rows, (box).columns); \
    } while (0)

/* The box of patch (i, j); *at: where it begins in a map. */
static inline box_t box_of(const layout_t *l, index_t i, index_t j, index_t *at)
{
    index_t top = cut(&l->rows, i), left = cut(&l->columns, j);
    *at = top * l->map_row + left * l->map_column;
    return (box_t){cut(&l->rows, i + 1) - top, cut(&l->columns, j + 1) - left};
}

/* out = the sums, times `each`, over a box of some channels; sums, if not NULL: joined by the sums. */
static void pool_box(const layout_t *l, const REAL *pixel, box_t box, index_t channels, REAL each,
                     REAL *out, REAL *sums)
{
#define POOL_STRIP(at, vectors, some, high, wide)                                            \
    do {                                                                                     \
        strip_t sum;                                                                         \
        add_box(l, pixel + (at), high, wide, vectors, some, &sum);                           \
        for (index_t k = 0; k < (vectors); k++) {                                            \
            give(out + (at) + k * WIDE, sum.v[k] * each, some, 0);                           \
            if (sums)                                                                        \
                join(sums + (at) + k * WIDE, sum.v[k], some);                                \
        }                                                                                    \
    } while (0)
    EACH_STRIP_OF(box, channels, POOL_STRIP);
}

/* Row i of patches of a map to cells `apart`: their sums, or scaled means where scale is not 0. */
static void pool_row(const layout_t *l, const REAL *map, index_t i, REAL scale, REAL *cell,
                     index_t apart, REAL *sums)
{
    index_t first;
    if (sums)
        memset(sums, 0, (size_t)l->channels * sizeof(REAL));
    for (index_t j = 0; j < l->columns.number; j++, cell += apart) {
        box_t box = box_of(l, i, j, &first);
        REAL each = scale == 0 ? 1 : scale / (REAL)(box.rows * box.columns);
        pool_box(l, map + first, box, l->channels, each, cell, sums);
    }
}

/* The reverse. */
static void expand_row(const layout_t *l, const REAL *cell, index_t apart, index_t i, REAL *map,
                       int streaming)
{
    index_t first;
    for (index_t j = 0; j < l->columns.number; j++, cell += apart) {
        box_t box = box_of(l, i, j, &first);
        REAL *pixel = map + first;
#define EXPAND_STRIP(at, vectors, some, high, wide)                                          \
    do {                                                                                     \
        strip_t value;                                                                       \
        for (index_t k = 0; k < (vectors); k++)                                              \
            value.v[k] = take(cell + (at) + k * WIDE, some);                                 \
        fill_box(l, pixel + (at), high, wide, vectors, some, &value, streaming);             \
    } while (0)
        EACH_STRIP_OF(box, l->channels, EXPAND_STRIP);
    }
}

/* Each item is a row of patches: its sums are its own. */
static void pool_some_pixels(const void *shared, index_t first, index_t last)
{
    const pool_t *task = shared;
    const layout_t *l = task->l;
    index_t down = l->rows.number, across = l->columns.number;
    for (index_t item = first; item < last; item++) {
        index_t n = item / down, i = item % down;
        REAL *sums = task->sums ? task->sums + item * l->channels : NULL;
        pool_row(l, task->map + n * l->map_image, i, task->scale,
                 task->grid + n * l->grid_image + i * across * l->grid_cell, l->grid_cell, sums);
    }
}

static void expand_some_pixels(const void *shared, index_t first, index_t last)
{
    const expand_t *task = shared;
    const layout_t *l = task->l;
    index_t down = l->rows.number, across = l->columns.number;
    int streaming = task->streaming && streamable(l, task->map);
    for (index_t item = first; item < last; item++) {
        index_t n = item / down, i = item % down;
        expand_row(l, task->grid + n * l->grid_image + i * across * l->grid_cell, l->grid_cell, i,
                   task->map + n * l->map_image, streaming);
    }
}

/* Pool to panels of x~, as panels.h has them: each item is a row of patches. */
static void pool_some_pixel_panels(const void *shared, index_t first, index_t last)
{
    const pool_t *task = shared;
    const layout_t *l = task->l;
    index_t down = l->rows.number, across = l->columns.number, from;
    index_t ci = l->channels / task->groups, cells = task->images * down * across;
    for (index_t item = first; item < last; item++)
        for (index_t j = 0; j < across; j++) {
            box_t box = box_of(l, item % down, j, &from);
            const REAL *pixel = task->map + item / down * l->map_image + from;
            for (index_t c = 0, width; c < l->channels; c += width) { /* panel by panel */
                width = least(BROAD, ci - c % ci);
                pool_box(l, pixel + c, box, width, 1,
                         task->grid + c * cells + (item * across + j) * width, NULL);
            }
        }
}

#endif
