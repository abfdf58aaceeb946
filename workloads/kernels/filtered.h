/* The whole backward of a filtered layer over planes, chunk of images by chunk of images.
 *
 * g is read once and pooled to panels (panel, C_o, BROAD cells); two products with w~ and x~
 * follow, whose operands lie in caches; g_x is written once. Each stage is one loop of the team.
 */

#ifndef GFBENCH_FILTERED_H
#define GFBENCH_FILTERED_H

#include "patches.h"
#include "products.h"

typedef struct {
    const layout_t *out, *in; /* of g and of g_x; their grids are panels here */
    index_t images, cells, groups, taps, chunk, threads;
    const REAL *grad, *x_sum, *window;   /* x~ (images, cells, C_i), w~ (C_o, C_i / groups) */
    REAL *grad_x, *grad_w, *grad_bias;   /* NULL: not wanted */
    REAL scale;
    int streaming;
    REAL *turned, *g, *v, *values, *sums; /* w~ in tiles, g~, g_x's values, g_w's, sums of maps */
    index_t pooled, pooling, expanding; /* images: chunk [pooled, pooling), after [expanding, pooled) */
} filtered_t;

static inline index_t inputs(const filtered_t *f) { return f->in->channels / f->groups; }
static inline index_t outputs(const filtered_t *f) { return f->out->channels / f->groups; }
static inline index_t lane_parts(const layout_t *l) { return divided(l->channels, LANES); }
static inline index_t chunk_panels(const filtered_t *f, index_t images)
{
    return divided(images * f->cells, BROAD);
}

/* A tile of the last group may take rows after g~'s last channel; what it makes of them is cut. */
static inline index_t panel_rows(const filtered_t *f) { return f->out->channels + TALL - 1; }

/* Divide the working memory, 64-byte aligned; returns the numbers that it takes. */
static index_t divide_work(filtered_t *f, REAL *work)
{
    index_t panels = chunk_panels(f, f->chunk);
    index_t turned = f->groups * divided(inputs(f), TALL) * outputs(f) * TALL;
    index_t sizes[] = {f->grad_x ? turned : 0, panels * panel_rows(f) * BROAD,
                       f->grad_x ? panels * f->in->channels * BROAD : 0,
                       f->grad_w ? f->out->channels * inputs(f) : 0,
                       f->grad_bias ? f->images * f->out->channels : 0};
    REAL **parts[] = {&f->turned, &f->g, &f->v, &f->values, &f->sums};
    index_t at = 0;
    for (int k = 0; k < 5; k++) {
        *parts[k] = work + at;
        at += divided(sizes[k], 16) * 16;
    }
    if (f->taps == 1)
        f->values = f->grad_w;
    return at;
}

/* panels: cell m of channel c is at (m / BROAD, c, m % BROAD) ----------------------------------- */

static void store_panels(const REAL *cells, index_t lanes, index_t n, REAL *panels, index_t rows,
                         index_t c0, index_t m)
{
    for (index_t done = 0, count; done < n; done += count) {
        index_t at = (m + done) % BROAD;
        REAL *to = panels + ((m + done) / BROAD * rows + c0) * BROAD + at;
        count = least(BROAD - at, n - done);
        add_columns(cells + done, CELLS, 1, lanes, to, BROAD, count);
    }
}

static void load_panels(const REAL *panels, index_t rows, index_t c0, index_t m, index_t lanes,
                        index_t n, REAL *cells)
{
    for (index_t done = 0, count; done < n; done += count) {
        index_t at = (m + done) % BROAD;
        const REAL *from = panels + ((m + done) / BROAD * rows + c0) * BROAD + at;
        count = least(BROAD - at, n - done);
        add_columns(from, BROAD, 1, lanes, cells + done, CELLS, count);
    }
}

static void pool_to_panels(const filtered_t *f, index_t item)
{
    const layout_t *l = f->out;
    index_t n = f->pooled + item / lane_parts(l), c0 = item % lane_parts(l) * LANES;
    index_t lanes = least(LANES, l->channels - c0), m = (n - f->pooled) * f->cells;
    const REAL *map = f->grad + n * l->map_image + c0 * l->map_channel;
    REAL cells[LANES * CELLS];
    double sums[LANES] = {0};
    for (block_t b = {0}; next_block(l, &b);) {
        for (index_t c = 0; c < lanes; c++)
            pool_block(l, map + c * l->map_channel, &b, f->scale, cells + c * CELLS,
                       f->grad_bias ? sums + c : NULL, c + 1 < lanes ? l->map_channel : 0);
        store_panels(cells, lanes, cells_of(&b), f->g, panel_rows(f), c0,
                     m + b.i0 * l->columns.number + b.j0);
    }
    for (index_t c = 0; f->grad_bias && c < lanes; c++)
        f->sums[n * l->channels + c0 + c] = (REAL)sums[c];
}

static void expand_from_panels(const filtered_t *f, index_t item)
{
    const layout_t *l = f->in;
    index_t n = f->expanding + item / lane_parts(l), c0 = item % lane_parts(l) * LANES;
    index_t lanes = least(LANES, l->channels - c0), m = (n - f->expanding) * f->cells;
    REAL *map = f->grad_x + n * l->map_image + c0 * l->map_channel;
    REAL cells[LANES * CELLS];
    for (block_t b = {0}; next_block(l, &b);) {
        load_panels(f->v, l->channels, c0, m + b.i0 * l->columns.number + b.j0, lanes,
                    cells_of(&b), cells);
        for (index_t c = 0; c < lanes; c++)
            expand_block(l, cells + c * CELLS, &b, map + c * l->map_channel, f->streaming);
    }
}

/* products ------------------------------------------------------------------------------------ */

static void turn_window(const filtered_t *f, index_t item)
{
    index_t ci = inputs(f), co = outputs(f), tiles = divided(ci, TALL);
    index_t group = item / tiles, first = item % tiles * TALL;
    pack_tall(f->window + group * co * ci + first, ci, co, ci - first,
              f->turned + item * co * TALL);
}

/* Tiles [first, last) of a group's channels of x, in one panel: g_x's values = w~^T g~. */
static void multiply_windows(const filtered_t *f, index_t panel, index_t group, index_t first,
                             index_t last)
{
    index_t ci = inputs(f), co = outputs(f), tiles = divided(ci, TALL);
    const REAL *g = f->g + (panel * panel_rows(f) + group * co) * BROAD;
    REAL *v = f->v + (panel * f->in->channels + group * ci) * BROAD;
    for (index_t t = first; t < last; t++) {
        tile_t tile = {{{{0}}}};
        multiply(f->turned + (group * tiles + t) * co * TALL, 1, TALL, g, co, &tile);
        put_tile(&tile, v + t * TALL * BROAD, BROAD, ci - t * TALL, BROAD, 0);
    }
}

/* Tiles [first, last) of a group's channels of y, BROAD channels of x: g_w's values = g~ x~^T. */
static void multiply_sums(const filtered_t *f, index_t broad, index_t group, index_t first,
                          index_t last)
{
    index_t ci = inputs(f), co = outputs(f), rows = panel_rows(f);
    index_t c0 = broad * BROAD, number = (f->pooling - f->pooled) * f->cells;
    const REAL *x = f->x_sum + f->pooled * f->cells * f->in->channels + group * ci + c0;
    REAL packed[DEEP * BROAD];
    for (index_t m0 = 0; m0 < number; m0 += DEEP) {
        index_t steps = least(DEEP, number - m0);
        pack_columns(x + m0 * f->in->channels, f->in->channels, steps, ci - c0, packed);
        for (index_t t = first; t < last; t++) {
            const REAL *g = f->g + (m0 / BROAD * rows + group * co + t * TALL) * BROAD;
            tile_t tile = {{{{0}}}};
            for (index_t m = 0; m < steps; m += BROAD, g += rows * BROAD)
                multiply(g, BROAD, 1, packed + m * BROAD, least(BROAD, steps - m), &tile);
            put_tile(&tile, f->values + (group * co + t * TALL) * ci + c0, ci, co - t * TALL,
                     ci - c0, f->pooled + m0 > 0);
        }
    }
}

/* stages -------------------------------------------------------------------------------------- */

/* Items of a loop are cut so that there are some for each thread. */
static index_t parts_of(const filtered_t *f, index_t items, index_t tiles)
{
    index_t parts = divided(4 * f->threads, items);
    return least(parts, tiles);
}

static inline index_t expansions(const filtered_t *f)
{
    return f->grad_x ? (f->pooled - f->expanding) * lane_parts(f->in) : 0;
}

static inline index_t turnings(const filtered_t *f)
{
    return f->grad_x && f->pooled == 0 ? f->groups * divided(inputs(f), TALL) : 0;
}

static void move_some(const job_t *job, index_t first, index_t last)
{
    const filtered_t *f = job->task;
    index_t before = expansions(f), turned = before + turnings(f);
    for (index_t item = first; item < last; item++)
        if (item < before)
            expand_from_panels(f, item);
        else if (item < turned)
            turn_window(f, item - before);
        else
            pool_to_panels(f, item - turned);
}

static void multiply_some(const job_t *job, index_t first, index_t last)
{
    const filtered_t *f = job->task;
    index_t panels = chunk_panels(f, f->pooling - f->pooled) * f->groups;
    index_t tiles = divided(inputs(f), TALL), parts = parts_of(f, panels, tiles);
    index_t broad = divided(inputs(f), BROAD) * f->groups;
    index_t downs = divided(outputs(f), TALL), cuts = parts_of(f, broad, downs);
    index_t windows = f->grad_x ? panels * parts : 0;
    for (index_t item = first; item < last; item++) {
        index_t k = item < windows ? item : item - windows;
        if (item < windows)
            multiply_windows(f, k / parts / f->groups, k / parts % f->groups,
                             k % parts * tiles / parts, (k % parts + 1) * tiles / parts);
        else
            multiply_sums(f, k / cuts / f->groups, k / cuts % f->groups, k % cuts * downs / cuts,
                          (k % cuts + 1) * downs / cuts);
    }
}

static index_t multiplications(const filtered_t *f)
{
    index_t panels = chunk_panels(f, f->pooling - f->pooled) * f->groups;
    index_t broad = divided(inputs(f), BROAD) * f->groups;
    return (f->grad_x ? panels * parts_of(f, panels, divided(inputs(f), TALL)) : 0) +
           (f->grad_w ? broad * parts_of(f, broad, divided(outputs(f), TALL)) : 0);
}

static void add_sums(const filtered_t *f)
{
    index_t channels = f->out->channels;
    for (index_t c = 0; c < channels; c++) {
        double sum = 0;
        for (index_t n = 0; n < f->images; n++)
            sum += f->sums[n * channels + c];
        f->grad_bias[c] = (REAL)sum;
    }
}

#endif
