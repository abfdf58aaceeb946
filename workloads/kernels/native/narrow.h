/* Pooling and expanding of narrow NCHW maps, whose pixel rows are 1 to 4 vectors, in registers.
 *
 *     for each pixel row of a patch row:   add its vectors to those in registers
 *     log2(patch width) times:             add neighbouring lanes, which halves the vectors
 *     store one lane per patch             to the packed panels of the patch grid
 *
 * and the reverse to expand. Needs the masked loads and stores of AVX-512; on other processors
 * these maps are small maps (channels.h) or go through the loops over segments of any length.
 */

#ifndef GFB_NARROW_H
#define GFB_NARROW_H

#include "runs.h"

enum { MAX_ROW_VECTORS = 4 /* vectors of a pixel row of a narrow map */ };

#if defined(__AVX512F__)
#if GFB_IS_FLOAT
#define GFB_MASK(n) ((__mmask16)((1u << (n)) - 1))
#define GFB_LOAD_MASKED(from, mask) ((vec_t)_mm512_maskz_loadu_ps(mask, from))
#define GFB_STORE_MASKED(to, value, mask) _mm512_mask_storeu_ps(to, mask, (__m512)(value))
#else
#define GFB_MASK(n) ((__mmask8)((1u << (n)) - 1))
#define GFB_LOAD_MASKED(from, mask) ((vec_t)_mm512_maskz_loadu_pd(mask, from))
#define GFB_STORE_MASKED(to, value, mask) _mm512_mask_storeu_pd(to, mask, (__m512d)(value))
#endif

/* Return a vector of VLEN times the same value. */
GFB_INLINE vec_t broadcast(REAL value) { return (vec_t){0} + value; }

/* Return vector k of a row of n elements, zeros after the row's end. */
GFB_INLINE vec_t load_row_vector(const REAL *row, index_t k, index_t n)
{
    const REAL *from = row + k * VLEN;
    index_t left = n - k * VLEN;
    return left >= VLEN ? *(const vec_t *)from : GFB_LOAD_MASKED(from, GFB_MASK(left));
}

/* Store vector k of a row of n elements, nothing after the row's end. */
GFB_INLINE void store_row_vector(REAL *row, index_t k, index_t n, vec_t value)
{
    index_t left = n - k * VLEN;
    if (left >= VLEN)
        *(vec_t *)(row + k * VLEN) = value;
    else
        GFB_STORE_MASKED(row + k * VLEN, value, GFB_MASK(left));
}

/* Return cells [m, m + n) of a channel, n <= VLEN, from packed panels: cell m is at
 * panels[m / NR * stride + m % NR]. */
GFB_INLINE vec_t load_panel_cells(const REAL *panels, index_t stride, index_t m, index_t n)
{
    index_t at = m % NR, here = NR - at; /* here: cells up to the panel's end */
    const REAL *from = panels + m / NR * stride + at;
    if (n <= here)
        return GFB_LOAD_MASKED(from, GFB_MASK(n));
    vec_t value = GFB_LOAD_MASKED(from, GFB_MASK(here));
    return value + GFB_LOAD_MASKED(from - at + stride - here, GFB_MASK(n) & ~GFB_MASK(here));
}

/* The reverse of load_panel_cells. */
GFB_INLINE void store_panel_cells(REAL *panels, index_t stride, index_t m, index_t n, vec_t value)
{
    index_t at = m % NR, here = NR - at;
    REAL *to = panels + m / NR * stride + at;
    if (n <= here) {
        GFB_STORE_MASKED(to, value, GFB_MASK(n));
        return;
    }
    GFB_STORE_MASKED(to, value, GFB_MASK(here));
    GFB_STORE_MASKED(to - at + stride - here, value, GFB_MASK(n) & ~GFB_MASK(here));
}

/* Pool one patch row of one channel: pixels (rows, width), row-major with a stride, to cells
 * [m, m + patches) of panels. `vectors` are those of a pixel row; patches are 2^halvings pixels
 * wide. Cells are the sums over patches times `scale`, in the last vector of cells times
 * `last_scale`. The sums of all pixels are added to *accumulator. */
GFB_INLINE void pool_narrow_patch_row(const REAL *pixels, index_t stride, index_t rows,
                                      index_t width, index_t patches, int vectors, int halvings,
                                      vec_t scale, vec_t last_scale, REAL *panels,
                                      index_t panel_stride, index_t m, vec_t *accumulator)
{
    vec_t sums[MAX_ROW_VECTORS + 1];
    for (index_t line = 0; line < rows * vectors; line++)
        __builtin_prefetch(pixels + PREFETCH + line * VLEN);
    for (int k = 0; k < vectors; k++) {
        sums[k] = load_row_vector(pixels, k, width);
        for (index_t row = 1; row < rows; row++)
            sums[k] += load_row_vector(pixels + row * stride, k, width);
        *accumulator += sums[k];
    }
    int left = vectors;
    for (int step = 0; step < halvings; step++) {
        sums[left] = (vec_t){0};
        left = (left + 1) / 2;
        for (int k = 0; k < left; k++)
            sums[k] = add_lane_pairs(sums[2 * k], sums[2 * k + 1]);
    }
    for (int k = 0; k < left; k++)
        store_panel_cells(panels, panel_stride, m + k * VLEN, min_(patches - k * VLEN, VLEN),
                          sums[k] * (k < left - 1 ? scale : last_scale));
}

/* Expand one patch row of one channel: cells [m, m + patches) of panels, each to all pixels of its
 * patch in pixels (rows, width), row-major with a stride. Vectors and halvings as above. */
GFB_INLINE void expand_narrow_patch_row(const REAL *panels, index_t panel_stride, index_t m,
                                        index_t patches, index_t width, int vectors, int halvings,
                                        REAL *pixels, index_t stride, index_t rows)
{
    vec_t values[MAX_ROW_VECTORS + 1];
    int cell_vectors = vectors;
    for (int step = 0; step < halvings; step++)
        cell_vectors = (cell_vectors + 1) / 2;
    for (int k = 0; k < cell_vectors; k++)
        values[k] = load_panel_cells(panels, panel_stride, m + k * VLEN,
                                     min_(patches - k * VLEN, VLEN));
    for (int step = halvings; step > 0; step--) {
        int doubled = vectors; /* vectors after this step */
        for (int k = 1; k < step; k++)
            doubled = (doubled + 1) / 2;
        for (int k = (doubled + 1) / 2 - 1; k >= 0; k--) { /* from the last one, in place */
            vec_t value = values[k];
            values[2 * k + 1] = GFB_SHUFFLE(value, value, DUP_HIGH);
            values[2 * k] = GFB_SHUFFLE(value, value, DUP_LOW);
        }
    }
    for (index_t row = 0; row < rows; row++)
        for (int k = 0; k < vectors; k++)
            store_row_vector(pixels + row * stride, k, width, values[k]);
}
#endif

#endif
