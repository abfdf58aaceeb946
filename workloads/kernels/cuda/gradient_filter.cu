/* The memory-bound passes of the filtered convolution on a GPU; cuBLAS does the products.
 *
 * gfb_pool_*    sums or means over patches of maps, for g~ and x~; in the same read the sums of the
 *               channels (bias gradient) and the dot products with x~ (g_w of depthwise layers)
 * gfb_expand_*  each cell's value on all pixels of its patch, for g_x; zeros on pixels in no patch
 *
 *     for each plane (a channel of an image), for each item of the plane, in parallel:
 *       pool:    an item is a patch: add up its pixels, write a cell, add to the thread's sums
 *       expand:  an item is a column of a band of rows: write its value down the column
 *     pool only: reduce the sums of the threads of each plane
 *
 * One pass serves every layout: strides come with the call, and only the assignment of threads to
 * items and planes differs, so that neighbouring threads read neighbouring addresses. The sum of a
 * window of weights and g_w on every tap are the same passes, with one patch for each window.
 *
 * C that is C++ as well. NVRTC compiles it, once per type (-DREAL_F32, -DREAL_F64, -DREAL_F16),
 * without any header; the tests compile the same lines for the processor, with cuda_host.h, which
 * defines these macros for it. A kernel is a sequence of steps, each done by all threads of a
 * block: EACH_THREAD ends in a barrier.
 */

#ifdef __CUDACC_RTC__
#define KERNEL(name) \
    extern "C" __global__ void __launch_bounds__(THREADS) name(const params_t params)
#define FUNCTION static __device__ __forceinline__
#define SHARED __shared__
#define UNROLL _Pragma("unroll")
#define BLOCK ((int)blockIdx.x)
#define PART ((int)blockIdx.y)
#define EACH_THREAD(t) \
    for (int t = (int)threadIdx.x, pending = 1; pending; pending = 0, __syncthreads())
#define FETCH(address) __ldg(address) /* what is read is never written: Maxwell may cache it */
#else
#include "cuda_host.h"
#endif

enum { THREADS = 256 };

typedef long long index_t;

#if defined(REAL_F16)
typedef unsigned short real_t; /* the bits: cuda_fp16.h is a file, conversions are instructions */
typedef float sum_t;
#elif defined(REAL_F64)
typedef double real_t;
typedef double sum_t;
#else
typedef float real_t;
typedef float sum_t;
#endif

#if !defined(REAL_F16)
FUNCTION sum_t load(const real_t *from) { return FETCH(from); }
FUNCTION void store(real_t *to, sum_t value) { *to = value; }
#elif defined(__CUDACC_RTC__)
FUNCTION sum_t load(const real_t *from)
{
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(FETCH(from)));
    return value;
}

FUNCTION void store(real_t *to, sum_t value)
{
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(*to) : "f"(value));
}
#else
FUNCTION sum_t load(const real_t *from) { return float_of_half(FETCH(from)); }
FUNCTION void store(real_t *to, sum_t value) { *to = half_of_float(value); }
#endif

/* Patches along one axis: patch i is [start + i length, start + (i + 1) length), cut to
 * [0, stop). */
typedef struct {
    int start, length, count, stop;
} patches_t;

/* Elements from one image, channel, row and column to the next. */
typedef struct {
    index_t image, channel, row, column;
} strides_t;

/* The parameters of a pass. Maps are (N, C, height, width), grids (N, C, rows.count,
 * columns.count); a plane is one channel of one image.
 *
 * How threads share the work: the low `fast_bits` bits of a thread's index are the fast index, the
 * others the slow one; threads with neighbouring fast indices are in one warp. One of the two
 * indices picks the plane, the other one the item. */
typedef struct {
    strides_t map, grid, other;
    patches_t rows, columns;
    int planes, channels, height, width;
    int items;          /* per plane: patches to pool, or bands times columns to expand */
    int items_per_part; /* items of a plane that one block does */
    int fast_bits;
    int by_channel;     /* whether the fast index picks the plane, for NHWC; otherwise the item */
    int first_band;     /* of expand: -1 if there are rows above the patches, otherwise 0 */
    double scale;       /* of the means; 0: sums */
    real_t *maps;       /* read by pool, written by expand */
    real_t *cells;      /* the grid: written by pool unless NULL, read by expand */
    sum_t *sums;        /* (parts, planes) or NULL: sums of the pixels that were read */
    sum_t *products;    /* (parts, planes) or NULL: dot products of the cells and `others` */
    const real_t *others;  /* a grid of the same patches, with strides `other` */
    const real_t *factors; /* (channels) or NULL: what expand multiplies the cells by */
} params_t;

/* How many threads of a block share a plane; a power of two. */
FUNCTION int threads_per_plane(const params_t *params)
{
    return params->by_channel ? THREADS >> params->fast_bits : 1 << params->fast_bits;
}

/* A thread's part of the work: a plane and, of each part of its items, every step-th from
 * `first_item` on. */
typedef struct {
    int plane, first_item, step;
} assignment_t;

FUNCTION assignment_t assignment_of(const params_t *params, int block, int t)
{
    int fast = t & ((1 << params->fast_bits) - 1), slow = t >> params->fast_bits;
    int plane = params->by_channel ? fast : slow;
    assignment_t a;
    a.first_item = params->by_channel ? slow : fast;
    a.step = threads_per_plane(params);
    a.plane = block * (THREADS / a.step) + plane;
    return a;
}

/* The row and column of an item, for items numbered row by row; advanced by a constant number of
 * items without a division. */
typedef struct {
    int row, column, row_step, column_step, columns;
} position_t;

FUNCTION position_t position_of(int item, int step, int columns)
{
    position_t at;
    at.row = item / columns, at.column = item % columns;
    at.row_step = step / columns, at.column_step = step % columns;
    at.columns = columns;
    return at;
}

FUNCTION void advance(position_t *at)
{
    at->row += at->row_step;
    at->column += at->column_step;
    if (at->column >= at->columns) {
        at->column -= at->columns;
        at->row++;
    }
}

/* Return the first pixel of patch i along its axis, or `stop` after the last one. */
FUNCTION int patch_begin(const patches_t *patches, int i)
{
    int at = patches->start + i * patches->length;
    return at < 0 ? 0 : at < patches->stop ? at : patches->stop;
}

FUNCTION index_t offset_of(const strides_t *strides, int image, int channel, int row, int column)
{
    return image * strides->image + channel * strides->channel + row * strides->row +
           column * strides->column;
}

/* Return the end of a part's items; the last part may have fewer. */
FUNCTION int part_end(const params_t *params, int part)
{
    return params->items - part * params->items_per_part < params->items_per_part
               ? params->items
               : (part + 1) * params->items_per_part;
}

/* pool ---------------------------------------------------------------------------------------- */

/* Return the sum of pixels (rows, columns). A whole patch of `length` x `length`, if that is not 0,
 * is read by unrolled loads that do not wait for each other. */
FUNCTION sum_t sum_patch(const real_t *pixels, const strides_t *strides, int rows, int columns,
                         int length)
{
    sum_t sum = 0;
    if (length && rows == length && columns == length) {
        UNROLL
        for (int h = 0; h < length; h++) {
            UNROLL
            for (int w = 0; w < length; w++)
                sum += load(pixels + h * strides->row + w * strides->column);
        }
        return sum;
    }
    for (int h = 0; h < rows; h++)
        for (int w = 0; w < columns; w++)
            sum += load(pixels + h * strides->row + w * strides->column);
    return sum;
}

/* Pool a thread's patches of one part; add their pixels to *sum, and the products of their cells
 * and `others` to *product. */
FUNCTION void pool_items(const params_t *params, int part, assignment_t a, int length, sum_t *sum,
                         sum_t *product)
{
    int image = a.plane / params->channels, channel = a.plane % params->channels;
    int first = part * params->items_per_part + a.first_item, end = part_end(params, part);
    position_t at = position_of(first, a.step, params->columns.count);
    for (int item = first; item < end; item += a.step, advance(&at)) {
        int top = patch_begin(&params->rows, at.row);
        int left = patch_begin(&params->columns, at.column);
        int rows = patch_begin(&params->rows, at.row + 1) - top;
        int columns = patch_begin(&params->columns, at.column + 1) - left;
        const real_t *pixels = params->maps + offset_of(&params->map, image, channel, top, left);
        sum_t value = sum_patch(pixels, &params->map, rows, columns, length);
        *sum += value;
        if (params->scale != 0 && rows > 0 && columns > 0)
            value *= (sum_t)params->scale / (sum_t)(rows * columns);
        if (params->cells)
            store(params->cells + offset_of(&params->grid, image, channel, at.row, at.column),
                  value);
        if (params->products)
            *product += value * load(params->others + offset_of(&params->other, image, channel,
                                                                at.row, at.column));
    }
}

/* Add up the partial sums (THREADS) of the threads of each plane, always in the same order, and
 * write them to sums (parts, planes). */
FUNCTION void reduce(const params_t *params, int block, int part, sum_t *partial, sum_t *sums)
{
    int stride = params->by_channel ? 1 << params->fast_bits : 1; /* between a plane's threads */
    for (int half = threads_per_plane(params) / 2; half > 0; half /= 2)
        EACH_THREAD(t)
            if (assignment_of(params, block, t).first_item < half)
                partial[t] += partial[t + half * stride];
    EACH_THREAD(t)
    {
        assignment_t a = assignment_of(params, block, t);
        if (a.first_item == 0 && a.plane < params->planes)
            sums[(index_t)part * params->planes + a.plane] = partial[t];
    }
}

FUNCTION void pool(const params_t *params, int block, int part, int length)
{
    SHARED sum_t sums[THREADS];
    SHARED sum_t products[THREADS];
    EACH_THREAD(t)
    {
        assignment_t a = assignment_of(params, block, t);
        sum_t sum = 0, product = 0;
        if (a.plane < params->planes)
            pool_items(params, part, a, length, &sum, &product);
        sums[t] = sum;
        products[t] = product;
    }
    if (params->sums)
        reduce(params, block, part, sums, params->sums);
    if (params->products)
        reduce(params, block, part, products, params->products);
}

/* expand -------------------------------------------------------------------------------------- */

/* Write one value to `rows` pixels of a column; unrolled if there are `length` of them. */
FUNCTION void fill_column(real_t *to, index_t stride, int rows, sum_t value, int length)
{
    if (length && rows == length) {
        UNROLL
        for (int h = 0; h < length; h++)
            store(to + h * stride, value);
        return;
    }
    for (int h = 0; h < rows; h++)
        store(to + h * stride, value);
}

/* Expand a thread's items of one part: columns of bands. The bands are the rows above the patches,
 * the rows of each patch row, and the rows below. */
FUNCTION void expand_items(const params_t *params, int part, assignment_t a, int length)
{
    const patches_t *rows = &params->rows, *columns = &params->columns;
    int image = a.plane / params->channels, channel = a.plane % params->channels;
    int right = patch_begin(columns, columns->count);
    int first = part * params->items_per_part + a.first_item, end = part_end(params, part);
    sum_t factor = params->factors ? load(params->factors + channel) : 1;
    position_t at = position_of(first, a.step, params->width);
    for (int item = first; item < end; item += a.step, advance(&at)) {
        int i = at.row + params->first_band, within = at.column - columns->start;
        int top = i < 0 ? 0 : patch_begin(rows, i);
        int bottom = i < rows->count ? patch_begin(rows, i + 1) : params->height;
        sum_t value = 0;
        if (i >= 0 && i < rows->count && within >= 0 && at.column < right) {
            int j = within / (length ? length : columns->length);
            value = factor * load(params->cells + offset_of(&params->grid, image, channel, i, j));
        }
        fill_column(params->maps + offset_of(&params->map, image, channel, top, at.column),
                    params->map.row, bottom - top, value, length);
    }
}

FUNCTION void expand(const params_t *params, int block, int part, int length)
{
    EACH_THREAD(t)
    {
        assignment_t a = assignment_of(params, block, t);
        if (a.plane < params->planes)
            expand_items(params, part, a, length);
    }
}

/* kernels ------------------------------------------------------------------------------------- */

/* Square patches of the usual lengths have kernels with unrolled loops; 0 is for any patches. */
#define PASSES(length) \
    KERNEL(gfb_pool_##length) { pool(&params, BLOCK, PART, length); } \
    KERNEL(gfb_expand_##length) { expand(&params, BLOCK, PART, length); }

PASSES(0)
PASSES(1)
PASSES(2)
PASSES(3)
PASSES(4)
PASSES(8)
