/* Kernel native: what Python calls. Each function runs in all threads and returns when it is done.
 *
 *     forward    gfb_save              x~ and w~, packed for the products of the backward
 *     backward   gfb_filtered          the whole backward of a layer, products included
 *                gfb_depthwise         the whole backward of a depthwise layer
 *     by parts   gfb_pool_*            sums or means over patches: maps to a grid
 *                gfb_expand_*          each cell's value on all pixels of its patch: a grid to maps
 *                gfb_sum_windows       w~, dense
 *                gfb_repeat_windows    g_w from one value per window
 *
 * Notation, for a convolution of x (N, C_i, H, W) by w (C_o, C_i / groups, k_h, k_w) with stride s:
 *
 *     g                the gradient of the output y, (N, C_o, H_y, W_y)
 *     g_x, g_w, g_b    the gradients of x, w and the bias
 *     patch            r_h x r_w pixels of y, and the pixels of x that lie under them
 *     cell             a patch's element of the patch grid, (N, C, P_h, P_w)
 *     g~, x~           the means of g, times 1 / s^2, and the sums of x, over their patches: grids
 *     w~               the sums of w over its windows, (C_o, C_i / groups)
 *     window, tap      the k_h k_w elements of w for one pair of channels, and one of them
 *
 * The filtered backward (Yang, Li, Marculescu, CVPR 2023, equations 2, 3 and 5) makes g_x and g_w
 * products of small matrices:
 *
 *     g_x = w~^T g~, each cell on all pixels of its patch;  g_w = g~ x~^T, on every tap
 *
 * *_nchw are for maps whose columns are dense, *_nhwc for maps whose channels are; gfb_save,
 * gfb_filtered and gfb_depthwise do both. Strides travel with the layout, so maps may be slices.
 * Compiled once per type, with -DREAL=float and -DREAL=double.
 */

#include "channels.h"
#include "depthwise.h"
#include "schedule.h"
#include "patches.h"
#include "pixels.h"
#include "runs.h"
#include "team.h"
#include "windows.h"

/* loops over blocks of channels, NCHW --------------------------------------------------------- */

/* Pool channels [c0, c0 + channels) of image n to a grid, at most CHANNEL_BLOCK of them: the cell m
 * of channel c goes to grid[c * channel_stride + m * cell_stride], one of the strides being 1. */
static void pool_channel_block(const pool_args_t *args, index_t n, index_t c0, index_t channels,
                               REAL *grid, index_t channel_stride, index_t cell_stride)
{
    const layout_t *l = args->l;
    const REAL *map = args->map + n * l->map_stride.n + c0 * l->map_stride.c;
    REAL cells[CHANNEL_BLOCK * BLOCK_CELLS];
    accumulator_t sums[CHANNEL_BLOCK] = {{{0}, 0}};
    for (block_t b = before_row(0); next_block(&args->tiling, &b, l->rows.count);) {
        pool_channels(&args->tiling, map, channels, &b, args->scale, cells, sums);
        store_cells(cells, channels, block_cells(&b),
                    grid + (b.i0 * l->columns.count + b.j0) * cell_stride, channel_stride,
                    cell_stride);
    }
    for (index_t c = 0; args->sums && c < channels; c++)
        args->sums[n * l->channels + c0 + c] = (REAL)accumulated(sums + c);
}

/* Pool maps (N, C, H, W) to a grid. Each item is CHANNEL_BLOCK channels of an image, which are
 * neighbours in the grid. */
static void pool_nchw_body(const void *shared, index_t first, index_t last)
{
    const pool_args_t *args = shared;
    const layout_t *l = args->l;
    index_t blocks = ceil_div(l->channels, CHANNEL_BLOCK);
    for (index_t item = first; item < last; item++) {
        index_t n = item / blocks, c0 = item % blocks * CHANNEL_BLOCK;
        pool_channel_block(args, n, c0, min_(CHANNEL_BLOCK, l->channels - c0),
                           args->grid + n * l->grid_stride.n + c0 * l->grid_stride.c,
                           l->grid_stride.c, l->grid_stride.cell);
    }
}

enum {
    PANEL_BLOCK = NR < CHANNEL_BLOCK ? NR : CHANNEL_BLOCK /* channels of a panel pooled together */
};

/* Pool maps (N, C, H, W) to the packed panels of x~: (groups, panels, cells, NR), the last panel of
 * a group only as wide as it has channels. Each item is PANEL_BLOCK channels of an image. */
static void pack_x_sums_nchw_body(const void *shared, index_t first, index_t last)
{
    const pool_args_t *args = shared;
    const layout_t *l = args->l;
    index_t ci = l->channels / args->groups, blocks = ceil_div(ci, PANEL_BLOCK);
    index_t cells = l->rows.count * l->columns.count;
    for (index_t item = first; item < last; item++) {
        index_t n = item / (blocks * args->groups), group = item / blocks % args->groups;
        index_t c = item % blocks * PANEL_BLOCK, c0 = c / NR * NR, width = min_(NR, ci - c0);
        REAL *panel = args->grid + (group * ci + c0) * cells * args->images + n * cells * width;
        pool_channel_block(args, n, group * ci + c, min_(PANEL_BLOCK, ci - c), panel + c - c0, 1,
                           width);
    }
}

/* Expand a grid to maps (N, C, H, W). Each item is CHANNEL_BLOCK channels of an image. */
static void expand_nchw_body(const void *shared, index_t first, index_t last)
{
    const expand_args_t *args = shared;
    const layout_t *l = args->l;
    index_t blocks = ceil_div(l->channels, CHANNEL_BLOCK);
    for (index_t item = first; item < last; item++) {
        index_t n = item / blocks, c0 = item % blocks * CHANNEL_BLOCK;
        index_t channels = min_(CHANNEL_BLOCK, l->channels - c0);
        const REAL *grid = args->grid + n * l->grid_stride.n + c0 * l->grid_stride.c;
        REAL *map = args->map + n * l->map_stride.n + c0 * l->map_stride.c;
        REAL cells[CHANNEL_BLOCK * BLOCK_CELLS];
        for (block_t b = before_row(0); next_block(&args->tiling, &b, l->rows.count);) {
            load_cells(grid + (b.i0 * l->columns.count + b.j0) * l->grid_stride.cell,
                       l->grid_stride.c, l->grid_stride.cell, channels, block_cells(&b), cells);
            expand_channels(&args->tiling, cells, channels, &b, map, args->streaming);
        }
    }
}

/* the passes, one by one ----------------------------------------------------------------------- */

/* Elements of the maps of `images` images, as far as patches reach. */
static inline index_t map_elements(const layout_t *l, index_t images)
{
    return images * l->channels * l->rows.stop * l->columns.stop;
}

/* Pool maps (images, C, H, W), columns dense, to a grid (images, C, P_h, P_w) of any layout: sums
 * over patches, or `scale` times the means if scale is not 0. sums, unless NULL: (images, C), those
 * of each map. */
void gfb_pool_nchw(const thread_pool_t *thread_pool, const layout_t *l, index_t images,
                   const REAL *map, REAL *grid, REAL *sums, double scale)
{
    pool_args_t args = {l, map, grid, sums, (REAL)scale, tiling_of(l), images, 1};
    index_t items = images * ceil_div(l->channels, CHANNEL_BLOCK);
    parallel_for(thread_pool, pool_nchw_body, &args, items, map_elements(l, images));
}

/* The same for maps whose channels are dense, (images, H, W, C) in memory, to a grid whose channels
 * are dense. sums, unless NULL: (images, P_h, C), those of each patch row. */
void gfb_pool_nhwc(const thread_pool_t *thread_pool, const layout_t *l, index_t images,
                   const REAL *map, REAL *grid, REAL *sums, double scale)
{
    pool_args_t args = {l, map, grid, sums, (REAL)scale, tiling_of(l), images, 1};
    index_t items = images * l->rows.count;
    parallel_for(thread_pool, pool_nhwc_body, &args, items, map_elements(l, images));
}

/* Expand a grid (images, C, P_h, P_w) to maps (images, C, H, W), columns dense: each cell's value
 * on all pixels of its patch. Pixels in no patch are left as they are. */
void gfb_expand_nchw(const thread_pool_t *thread_pool, const layout_t *l, index_t images,
                     const REAL *grid, REAL *map, int streaming)
{
    expand_args_t args = {l, grid, map, streaming, tiling_of(l)};
    index_t items = images * ceil_div(l->channels, CHANNEL_BLOCK);
    parallel_for(thread_pool, expand_nchw_body, &args, items, map_elements(l, images));
}

/* The same for maps and grids whose channels are dense. */
void gfb_expand_nhwc(const thread_pool_t *thread_pool, const layout_t *l, index_t images,
                     const REAL *grid, REAL *map, int streaming)
{
    expand_args_t args = {l, grid, map, streaming, tiling_of(l)};
    index_t items = images * l->rows.count;
    parallel_for(thread_pool, expand_nhwc_body, &args, items, map_elements(l, images));
}

enum { WINDOWS_AT_ONCE = 64 /* windows of an item of gfb_sum_windows */ };

/* out[j] = the sum of window j of w (count, taps), dense. */
void gfb_sum_windows(const thread_pool_t *thread_pool, const REAL *weight, index_t count,
                     index_t taps, REAL *out)
{
    windows_args_t args = {weight, out, taps, WINDOWS_AT_ONCE, count, 0};
    parallel_for(thread_pool, sum_windows_body, &args, ceil_div(count, args.per_item),
                 count * taps);
}

/* Every tap of window j of grad_w (count, taps), dense, = values[j]. */
void gfb_repeat_windows(const thread_pool_t *thread_pool, const REAL *values, index_t count,
                        index_t taps, REAL *grad_w, int streaming)
{
    index_t per_item = taps < SCRATCH ? SCRATCH / taps : 1;
    windows_args_t args = {values, grad_w, taps, per_item, count, streaming};
    parallel_for(thread_pool, repeat_windows_body, &args, ceil_div(count, args.per_item),
                 count * taps);
}

/* the forward ---------------------------------------------------------------------------------- */

/* Return the channels of x in a tile of packed w~: MR in NCHW, NR in NHWC. */
index_t gfb_weight_tile_channels(int nhwc) { return nhwc ? NR : MR; }

/* Return the channels of x in a packed panel of x~. */
index_t gfb_panel_channels(void) { return NR; }

/* What gfb_save needs to know of x (N, C_i, H, W) and of w. */
typedef struct {
    layout_t maps;
    index_t images, groups, outputs, taps;
    index_t nhwc; /* channels are dense: w is (outputs, taps, C_i / groups); otherwise it is
                   * (outputs, C_i / groups, taps) */
} save_desc_t;

/* Pack what the backward needs: x_sum, x~ in panels (groups, panels, cells, NR), N C_i P_h P_w
 * elements in all, and w_sum, w~ in tiles (groups, tiles, C_o / groups, tile channels), zeros after
 * a group's last channel. Either may be NULL: not wanted. */
void gfb_save(const thread_pool_t *thread_pool, const save_desc_t *desc, const REAL *map,
              REAL *x_sum, const REAL *weight, REAL *w_sum)
{
    const layout_t *l = &desc->maps;
    pool_args_t pool = {l, map, x_sum, NULL, 0, tiling_of(l), desc->images, desc->groups};
    pack_weight_args_t pack = {weight, w_sum, desc->outputs / desc->groups,
                               l->channels / desc->groups, desc->taps};
    index_t weight_items = w_sum ? desc->groups * ceil_div(pack.c_out, PACKED_OUTPUTS) : 0;
    index_t map_items =
        x_sum ? desc->images * desc->groups * ceil_div(pack.c_in, PANEL_BLOCK) : 0;
    index_t map_rows = x_sum ? desc->images * l->rows.count : 0;
    index_t threads = thread_pool->threads;
    loop_t nchw[] = {
        fine_grained_loop(pack_weight_nchw_body, &pack, weight_items, threads),
        fine_grained_loop(pack_x_sums_nchw_body, &pool, map_items, threads),
    };
    loop_t nhwc[] = {
        fine_grained_loop(pack_weight_nhwc_body, &pack, w_sum ? desc->outputs : 0, threads),
        fine_grained_loop(pack_x_sums_nhwc_body, &pool, map_rows, threads),
    };
    run_loops(thread_pool, desc->nhwc ? nhwc : nchw, 2,
              (x_sum ? map_elements(l, desc->images) : 0) +
                  (w_sum ? desc->outputs * pack.c_in * desc->taps : 0));
}

/* the backward of a depthwise layer ------------------------------------------------------------ */

/* Return the elements of the workspace of gfb_depthwise, the same whatever is wanted. */
index_t gfb_depthwise_workspace(const backward_desc_t *desc, REAL *grad_x, REAL *grad_w,
                                REAL *grad_bias)
{
    (void)grad_x, (void)grad_w, (void)grad_bias;
    return desc->nhwc ? depthwise_parts(desc) * partial_sums_size(desc) : 0;
}

/* The whole backward of a depthwise layer: arguments as of gfb_filtered, except that x_sum is a
 * grid (N, C_i, P_h, P_w) in the layout of the maps and w_sum is dense, (C_o). In NCHW each channel
 * of x may have up to CHANNEL_BLOCK channels of y, in NHWC it has one. */
void gfb_depthwise(const thread_pool_t *thread_pool, const backward_desc_t *desc, const REAL *grad,
                   const REAL *x_sum, const REAL *w_sum, REAL *grad_x, REAL *grad_w,
                   REAL *grad_bias, REAL *workspace)
{
    index_t parts = depthwise_parts(desc);
    index_t elements = map_elements(&desc->out, desc->images);
    depthwise_args_t args = {desc,   &desc->out, &desc->in, grad,      x_sum,
                             w_sum,  grad_x,     grad_w,    grad_bias, workspace,
                             tiling_of(&desc->out), tiling_of(&desc->in)};
    GFB_CHECK(gfb_depthwise_workspace(desc, grad_x, grad_w, grad_bias) == desc->workspace);
    if (!desc->nhwc) {
        parallel_for(thread_pool, depthwise_nchw_body, &args,
                     ceil_div(desc->in.channels, depthwise_channels(&args)), elements);
        return;
    }
    parallel_for(thread_pool, depthwise_nhwc_body, &args, parts, elements);
    if (grad_w || grad_bias)
        parallel_for(thread_pool, reduce_depthwise_nhwc_body, &args,
                     ceil_div(desc->out.channels, REDUCED), 2 * parts * desc->out.channels);
}

/* the whole backward --------------------------------------------------------------------------- */

static backward_t backward_of(const backward_desc_t *desc)
{
    return (backward_t){.desc = desc, .out = &desc->out, .in = &desc->in,
                        .out_tiling = tiling_of(&desc->out), .in_tiling = tiling_of(&desc->in)};
}

/* Return the elements of the workspace of gfb_filtered; of the gradients, what is not NULL is
 * wanted. */
index_t gfb_filtered_workspace(const backward_desc_t *desc, REAL *grad_x, REAL *grad_w,
                               REAL *grad_bias)
{
    backward_t b = backward_of(desc);
    b.grad_x = grad_x, b.grad_w = grad_w, b.grad_bias = grad_bias;
    return divide_workspace(&b, NULL);
}

/* The whole backward of a layer.
 *
 * grad is g (N, C_o, H_y, W_y) in the layout desc->out; x_sum and w_sum are x~ and w~ as gfb_save
 * packs them. Written: grad_x (N, C_i, H, W) in the layout desc->in, except for pixels in no patch;
 * grad_w (C_o, C_i / groups, taps), dense in the layout of w; grad_bias (C_o). NULL: not wanted.
 * x_sum is read for grad_w only, w_sum for grad_x only. workspace: desc->workspace elements, as
 * gfb_filtered_workspace has returned them, aligned to 64 bytes. */
void gfb_filtered(const thread_pool_t *thread_pool, const backward_desc_t *desc, const REAL *grad,
                  const REAL *x_sum, const REAL *w_sum, REAL *grad_x, REAL *grad_w,
                  REAL *grad_bias, REAL *workspace)
{
    backward_t b = backward_of(desc);
    b.threads = thread_pool->threads;
    b.grad = grad, b.x_sum = x_sum, b.w_sum = w_sum;
    b.grad_x = grad_x, b.grad_w = grad_w, b.grad_bias = grad_bias;
    index_t taken = divide_workspace(&b, workspace);
    GFB_CHECK(taken == desc->workspace && guards_are_intact(&b, 1));
    (void)taken;
    if (desc->accumulators > 0)
        filter_apart(thread_pool, &b);
    else
        filter_together(thread_pool, &b);
    GFB_CHECK(guards_are_intact(&b, 0));
}
