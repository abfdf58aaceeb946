/* Segmented sums and fills of a row, and transposes: what needs shuffles between vector lanes.
 *
 * A segment is the run of `length` elements of a row that one patch (or one window of weights)
 * covers. Pooling sums each segment to one element, expanding fills each segment with one:
 *
 *     for each segment j:  out[j] = the sum of src[j * length .. (j + 1) * length)
 *     for each segment j:  out[j * length .. (j + 1) * length) = values[j]
 *
 * Segments of 2 and 4 elements, the usual patch sizes, take shuffles of whole vectors.
 */

#ifndef GFB_RUNS_H
#define GFB_RUNS_H

#include "rows.h"

#define GFB_PASTE(a, b) GFB_PASTE_(a, b)
#define GFB_PASTE_(a, b) a##b

/* GFB_IS_FLOAT: whether REAL is float. GFB_VLEN: VLEN as the preprocessor knows it. */
#define GFB_IS_FLOAT GFB_PASTE(GFB_IS_FLOAT_, REAL)
#define GFB_IS_FLOAT_float 1
#define GFB_IS_FLOAT_double 0
#define GFB_VLEN GFB_PASTE(GFB_VLEN_, REAL)
#if defined(__AVX512F__)
#define GFB_VLEN_float 16
#define GFB_VLEN_double 8
#elif defined(__AVX__)
#define GFB_VLEN_float 8
#define GFB_VLEN_double 4
#else
#define GFB_VLEN_float 4
#define GFB_VLEN_double 2
#endif

/* GFB_SHUFFLE(a, b, TABLE) returns a vector of lanes picked from the 2 VLEN lanes of a and b by
 * one of the tables below, GFB_TABLE_VLEN:
 * EVEN, ODD            the even or odd lanes of a and b;
 * DUP_LOW, DUP_HIGH    the lanes of a's lower or upper half, each twice;
 * ZIP_LOW, ZIP_HIGH    the lower or upper halves of a and b, interleaved. */
#define GFB_SHUFFLE(a, b, table) GFB_SHUFFLE_BY(a, b, GFB_PASTE(GFB_##table##_, GFB_VLEN))
#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define GFB_SHUFFLE_BY(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#endif
#endif
#if !defined(GFB_SHUFFLE_BY) /* gcc before 12 */
#define GFB_SHUFFLE_BY(a, b, ...) __builtin_shuffle(a, b, (__typeof__((a) < (b))){__VA_ARGS__})
#endif

#define GFB_EVEN_2 0, 2
#define GFB_EVEN_4 GFB_EVEN_2, 4, 6
#define GFB_EVEN_8 GFB_EVEN_4, 8, 10, 12, 14
#define GFB_EVEN_16 GFB_EVEN_8, 16, 18, 20, 22, 24, 26, 28, 30
#define GFB_ODD_2 1, 3
#define GFB_ODD_4 GFB_ODD_2, 5, 7
#define GFB_ODD_8 GFB_ODD_4, 9, 11, 13, 15
#define GFB_ODD_16 GFB_ODD_8, 17, 19, 21, 23, 25, 27, 29, 31
#define GFB_DUP_LOW_2 0, 0
#define GFB_DUP_LOW_4 GFB_DUP_LOW_2, 1, 1
#define GFB_DUP_LOW_8 GFB_DUP_LOW_4, 2, 2, 3, 3
#define GFB_DUP_LOW_16 GFB_DUP_LOW_8, 4, 4, 5, 5, 6, 6, 7, 7
#define GFB_DUP_HIGH_2 1, 1
#define GFB_DUP_HIGH_4 2, 2, 3, 3
#define GFB_DUP_HIGH_8 4, 4, 5, 5, 6, 6, 7, 7
#define GFB_DUP_HIGH_16 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13, 14, 14, 15, 15
#define GFB_ZIP_LOW_2 0, 2
#define GFB_ZIP_LOW_4 0, 4, 1, 5
#define GFB_ZIP_LOW_8 0, 8, 1, 9, 2, 10, 3, 11
#define GFB_ZIP_LOW_16 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define GFB_ZIP_HIGH_2 1, 3
#define GFB_ZIP_HIGH_4 2, 6, 3, 7
#define GFB_ZIP_HIGH_8 4, 12, 5, 13, 6, 14, 7, 15
#define GFB_ZIP_HIGH_16 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31

/* Return the sums of the VLEN pairs of neighbouring lanes of a and b. */
GFB_INLINE vec_t add_lane_pairs(vec_t a, vec_t b)
{
    return GFB_SHUFFLE(a, b, EVEN) + GFB_SHUFFLE(a, b, ODD);
}

/* segmented sums ------------------------------------------------------------------------------ */

/* out[j] = src[2 j] + src[2 j + 1] for j < n; out may be src. */
static void sum_pairs(const REAL *src, index_t n, REAL *out)
{
    index_t j = 0;
    for (; j + VLEN <= n; j += VLEN) {
        vec_t a = *(const vec_t *)(src + 2 * j), b = *(const vec_t *)(src + 2 * j + VLEN);
        *(vec_t *)(out + j) = add_lane_pairs(a, b);
    }
    for (; j < n; j++)
        out[j] = src[2 * j] + src[2 * j + 1];
}

/* out[j] = the sum over the rows of src (rows, 2 n) of elements 2 j and 2 j + 1, for n >= VLEN.
 *
 * Prefetches by software. Reading 2 or 4 rows side by side, each only once, is an access pattern
 * that hardware prefetchers do not recognize; without this, maps that lie in main memory take
 * three times as long. Addresses are prefetched in ascending order, `rows` rows at once. */
GFB_INLINE void sum_band_pairs(const REAL *restrict src, index_t stride, index_t rows, index_t n,
                               REAL *restrict out)
{
    for (index_t j = 0; j < n; j += VLEN) {
        index_t at = min_(j, n - VLEN);
        const REAL *from = src + 2 * at;
        for (index_t line = 0; line < 2 * rows; line++)
            __builtin_prefetch(src + PREFETCH + 2 * j * rows + line * VLEN);
        vec_t a = *(const vec_t *)from, b = *(const vec_t *)(from + VLEN);
        for (index_t row = 1; row < rows; row++) {
            a += *(const vec_t *)(from + row * stride);
            b += *(const vec_t *)(from + row * stride + VLEN);
        }
        *(vec_t *)(out + at) = add_lane_pairs(a, b);
    }
}

/* sum_band_pairs of each band of `rows` rows: src (bands * rows, 2 n), row-major with a stride, to
 * out (bands, n), dense. */
static void sum_bands_pairs(const REAL *src, index_t stride, index_t rows, index_t bands,
                            index_t n, REAL *out)
{
    for (index_t band = 0; band < bands; band++, src += rows * stride, out += n)
        if (rows == 2)
            sum_band_pairs(src, stride, 2, n, out);
        else if (rows == 4)
            sum_band_pairs(src, stride, 4, n, out);
        else
            sum_band_pairs(src, stride, rows, n, out);
}

/* sum_segments one element at a time, for a length that may be a constant. */
GFB_INLINE void sum_segments_of(const REAL *src, index_t n, index_t length, REAL *out)
{
    for (index_t j = 0; j < n; j++) {
        REAL sum = src[j * length];
        for (index_t k = 1; k < length; k++)
            sum += src[j * length + k];
        out[j] = sum;
    }
}

enum { LONG_SEGMENT = 32 /* elements from which on a segment is summed in vectors and double */ };

/* out[j] = the sum of segment j < n of src (n, length), dense. */
static void sum_segments(const REAL *src, index_t n, index_t length, REAL *out)
{
    switch (length) {
    case 1: copy_row(out, src, n); break;
    case 2: sum_pairs(src, n, out); break;
    case 3: sum_segments_of(src, n, 3, out); break;
    case 9: sum_segments_of(src, n, 9, out); break;
    default:
        if (length < LONG_SEGMENT)
            sum_segments_of(src, n, length, out);
        else /* rounding errors of a plain sum in REAL would show */
            for (index_t j = 0; j < n; j++)
                out[j] = (REAL)sum_row(src + j * length, length);
    }
}

/* sum_segments of a scratch row, which it overwrites: sums pairs in place, as often as the length
 * can be halved. */
static void sum_scratch_segments(REAL *src, index_t n, index_t length, REAL *out)
{
    for (; length % 2 == 0 && length > 2; length /= 2)
        sum_pairs(src, n * length / 2, src);
    sum_segments(src, n, length, out);
}

/* segmented fills ----------------------------------------------------------------------------- */

enum { FILL = 16 /* elements that fill_segments writes at a time, and may write too many */ };

/* out[2 j] = out[2 j + 1] = values[j] for j < n; values may be the upper half of out. */
static void fill_pairs(const REAL *values, index_t n, REAL *out)
{
    index_t j = 0;
    for (; j + VLEN <= n; j += VLEN) {
        vec_t a = *(const vec_t *)(values + j);
        vec_t low = GFB_SHUFFLE(a, a, DUP_LOW), high = GFB_SHUFFLE(a, a, DUP_HIGH);
        *(vec_t *)(out + 2 * j) = low;
        *(vec_t *)(out + 2 * j + VLEN) = high;
    }
    for (; j < n; j++) {
        REAL value = values[j];
        out[2 * j] = out[2 * j + 1] = value;
    }
}

#if defined(__AVX512F__)
#if GFB_IS_FLOAT
typedef int lane_indices_t __attribute__((vector_size(sizeof(vec_t))));
#define GFB_PERMUTE(values, indices) \
    ((vec_t)_mm512_permutexvar_ps((__m512i)(indices), (__m512)(values)))
#else
typedef long long lane_indices_t __attribute__((vector_size(sizeof(vec_t))));
#define GFB_PERMUTE(values, indices) \
    ((vec_t)_mm512_permutexvar_pd((__m512i)(indices), (__m512d)(values)))
#endif

enum { NINE = 9 /* length of a segment that fill_nines does: the taps of a 3 x 3 window */ };

/* Fill segments of NINE elements, VLEN of them at a time: each vector of values makes NINE vectors
 * of out. Returns how many segments were filled, n rounded down to a multiple of VLEN. */
static index_t fill_nines(const REAL *values, index_t n, REAL *out)
{
    lane_indices_t indices[NINE];
    index_t j = 0;
    for (int k = 0; k < NINE; k++)
        for (int lane = 0; lane < VLEN; lane++)
            indices[k][lane] = (k * VLEN + lane) / NINE;
    for (; j + VLEN <= n; j += VLEN, out += VLEN * NINE) {
        vec_t value = *(const vec_t *)(values + j);
        for (int k = 0; k < NINE; k++)
            *(vec_t *)(out + k * VLEN) = GFB_PERMUTE(value, indices[k]);
    }
    return j;
}
#else
enum { NINE = -1 /* no segment has this length */ };
#define fill_nines(values, n, out) 0
#endif

/* Fill segment j < n of out (n, length), dense, with values[j]. Writes up to FILL elements past the
 * last segment. */
static void fill_segments(const REAL *restrict values, index_t n, index_t length,
                          REAL *restrict out)
{
    if (length == 1) {
        copy_row(out, values, n);
    } else if (length == 2) {
        fill_pairs(values, n, out);
    } else if (length == 4) {
        fill_pairs(values, n, out + 2 * n); /* to the upper half, which is read below */
        fill_pairs(out + 2 * n, 2 * n, out);
    } else {
        for (index_t j = length == NINE ? fill_nines(values, n, out) : 0; j < n; j++)
            for (index_t k = 0; k < length; k += FILL) /* into the next segment, filled next */
                for (int lane = 0; lane < FILL; lane++)
                    out[j * length + k + lane] = values[j];
    }
}

/* Return how many of n segments, counted from the first, fill_segments can do without writing past
 * the end of all n. */
static inline index_t segments_without_overrun(index_t n, index_t length)
{
    index_t slack = ceil_div(FILL, length), inside = n > slack ? n - slack : 0;
    if (length == 1 || length == 2 || length == 4)
        return n;
    return length == NINE && n / VLEN * VLEN > inside ? n / VLEN * VLEN : inside;
}

/* transposes ---------------------------------------------------------------------------------- */

#if GFB_VLEN == 8
#define GFB_UNPACK_LOW_8 0, 8, 1, 9, 4, 12, 5, 13
#define GFB_UNPACK_HIGH_8 2, 10, 3, 11, 6, 14, 7, 15
#define GFB_PAIRS_LOW_8 0, 1, 8, 9, 4, 5, 12, 13
#define GFB_PAIRS_HIGH_8 2, 3, 10, 11, 6, 7, 14, 15
#define GFB_HALVES_LOW_8 0, 1, 2, 3, 8, 9, 10, 11
#define GFB_HALVES_HIGH_8 4, 5, 6, 7, 12, 13, 14, 15

/* Transpose VLEN vectors by shuffles that AVX has: within their halves, then of whole halves. */
GFB_INLINE void transpose_vectors(vec_t *rows)
{
    vec_t next[VLEN];
    for (int k = 0; k < VLEN; k += 2) {
        next[k] = GFB_SHUFFLE(rows[k], rows[k + 1], UNPACK_LOW);
        next[k + 1] = GFB_SHUFFLE(rows[k], rows[k + 1], UNPACK_HIGH);
    }
    for (int k = 0; k < VLEN; k += 4)
        for (int pair = 0; pair < 2; pair++) {
            rows[k + 2 * pair] = GFB_SHUFFLE(next[k + pair], next[k + pair + 2], PAIRS_LOW);
            rows[k + 2 * pair + 1] = GFB_SHUFFLE(next[k + pair], next[k + pair + 2], PAIRS_HIGH);
        }
    for (int k = 0; k < VLEN / 2; k++) {
        next[k] = GFB_SHUFFLE(rows[k], rows[k + VLEN / 2], HALVES_LOW);
        next[k + VLEN / 2] = GFB_SHUFFLE(rows[k], rows[k + VLEN / 2], HALVES_HIGH);
    }
    for (int k = 0; k < VLEN; k++)
        rows[k] = next[k];
}
#else
/* Transpose VLEN vectors. Each of the log2(VLEN) steps interleaves the upper half of them with the
 * lower half, which moves one bit of an element's row number to its column number. */
GFB_INLINE void transpose_vectors(vec_t *rows)
{
    vec_t next[VLEN];
    for (int bit = 1; bit < VLEN; bit *= 2) {
        for (int k = 0; k < VLEN / 2; k++) {
            next[2 * k] = GFB_SHUFFLE(rows[k], rows[k + VLEN / 2], ZIP_LOW);
            next[2 * k + 1] = GFB_SHUFFLE(rows[k], rows[k + VLEN / 2], ZIP_HIGH);
        }
        for (int k = 0; k < VLEN; k++)
            rows[k] = next[k];
    }
}
#endif

/* Transpose a square (VLEN, VLEN) in registers. */
GFB_INLINE void transpose_square(const REAL *in, index_t in_stride, REAL *out, index_t out_stride)
{
    vec_t rows[VLEN];
    for (int k = 0; k < VLEN; k++)
        rows[k] = *(const vec_t *)(in + k * in_stride);
    transpose_vectors(rows);
    for (int k = 0; k < VLEN; k++)
        *(vec_t *)(out + k * out_stride) = rows[k];
}

/* Transpose in (columns, rows) to out (rows, columns), both row-major with a stride:
 * out[i * out_stride + j] = in[j * in_stride + i]. The last squares overlap those before. */
static void transpose(const REAL *in, index_t in_stride, index_t rows, index_t columns,
                      REAL *restrict out, index_t out_stride)
{
    if (rows >= VLEN && columns >= VLEN) {
        for (index_t i = 0, row; i < rows; i = row + VLEN) {
            row = min_(i, rows - VLEN);
            for (index_t j = 0, column; j < columns; j = column + VLEN) {
                column = min_(j, columns - VLEN);
                transpose_square(in + column * in_stride + row, in_stride,
                                 out + row * out_stride + column, out_stride);
            }
        }
        return;
    }
    for (index_t i = 0; i < rows; i++)
        for (index_t j = 0; j < columns; j++)
            out[i * out_stride + j] = in[j * in_stride + i];
}

/* Write cells (channels, n), BLOCK_CELLS apart, to a grid: out[c * channel_stride + m *
 * cell_stride]. One of the two strides is 1: channels are dense (NHWC) or cells are (NCHW). */
static void store_cells(const REAL *cells, index_t channels, index_t n, REAL *out,
                        index_t channel_stride, index_t cell_stride)
{
    if (channel_stride == 1) {
        transpose(cells, BLOCK_CELLS, n, channels, out, cell_stride);
        return;
    }
    for (index_t c = 0; c < channels; c++)
        copy_row(out + c * channel_stride, cells + c * BLOCK_CELLS, n);
}

/* The reverse of store_cells: read cells (channels, n), BLOCK_CELLS apart, from a grid. */
static void load_cells(const REAL *in, index_t channel_stride, index_t cell_stride,
                       index_t channels, index_t n, REAL *cells)
{
    if (channel_stride == 1) {
        transpose(in, cell_stride, channels, n, cells, BLOCK_CELLS);
        return;
    }
    for (index_t c = 0; c < channels; c++)
        copy_row(cells + c * BLOCK_CELLS, in + c * channel_stride, n);
}

#endif
