/* What kernel native calls: its whole backward, and the passes of what goes by parts.
 *
 * save              what a forward saves: x~ and the window sums w~, in tiles
 * filtered          the whole backward, products included
 * depthwise         the whole backward of a depthwise layer, which needs no product
 * pool_*, expand_*  sums or means over patches of maps, and a patch's value on all its pixels
 * sum_runs, repeat_runs   the window sums w~, and g_w's one value on every tap
 *
 * *_planes walk maps whose columns are dense (NCHW), *_pixels maps whose channels are (NHWC); the
 * first three do both.
 * Compiled once per type, -DREAL=float and -DREAL=double.
 */

#include "depthwise.h"
#include "panels.h"
#include "patches.h"
#include "pixels.h"
#include "runs.h"
#include "team.h"
#include "windows.h"

/* planes: columns are dense ------------------------------------------------------------------- */

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

/* Pool to panels of x~, as panels.h has them: each item is SIDE channels of an image. */
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
index_t tile_channels(int pixels) { return pixels ? BROAD : TALL; }

/* The number of channels of x that lie side by side in x~'s panels. */
index_t panel_channels(void) { return BROAD; }

/* What a forward saves of maps and of w (C_o, C_i / groups, taps), whatever the tensors. */
typedef struct {
    layout_t maps;
    index_t images, groups, outputs, taps;
    index_t pixels; /* channels are dense: w is (C_o, taps, C_i / groups) then */
} saving_t;

/* x~ (sums) in panels, and w~ (groups, tiles of C_i / groups, C_o / groups, tile_channels), zeros
 * after the last channel. NULL: not wanted. */
void save(const team_t *team, const saving_t *of, const REAL *map, REAL *sums,
                 const REAL *weight, REAL *tiles)
{
    const layout_t *l = &of->maps;
    pool_t pool = {l, map, sums, NULL, 0, walk_of(l), of->images, of->groups};
    tiles_t windows = {weight, tiles, of->outputs / of->groups, l->channels / of->groups, of->taps};
    index_t parts = tiles ? of->groups * divided(windows.outputs, ROWS_AT_ONCE) : 0;
    index_t items = sums ? of->images * of->groups * divided(windows.inputs, SIDE) : 0;
    index_t rows = sums ? of->images * l->rows.number : 0;
    loop_t planes[] = {
        loop_over(sum_some_tiles, &windows, parts, team->threads),
        loop_over(pool_some_panels, &pool, items, team->threads),
    };
    loop_t pixels[] = {
        loop_over(sum_some_wide_tiles, &windows, tiles ? of->outputs : 0, team->threads),
        loop_over(pool_some_pixel_panels, &pool, rows, team->threads),
    };
    run_loops(team, of->pixels ? pixels : planes, 2,
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

/* How many numbers of working memory the backward of a depthwise layer takes. */
index_t depthwise_work(const filter_t *of, REAL *grad_x, REAL *grad_w, REAL *grad_bias)
{
    (void)grad_x, (void)grad_w, (void)grad_bias; /* the same whatever is wanted */
    return of->pixels ? depthwise_parts(of) * part_of_sums(of) : 0;
}

/* The backward of a depthwise layer: arguments as of `filtered`, but x~ has a grid of its own and w~
 * is dense. Where columns are dense there may be up to 16 outputs per input; where channels are,
 * there is one. */
void depthwise(const team_t *team, const filter_t *of, const REAL *grad, const REAL *x_sum,
               const REAL *window, REAL *grad_x, REAL *grad_w, REAL *grad_bias, REAL *work)
{
    index_t parts = depthwise_parts(of);
    index_t pixels = of->images * of->out.channels * of->out.rows.stop * of->out.columns.stop;
    depthwise_t task = {of, &of->out, &of->in, grad, x_sum, window, grad_x, grad_w, grad_bias, work,
                        walk_of(&of->out), walk_of(&of->in)};
    CHECK(depthwise_work(of, grad_x, grad_w, grad_bias) == of->work);
    if (!of->pixels) {
        for_all(team, depthwise_some_planes, &task,
                divided(of->in.channels, depthwise_lanes(&task)), pixels);
        return;
    }
    for_all(team, depthwise_some_pixels, &task, parts, pixels);
    if (grad_w || grad_bias)
        for_all(team, gather_depthwise, &task, divided(of->out.channels, GATHERED),
                2 * parts * of->out.channels);
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

/* The same of weights in channels-last: each item is a channel of y. */
static void finish_rows(const void *shared, index_t first, index_t last)
{
    const filtered_t *f = shared;
    index_t ci = inputs(f), taps = f->of->taps;
    REAL gathered[TILE];
    for (index_t item = first; item < last; item++)
        for (index_t c = 0; c < ci; c += TILE) {
            index_t n = least(TILE, ci - c);
            gather_values(f, item * ci + c, n, gathered);
            repeat_on_taps(gathered, n, taps, ci, f->grad_w + item * ci * taps + c);
        }
}

static inline loop_t finishings(const filtered_t *f)
{
    index_t number = f->grad_w ? f->out->channels * inputs(f) : 0;
    if (f->of->pixels)
        return loop_over(finish_rows, f, f->grad_w ? f->out->channels : 0, f->threads);
    return loop_over(finish_windows, f, divided(number, most_windows(f)), f->threads);
}

/* All threads do all rows: they meet after each stage. */
static void filter_together(const team_t *team, filtered_t *f)
{
    f->last = f->of->images * f->out->rows.number;
    loop_t loops[] = {
        expansions(f),
        additions(f),
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
        finishings(f),
        additions(f),
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

/* The whole backward of a layer; x~ and w~ as `save` has them, and g_w as w. grad_x, grad_w,
 * grad_bias: NULL where not wanted. work: as many numbers as filtered_work tells. */
void filtered(const team_t *team, const filter_t *of, const REAL *grad, const REAL *x_sum,
              const REAL *window, REAL *grad_x, REAL *grad_w, REAL *grad_bias, REAL *work)
{
    filtered_t f = filtered_of(of);
    f.threads = team->threads;
    f.grad = grad, f.x_sum = x_sum, f.window = window;
    f.grad_x = grad_x, f.grad_w = grad_w, f.grad_bias = grad_bias;
    index_t taken = divide_work(&f, work);
    CHECK(taken == of->work && are_apart(&f, 1));
    (void)taken;
    if (of->slots > 0)
        filter_apart(team, &f);
    else
        filter_together(team, &f);
    CHECK(are_apart(&f, 0));
}
