/* Windows of weights: w~, their sums, and g_w, one value on every tap of a window. */

#ifndef GFBENCH_WINDOWS_H
#define GFBENCH_WINDOWS_H

#include "microkernel.h"
#include "runs.h"
#include "team.h"

typedef struct {
    const REAL *src;
    REAL *out;
    index_t length, most;
    index_t number;
    int streaming;
} windows_t;

static void sum_some_runs(const void *shared, index_t first, index_t last)
{
    const windows_t *task = shared;
    index_t begin = first * task->most, end = least(last * task->most, task->number);
    add_runs(task->src + begin * task->length, end - begin, task->length, task->out + begin);
}

typedef struct {
    const REAL *src;
    REAL *out;
    index_t outputs, inputs, length; /* channels of a group */
} tiles_t;

enum { ROWS_AT_ONCE = 4 /* channels of y: so that whole lines of a tile are written */ };

static void sum_some_tiles(const void *shared, index_t first, index_t last)
{
    const tiles_t *task = shared;
    index_t co = task->outputs, ci = task->inputs, tiles = divided(ci, TALL);
    index_t parts = divided(co, ROWS_AT_ONCE), row = ci * task->length;
    REAL sums[ROWS_AT_ONCE][TILE];
    for (index_t item = first; item < last; item++) {
        index_t group = item / parts, o = item % parts * ROWS_AT_ONCE;
        index_t rows = least(ROWS_AT_ONCE, co - o);
        const REAL *src = task->src + (group * co + o) * row;
        REAL *out = task->out + (group * tiles * co + o) * TALL;
        for (index_t c = 0; c < ci; c += TILE / TALL * TALL) {
            index_t count = least(TILE / TALL * TALL, ci - c);
            for (index_t k = 0; k < rows; k++)
                add_runs(src + k * row + c * task->length, count, task->length, sums[k]);
            for (index_t i = 0; i < count; i += TALL)
                for (index_t k = 0; k < rows; k++) {
                    REAL *to = out + ((c + i) / TALL * co + k) * TALL;
                    if (i + TALL <= count)
                        copy(to, sums[k] + i, TALL);
                    else
                        for (index_t lane = 0; lane < TALL; lane++)
                            to[lane] = i + lane < count ? sums[k][i + lane] : 0;
                }
        }
    }
}

/* Copy a row of a panel, or a piece of it. */
INLINE void copy_piece(REAL *out, const REAL *src, index_t n)
{
    if (n == BROAD)
        copy(out, src, BROAD);
    else
        copy(out, src, n);
}

/* The same in tiles of BROAD channels, of weights in channels-last (C_o, taps, C_i / groups). */
static void sum_some_wide_tiles(const void *shared, index_t first, index_t last)
{
    const tiles_t *task = shared;
    index_t co = task->outputs, ci = task->inputs, tiles = divided(ci, BROAD);
    for (index_t item = first; item < last; item++) {
        const REAL *src = task->src + item * task->length * ci;
        REAL *out = task->out + (item / co * tiles * co + item % co) * BROAD;
        for (index_t c = 0; c < tiles * BROAD; c += WIDE) {
            index_t n = c < ci ? least(WIDE, ci - c) : 0;
            wide_t sum = take(src + c, n);
            for (index_t tap = 1; tap < task->length; tap++)
                sum += take(src + tap * ci + c, n);
            give(out + c / BROAD * co * BROAD + c % BROAD, sum, WIDE, 0);
        }
    }
}

/* Write n values on every tap of a window, of weights in channels-last with `inputs` channels. */
static void repeat_on_taps(const REAL *values, index_t n, index_t taps, index_t inputs, REAL *out)
{
    for (index_t tap = 0; tap < taps; tap++)
        copy_piece(out + tap * inputs, values, n);
}

/* Fill n runs with a value each, and nothing beyond. */
static void fill_exactly(const REAL *values, index_t n, index_t length, REAL *out)
{
    index_t inside = exact_runs(n, length);
    fill_runs(values, inside, length, out);
    for (index_t j = inside; j < n; j++)
        for (index_t k = 0; k < length; k++)
            out[j * length + k] = values[j];
}

static void repeat_some_runs(const void *shared, index_t first, index_t last)
{
    const windows_t *task = shared;
    index_t length = task->length;
    REAL scratch[TILE + LANES];
    for (index_t item = first; item < last; item++) {
        index_t begin = item * task->most, n = least(task->most, task->number - begin);
        if (length <= TILE && task->streaming) {
            fill_runs(task->src + begin, n, length, scratch);
            stream(task->out + begin * length, scratch, n * length);
        } else {
            fill_exactly(task->src + begin, n, length, task->out + begin * length);
        }
    }
}

#endif
