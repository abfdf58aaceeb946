/* Products of small matrices, in tiles of registers: a panel of BROAD columns at a time.
 *
 * A tile is TALL x BROAD numbers; per step of the product it takes TALL numbers of one matrix,
 * each broadcast, and BROAD of the other, which lie side by side.
 */

#ifndef GFBENCH_PRODUCTS_H
#define GFBENCH_PRODUCTS_H

#include "rows.h"

enum {
#if defined(__AVX__) && !defined(__AVX512F__)
    TALL = 6, /* of 16 registers */
#else
    TALL = 8, /* of 32 */
#endif
    DEEP = 256 /* steps of a product whose other side is packed at a time: fits the L1 cache */
};

typedef struct {
    wide_t rows[TALL][2];
} tile_t;

/* tile[i][j] += the sum over k < n of a[i * a_row + k * a_step] * b[k * BROAD + j]. */
INLINE void multiply(const REAL *a, index_t a_row, index_t a_step, const REAL *b, index_t n,
                     tile_t *tile)
{
    for (index_t k = 0; k < n; k++) {
        wide_t left = *(const wide_t *)(b + k * BROAD);
        wide_t right = *(const wide_t *)(b + k * BROAD + WIDE);
        for (int i = 0; i < TALL; i++) {
            REAL value = a[i * a_row + k * a_step];
            tile->rows[i][0] += value * left;
            tile->rows[i][1] += value * right;
        }
    }
}

INLINE void put_whole_tile(const tile_t *tile, REAL *out, index_t stride, int add)
{
    for (int i = 0; i < TALL; i++)
        for (int half = 0; half < 2; half++) {
            wide_t *at = (wide_t *)(out + i * stride + half * WIDE);
            wide_t value = tile->rows[i][half];
            if (add)
                value += *at;
            *at = value;
        }
}

/* Write a tile, or its first rows and columns, or add it to what is there. */
INLINE void put_tile(const tile_t *tile, REAL *out, index_t stride, index_t rows, index_t columns,
                     int add)
{
    if (rows >= TALL && columns >= BROAD) {
        put_whole_tile(tile, out, stride, add);
        return;
    }
    REAL edge[TALL * BROAD];
    put_whole_tile(tile, edge, BROAD, 0);
    for (index_t i = 0; i < least(rows, TALL); i++)
        for (index_t j = 0; j < least(columns, BROAD); j++)
            out[i * stride + j] = edge[i * BROAD + j] + (add ? out[i * stride + j] : 0);
}

#endif
