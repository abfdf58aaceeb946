/* Maps whose channels are dense (NHWC): pooled to cells of a grid, and back, by vectors of channels. */

#ifndef GFBENCH_PIXELS_H
#define GFBENCH_PIXELS_H

#include "patches.h"

/* The pixels of a patch, from the first one on. */
typedef struct {
    index_t rows, columns;
} box_t;

/* n <= WIDE channels of a pixel, zeros after them. */
INLINE wide_t take(const REAL *from, index_t n)
{
    wide_t value = {0};
    if (n == WIDE)
        return *(const wide_t *)from;
    for (index_t c = 0; c < n; c++)
        value[c] = from[c];
    return value;
}

INLINE void give(REAL *to, wide_t value, index_t n, int streaming)
{
#if defined(__SSE2__)
    if (streaming) {
        stream_wide(to, &value);
        return;
    }
#endif
    if (n == WIDE)
        *(wide_t *)to = value;
    else
        for (index_t c = 0; c < n; c++)
            to[c] = value[c];
}

INLINE void join(REAL *to, wide_t value, index_t n) { give(to, take(to, n) + value, n, 0); }

/* Whether whole vectors may be streamed to maps: they have to be aligned, all of them. */
static inline int streamable(const layout_t *l, const REAL *map)
{
    return (size_t)map % sizeof(wide_t) == 0 && l->channels % WIDE == 0 &&
           l->map_image % WIDE == 0 && l->map_row % WIDE == 0 && l->map_column % WIDE == 0;
}

/* The sum over a box of n channels of its pixels. */
INLINE wide_t box_sum(const layout_t *l, const REAL *first, index_t rows, index_t columns, index_t n)
{
    wide_t sum = {0};
    for (index_t h = 0; h < rows; h++)
        for (index_t w = 0; w < columns; w++)
            sum += take(first + h * l->map_row + w * l->map_column, n);
    return sum;
}

INLINE void fill_box(const layout_t *l, REAL *first, index_t rows, index_t columns, index_t n,
                     wide_t value, int streaming)
{
    for (index_t h = 0; h < rows; h++)
        for (index_t w = 0; w < columns; w++)
            give(first + h * l->map_row + w * l->map_column, value, n, streaming);
}

/* does(first channel, how many, rows, columns) for all channels by vectors; the usual boxes are
 * constants, which are unrolled. */
#define EACH_VECTOR(channels, does, high, wide)                   \
    do {                                                          \
        index_t c = 0;                                            \
        for (; c + WIDE <= (channels); c += WIDE)                 \
            does(c, WIDE, high, wide);                            \
        if (c < (channels))                                       \
            does(c, (channels) - c, high, wide);                  \
    } while (0)
#define EACH_VECTOR_OF(box, channels, does)                       \
    do {                                                          \
        if ((box).rows == 2 && (box).columns == 2)                \
            EACH_VECTOR(channels, does, 2, 2);                    \
        else if ((box).rows == 4 && (box).columns == 4)           \
            EACH_VECTOR(channels, does, 4, 4);                    \
        else                                                      \
            EACH_VECTOR(channels, does, (box).rows, (box).columns); \
    } while (0)

/* The box of patch (i, j); *at: where it begins in a map. */
static inline box_t box_of(const layout_t *l, index_t i, index_t j, index_t *at)
{
    index_t top = cut(&l->rows, i), left = cut(&l->columns, j);
    *at = top * l->map_row + left * l->map_column;
    return (box_t){cut(&l->rows, i + 1) - top, cut(&l->columns, j + 1) - left};
}

/* Each item is a row of patches: its sums are its own. */
static void pool_some_pixels(const void *shared, index_t first, index_t last)
{
    const pool_t *task = shared;
    const layout_t *l = task->l;
    index_t down = l->rows.number, across = l->columns.number, channels = l->channels, first_pixel;
    for (index_t item = first; item < last; item++) {
        index_t n = item / down, i = item % down;
        const REAL *map = task->map + n * l->map_image;
        REAL *cell = task->grid + n * l->grid_image + i * across * l->grid_cell;
        REAL *sums = task->sums ? task->sums + item * channels : NULL;
        if (sums)
            memset(sums, 0, (size_t)channels * sizeof(REAL));
        for (index_t j = 0; j < across; j++, cell += l->grid_cell) {
            box_t box = box_of(l, i, j, &first_pixel);
            const REAL *pixel = map + first_pixel;
            REAL each = task->scale == 0 ? 1 : task->scale / (REAL)(box.rows * box.columns);
#define POOL_VECTOR(at, some, high, wide)                                                    \
    do {                                                                                     \
        wide_t sum = box_sum(l, pixel + (at), high, wide, some);                             \
        give(cell + (at), sum * each, some, 0);                                              \
        if (sums)                                                                            \
            join(sums + (at), sum, some);                                                    \
    } while (0)
            EACH_VECTOR_OF(box, channels, POOL_VECTOR);
        }
    }
}

static void expand_some_pixels(const void *shared, index_t first, index_t last)
{
    const expand_t *task = shared;
    const layout_t *l = task->l;
    index_t down = l->rows.number, across = l->columns.number, first_pixel;
    int streaming = task->streaming && streamable(l, task->map);
    for (index_t item = first; item < last; item++) {
        index_t n = item / down, i = item % down;
        const REAL *cell = task->grid + n * l->grid_image + i * across * l->grid_cell;
        for (index_t j = 0; j < across; j++, cell += l->grid_cell) {
            box_t box = box_of(l, i, j, &first_pixel);
            REAL *pixel = task->map + n * l->map_image + first_pixel;
#define EXPAND_VECTOR(at, some, high, wide) \
    fill_box(l, pixel + (at), high, wide, some, take(cell + (at), some), streaming)
            EACH_VECTOR_OF(box, l->channels, EXPAND_VECTOR);
        }
    }
}

#endif
