/* Weights: their window sums w~, packed for the micro-kernel, and g_w, repeated on every tap.
 *
 *     forward:   for each window (o, c) of w (C_o, C_i / groups, k_h, k_w):
 *                  w~[o][c] = the sum over its taps
 *     backward:  for each window (o, c), for each tap: g_w[o][c][tap] = one value
 *
 * Weights are dense. taps = k_h k_w; a window's taps follow each other in memory (NCHW), or its
 * input channels do (NHWC, that is (C_o, taps, C_i / groups)).
 *
 * w~ is packed in tiles as wide as the register tile's side that takes input channels: MR where
 * maps are NCHW, NR where they are NHWC. Packed w~ is (groups, tiles, C_o / groups, MR or NR),
 * with zeros after the last channel of a group.
 */

#ifndef GFB_WINDOWS_H
#define GFB_WINDOWS_H

#include "microkernel.h"
#include "runs.h"
#include "team.h"

/* Sums of dense windows, or the reverse: src and out are (count, taps) and (count), or the other
 * way round. */
typedef struct {
    const REAL *src;
    REAL *out;
    index_t taps;
    index_t per_item; /* windows of an item */
    index_t count;    /* windows in all */
    int streaming;
} windows_args_t;

/* Items [first, last): out[j] = the sum of window j of src (count, taps). */
static void sum_windows_body(const void *shared, index_t first, index_t last)
{
    const windows_args_t *args = shared;
    index_t begin = first * args->per_item, end = min_(last * args->per_item, args->count);
    sum_segments(args->src + begin * args->taps, end - begin, args->taps, args->out + begin);
}

/* Packing of w~: from w (groups, c_out, c_in, taps) or (groups, c_out, taps, c_in). */
typedef struct {
    const REAL *weight;
    REAL *packed;
    index_t c_out, c_in, taps; /* channels of one group */
} pack_weight_args_t;

enum { PACKED_OUTPUTS = 4 /* output channels of an item: their rows fill whole cache lines */ };

/* Pack w~ in tiles of MR input channels, from weights in NCHW. Each item is PACKED_OUTPUTS output
 * channels of a group. */
static void pack_weight_nchw_body(const void *shared, index_t first, index_t last)
{
    const pack_weight_args_t *args = shared;
    index_t co = args->c_out, ci = args->c_in, tiles = ceil_div(ci, MR);
    index_t parts = ceil_div(co, PACKED_OUTPUTS), row = ci * args->taps;
    REAL sums[PACKED_OUTPUTS][SCRATCH];
    for (index_t item = first; item < last; item++) {
        index_t group = item / parts, o = item % parts * PACKED_OUTPUTS;
        index_t rows = min_(PACKED_OUTPUTS, co - o);
        const REAL *src = args->weight + (group * co + o) * row;
        REAL *out = args->packed + (group * tiles * co + o) * MR;
        for (index_t c = 0; c < ci; c += SCRATCH / MR * MR) {
            index_t count = min_(SCRATCH / MR * MR, ci - c);
            for (index_t k = 0; k < rows; k++)
                sum_segments(src + k * row + c * args->taps, count, args->taps, sums[k]);
            for (index_t i = 0; i < count; i += MR)
                for (index_t k = 0; k < rows; k++) {
                    REAL *to = out + ((c + i) / MR * co + k) * MR;
                    if (i + MR <= count)
                        copy_row(to, sums[k] + i, MR);
                    else
                        for (index_t lane = 0; lane < MR; lane++)
                            to[lane] = i + lane < count ? sums[k][i + lane] : 0;
                }
        }
    }
}

/* Pack w~ in tiles of NR input channels, from weights in NHWC (C_o, taps, C_i / groups). Each item
 * is an output channel. */
static void pack_weight_nhwc_body(const void *shared, index_t first, index_t last)
{
    const pack_weight_args_t *args = shared;
    index_t co = args->c_out, ci = args->c_in, tiles = ceil_div(ci, NR);
    for (index_t item = first; item < last; item++) {
        const REAL *src = args->weight + item * args->taps * ci;
        REAL *out = args->packed + (item / co * tiles * co + item % co) * NR;
        for (index_t c = 0; c < tiles * NR; c += VLEN) {
            index_t n = c < ci ? min_(VLEN, ci - c) : 0;
            vec_t sum = load_partial(src + c, n);
            for (index_t tap = 1; tap < args->taps; tap++)
                sum += load_partial(src + tap * ci + c, n);
            store_partial(out + c / NR * co * NR + c % NR, sum, VLEN, 0);
        }
    }
}

/* out[0 .. n) = src[0 .. n): a row of a packed panel, NR elements, or a part of one. */
GFB_INLINE void copy_panel_row(REAL *out, const REAL *src, index_t n)
{
    if (n == NR)
        copy_row(out, src, NR);
    else
        copy_row(out, src, n);
}

/* Write values[0 .. n), of n input channels of one output channel, to every tap of g_w in NHWC:
 * out (taps, n), row-major with stride `c_in`. */
static void repeat_on_taps_nhwc(const REAL *values, index_t n, index_t taps, index_t c_in,
                                REAL *out)
{
    for (index_t tap = 0; tap < taps; tap++)
        copy_panel_row(out + tap * c_in, values, n);
}

/* Write values[0 .. n) to every tap of g_w in NCHW: out (n, taps), dense. Unlike fill_segments it
 * writes nothing past the end. */
static void repeat_on_taps_nchw(const REAL *values, index_t n, index_t taps, REAL *out)
{
    index_t inside = segments_without_overrun(n, taps);
    fill_segments(values, inside, taps, out);
    for (index_t j = inside; j < n; j++)
        for (index_t k = 0; k < taps; k++)
            out[j * taps + k] = values[j];
}

/* Items [first, last): every tap of window j of out (count, taps) = src[j]. */
static void repeat_windows_body(const void *shared, index_t first, index_t last)
{
    const windows_args_t *args = shared;
    index_t taps = args->taps;
    REAL scratch[SCRATCH + FILL];
    for (index_t item = first; item < last; item++) {
        index_t begin = item * args->per_item, n = min_(args->per_item, args->count - begin);
        if (taps <= SCRATCH && args->streaming) {
            fill_segments(args->src + begin, n, taps, scratch);
            stream_row(args->out + begin * taps, scratch, n * taps);
        } else {
            repeat_on_taps_nchw(args->src + begin, n, taps, args->out + begin * taps);
        }
    }
}

#endif
