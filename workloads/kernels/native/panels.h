/* The whole backward of a filtered layer.
 *
 * g is read once and pooled to panels (panel, C_o, BROAD cells); two products with w~ and x~
 * follow, whose operands lie in caches; g_x is written once. Threads do chunks of rows of patches
 * alone, each with a g_w of its own, or all rows together, stage by stage. Rows of patches are
 * numbered through all images.
 *
 * x~ is in panels of BROAD channels, the last one of a group as narrow as it needs to be:
 * (panel, cell, channel), cells of all images.
 *
 * Where channels are dense, g~ and g_x's values are rows of channels, a row per cell: no panels.
 */

#ifndef GFBENCH_FILTERED_H
#define GFBENCH_FILTERED_H

#include "patches.h"
#include "pixels.h"
#include "microkernel.h"
#include "windows.h"

typedef struct {
    const filter_t *of;
    const layout_t *out, *in;
    index_t threads;
    const REAL *grad, *x_sum, *window; /* x~ in panels, w~ in tiles, for pixels in wide ones */
    REAL *grad_x, *grad_w, *grad_bias; /* NULL: not wanted */
    walk_t out_walk, in_walk;
    REAL *g, *x, *v, *values, *sums; /* panels of g~, narrow ones of x~, of g_x's values; g_w's
                                        values; sums of the maps of g, or of its rows of patches */
    index_t slot_size;   /* numbers from one slot's panels and values of g_w to the next one's */
    int fresh;           /* nothing has been added to g_w's values yet */
    index_t first, last; /* rows of the chunk */
} filtered_t;

static inline index_t inputs(const filtered_t *f) { return f->in->channels / f->of->groups; }
static inline index_t outputs(const filtered_t *f) { return f->out->channels / f->of->groups; }
static inline index_t broads(const filtered_t *f)
{
    return f->of->groups * divided(inputs(f), BROAD);
}

static inline index_t chunk_cells(const filtered_t *f)
{
    return (f->last - f->first) * f->out->columns.number;
}

static inline index_t all_cells(const filtered_t *f)
{
    return f->of->images * f->out->rows.number * f->out->columns.number;
}

static inline index_t slots_of(const filtered_t *f) { return f->of->slots > 0 ? f->of->slots : 1; }

/* A tile of the last group may take rows after g~'s last channel; what it makes of them is cut. */
static inline index_t panel_rows(const filtered_t *f) { return f->out->channels + TALL - 1; }

/* The numbers from one cell's row of channels to the next one's: an odd number of vectors, so that
 * columns of rows do not all fall into the same few places of a cache. */
static inline index_t row_of(index_t channels) { return (divided(channels, WIDE) | 1) * WIDE; }

/* How many rows of sums there are. */
static inline index_t summed(const filtered_t *f)
{
    return f->of->images * (f->of->pixels ? f->out->rows.number : slots_of(f));
}

enum {
    PARTS = 5, /* of the working memory: sums, g~, x~, g_x's values, g_w's values */
#if defined(GFB_DEBUG)
    APART = 64 /* numbers after each part that nothing may touch */
#else
    APART = 0
#endif
};

/* The numbers of each part; each slot has its own of all but the first. */
static inline void part_sizes(const filtered_t *f, index_t *sizes)
{
    index_t cells = f->of->chunk * f->out->columns.number, wide = divided(cells, BROAD) * BROAD;
    index_t co = f->out->channels, ci = f->in->channels;
    int narrow = f->grad_w && inputs(f) % BROAD > 0, own = f->grad_w && f->of->slots > 0;
    sizes[0] = f->grad_bias ? summed(f) * co : 0;
    sizes[1] = f->of->pixels ? (cells + TALL) * row_of(co) : wide * panel_rows(f);
    sizes[2] = narrow ? cells * f->of->groups * BROAD : 0;
    sizes[3] = !f->grad_x ? 0 : f->of->pixels ? cells * row_of(ci) : wide * ci;
    sizes[4] = own ? co * inputs(f) : 0;
}

static inline index_t room_of(index_t size) { return divided(size, 16) * 16 + APART; }

/* Divide the working memory, 64-byte aligned, if there is any; returns the numbers that it takes. */
static index_t divide_work(filtered_t *f, REAL *work)
{
    REAL **parts[PARTS] = {&f->sums, &f->g, &f->x, &f->v, &f->values};
    index_t sizes[PARTS], at = 0;
    part_sizes(f, sizes);
    for (int k = 0; k < PARTS; k++) {
        *parts[k] = work ? work + at : NULL;
        at += room_of(sizes[k]);
    }
    f->slot_size = at - room_of(sizes[0]);
    return room_of(sizes[0]) + f->slot_size * slots_of(f);
}

#if defined(GFB_DEBUG)
/* Whether nothing was written between the parts since they were marked, which is done first. */
static int are_apart(const filtered_t *f, int mark)
{
    REAL *parts[PARTS] = {f->sums, f->g, f->x, f->v, f->values};
    index_t sizes[PARTS];
    part_sizes(f, sizes);
    for (int k = 0; k < PARTS; k++)
        for (index_t slot = 0; slot < (k > 0 ? slots_of(f) : 1); slot++) {
            unsigned char *gap = (unsigned char *)(parts[k] + slot * f->slot_size + sizes[k]);
            size_t size = (size_t)(room_of(sizes[k]) - sizes[k]) * sizeof(REAL);
            for (size_t i = 0; i < size; i++)
                if (mark)
                    gap[i] = 0xff; /* NaN, so that what is read shows as well */
                else if (gap[i] != 0xff)
                    return 0;
        }
    return 1;
}
#endif

/* panels: cell m of channel c is at (m / BROAD, c, m % BROAD) ---------------------------------- */

static void store_panels(const REAL *cells, index_t n, REAL *panels, index_t stride, index_t m)
{
    index_t at = m % BROAD;
    panels += m / BROAD * stride;
    for (index_t count; n > 0; n -= count, cells += count, panels += stride, at = 0) {
        count = least(BROAD - at, n);
        copy_piece(panels + at, cells, count);
    }
}

static void load_panels(const REAL *panels, index_t stride, index_t m, index_t n, REAL *cells)
{
    index_t at = m % BROAD;
    panels += m / BROAD * stride;
    for (index_t count; n > 0; n -= count, cells += count, panels += stride, at = 0) {
        count = least(BROAD - at, n);
        copy_piece(cells, panels + at, count);
    }
}

/* Part `item` of a chunk: its rows of one image in one channel. */
typedef struct {
    index_t n, c, begin, end, cell; /* image, channel, its rows of patches, the first's cell */
} part_t;

/* The parts of a chunk in one channel. */
static inline index_t images_of(const filtered_t *f)
{
    index_t down = f->out->rows.number;
    return f->last > f->first ? (f->last - 1) / down - f->first / down + 1 : 0;
}

static inline part_t part_of(const filtered_t *f, index_t channels, index_t item)
{
    index_t down = f->out->rows.number, n = f->first / down + item / channels;
    index_t begin = f->first - n * down > 0 ? f->first - n * down : 0;
    part_t part = {n, item % channels, begin, least(f->last - n * down, down),
                   (n * down + begin - f->first) * f->out->columns.number};
    return part;
}

/* Pool rows of the planes of some channels, one after the other, as memory is read fastest. */
static void pool_planes_to_panels(const filtered_t *f, part_t part, index_t channels)
{
    const layout_t *l = f->out;
    const REAL *plane = f->grad + part.n * l->map_image + part.c * l->map_channel;
    REAL *panels = f->g + part.c * BROAD, scale = (REAL)f->of->scale;
    index_t panel = panel_rows(f) * BROAD;
    REAL *sums = f->sums + part.n * l->channels + part.c;
    int adds = part.begin > 0 || f->of->slots > 0; /* to what this thread has summed of them */
    running_t running[LANES] = {{{0}, 0}};
#if defined(__AVX512F__)
    if (f->out_walk.vectors > 0) {
        bands_t bands = {&f->out_walk, channels, part.begin, part.end, part.cell, panel, BROAD};
        pool_narrow(&bands, plane, scale, panels, running);
        part.begin = part.end;
    }
#endif
    for (index_t c = 0; part.begin < part.end && c < channels; c++) {
        REAL cells[CELLS];
        index_t m = part.cell;
        for (block_t b = before(part.begin); next_block(&f->out_walk, &b, part.end);
             m += cells_of(&b)) {
            pool_block(&f->out_walk, plane + c * l->map_channel, &b, scale, cells, running + c);
            store_panels(cells, cells_of(&b), panels + c * BROAD, panel, m);
        }
    }
    for (index_t c = 0; f->grad_bias && c < channels; c++)
        sums[c] = (adds ? sums[c] : 0) + (REAL)ended(running + c);
}

static void expand_planes_from_panels(const filtered_t *f, part_t part, index_t channels)
{
    const layout_t *l = f->in;
    REAL *plane = f->grad_x + part.n * l->map_image + part.c * l->map_channel;
    const REAL *panels = f->v + part.c * BROAD;
    index_t panel = l->channels * BROAD;
#if defined(__AVX512F__)
    if (f->in_walk.vectors > 0 && !f->of->streaming) {
        bands_t bands = {&f->in_walk, channels, part.begin, part.end, part.cell, panel, BROAD};
        expand_narrow(&bands, panels, plane);
        return;
    }
#endif
    for (index_t c = 0; c < channels; c++) {
        REAL cells[CELLS];
        index_t m = part.cell;
        for (block_t b = before(part.begin); next_block(&f->in_walk, &b, part.end);
             m += cells_of(&b)) {
            load_panels(panels + c * BROAD, panel, m, cells_of(&b), cells);
            expand_block(&f->in_walk, cells, &b, plane + c * l->map_channel, f->of->streaming);
        }
    }
}

/* Items are images and channels; of LANES channels at most at a time. */
static void pool_to_panels(const void *shared, index_t first, index_t last)
{
    const filtered_t *f = shared;
    index_t channels = f->out->channels;
    for (index_t count; first < last; first += count) {
        part_t part = part_of(f, channels, first);
        count = least(least(LANES, channels - part.c), last - first);
        pool_planes_to_panels(f, part, count);
    }
}

static void expand_from_panels(const void *shared, index_t first, index_t last)
{
    const filtered_t *f = shared;
    index_t channels = f->in->channels;
    for (index_t count; first < last; first += count) {
        part_t part = part_of(f, channels, first);
        count = least(least(LANES, channels - part.c), last - first);
        expand_planes_from_panels(f, part, count);
    }
}

/* Where channels are dense, items are rows of patches. */
static void pool_to_rows(const void *shared, index_t first, index_t last)
{
    const filtered_t *f = shared;
    const layout_t *l = f->out;
    index_t down = l->rows.number, apart = row_of(l->channels);
    for (index_t row = f->first + first; row < f->first + last; row++)
        pool_row(l, f->grad + row / down * l->map_image, row % down, (REAL)f->of->scale,
                 f->g + (row - f->first) * l->columns.number * apart, apart,
                 f->grad_bias ? f->sums + row * l->channels : NULL);
}

static void expand_from_rows(const void *shared, index_t first, index_t last)
{
    const filtered_t *f = shared;
    const layout_t *l = f->in;
    index_t down = l->rows.number, apart = row_of(l->channels);
    int streaming = f->of->streaming && streamable(l, f->grad_x);
    for (index_t row = f->first + first; row < f->first + last; row++)
        expand_row(l, f->v + (row - f->first) * l->columns.number * apart, apart, row % down,
                   f->grad_x + row / down * l->map_image, streaming);
}

static inline loop_t poolings(const filtered_t *f)
{
    if (f->of->pixels)
        return loop_over(pool_to_rows, f, f->last - f->first, f->threads);
    return loop_over(pool_to_panels, f, images_of(f) * f->out->channels, f->threads);
}

static inline loop_t expansions(const filtered_t *f)
{
    if (f->of->pixels)
        return loop_over(expand_from_rows, f, f->grad_x ? f->last - f->first : 0, f->threads);
    return loop_over(expand_from_panels, f, f->grad_x ? images_of(f) * f->in->channels : 0,
                     f->threads);
}

static index_t packings(const filtered_t *f)
{
    return f->grad_w && inputs(f) % BROAD > 0 ? divided(chunk_cells(f), BROAD) : 0;
}

/* x~'s panel `broad`, from the chunk's first cell on. */
static inline const REAL *panel_of(const filtered_t *f, index_t broad, index_t *width)
{
    index_t ci = inputs(f), wide = divided(ci, BROAD), c0 = broad % wide * BROAD;
    *width = least(BROAD, ci - c0);
    return f->x_sum + (broad / wide * ci + c0) * all_cells(f) +
           f->first * f->out->columns.number * *width;
}

/* Make each group's narrow panel as wide as the others, zeros after the last channel: BROAD cells
 * each item. */
static void pack_sums(const void *shared, index_t begin, index_t end)
{
    const filtered_t *f = shared;
    index_t cells = chunk_cells(f), wide = divided(inputs(f), BROAD);
    index_t last = least(end * BROAD, cells), width;
    for (index_t group = 0; group < f->of->groups; group++) {
        const REAL *x = panel_of(f, group * wide + wide - 1, &width);
        REAL *to = f->x + group * cells * BROAD;
        for (index_t m = begin * BROAD; m < last; m++)
            for (index_t j = 0; j < BROAD; j++)
                to[m * BROAD + j] = j < width ? x[m * width + j] : 0;
    }
}

/* products ------------------------------------------------------------------------------------ */

/* Tiles [first, last) of a group's channels of x, in one panel: g_x's values = w~^T g~. */
static void multiply_windows(const filtered_t *f, index_t panel, index_t group, index_t first,
                             index_t last)
{
    index_t ci = inputs(f), co = outputs(f), tiles = divided(ci, TALL);
    const REAL *g = f->g + (panel * panel_rows(f) + group * co) * BROAD;
    REAL *v = f->v + (panel * f->in->channels + group * ci) * BROAD;
    for (index_t t = first; t < last; t++) {
        tile_t tile = {{{{0}}}};
        multiply(f->window + (group * tiles + t) * co * TALL, 1, TALL, g, co, &tile);
        put_tile(&tile, v + t * TALL * BROAD, BROAD, ci - t * TALL, BROAD, 0);
    }
}

/* The same where channels are dense: a panel is QUADS x TALL cells, a tile BROAD channels. */
enum { QUADS = 4 };

static void multiply_rows(const filtered_t *f, index_t panel, index_t group, index_t first,
                          index_t last)
{
    index_t ci = inputs(f), co = outputs(f), tiles = divided(ci, BROAD), cells = chunk_cells(f);
    index_t g_row = row_of(f->out->channels), v_row = row_of(f->in->channels);
    index_t begin = panel * QUADS * TALL, end = least(begin + QUADS * TALL, cells);
    for (index_t t = first; t < last; t++)
        for (index_t m = begin; m < end; m += TALL) {
            tile_t tile = {{{{0}}}};
            multiply(f->g + m * g_row + group * co, g_row, 1,
                     f->window + (group * tiles + t) * co * BROAD, co, &tile);
            put_tile(&tile, f->v + m * v_row + group * ci + t * BROAD, v_row, end - m,
                     ci - t * BROAD, 0);
        }
}

/* Write a tile of g_w's values, or its first rows and columns, on every tap of their windows. at:
 * the first one's place among the values. */
static void repeat_tile(const filtered_t *f, const tile_t *tile, index_t at, index_t rows,
                        index_t columns)
{
    REAL values[TALL * BROAD];
    index_t n = least(columns, BROAD), ci = inputs(f), taps = f->of->taps;
    put_whole_tile(tile, values, BROAD, 0);
    for (index_t i = 0; i < least(rows, TALL); i++, at += ci)
        if (f->of->pixels)
            repeat_on_taps(values + i * BROAD, n, taps, ci,
                           f->grad_w + at / ci * ci * taps + at % ci);
        else
            fill_exactly(values + i * BROAD, n, taps, f->grad_w + at * taps);
}

/* Tiles [first, last) of a group's channels of y, BROAD channels of x: g_w's values = g~ x~^T.
 * They join the slot's or, where all rows are done together, are final. */
static void multiply_sums(const filtered_t *f, index_t broad, index_t first, index_t last)
{
    index_t ci = inputs(f), co = outputs(f), rows = panel_rows(f), cells = chunk_cells(f);
    index_t wide = divided(ci, BROAD), group = broad / wide, c0 = broad % wide * BROAD, width;
    index_t deep = f->of->slots > 0 ? DEEP : cells, row = row_of(f->out->channels);
    const REAL *x = panel_of(f, broad, &width);
    x = width < BROAD ? f->x + group * cells * BROAD : x;
    for (index_t m0 = 0; m0 < cells; m0 += deep)
        for (index_t t = first; t < last; t++) {
            const REAL *g = f->g + (m0 / BROAD * rows + group * co + t * TALL) * BROAD;
            index_t end = least(m0 + deep, cells), at = (group * co + t * TALL) * ci + c0;
            tile_t tile = {{{{0}}}};
            if (f->of->pixels)
                multiply(f->g + m0 * row + group * co + t * TALL, 1, row, x + m0 * BROAD, end - m0,
                         &tile);
            else
                for (index_t m = m0; m < end; m += BROAD, g += rows * BROAD)
                    multiply(g, BROAD, 1, x + m * BROAD, least(BROAD, end - m), &tile);
            if (f->of->slots > 0)
                put_tile(&tile, f->values + at, ci, co - t * TALL, ci - c0, !f->fresh || m0 > 0);
            else
                repeat_tile(f, &tile, at, co - t * TALL, ci - c0);
        }
}

/* stages, each in all threads ----------------------------------------------------------------- */

static void pool_all(const team_t *team, const filtered_t *f)
{
    index_t pixels = all_cells(f) * f->out->rows.length * f->out->columns.length;
    loop_t loops[] = {
        loop_over(pack_sums, f, packings(f), f->threads),
        poolings(f),
    };
    run_loops(team, loops, 2, pixels * f->out->channels);
}

/* Products are cut so that there are some for each thread. */
typedef struct {
    index_t panels, tiles, cuts; /* of g_x: cells, and channels of x in so many parts */
    index_t broads, downs, parts; /* of g_w: channels of x, and channels of y in so many parts */
} shares_t;

static shares_t shares_of(const filtered_t *f)
{
    index_t wide = f->of->pixels ? QUADS * TALL : BROAD, tall = f->of->pixels ? BROAD : TALL;
    shares_t s = {f->of->groups * divided(chunk_cells(f), wide), divided(inputs(f), tall), 0,
                  broads(f), divided(outputs(f), TALL), 0};
    s.cuts = least(divided(4 * f->threads, s.panels), s.tiles);
    s.parts = least(4 * f->threads, s.downs);
    return s;
}

/* In the order of g_w, so that each thread's share of it is one piece: what lies next to it is
 * fetched ahead, and belongs to the same thread. */
static void multiply_some_sums(const void *shared, index_t first, index_t last)
{
    const filtered_t *f = shared;
    shares_t s = shares_of(f);
    index_t wide = s.broads / f->of->groups; /* of a group */
    for (index_t item = first; item < last; item++) {
        index_t part = item / wide % s.parts, group = item / wide / s.parts;
        multiply_sums(f, group * wide + item % wide, part * s.downs / s.parts,
                      (part + 1) * s.downs / s.parts);
    }
}

static void multiply_some_windows(const void *shared, index_t first, index_t last)
{
    const filtered_t *f = shared;
    shares_t s = shares_of(f);
    for (index_t item = first; item < last; item++) {
        index_t panel = item / s.cuts, cut = item % s.cuts;
        (f->of->pixels ? multiply_rows : multiply_windows)(
            f, panel / f->of->groups, panel % f->of->groups, cut * s.tiles / s.cuts,
            (cut + 1) * s.tiles / s.cuts);
    }
}

/* g_w's come first: they are the longer ones. */
static void multiply_all(const team_t *team, const filtered_t *f)
{
    shares_t s = shares_of(f);
    loop_t loops[] = {
        {multiply_some_sums, f, f->grad_w ? s.broads * s.parts : 0, 1},
        {multiply_some_windows, f, f->grad_x ? s.panels * s.cuts : 0, 1},
    };
    run_loops(team, loops, 2, chunk_cells(f) * inputs(f) * outputs(f));
}

/* chunks of a thread's own -------------------------------------------------------------------- */

typedef struct {
    const filtered_t *f;
    share_t share[SHARES]; /* of the chunks */
} chunks_t;

/* All of a chunk by one thread, whose caches keep what lies between its passes. */
static void do_chunk(filtered_t *f)
{
    shares_t s = shares_of(f);
    loop_t pool = poolings(f), expand = expansions(f);
    pool.body(f, 0, pool.items);
    if (packings(f) > 0)
        pack_sums(f, 0, packings(f));
    for (index_t broad = 0; f->grad_w && broad < s.broads; broad++)
        multiply_sums(f, broad, 0, s.downs);
    f->fresh = 0;
    if (!f->grad_x)
        return;
    for (index_t panel = 0; panel < s.panels; panel++)
        (f->of->pixels ? multiply_rows : multiply_windows)(f, panel / f->of->groups,
                                                           panel % f->of->groups, 0, s.tiles);
    expand.body(f, 0, expand.items);
}

/* Each item is a slot, which takes chunks while there are any. */
static void chunks_some(const void *shared, index_t first, index_t last)
{
    chunks_t *task = (chunks_t *)shared;
    index_t rows = task->f->of->images * task->f->out->rows.number;
    index_t shares = least(task->f->of->slots, SHARES), chunk;
    for (index_t slot = first; slot < last; slot++) {
        filtered_t f = *task->f;
        index_t ahead = slot * f.slot_size, number = f.of->images * f.out->channels;
        CHECK(slot < slots_of(&f));
        f.g += ahead, f.x += ahead, f.v += ahead, f.values += ahead;
        f.sums += f.of->pixels ? 0 : slot * number; /* rows of patches have theirs */
        f.fresh = 1;
        if (f.grad_bias && !f.of->pixels)
            memset(f.sums, 0, (size_t)number * sizeof(REAL));
        while (claim(task->share, shares, slot % shares, 1, &chunk)) {
            f.first = chunk * f.of->chunk;
            f.last = least(f.first + f.of->chunk, rows);
            CHECK(f.first < f.last && f.last - f.first <= f.of->chunk);
            do_chunk(&f);
        }
        if (f.grad_w && f.fresh)
            memset(f.values, 0, (size_t)(f.out->channels * inputs(&f)) * sizeof(REAL));
    }
}

/* How many of g_w's values are repeated at a time. */
static index_t most_windows(const filtered_t *f)
{
    return f->of->taps < TILE ? TILE / f->of->taps : 1;
}

/* out = n of g_w's values from `begin` on: the sums over the slots. */
static void gather_values(const filtered_t *f, index_t begin, index_t n, REAL *out)
{
    copy(out, f->values + begin, n);
    for (index_t slot = 1; slot < f->of->slots; slot++) {
        const REAL *other = f->values + slot * f->slot_size + begin;
        for (index_t i = 0; i < n; i++)
            out[i] += other[i];
    }
}

enum { ADDED = 64 /* channels whose sums are added at a time */ };

static void add_sums(const void *shared, index_t first, index_t last)
{
    const filtered_t *f = shared;
    index_t channels = f->out->channels;
    for (index_t c0 = first * ADDED; c0 < least(last * ADDED, channels); c0 += ADDED) {
        index_t count = least(ADDED, channels - c0);
        double sums[ADDED] = {0};
        for (index_t n = 0; n < summed(f); n++)
            for (index_t c = 0; c < count; c++)
                sums[c] += f->sums[n * channels + c0 + c];
        for (index_t c = 0; c < count; c++)
            f->grad_bias[c0 + c] = (REAL)sums[c];
    }
}

static inline loop_t additions(const filtered_t *f)
{
    return (loop_t){add_sums, f, f->grad_bias ? divided(f->out->channels, ADDED) : 0, 1};
}

#endif
