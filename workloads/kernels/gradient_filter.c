/* What kernel native calls: its whole backward, and the passes of what goes by parts.
 *
 * save_planes       what a forward saves: x~ and the window sums w~, in tiles
 * filtered_planes   the whole backward, products included
 * depthwise_planes  the whole backward of a depthwise layer, which needs no product
 * pool_*, expand_*  sums or means over patches of maps, and a patch's value on all its pixels
 * sum_runs, repeat_runs   the window sums w~, and g_w's one value on every tap
 *
 * *_planes walk maps whose columns are dense (NCHW), *_pixels maps whose channels are (NHWC).
 * Compiled once per type, -DREAL=float and -DREAL=double.
 */

#include "filtered.h"
#include "patches.h"
#include "runs.h"
#include "team.h"
#include "windows.h"

/* planes: columns are dense ------------------------------------------------------------------- */

typedef struct {
    const layout_t *l;
    const REAL *map;
    REAL *grid, *sums;
    REAL scale;
    walk_t walk;
    index_t images, groups; /* of panels */
} pool_t;

/* Pool some channels of an image to cells that lie `channel` and `cell` numbers apart. */
static void pool_lanes(const pool_t *task, index_t n, index_t c0, index_t lanes, REAL *grid,
                       index_t channel, index_t cell)
{
    const layout_t *l = task->l;
    const REAL *map = task->map + n * l->map_image + c0 * l->map_channel;
    REAL cells[LANES * CELLS];
    running_t sums[LANES] = {{{0}, 0}};
    for (block_t b = before(0); next_block(&task->walk, &b, l->rows.number);) {
        pool_blocks(&task->walk, map, lanes, &b, task->scale, cells, sums);
        store_lanes(cells, lanes, cells_of(&b), grid + (b.i0 * l->columns.number + b.j0) * cell,
                    channel, cell);
    }
    for (index_t c = 0; task->sums && c < lanes; c++)
        task->sums[n * l->channels + c0 + c] = (REAL)ended(sums + c);
}

/* Each item is LANES channels of an image: they lie side by side in the grid. */
static void pool_some_planes(const void *shared, index_t first, index_t last)
{
    const pool_t *task = shared;
    const layout_t *l = task->l;
    index_t parts = divided(l->channels, LANES);
    for (index_t item = first; item < last; item++) {
        index_t n = item / parts, c0 = item % parts * LANES;
        pool_lanes(task, n, c0, least(LANES, l->channels - c0),
                   task->grid + n * l->grid_image + c0 * l->grid_channel, l->grid_channel,
                   l->grid_cell);
    }
}

enum { SIDE = BROAD < LANES ? BROAD : LANES /* channels of a panel that are pooled together */ };

/* Pool to panels of x~, as filtered.h has them: each item is SIDE channels of an image. */
static void pool_some_panels(const void *shared, index_t first, index_t last)
{
    const pool_t *task = shared;
    const layout_t *l = task->l;
    index_t ci = l->channels / task->groups, parts = divided(ci, SIDE);
    index_t cells = l->rows.number * l->columns.number;
    for (index_t item = first; item < last; item++) {
        index_t n = item / (parts * task->groups), group = item / parts % task->groups;
        index_t c = item % parts * SIDE, c0 = c / BROAD * BROAD, width = least(BROAD, ci - c0);
        REAL *panel = task->grid + (group * ci + c0) * cells * task->images + n * cells * width;
        pool_lanes(task, n, group * ci + c, least(SIDE, ci - c), panel + c - c0, 1, width);
    }
}

typedef struct {
    const layout_t *l;
    const REAL *grid;
    REAL *map;
    int streaming;
    walk_t walk;
} expand_t;

static void expand_some_planes(const void *shared, index_t first, index_t last)
{
    const expand_t *task = shared;
    const layout_t *l = task->l;
    index_t parts = (l->channels + LANES - 1) / LANES;
    for (index_t item = first; item < last; item++) {
        index_t n = item / parts, c0 = item % parts * LANES;
        index_t lanes = least(LANES, l->channels - c0);
        const REAL *grid = task->grid + n * l->grid_image + c0 * l->grid_channel;
        REAL *map = task->map + n * l->map_image + c0 * l->map_channel;
        REAL cells[LANES * CELLS];
        for (block_t b = before(0); next_block(&task->walk, &b, l->rows.number);) {
            load_lanes(grid + (b.i0 * l->columns.number + b.j0) * l->grid_cell, l->grid_channel,
                       l->grid_cell, lanes, cells_of(&b), cells);
            expand_blocks(&task->walk, cells, lanes, &b, map, task->streaming);
        }
    }
}

/* pixels: channels are dense ------------------------------------------------------------------ */

/* out[c] = the sum over a box of pixels of src[pixel][c]; four pixels in one pass over out. */
static void add_box(const layout_t *l, const REAL *box, index_t rows, index_t columns,
                    REAL *restrict out)
{
    index_t channels = l->channels, pixels = rows * columns, done = 0;
    const REAL *p[4];
    memset(out, 0, (size_t)channels * sizeof(REAL));
    while (done < pixels) {
        index_t count = pixels - done >= 4 ? 4 : 1;
        for (index_t k = 0; k < count; k++, done++)
            p[k] = box + done / columns * l->map_row + done % columns * l->map_column;
        if (count == 4)
            for (index_t c = 0; c < channels; c++)
                out[c] += (p[0][c] + p[1][c]) + (p[2][c] + p[3][c]);
        else
            for (index_t c = 0; c < channels; c++)
                out[c] += p[0][c];
    }
}

static void pool_some_pixels(const void *shared, index_t first, index_t last)
{
    const pool_t *task = shared;
    const layout_t *l = task->l;
    index_t down = l->rows.number, across = l->columns.number, channels = l->channels;
    for (index_t item = first; item < last; item++) {
        index_t n = item / down, i = item % down;
        index_t top = cut(&l->rows, i), rows = cut(&l->rows, i + 1) - top;
        const REAL *band = task->map + n * l->map_image + top * l->map_row;
        REAL *cell = task->grid + n * l->grid_image + i * across * l->grid_cell;
        REAL *sums = task->sums ? task->sums + item * channels : NULL;
        if (sums)
            memset(sums, 0, (size_t)channels * sizeof(REAL));
        for (index_t j = 0; j < across; j++, cell += l->grid_cell) {
            index_t left = cut(&l->columns, j), columns = cut(&l->columns, j + 1) - left;
            add_box(l, band + left * l->map_column, rows, columns, cell);
            for (index_t c = 0; sums && c < channels; c++)
                sums[c] += cell[c];
            if (task->scale == 0)
                continue;
            REAL each = task->scale / (REAL)(rows * columns);
            for (index_t c = 0; c < channels; c++)
                cell[c] *= each;
        }
    }
}

static void expand_some_pixels(const void *shared, index_t first, index_t last)
{
    const expand_t *task = shared;
    const layout_t *l = task->l;
    index_t down = l->rows.number, across = l->columns.number;
    for (index_t item = first; item < last; item++) {
        index_t n = item / down, i = item % down;
        const REAL *cells = task->grid + n * l->grid_image + i * across * l->grid_cell;
        for (index_t h = cut(&l->rows, i); h < cut(&l->rows, i + 1); h++) {
            REAL *row = task->map + n * l->map_image + h * l->map_row;
            for (index_t j = 0; j < across; j++)
                for (index_t w = cut(&l->columns, j); w < cut(&l->columns, j + 1); w++)
                    put(row + w * l->map_column, cells + j * l->grid_cell, l->channels,
                        task->streaming);
        }
    }
}

/* depthwise ----------------------------------------------------------------------------------- */

typedef struct {
    const layout_t *out, *in; /* of g and g~, of g_x and x~; channels as in each */
    const REAL *grad, *x_sum, *window;
    REAL *grad_x, *grad_w, *grad_bias;
    index_t images, taps;
    REAL scale;
    walk_t out_walk, in_walk;
} depthwise_t;

/* The channels of x that are done together, so that theirs of y are LANES at most. */
static inline index_t depthwise_lanes(const depthwise_t *task)
{
    return LANES / (task->out->channels / task->in->channels);
}

/* Do a block of channels [c, c + lanes) of image n: read g, add to g_w and g_b, write g_x. */
static void depthwise_block(const depthwise_t *task, index_t n, index_t c, index_t lanes,
                            const block_t *b, running_t *grad_w, running_t *grad_bias)
{
    const layout_t *out = task->out, *in = task->in;
    index_t times = out->channels / in->channels, number = cells_of(b), first = c * times;
    index_t at = n * in->grid_image + b->i0 * in->columns.number + b->j0;
    const REAL *planes = task->grad + n * out->map_image + first * out->map_channel;
    REAL means[LANES * CELLS], values[LANES * CELLS];
    pool_blocks(&task->out_walk, planes, lanes * times, b, task->scale, means, grad_bias);
    for (index_t k = 0; k < lanes * times; k++) {
        const REAL *cells = means + k * CELLS;
        REAL *row = values + k / times * CELLS;
        if (task->x_sum)
            add_products(cells, task->x_sum + at + (c + k / times) * in->grid_channel, number,
                         grad_w + k);
        for (index_t j = 0; task->window && j < number; j++)
            row[j] = task->window[first + k] * cells[j] + (k % times > 0 ? row[j] : 0);
    }
    if (task->grad_x)
        expand_blocks(&task->in_walk, values, lanes, b,
                      task->grad_x + n * in->map_image + c * in->map_channel, 0);
}

static void depthwise_some(const void *shared, index_t first, index_t last)
{
    const depthwise_t *task = shared;
    const layout_t *out = task->out, *in = task->in;
    index_t times = out->channels / in->channels, most = depthwise_lanes(task);
    for (index_t item = first; item < last; item++) {
        index_t c = item * most, lanes = least(most, in->channels - c);
        running_t grad_w[LANES] = {{{0}, 0}}, grad_bias[LANES] = {{{0}, 0}};
        for (index_t n = 0; n < task->images; n++)
            for (block_t b = before(0); next_block(&task->in_walk, &b, in->rows.number);)
                depthwise_block(task, n, c, lanes, &b, grad_w, grad_bias);
        for (index_t k = 0; k < lanes * times; k++) {
            REAL value = (REAL)ended(grad_w + k);
            for (index_t tap = 0; task->grad_w && tap < task->taps; tap++)
                task->grad_w[(c * times + k) * task->taps + tap] = value;
            if (task->grad_bias)
                task->grad_bias[c * times + k] = (REAL)ended(grad_bias + k);
        }
    }
}

/* what is called ------------------------------------------------------------------------------ */

/* grid = sums over patches of `images` maps, or scale x their means where scale is not 0.
 * sums, if not NULL: the sums of each map, (images, channels) for planes and
 * (images, rows.number, channels) for pixels. */
void pool_planes(const team_t *team, const layout_t *l, index_t images, const REAL *map,
                 REAL *grid, REAL *sums, double scale)
{
    pool_t task = {l, map, grid, sums, (REAL)scale, walk_of(l), images, 1};
    index_t items = images * ((l->channels + LANES - 1) / LANES);
    for_all(team, pool_some_planes, &task, items,
            images * l->channels * l->rows.stop * l->columns.stop);
}

void pool_pixels(const team_t *team, const layout_t *l, index_t images, const REAL *map,
                 REAL *grid, REAL *sums, double scale)
{
    pool_t task = {l, map, grid, sums, (REAL)scale, walk_of(l), images, 1};
    index_t items = images * l->rows.number;
    for_all(team, pool_some_pixels, &task, items,
            images * l->channels * l->rows.stop * l->columns.stop);
}

/* map = each patch's value on all its pixels; pixels that are in no patch are left alone. */
void expand_planes(const team_t *team, const layout_t *l, index_t images, const REAL *grid,
                   REAL *map, int streaming)
{
    expand_t task = {l, grid, map, streaming, walk_of(l)};
    index_t items = images * ((l->channels + LANES - 1) / LANES);
    for_all(team, expand_some_planes, &task, items,
            images * l->channels * l->rows.stop * l->columns.stop);
}

void expand_pixels(const team_t *team, const layout_t *l, index_t images, const REAL *grid,
                   REAL *map, int streaming)
{
    expand_t task = {l, grid, map, streaming, walk_of(l)};
    index_t items = images * l->rows.number;
    for_all(team, expand_some_pixels, &task, items,
            images * l->channels * l->rows.stop * l->columns.stop);
}

/* out[j] = the sum of run j of `number` dense runs. */
void sum_runs(const team_t *team, const REAL *src, index_t number, index_t length, REAL *out)
{
    windows_t task = {src, out, length, LANES * 4, number, 0};
    for_all(team, sum_some_runs, &task, (number + task.most - 1) / task.most, number * length);
}

/* The number of channels of x that lie side by side in w~'s tiles. */
index_t tile_channels(void) { return TALL; }

/* The number of channels of x that lie side by side in x~'s panels. */
index_t panel_channels(void) { return BROAD; }

/* What a forward saves of maps and of w (C_o, C_i / groups, taps), whatever the tensors. */
typedef struct {
    layout_t maps;
    index_t images, groups, outputs, taps;
} saving_t;

/* x~ (sums) in panels, and w~ (groups, tiles of C_i / groups, C_o / groups, TALL), zeros after the
 * last channel. NULL: not wanted. */
void save_planes(const team_t *team, const saving_t *of, const REAL *map, REAL *sums,
                 const REAL *weight, REAL *tiles)
{
    const layout_t *l = &of->maps;
    pool_t pool = {l, map, sums, NULL, 0, walk_of(l), of->images, of->groups};
    tiles_t windows = {weight, tiles, of->outputs / of->groups, l->channels / of->groups, of->taps};
    index_t parts = tiles ? of->groups * divided(windows.outputs, ROWS_AT_ONCE) : 0;
    index_t items = sums ? of->images * of->groups * divided(windows.inputs, SIDE) : 0;
    loop_t loops[] = {
        loop_over(sum_some_tiles, &windows, parts, team->threads),
        loop_over(pool_some_panels, &pool, items, team->threads),
    };
    run_loops(team, loops, 2,
              (sums ? of->images * l->channels * l->rows.stop * l->columns.stop : 0) +
                  (tiles ? of->outputs * windows.inputs * of->taps : 0));
}

/* Run j of `number` dense runs of out = src[j]. */
void repeat_runs(const team_t *team, const REAL *src, index_t number, index_t length, REAL *out,
                 int streaming)
{
    windows_t task = {src, out, length, length < TILE ? TILE / length : 1, number, streaming};
    for_all(team, repeat_some_runs, &task, (number + task.most - 1) / task.most, number * length);
}

/* The backward of a depthwise layer with up to 16 outputs per input, all columns dense.
 * x_sum (with grad_w), window (with grad_x), grad_bias: NULL where not needed. */
void depthwise_planes(const team_t *team, const layout_t *out, const layout_t *in, index_t images,
                      const REAL *grad, const REAL *x_sum, const REAL *window, REAL *grad_x,
                      REAL *grad_w, REAL *grad_bias, index_t taps, double scale)
{
    depthwise_t task = {out,    in,   grad,        x_sum,        window,     grad_x, grad_w,
                        grad_bias, images, taps, (REAL)scale, walk_of(out), walk_of(in)};
    for_all(team, depthwise_some, &task, divided(in->channels, depthwise_lanes(&task)),
            images * out->channels * out->rows.stop * out->columns.stop);
}

/* the whole backward --------------------------------------------------------------------------- */

/* Repeat what all slots have of g_w's values [first, last), in parts of `most`, on every tap. */
static void finish_windows(const void *shared, index_t first, index_t last)
{
    const filtered_t *f = shared;
    index_t number = f->out->channels * inputs(f), most = most_windows(f);
    REAL gathered[TILE];
    for (index_t item = first; item < last; item++) {
        index_t begin = item * most, n = least(most, number - begin);
        gather_values(f, begin, n, gathered);
        fill_exactly(gathered, n, f->of->taps, f->grad_w + begin * f->of->taps);
    }
}

/* All threads do all rows: they meet after each stage. */
static void filter_together(const team_t *team, filtered_t *f)
{
    f->last = f->of->images * f->out->rows.number;
    loop_t loops[] = {
        loop_over(expand_from_panels, f, expansions(f), f->threads),
        {add_sums, f, f->grad_bias ? 1 : 0, 1},
    };
    pool_all(team, f);
    multiply_all(team, f);
    run_loops(team, loops, 2, SMALL);
}

/* Each thread does chunks of its own; then all put their g_w together. */
static void filter_apart(const team_t *team, const filtered_t *f)
{
    chunks_t task = {f, {{0}}};
    index_t rows = f->of->images * f->out->rows.number;
    index_t number = f->grad_w ? f->out->channels * inputs(f) : 0;
    divide(divided(rows, f->of->chunk), least(f->of->slots, SHARES), task.share);
    loop_t chunks = {chunks_some, &task, f->of->slots, 1};
    loop_t loops[] = {
        loop_over(finish_windows, f, divided(number, most_windows(f)), f->threads),
        {add_sums, f, f->grad_bias ? 1 : 0, 1},
    };
    run_loops(team, &chunks, 1, SMALL);
    run_loops(team, loops, 2, number * f->of->taps);
}

static filtered_t filtered_of(const filter_t *of)
{
    return (filtered_t){.of = of, .out = &of->out, .in = &of->in, .out_walk = walk_of(&of->out),
                        .in_walk = walk_of(&of->in)};
}

/* How many numbers of working memory a backward takes; what is not NULL is wanted. */
index_t filtered_work(const filter_t *of, REAL *grad_x, REAL *grad_w, REAL *grad_bias)
{
    filtered_t f = filtered_of(of);
    f.grad_x = grad_x, f.grad_w = grad_w, f.grad_bias = grad_bias;
    return divide_work(&f, NULL);
}

/* The whole backward of a layer, all columns dense; x~ and w~ as save_planes has them. grad_x,
 * grad_w, grad_bias: NULL where not wanted. work: as many numbers as filtered_work tells. */
void filtered_planes(const team_t *team, const filter_t *of, const REAL *grad, const REAL *x_sum,
                     const REAL *window, REAL *grad_x, REAL *grad_w, REAL *grad_bias, REAL *work)
{
    filtered_t f = filtered_of(of);
    f.threads = team->threads;
    f.grad = grad, f.x_sum = x_sum, f.window = window;
    f.grad_x = grad_x, f.grad_w = grad_w, f.grad_bias = grad_bias;
    divide_work(&f, work);
    if (of->slots > 0)
        filter_apart(team, &f);
    else
        filter_together(team, &f);
}
