/* The memory-bound passes of the filtered convolution on a GPU; the products are cuBLAS's.
 *
 * pool_*    sums or means over patches of maps, for g~ and x~, with what is wanted in the same
 *           read: the sums of the channels (bias gradient), the products with x~ (depthwise g_w)
 * expand_*  a patch's value on all its pixels, for g_x, and zeros where no patch is
 *
 * One pass serves every layout: strides come with the call, and only which threads are neighbours
 * differs. The sum of a window and its broadcast are the same passes, one patch per window.
 *
 * C that is C++ as well. NVRTC compiles it, once per type (-DREAL_F32, -DREAL_F64, -DREAL_F16),
 * with no header at all; the tests compile the very same lines for the processor, and cuda_host.h
 * gives these macros their meaning there. A kernel is a row of steps, each taken by all threads
 * of a block: EACH_THREAD ends in a barrier.
 */

#ifdef __CUDACC_RTC__
#define KERNEL(name) extern "C" __global__ void __launch_bounds__(THREADS) name(const task_t task)
#define FUNCTION static __device__ __forceinline__
#define SHARED __shared__
#define UNROLL _Pragma("unroll")
#define BLOCK ((int)blockIdx.x)
#define PART ((int)blockIdx.y)
#define EACH_THREAD(t) \
    for (int t = (int)threadIdx.x, pending = 1; pending; pending = 0, __syncthreads())
#define FETCH(address) __ldg(address) /* nothing that is read is written: Maxwell may cache it */
#else
#include "cuda_host.h"
#endif

enum { THREADS = 256 };

typedef long long index_t;

#if defined(REAL_F16)
typedef unsigned short real_t; /* the bits: conversions are instructions, cuda_fp16.h a file */
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

/* Run i along an axis is [start + i length, start + (i + 1) length), cut to [0, stop). */
typedef struct {
    int start, length, number, stop;
} runs_t;

/* Elements from one image, channel, row and column to the next. */
typedef struct {
    index_t image, channel, row, column;
} strides_t;

/* All that a pass is told. A plane is one channel of one image. */
typedef struct {
    strides_t map, grid, other;
    runs_t rows, columns;
    int planes, channels, height, width;
    int items;       /* per plane: patches to pool; bands x columns to expand */
    int stretch;     /* items of a plane that one block walks */
    int fast_bits;   /* of a thread's index; neighbours differ in them, the rest is slow */
    int by_channel;  /* whether the fast ones tell the plane, and the slow the item, or not */
    int first_band;  /* to expand: -1 if there are rows above the patches, otherwise 0 */
    double scale;    /* of the means; 0 for sums */
    real_t *maps;    /* read by pool, written by expand */
    real_t *cells;   /* the grid: written by pool unless NULL, read by expand */
    sum_t *sums;     /* (parts, planes) or NULL: the sums of what was read */
    sum_t *products; /* (parts, planes) or NULL: the sums of means x others */
    const real_t *others;  /* a grid of the same patches */
    const real_t *factors; /* (channels) or NULL: what expand multiplies with */
} task_t;

/* How many threads of a block share a plane: a power of two, as all numbers of threads. */
FUNCTION int sharers(const task_t *task)
{
    return task->by_channel ? THREADS >> task->fast_bits : 1 << task->fast_bits;
}

/* A thread's place: its plane, and where it starts and how it steps among the plane's items. */
typedef struct {
    int plane, item, items;
} place_t;

FUNCTION place_t place_of(const task_t *task, int block, int t)
{
    int fast = t & ((1 << task->fast_bits) - 1), slow = t >> task->fast_bits;
    int plane = task->by_channel ? fast : slow;
    place_t place;
    place.item = task->by_channel ? slow : fast;
    place.items = sharers(task);
    place.plane = block * (THREADS / place.items) + plane;
    return place;
}

/* A walk over items that are numbered row by row, without a division per step. */
typedef struct {
    int row, column, down, right, across;
} walk_t;

FUNCTION walk_t walk_from(int item, int step, int across)
{
    walk_t walk;
    walk.row = item / across, walk.column = item % across;
    walk.down = step / across, walk.right = step % across;
    walk.across = across;
    return walk;
}

FUNCTION void advance(walk_t *walk)
{
    walk->row += walk->down;
    walk->column += walk->right;
    if (walk->column >= walk->across) {
        walk->column -= walk->across;
        walk->row++;
    }
}

FUNCTION int cut(const runs_t *runs, int i)
{
    int at = runs->start + i * runs->length;
    return at < 0 ? 0 : at < runs->stop ? at : runs->stop;
}

FUNCTION index_t place_in(const strides_t *strides, int image, int channel, int row, int column)
{
    return image * strides->image + channel * strides->channel + row * strides->row +
           column * strides->column;
}

/* pool ---------------------------------------------------------------------------------------- */

/* Whole boxes of `length` x `length`, if that is not 0, are read by loads that wait for nothing. */
FUNCTION sum_t sum_box(const real_t *box, const strides_t *strides, int rows, int columns,
                       int length)
{
    sum_t sum = 0;
    if (length && rows == length && columns == length) {
        UNROLL
        for (int h = 0; h < length; h++) {
            UNROLL
            for (int w = 0; w < length; w++)
                sum += load(box + h * strides->row + w * strides->column);
        }
        return sum;
    }
    for (int h = 0; h < rows; h++)
        for (int w = 0; w < columns; w++)
            sum += load(box + h * strides->row + w * strides->column);
    return sum;
}

FUNCTION void pool_items(const task_t *task, int part, place_t place, int length, sum_t *sum,
                         sum_t *product)
{
    int image = place.plane / task->channels, channel = place.plane % task->channels;
    int first = part * task->stretch + place.item;
    int last = task->items - part * task->stretch < task->stretch
                   ? task->items
                   : (part + 1) * task->stretch;
    walk_t at = walk_from(first, place.items, task->columns.number);
    for (int item = first; item < last; item += place.items, advance(&at)) {
        int top = cut(&task->rows, at.row), left = cut(&task->columns, at.column);
        int rows = cut(&task->rows, at.row + 1) - top;
        int columns = cut(&task->columns, at.column + 1) - left;
        const real_t *box = task->maps + place_in(&task->map, image, channel, top, left);
        sum_t value = sum_box(box, &task->map, rows, columns, length);
        *sum += value;
        if (task->scale != 0 && rows > 0 && columns > 0)
            value *= (sum_t)task->scale / (sum_t)(rows * columns);
        if (task->cells)
            store(task->cells + place_in(&task->grid, image, channel, at.row, at.column), value);
        if (task->products)
            *product += value * load(task->others + place_in(&task->other, image, channel, at.row,
                                                             at.column));
    }
}

/* Add up what the threads of each plane have found, always in the same order, and write it. */
FUNCTION void gather(const task_t *task, int block, int part, sum_t *found, sum_t *sums)
{
    int apart = task->by_channel ? 1 << task->fast_bits : 1;
    for (int half = sharers(task) / 2; half > 0; half /= 2)
        EACH_THREAD(t)
            if (place_of(task, block, t).item < half)
                found[t] += found[t + half * apart];
    EACH_THREAD(t)
    {
        place_t place = place_of(task, block, t);
        if (place.item == 0 && place.plane < task->planes)
            sums[(index_t)part * task->planes + place.plane] = found[t];
    }
}

FUNCTION void pool(const task_t *task, int block, int part, int length)
{
    SHARED sum_t sums[THREADS];
    SHARED sum_t products[THREADS];
    EACH_THREAD(t)
    {
        place_t place = place_of(task, block, t);
        sum_t sum = 0, product = 0;
        if (place.plane < task->planes)
            pool_items(task, part, place, length, &sum, &product);
        sums[t] = sum;
        products[t] = product;
    }
    if (task->sums)
        gather(task, block, part, sums, task->sums);
    if (task->products)
        gather(task, block, part, products, task->products);
}

/* expand -------------------------------------------------------------------------------------- */

/* Write one value down one column of a band of rows. */
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

/* The bands of rows are what lies above the patches, each row of patches, and what lies below. */
FUNCTION void expand_items(const task_t *task, int part, place_t place, int length)
{
    const runs_t *rows = &task->rows, *columns = &task->columns;
    int image = place.plane / task->channels, channel = place.plane % task->channels;
    int right = cut(columns, columns->number);
    int first = part * task->stretch + place.item;
    int last = task->items - part * task->stretch < task->stretch
                   ? task->items
                   : (part + 1) * task->stretch;
    sum_t factor = task->factors ? load(task->factors + channel) : 1;
    walk_t at = walk_from(first, place.items, task->width);
    for (int item = first; item < last; item += place.items, advance(&at)) {
        int i = at.row + task->first_band, within = at.column - columns->start;
        int top = i < 0 ? 0 : cut(rows, i);
        int bottom = i < rows->number ? cut(rows, i + 1) : task->height;
        sum_t value = 0;
        if (i >= 0 && i < rows->number && within >= 0 && at.column < right) {
            int j = within / (length ? length : columns->length);
            value = factor * load(task->cells + place_in(&task->grid, image, channel, i, j));
        }
        fill_column(task->maps + place_in(&task->map, image, channel, top, at.column),
                    task->map.row, bottom - top, value, length);
    }
}

FUNCTION void expand(const task_t *task, int block, int part, int length)
{
    EACH_THREAD(t)
    {
        place_t place = place_of(task, block, t);
        if (place.plane < task->planes)
            expand_items(task, part, place, length);
    }
}

/* kernels ------------------------------------------------------------------------------------- */

/* For square patches of the usual lengths the loops are unrolled; 0 takes any. */
#define PASSES(length) \
    KERNEL(pool_##length) { pool(&task, BLOCK, PART, length); } \
    KERNEL(expand_##length) { expand(&task, BLOCK, PART, length); }

PASSES(0)
PASSES(1)
PASSES(2)
PASSES(3)
PASSES(4)
PASSES(8)
