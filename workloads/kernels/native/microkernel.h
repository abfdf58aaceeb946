/* The GEMM micro-kernel: a register tile of MR x NR elements, updated by rank-1 steps.
 *
 *     for k in 0 .. K:                     one row of a packed panel of B (K, NR), in 2 vectors
 *       for i in 0 .. MR:                  one element of A, broadcast
 *         tile[i][0 .. NR) += A[i][k] * B[k][0 .. NR)
 *
 * As in BLIS, but with A read where it lies: both of its strides are arguments. The tile takes
 * 2 MR vector registers, of the 16 or 32 that there are.
 */

#ifndef GFB_MICROKERNEL_H
#define GFB_MICROKERNEL_H

#include "rows.h"

enum {
#if defined(__AVX__) && !defined(__AVX512F__)
    MR = 6, /* 12 of 16 registers */
#else
    MR = 8, /* 16 of 32 registers (AVX-512, NEON); under SSE some are spilled */
#endif
    KC = 256 /* depth of a product that reads one packed panel again and again: KC x NR elements
              * of it stay in the L1 cache */
};

/* A register tile: MR rows of NR = 2 VLEN columns. */
typedef struct {
    vec_t rows[MR][2];
} tile_t;

/* tile += A B: tile[i][j] += the sum over k < depth of a[i * a_row + k * a_step] * b[k * NR + j],
 * for A (MR, depth) with strides a_row and a_step and a packed panel B (depth, NR). */
GFB_INLINE void microkernel(const REAL *a, index_t a_row, index_t a_step, const REAL *b,
                            index_t depth, tile_t *tile)
{
    for (index_t k = 0; k < depth; k++) {
        vec_t left = *(const vec_t *)(b + k * NR);
        vec_t right = *(const vec_t *)(b + k * NR + VLEN);
        for (int i = 0; i < MR; i++) {
            REAL value = a[i * a_row + k * a_step];
            tile->rows[i][0] += value * left;
            tile->rows[i][1] += value * right;
        }
    }
}

/* Write a whole tile to out (MR, NR), row-major with a stride, or add it to what is there. */
GFB_INLINE void store_full_tile(const tile_t *tile, REAL *out, index_t stride, int add)
{
    for (int i = 0; i < MR; i++)
        for (int half = 0; half < 2; half++) {
            vec_t *at = (vec_t *)(out + i * stride + half * VLEN);
            vec_t value = tile->rows[i][half];
            if (add)
                value += *at;
            *at = value;
        }
}

/* Do the same for the first `rows` rows and `columns` columns of a tile at the matrix's edge; both
 * may be more than the tile has. */
GFB_INLINE void store_tile(const tile_t *tile, REAL *out, index_t stride, index_t rows,
                           index_t columns, int add)
{
    if (rows >= MR && columns >= NR) {
        store_full_tile(tile, out, stride, add);
        return;
    }
    REAL edge[MR * NR];
    store_full_tile(tile, edge, NR, 0);
    for (index_t i = 0; i < min_(rows, MR); i++)
        for (index_t j = 0; j < min_(columns, NR); j++)
            out[i * stride + j] = edge[i * NR + j] + (add ? out[i * stride + j] : 0);
}

#endif
