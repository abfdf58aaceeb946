/* Runs of numbers along a row: summed, filled, turned; with shuffles of vectors. */

#ifndef GFBENCH_RUNS_H
#define GFBENCH_RUNS_H

#include "rows.h"

/* Numbers picked from two vectors: the even and the odd ones of both. */
#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define PICK(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#endif
#endif
#if !defined(PICK) /* gcc before 12 */
#define PICK(a, b, ...) __builtin_shuffle(a, b, (__typeof__((a) < (b))){__VA_ARGS__})
#endif
#define PASTE(a, b) a##b
#define OF(type, what) PASTE(type, what)
#define float_IS_SINGLE 1
#define double_IS_SINGLE 0

/* By number of lanes: the even and odd numbers of two vectors, both halves' numbers twice, and both
 * halves of two vectors in turns. */
#define EVEN_2 0, 2
#define EVEN_4 EVEN_2, 4, 6
#define EVEN_8 EVEN_4, 8, 10, 12, 14
#define EVEN_16 EVEN_8, 16, 18, 20, 22, 24, 26, 28, 30
#define ODD_2 1, 3
#define ODD_4 ODD_2, 5, 7
#define ODD_8 ODD_4, 9, 11, 13, 15
#define ODD_16 ODD_8, 17, 19, 21, 23, 25, 27, 29, 31
#define LOW_2 0, 0
#define LOW_4 LOW_2, 1, 1
#define LOW_8 LOW_4, 2, 2, 3, 3
#define LOW_16 LOW_8, 4, 4, 5, 5, 6, 6, 7, 7
#define HIGH_2 1, 1
#define HIGH_4 2, 2, 3, 3
#define HIGH_8 4, 4, 5, 5, 6, 6, 7, 7
#define HIGH_16 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13, 14, 14, 15, 15
#define ZIP_LOW_2 0, 2
#define ZIP_LOW_4 0, 4, 1, 5
#define ZIP_LOW_8 0, 8, 1, 9, 2, 10, 3, 11
#define ZIP_LOW_16 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define ZIP_HIGH_2 1, 3
#define ZIP_HIGH_4 2, 6, 3, 7
#define ZIP_HIGH_8 4, 12, 5, 13, 6, 14, 7, 15
#define ZIP_HIGH_16 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#if defined(__AVX512F__)
#define float_EVEN EVEN_16
#define float_ODD ODD_16
#define float_LOW LOW_16
#define float_HIGH HIGH_16
#define double_EVEN EVEN_8
#define double_ODD ODD_8
#define double_LOW LOW_8
#define double_HIGH HIGH_8
#define float_ZIP_LOW ZIP_LOW_16
#define float_ZIP_HIGH ZIP_HIGH_16
#define double_ZIP_LOW ZIP_LOW_8
#define double_ZIP_HIGH ZIP_HIGH_8
#elif defined(__AVX__)
#define float_EVEN EVEN_8
#define float_ODD ODD_8
#define float_LOW LOW_8
#define float_HIGH HIGH_8
#define double_EVEN EVEN_4
#define double_ODD ODD_4
#define double_LOW LOW_4
#define double_HIGH HIGH_4
#define float_ZIP_LOW ZIP_LOW_8
#define float_ZIP_HIGH ZIP_HIGH_8
#define double_ZIP_LOW ZIP_LOW_4
#define double_ZIP_HIGH ZIP_HIGH_4
#else
#define float_EVEN EVEN_4
#define float_ODD ODD_4
#define float_LOW LOW_4
#define float_HIGH HIGH_4
#define double_EVEN EVEN_2
#define double_ODD ODD_2
#define double_LOW LOW_2
#define double_HIGH HIGH_2
#define float_ZIP_LOW ZIP_LOW_4
#define float_ZIP_HIGH ZIP_HIGH_4
#define double_ZIP_LOW ZIP_LOW_2
#define double_ZIP_HIGH ZIP_HIGH_2
#endif

/* out[j] = the sum of pair j of n; out may be src. */
static void add_pairs(const REAL *src, index_t n, REAL *out)
{
    index_t j = 0;
    for (; j + WIDE <= n; j += WIDE) {
        wide_t a = *(const wide_t *)(src + 2 * j), b = *(const wide_t *)(src + 2 * j + WIDE);
        *(wide_t *)(out + j) = PICK(a, b, OF(REAL, _EVEN)) + PICK(a, b, OF(REAL, _ODD));
    }
    for (; j < n; j++)
        out[j] = src[2 * j] + src[2 * j + 1];
}

/* out[j] = the sum of pair j of n >= WIDE in the sum of rows; the last vector may overlap. Fetches
 * what follows in the order of addresses: two or four rows read at once are no pattern that
 * processors foresee (three times slower from main memory). */
INLINE void add_band_pairs(const REAL *restrict src, index_t stride, index_t rows, index_t n,
                           REAL *restrict out)
{
    for (index_t j = 0; j < n; j += WIDE) {
        index_t at = least(j, n - WIDE);
        const REAL *from = src + 2 * at;
        for (index_t line = 0; line < 2 * rows; line++)
            __builtin_prefetch(src + AHEAD + 2 * j * rows + line * WIDE);
        wide_t a = *(const wide_t *)from, b = *(const wide_t *)(from + WIDE);
        for (index_t row = 1; row < rows; row++) {
            a += *(const wide_t *)(from + row * stride);
            b += *(const wide_t *)(from + row * stride + WIDE);
        }
        *(wide_t *)(out + at) = PICK(a, b, OF(REAL, _EVEN)) + PICK(a, b, OF(REAL, _ODD));
    }
}

/* The same of each band; bands follow each other in out. */
static void add_bands_pairs(const REAL *src, index_t stride, index_t rows, index_t bands,
                            index_t n, REAL *out)
{
    for (index_t band = 0; band < bands; band++, src += rows * stride, out += n)
        if (rows == 2)
            add_band_pairs(src, stride, 2, n, out);
        else if (rows == 4)
            add_band_pairs(src, stride, 4, n, out);
        else
            add_band_pairs(src, stride, rows, n, out);
}

INLINE void add_each(const REAL *src, index_t n, index_t length, REAL *out)
{
    for (index_t j = 0; j < n; j++) {
        REAL sum = src[j * length];
        for (index_t k = 1; k < length; k++)
            sum += src[j * length + k];
        out[j] = sum;
    }
}

/* out[j] = the sum of run j of n. */
static void add_runs(const REAL *src, index_t n, index_t length, REAL *out)
{
    switch (length) {
    case 1: copy(out, src, n); break;
    case 2: add_pairs(src, n, out); break;
    case 3: add_each(src, n, 3, out); break;
    case 9: add_each(src, n, 9, out); break;
    default:
        if (length < 2 * LANES)
            add_each(src, n, length, out);
        else /* long sums in vectors and in double, or their errors would show */
            for (index_t j = 0; j < n; j++)
                out[j] = (REAL)total(src + j * length, length);
    }
}

/* Do the same, the runs being scratch: halves them while it can. */
static void reduce_runs(REAL *runs, index_t n, index_t length, REAL *out)
{
    for (; length % 2 == 0 && length > 2; length /= 2)
        add_pairs(runs, n * length / 2, runs);
    add_runs(runs, n, length, out);
}

/* out[2 j] = out[2 j + 1] = values[j]; values may be the upper half of out. */
static void double_each(const REAL *values, index_t n, REAL *out)
{
    index_t j = 0;
    for (; j + WIDE <= n; j += WIDE) {
        wide_t a = *(const wide_t *)(values + j);
        wide_t low = PICK(a, a, OF(REAL, _LOW)), high = PICK(a, a, OF(REAL, _HIGH));
        *(wide_t *)(out + 2 * j) = low;
        *(wide_t *)(out + 2 * j + WIDE) = high;
    }
    for (; j < n; j++) {
        REAL value = values[j];
        out[2 * j] = out[2 * j + 1] = value;
    }
}

#if defined(__AVX512F__)
#if OF(REAL, _IS_SINGLE)
typedef int choice_t __attribute__((vector_size(sizeof(wide_t))));
#define CHOOSE(values, choice) ((wide_t)_mm512_permutexvar_ps((__m512i)(choice), (__m512)(values)))
#else
typedef long long choice_t __attribute__((vector_size(sizeof(wide_t))));
#define CHOOSE(values, choice) ((wide_t)_mm512_permutexvar_pd((__m512i)(choice), (__m512d)(values)))
#endif

enum { USUAL = 9 /* the length of a window of 3 x 3 */ };

/* Fill runs of the usual length, a vector of values at a time. Returns how many. */
static index_t fill_usual(const REAL *values, index_t n, REAL *out)
{
    choice_t choices[USUAL];
    index_t j = 0;
    for (int k = 0; k < USUAL; k++)
        for (int lane = 0; lane < WIDE; lane++)
            choices[k][lane] = (k * WIDE + lane) / USUAL;
    for (; j + WIDE <= n; j += WIDE, out += WIDE * USUAL) {
        wide_t value = *(const wide_t *)(values + j);
        for (int k = 0; k < USUAL; k++)
            *(wide_t *)(out + k * WIDE) = CHOOSE(value, choices[k]);
    }
    return j;
}
#else
enum { USUAL = -1 };
#define fill_usual(values, n, out) 0
#endif

/* Fill n runs with a value each. Writes up to LANES numbers past the last run. */
static void fill_runs(const REAL *restrict values, index_t n, index_t length, REAL *restrict out)
{
    if (length == 1) {
        copy(out, values, n);
    } else if (length == 2) {
        double_each(values, n, out);
    } else if (length == 4) {
        double_each(values, n, out + 2 * n); /* in the upper half, which the second time clears */
        double_each(out + 2 * n, 2 * n, out);
    } else {
        for (index_t j = length == USUAL ? fill_usual(values, n, out) : 0; j < n; j++)
            for (index_t k = 0; k < length; k += LANES) /* overlaps the next run, filled next */
                for (int lane = 0; lane < LANES; lane++)
                    out[j * length + k + lane] = values[j];
    }
}

/* How many of n runs, the first ones, are filled with nothing written past the last one of all. */
static inline index_t exact_runs(index_t n, index_t length)
{
    index_t slack = divided(LANES, length), inside = n > slack ? n - slack : 0;
    if (length == 1 || length == 2 || length == 4)
        return n;
    return length == USUAL && n / WIDE * WIDE > inside ? n / WIDE * WIDE : inside;
}

/* Turn a square: each time the upper half's rows go between the lower half's, which moves one bit
 * of the row's number to the column's. */
INLINE void turn_square(const REAL *in, index_t in_stride, REAL *out, index_t out_stride)
{
    wide_t rows[WIDE], next[WIDE];
    for (int k = 0; k < WIDE; k++)
        rows[k] = *(const wide_t *)(in + k * in_stride);
    for (int bit = 1; bit < WIDE; bit *= 2) {
        for (int k = 0; k < WIDE / 2; k++) {
            next[2 * k] = PICK(rows[k], rows[k + WIDE / 2], OF(REAL, _ZIP_LOW));
            next[2 * k + 1] = PICK(rows[k], rows[k + WIDE / 2], OF(REAL, _ZIP_HIGH));
        }
        for (int k = 0; k < WIDE; k++)
            rows[k] = next[k];
    }
    for (int k = 0; k < WIDE; k++)
        *(wide_t *)(out + k * out_stride) = rows[k];
}

/* out[i * out_stride + j] = in[j * in_stride + i] for i < rows, j < columns. The last squares
 * overlap those before. */
static void turn(const REAL *in, index_t in_stride, index_t rows, index_t columns,
                 REAL *restrict out, index_t out_stride)
{
    if (rows >= WIDE && columns >= WIDE) {
        for (index_t i = 0, down; i < rows; i = down + WIDE) {
            down = least(i, rows - WIDE);
            for (index_t j = 0, across; j < columns; j = across + WIDE) {
                across = least(j, columns - WIDE);
                turn_square(in + across * in_stride + down, in_stride,
                            out + down * out_stride + across, out_stride);
            }
        }
        return;
    }
    for (index_t i = 0; i < rows; i++)
        for (index_t j = 0; j < columns; j++)
            out[i * out_stride + j] = in[j * in_stride + i];
}

/* Write `lanes` rows of n cells, CELLS apart, to a grid: out[lane * channel + i * cell], where
 * either the cells or the channels are dense. */
static void store_lanes(const REAL *cells, index_t lanes, index_t n, REAL *out, index_t channel,
                        index_t cell)
{
    if (channel == 1) {
        turn(cells, CELLS, n, lanes, out, cell);
        return;
    }
    for (index_t c = 0; c < lanes; c++)
        copy(out + c * channel, cells + c * CELLS, n);
}

/* Do the reverse. */
static void load_lanes(const REAL *in, index_t channel, index_t cell, index_t lanes, index_t n,
                       REAL *cells)
{
    if (channel == 1) {
        turn(in, cell, lanes, n, cells, CELLS);
        return;
    }
    for (index_t c = 0; c < lanes; c++)
        copy(cells + c * CELLS, in + c * channel, n);
}

#endif
