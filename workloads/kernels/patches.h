/* Patches of maps whose columns are dense (NCHW): pooled to cells of a grid, and back. */

#ifndef GFBENCH_PATCHES_H
#define GFBENCH_PATCHES_H

#include "rows.h"
#include "team.h"

/* Run i along an axis is [start + i length, start + (i + 1) length), cut to [0, stop). */
typedef struct {
    index_t start, length, number, stop;
} runs_t;

/* Maps (images, channels, height, width) and their grid of patches; strides in elements. */
typedef struct {
    index_t channels;
    runs_t rows, columns;
    index_t map_image, map_channel, map_row, map_column;
    index_t grid_image, grid_channel, grid_cell; /* cells of a grid are evenly spaced, row-major */
} layout_t;

static inline index_t cut(const runs_t *runs, index_t i)
{
    index_t at = runs->start + i * runs->length;
    return at < 0 ? 0 : least(at, runs->stop);
}

/* A block of patches: rows [i0, i1) and columns [j0, j1) of a grid, all columns unless i1 = i0 + 1,
 * so that its cells follow each other. */
typedef struct {
    index_t i0, i1, j0, j1;
} block_t;

/* Step to the next block of at most CELLS cells and TILE columns, or one cell; the first is the
 * one after {0}. */
static int next_block(const layout_t *l, block_t *b)
{
    index_t across = l->columns.number, most = least(CELLS, TILE / l->columns.length);
    int same_row = b->j1 > 0 && b->j1 < across;
    b->i0 = same_row ? b->i0 : b->i1;
    b->j0 = same_row ? b->j1 : 0;
    b->i1 = b->i0 + (across < most ? most / across : 1);
    b->i1 = least(b->i1, l->rows.number);
    b->j1 = least(across, b->j0 + (most > 0 ? most : 1));
    return b->i0 < l->rows.number;
}

static inline index_t cells_of(const block_t *b) { return (b->i1 - b->i0) * (b->j1 - b->j0); }

/* Turn the sums of `bands` rows of cells, of patches `rows` high, into scaled means. */
static void average(const layout_t *l, REAL *cells, index_t bands, index_t rows, index_t j0,
                    index_t j1, REAL scale)
{
    const runs_t *columns = &l->columns;
    REAL each = scale / (REAL)(rows * columns->length);
    index_t across = j1 - j0, last = columns->stop - (columns->number - 1) * columns->length;
    for (index_t j = 0; j < bands * across; j++)
        cells[j] *= each;
    for (index_t i = 0; j1 == columns->number && last < columns->length && i < bands; i++)
        cells[(i + 1) * across - 1] *= (REAL)columns->length / (REAL)last;
}

/* Sum a box one number after the other: for a patch that is longer than a scratch row. */
static REAL sum_box(const REAL *src, index_t stride, index_t rows, index_t columns)
{
    double sum = 0;
    for (index_t h = 0; h < rows; h++)
        sum += total(src + h * stride, columns);
    return (REAL)sum;
}

static inline void fetch(const REAL *row, index_t n)
{
    for (index_t i = 0; i < n; i += 64 / (index_t)sizeof(REAL))
        __builtin_prefetch(row + i);
}

/* The rows of patches from i that are whole, or 1, the next being cut. */
static index_t whole_bands(const layout_t *l, index_t i, index_t end)
{
    index_t length = l->rows.length, from = l->rows.start + i * length;
    index_t number = from < 0 ? 0 : (l->rows.stop - from) / length;
    return number < 1 ? 1 : least(number, end - i);
}

/* Pool a block of one channel into cells and add the sum of its pixels to `sum`, if not NULL.
 * `ahead` is how far on the plane lies that is wanted next: its rows are fetched, as no
 * prefetcher of a processor guesses such a jump. */
static void pool_block(const layout_t *l, const REAL *plane, const block_t *b, REAL scale,
                       REAL *cells, double *sum, index_t ahead)
{
    index_t length = l->columns.length, across = b->j1 - b->j0, wide = across * length;
    index_t left = cut(&l->columns, b->j0), columns = cut(&l->columns, b->j1) - left;
    index_t lead = columns > 0 ? left - (l->columns.start + b->j0 * length) : 0;
    REAL scratch[TILE];
    if (columns < wide && length <= TILE)
        memset(scratch, 0, (size_t)(wide * (b->i1 - b->i0)) * sizeof(REAL));
    for (index_t i = b->i0, bands; i < b->i1; i += bands) {
        bands = whole_bands(l, i, b->i1);
        index_t top = cut(&l->rows, i), rows = cut(&l->rows, i + bands) - top;
        const REAL *box = plane + top * l->map_row + left;
        REAL *band = scratch + (i - b->i0) * wide;
        for (index_t row = 0; ahead && row < rows; row++)
            fetch(box + ahead + row * l->map_row, columns);
        if (length > TILE)
            cells[i - b->i0] = sum_box(box, l->map_row, rows, columns); /* bands of one cell */
        else if (columns > 0 && rows > 0)
            add_bands(box, l->map_row, rows / bands, bands, band + lead, wide, columns);
        else
            memset(band, 0, (size_t)wide * sizeof(REAL));
    }
    if (length <= TILE)
        reduce_runs(scratch, cells_of(b), length, cells);
    if (sum)
        *sum += total(cells, cells_of(b));
    for (index_t i = b->i0, bands; scale != 0 && i < b->i1; i += bands) {
        bands = whole_bands(l, i, b->i1);
        index_t rows = (cut(&l->rows, i + bands) - cut(&l->rows, i)) / bands;
        average(l, cells + (i - b->i0) * across, bands, rows, b->j0, b->j1, scale);
    }
}

/* Write the values of a block's cells on all pixels of their patches, in one channel. */
static void expand_block(const layout_t *l, const REAL *cells, const block_t *b, REAL *plane,
                         int streaming)
{
    index_t length = l->columns.length, across = b->j1 - b->j0;
    index_t left = cut(&l->columns, b->j0), columns = cut(&l->columns, b->j1) - left;
    index_t lead = left - (l->columns.start + b->j0 * length);
    REAL scratch[TILE + LANES];
    if (columns < 1)
        return;
    if (length <= TILE)
        fill_runs(cells, cells_of(b), length, scratch);
    for (index_t i = b->i0; i < b->i1; i++) {
        index_t top = cut(&l->rows, i), rows = cut(&l->rows, i + 1) - top;
        REAL *box = plane + top * l->map_row + left;
        if (length <= TILE)
            put_rows(box, l->map_row, rows, scratch + (i - b->i0) * across * length + lead, columns,
                     streaming);
        else
            for (index_t k = 0; k < rows * columns; k++)
                box[k / columns * l->map_row + k % columns] = cells[i - b->i0];
    }
}

#endif
