/* Maps so narrow that a row of pixels is a few vectors: pooled and expanded in registers.
 *
 * Needs loads and stores of the first numbers of a vector, which AVX-512 has; elsewhere no walk
 * is narrow, and the loops over runs of any length do these maps too.
 */

#ifndef GFBENCH_NARROW_H
#define GFBENCH_NARROW_H

#include "runs.h"

enum { NARROWEST = 4 /* vectors of a row of pixels */ };

#if defined(__AVX512F__)
#if OF(REAL, _IS_SINGLE)
#define MASK_OF(n) ((__mmask16)((1u << (n)) - 1))
#define LOAD_MASKED(from, mask) ((wide_t)_mm512_maskz_loadu_ps(mask, from))
#define STORE_MASKED(to, value, mask) _mm512_mask_storeu_ps(to, mask, (__m512)(value))
#else
#define MASK_OF(n) ((__mmask8)((1u << (n)) - 1))
#define LOAD_MASKED(from, mask) ((wide_t)_mm512_maskz_loadu_pd(mask, from))
#define STORE_MASKED(to, value, mask) _mm512_mask_storeu_pd(to, mask, (__m512d)(value))
#endif

INLINE wide_t spread(REAL value) { return (wide_t){0} + value; }

/* Vector k of a row of n numbers. */
INLINE wide_t load_part(const REAL *row, index_t k, index_t n)
{
    const REAL *from = row + k * WIDE;
    index_t left = n - k * WIDE;
    return left >= WIDE ? *(const wide_t *)from : LOAD_MASKED(from, MASK_OF(left));
}

INLINE void store_part(REAL *row, index_t k, index_t n, wide_t value)
{
    index_t left = n - k * WIDE;
    if (left >= WIDE)
        *(wide_t *)(row + k * WIDE) = value;
    else
        STORE_MASKED(row + k * WIDE, value, MASK_OF(left));
}

/* The n numbers from m on of a row in panels: number m is at m / BROAD * stride + m % BROAD. */
INLINE wide_t load_cells(const REAL *panels, index_t stride, index_t m, index_t n)
{
    index_t at = m % BROAD, here = BROAD - at;
    const REAL *from = panels + m / BROAD * stride + at;
    if (n <= here)
        return LOAD_MASKED(from, MASK_OF(n));
    wide_t value = LOAD_MASKED(from, MASK_OF(here));
    return value + LOAD_MASKED(from - at + stride - here, MASK_OF(n) & ~MASK_OF(here));
}

INLINE void store_cells(REAL *panels, index_t stride, index_t m, index_t n, wide_t value)
{
    index_t at = m % BROAD, here = BROAD - at;
    REAL *to = panels + m / BROAD * stride + at;
    if (n <= here) {
        STORE_MASKED(to, value, MASK_OF(n));
        return;
    }
    STORE_MASKED(to, value, MASK_OF(here));
    STORE_MASKED(to - at + stride - here, value, MASK_OF(n) & ~MASK_OF(here));
}

/* One row of patches: its `number` cells, from m on in panels, = sums over `rows` rows of `stop`
 * pixels, times a vector, and another one for the last vector. Patches are 2 or 4 pixels long, the
 * vectors' pairs are added so many times (halvings). */
INLINE void pool_vectors(const REAL *box, index_t stride, index_t rows, index_t stop,
                         index_t number, int vectors, int halvings, wide_t scale, wide_t last,
                         REAL *panels, index_t panel, index_t m, wide_t *running)
{
    wide_t sums[NARROWEST + 1];
    for (index_t line = 0; line < rows * vectors; line++)
        __builtin_prefetch(box + AHEAD + line * WIDE);
    for (int k = 0; k < vectors; k++) {
        sums[k] = load_part(box, k, stop);
        for (index_t row = 1; row < rows; row++)
            sums[k] += load_part(box + row * stride, k, stop);
        *running += sums[k];
    }
    int left = vectors;
    for (int time = 0; time < halvings; time++) {
        sums[left] = (wide_t){0};
        left = (left + 1) / 2;
        for (int k = 0; k < left; k++)
            sums[k] = PICK(sums[2 * k], sums[2 * k + 1], OF(REAL, _EVEN)) +
                      PICK(sums[2 * k], sums[2 * k + 1], OF(REAL, _ODD));
    }
    for (int k = 0; k < left; k++)
        store_cells(panels, panel, m + k * WIDE, least(number - k * WIDE, WIDE),
                    sums[k] * (k < left - 1 ? scale : last));
}

/* One row of patches: each cell on its pixels of `rows` rows. */
INLINE void expand_vectors(const REAL *panels, index_t panel, index_t m, index_t number,
                           index_t stop, int vectors, int halvings, REAL *box, index_t stride,
                           index_t rows)
{
    wide_t pixels[NARROWEST + 1];
    int parts = vectors;
    for (int time = 0; time < halvings; time++)
        parts = (parts + 1) / 2;
    for (int k = 0; k < parts; k++)
        pixels[k] = load_cells(panels, panel, m + k * WIDE, least(number - k * WIDE, WIDE));
    for (int time = halvings; time > 0; time--) {
        int now = vectors;
        for (int k = 1; k < time; k++)
            now = (now + 1) / 2;
        for (int k = (now + 1) / 2 - 1; k >= 0; k--) {
            wide_t value = pixels[k];
            pixels[2 * k + 1] = PICK(value, value, OF(REAL, _HIGH));
            pixels[2 * k] = PICK(value, value, OF(REAL, _LOW));
        }
    }
    for (index_t row = 0; row < rows; row++)
        for (int k = 0; k < vectors; k++)
            store_part(box + row * stride, k, stop, pixels[k]);
}
#endif

#endif
