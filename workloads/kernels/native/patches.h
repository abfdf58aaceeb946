/* Patches of maps whose columns are dense (NCHW): pooled to cells of a grid, and back. */

#ifndef GFBENCH_PATCHES_H
#define GFBENCH_PATCHES_H

#include "narrow.h"
#include "runs.h"
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

/* What a backward is of, whatever the tensors: as Python keeps it. */
typedef struct {
    layout_t out, in; /* of g and of g_x; grids are those of g~ and x~ unless in panels */
    index_t images, groups, taps;
    index_t slots; /* threads that do whole chunks of their own; 0: all do all rows together */
    index_t chunk; /* rows of patches that are done at a time */
    double scale;
    index_t streaming, pixels; /* pixels: channels are dense, not columns */
    index_t work; /* numbers of working memory, as filtered_work or depthwise_work tells */
} filter_t;

/* How all planes of a layout are walked: in blocks of `down` rows of patches and all columns, or
 * of `across` columns of one row. Rows of patches [whole, cut) are not cut. */
typedef struct {
    const layout_t *l;
    index_t down, across, whole, cut;
    int vectors; /* of a row of pixels, where narrow maps have a way of their own; else 0 */
} walk_t;

/* What is pooled or expanded. */
typedef struct {
    const layout_t *l;
    const REAL *map;
    REAL *grid, *sums;
    REAL scale;
    walk_t walk;
    index_t images, groups; /* of panels */
} pool_t;

typedef struct {
    const layout_t *l;
    const REAL *grid;
    REAL *map;
    int streaming;
    walk_t walk;
} expand_t;

/* A block of patches: rows [i0, i1) and columns [j0, j1) of a grid, all columns unless i1 = i0 + 1,
 * so that its cells follow each other. */
typedef struct {
    index_t i0, i1, j0, j1;
} block_t;

static inline index_t cut(const runs_t *runs, index_t i)
{
    index_t at = runs->start + i * runs->length;
    return at < 0 ? 0 : least(at, runs->stop);
}

static inline int exact(const runs_t *runs)
{
    return runs->start == 0 && runs->number == divided(runs->stop, runs->length);
}

static inline int vectors_of(const layout_t *l)
{
#if defined(__AVX512F__)
    index_t length = l->columns.length, vectors = divided(l->columns.stop, WIDE);
    if ((length == 2 || length == 4) && vectors <= NARROWEST && exact(&l->rows) &&
        exact(&l->columns))
        return (int)vectors;
#endif
    (void)l;
    return 0;
}

/* Blocks are of at most CELLS cells and TILE columns, or of one cell. */
static walk_t walk_of(const layout_t *l)
{
    index_t most = least(CELLS, TILE / l->columns.length), number = l->columns.number;
    const runs_t *rows = &l->rows;
    walk_t walk = {l, 1, number, 0, 0, vectors_of(l)};
    if (number <= most)
        walk.down = most / number;
    else
        walk.across = most > 0 ? most : 1;
    walk.whole = rows->start < 0 ? (rows->length - 1 - rows->start) / rows->length : 0;
    walk.cut = rows->stop > rows->start ? (rows->stop - rows->start) / rows->length : 0;
    return walk;
}

/* Before the first block of rows of patches from i on. */
static inline block_t before(index_t i) { return (block_t){i, i, 0, 0}; }

/* Step to the next block above row `end` of patches. */
static inline int next_block(const walk_t *walk, block_t *b, index_t end)
{
    index_t number = walk->l->columns.number;
    int same_row = b->j1 > 0 && b->j1 < number;
    b->i0 = same_row ? b->i0 : b->i1;
    b->j0 = same_row ? b->j1 : 0;
    b->i1 = least(b->i0 + walk->down, end);
    b->j1 = least(b->j0 + walk->across, number);
    return b->i0 < end;
}

static inline index_t cells_of(const block_t *b) { return (b->i1 - b->i0) * (b->j1 - b->j0); }

/* The rows of patches from i on that are alike: whole ones, or one that is cut. */
static inline index_t alike(const walk_t *walk, index_t i, index_t end)
{
    return i < walk->whole || i >= walk->cut ? 1 : least(walk->cut, end) - i;
}

/* Add the cells to the running sum and turn them, sums of patches `rows` high in `bands` rows, into
 * scaled means, if scale is not 0. */
static void average(const layout_t *l, REAL *cells, index_t bands, index_t rows, index_t j0,
                    index_t j1, REAL scale, running_t *running)
{
    const runs_t *columns = &l->columns;
    index_t across = j1 - j0, last = columns->stop - (columns->number - 1) * columns->length;
    REAL each = scale != 0 ? scale / (REAL)(rows * columns->length) : 0;
    add_and_scale(cells, bands * across, each, running);
    if (scale != 0 && j1 == columns->number && last < columns->length)
        for (index_t i = 0; i < bands; i++)
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

#if defined(__AVX512F__)
/* does(vectors of a row of pixels, how often pairs are added), as constants. */
#define EACH_WIDTH(walk, does)                                      \
    switch ((walk)->vectors * 2 + ((walk)->l->columns.length == 4)) { \
    case 2: does(1, 1); break;                                      \
    case 3: does(1, 2); break;                                      \
    case 4: does(2, 1); break;                                      \
    case 5: does(2, 2); break;                                      \
    case 6: does(3, 1); break;                                      \
    case 7: does(3, 2); break;                                      \
    case 8: does(4, 1); break;                                      \
    case 9: does(4, 2); break;                                      \
    }

/* Rows [begin, end) of patches of `channels` channels. A channel's cells lie from m on in a row of
 * panels, which are `panel` numbers apart, one channel's row `apart` numbers from the next one's;
 * if both are BROAD, or there is one channel, that is a plain row. */
typedef struct {
    const walk_t *walk;
    index_t channels, begin, end, m, panel, apart;
} bands_t;

INLINE index_t whole_bands(const bands_t *b)
{
    index_t end = least(b->walk->cut, b->end);
    return end > b->begin ? end - b->begin : 0;
}

INLINE index_t rows_left(const bands_t *b)
{
    const runs_t *rows = &b->walk->l->rows;
    return b->end > b->walk->cut ? rows->stop - b->walk->cut * rows->length : 0;
}

INLINE void pool_bands(const bands_t *b, const REAL *map, REAL scale, REAL *panels,
                       running_t *running, int vectors, int halvings)
{
    const layout_t *l = b->walk->l;
    index_t stop = l->columns.stop, number = l->columns.number, length = 1 << halvings;
    index_t whole = whole_bands(b), left = rows_left(b), rows = l->rows.length, row = l->map_row;
    wide_t last = spread(1); /* what the last vector is scaled by besides */
    if (scale != 0)
        last[(number - 1) % WIDE] = (REAL)length / (REAL)((stop - 1) % length + 1);
    wide_t each = spread(scale != 0 ? scale / (REAL)(rows * length) : 1);
    wide_t end = spread(scale != 0 && left > 0 ? scale / (REAL)(left * length) : 1);
    wide_t each_last = each * last, end_last = end * last;
    for (index_t c = 0; c < b->channels; c++, panels += b->apart) {
        const REAL *box = map + c * l->map_channel + b->begin * rows * row;
        index_t m = b->m;
        wide_t lanes = running[c].lanes;
        for (index_t band = 0; band < whole; band++, box += rows * row, m += number)
            if (rows == length)
                pool_vectors(box, row, length, stop, number, vectors, halvings, each, each_last,
                             panels, b->panel, m, &lanes);
            else
                pool_vectors(box, row, rows, stop, number, vectors, halvings, each, each_last,
                             panels, b->panel, m, &lanes);
        if (left > 0)
            pool_vectors(box, row, left, stop, number, vectors, halvings, end, end_last, panels,
                         b->panel, m, &lanes);
        running[c].lanes = lanes;
    }
}

static void pool_narrow(const bands_t *b, const REAL *map, REAL scale, REAL *panels,
                        running_t *running)
{
#define POOL(vectors, halvings) pool_bands(b, map, scale, panels, running, vectors, halvings)
    EACH_WIDTH(b->walk, POOL)
}

INLINE void expand_bands(const bands_t *b, const REAL *panels, REAL *map, int vectors,
                         int halvings)
{
    const layout_t *l = b->walk->l;
    index_t stop = l->columns.stop, number = l->columns.number, length = 1 << halvings;
    index_t whole = whole_bands(b), left = rows_left(b), rows = l->rows.length, row = l->map_row;
    for (index_t c = 0; c < b->channels; c++, panels += b->apart) {
        REAL *box = map + c * l->map_channel + b->begin * rows * row;
        index_t m = b->m;
        for (index_t band = 0; band < whole; band++, box += rows * row, m += number)
            if (rows == length)
                expand_vectors(panels, b->panel, m, number, stop, vectors, halvings, box, row,
                               length);
            else
                expand_vectors(panels, b->panel, m, number, stop, vectors, halvings, box, row,
                               rows);
        if (left > 0)
            expand_vectors(panels, b->panel, m, number, stop, vectors, halvings, box, row, left);
    }
}

/* The reverse. */
static void expand_narrow(const bands_t *b, const REAL *panels, REAL *map)
{
#define EXPAND(vectors, halvings) expand_bands(b, panels, map, vectors, halvings)
    EACH_WIDTH(b->walk, EXPAND)
}
#endif

/* Pool a block of one channel into cells, sums or scaled means; its pixels join the running sum. */
static void pool_block(const walk_t *walk, const REAL *plane, const block_t *b, REAL scale,
                       REAL *cells, running_t *running)
{
    const layout_t *l = walk->l;
    index_t length = l->columns.length, across = b->j1 - b->j0, wide = across * length;
    index_t left = cut(&l->columns, b->j0), columns = cut(&l->columns, b->j1) - left;
    index_t lead = columns > 0 ? left - (l->columns.start + b->j0 * length) : 0;
    REAL scratch[TILE];
    if (columns < wide && length <= TILE)
        memset(scratch, 0, (size_t)(wide * (b->i1 - b->i0)) * sizeof(REAL));
    for (index_t i = b->i0, bands; i < b->i1; i += bands) {
        bands = alike(walk, i, b->i1);
        index_t top = cut(&l->rows, i), rows = cut(&l->rows, i + bands) - top;
        index_t high = i < walk->whole || i >= walk->cut ? rows : l->rows.length;
        const REAL *box = plane + top * l->map_row + left;
        REAL *band = scratch + (i - b->i0) * wide, *row = cells + (i - b->i0) * across;
        if (length > TILE) {
            *row = sum_box(box, l->map_row, rows, columns); /* a block of one cell */
        } else if (columns == wide && rows > 0 && length % 2 == 0 && across * length / 2 >= WIDE) {
            REAL *half = length == 2 ? row : band;
            add_bands_pairs(box, l->map_row, high, bands, wide / 2, half);
            if (length > 2)
                reduce_runs(band, bands * across, length / 2, row);
        } else {
            if (columns > 0 && rows > 0)
                add_bands(box, l->map_row, high, bands, band + lead, wide, columns);
            else
                memset(band, 0, (size_t)wide * sizeof(REAL));
            reduce_runs(band, bands * across, length, row);
        }
        average(l, row, bands, high, b->j0, b->j1, scale, running);
    }
}

/* Write the values of a block's cells on all pixels of their patches, in one channel. */
static void expand_block(const walk_t *walk, const REAL *cells, const block_t *b, REAL *plane,
                         int streaming)
{
    const layout_t *l = walk->l;
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

/* The same for channels whose cells are rows CELLS apart. */
static void pool_blocks(const walk_t *walk, const REAL *map, index_t channels, const block_t *b,
                        REAL scale, REAL *cells, running_t *running)
{
#if defined(__AVX512F__)
    if (walk->vectors > 0) {
        bands_t bands = {walk, channels, b->i0, b->i1, 0, BROAD, CELLS};
        pool_narrow(&bands, map, scale, cells, running);
        return;
    }
#endif
    for (index_t c = 0; c < channels; c++)
        pool_block(walk, map + c * walk->l->map_channel, b, scale, cells + c * CELLS, running + c);
}

static void expand_blocks(const walk_t *walk, const REAL *cells, index_t channels, const block_t *b,
                          REAL *map, int streaming)
{
#if defined(__AVX512F__)
    if (walk->vectors > 0 && !streaming) {
        bands_t bands = {walk, channels, b->i0, b->i1, 0, BROAD, CELLS};
        expand_narrow(&bands, cells, map);
        return;
    }
#endif
    for (index_t c = 0; c < channels; c++)
        expand_block(walk, cells + c * CELLS, b, map + c * walk->l->map_channel, streaming);
}

#endif
