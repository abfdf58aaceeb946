/* Level-1 routines: sums, copies and fills of rows of elements, one vector register at a time.
 *
 * Elements are REAL, float or double; the library is compiled once for each. Vectors are the
 * extension that gcc and clang share, VLEN elements wide: a zmm, ymm or xmm register on x86, a
 * NEON register on ARM. None of these routines reads or writes outside of a row: if n is no
 * multiple of VLEN, the last vector overlaps the one before it, and rows shorter than VLEN go
 * through shorter vectors.
 */

#ifndef GFB_ROWS_H
#define GFB_ROWS_H

#include "team.h"

#include <stddef.h>
#include <string.h>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#ifndef REAL
#define REAL float
#endif

enum {
#if defined(__AVX512F__)
    VLEN = 64 / sizeof(REAL),
#elif defined(__AVX__)
    VLEN = 32 / sizeof(REAL),
#else
    VLEN = 16 / sizeof(REAL), /* 128 bits: SSE and NEON */
#endif
    MIN_VLEN = 16 / sizeof(REAL), /* the shortest vector: 128 bits */
    HALF_VLEN = (int)VLEN / 2 < (int)MIN_VLEN ? MIN_VLEN : VLEN / 2,
    NR = 2 * (int)VLEN,   /* columns of a register tile, and so elements of a packed panel's row */
    CHANNEL_BLOCK = 16,   /* channels that are pooled or expanded together */
    BLOCK_CELLS = 256,    /* most cells of the patch grid in a block, per channel */
    SCRATCH = 2048,       /* elements of a scratch row: 8 or 16 KiB, which stay in the L1 cache */
    PREFETCH = 5120 / sizeof(REAL) /* elements between what is read and what is prefetched */
};

#define GFB_VECTOR(elements) \
    __attribute__((vector_size((elements) * sizeof(REAL)), aligned(sizeof(REAL)), may_alias))
typedef REAL vec_t GFB_VECTOR(VLEN);
typedef REAL half_vec_t GFB_VECTOR(HALF_VLEN);
typedef REAL min_vec_t GFB_VECTOR(MIN_VLEN);

#define GFB_INLINE static inline __attribute__((always_inline))

static inline index_t min_(index_t a, index_t b) { return a < b ? a : b; }
static inline index_t ceil_div(index_t a, index_t b) { return (a + b - 1) / b; }

/* sums ---------------------------------------------------------------------------------------- */

/* Return the sum of values[0 .. n), added in vectors and reduced in double. */
static double sum_row(const REAL *values, index_t n)
{
    vec_t lanes[2] = {{0}, {0}};
    index_t i = 0;
    for (; i + 2 * VLEN <= n; i += 2 * VLEN)
        for (int k = 0; k < 2; k++)
            lanes[k] += *(const vec_t *)(values + i + k * VLEN);
    lanes[0] += lanes[1];
    double sum = 0;
    for (int k = 0; k < VLEN; k++)
        sum += lanes[0][k];
    for (; i < n; i++)
        sum += values[i];
    return sum;
}

/* A sum over several rows: partial sums in the lanes of a vector, and in `tail` the elements after
 * the last whole vector of each row. */
typedef struct {
    vec_t lanes;
    double tail;
} accumulator_t;

/* Return the value of an accumulator: the horizontal sum of its lanes, and its tail. */
static inline double accumulated(const accumulator_t *accumulator)
{
    double sum = accumulator->tail;
    for (int k = 0; k < VLEN; k++)
        sum += accumulator->lanes[k];
    return sum;
}

/* Accumulate the dot product of a[0 .. n) and b[0 .. n). */
static void accumulate_dot(const REAL *a, const REAL *b, index_t n, accumulator_t *accumulator)
{
    index_t i = 0;
    for (; i + VLEN <= n; i += VLEN)
        accumulator->lanes += *(const vec_t *)(a + i) * *(const vec_t *)(b + i);
    for (; i < n; i++)
        accumulator->tail += a[i] * b[i];
}

/* Accumulate values[0 .. n), then multiply them by `scale` in place; a scale of 0 leaves them. */
static void accumulate_and_scale(REAL *values, index_t n, REAL scale, accumulator_t *accumulator)
{
    index_t i = 0;
    vec_t lanes = accumulator->lanes;
    for (; i + VLEN <= n; i += VLEN) {
        vec_t value = *(const vec_t *)(values + i);
        lanes += value;
        if (scale != 0)
            *(vec_t *)(values + i) = value * scale;
    }
    accumulator->lanes = lanes;
    for (; i < n; i++) {
        accumulator->tail += values[i];
        values[i] *= scale != 0 ? scale : 1;
    }
}

/* Of the band that starts at `from`: to[at ..] = the sum of its rows, one vector of them. */
#define GFB_SUM_BAND(type, at)                                    \
    do {                                                          \
        type sum = *(const type *)(from + (at));                  \
        for (index_t row = 1; row < rows; row++)                  \
            sum += *(const type *)(from + row * stride + (at));   \
        *(type *)(to + (at)) = sum;                               \
    } while (0)

#define GFB_SUM_BANDS(type, length)                               \
    for (index_t band = 0; band < bands; band++) {                \
        const REAL *from = src + band * rows * stride;            \
        REAL *to = out + band * out_stride;                       \
        index_t i = 0;                                            \
        for (; i + (length) <= n; i += (length))                  \
            GFB_SUM_BAND(type, i);                                \
        if (i < n)                                                \
            GFB_SUM_BAND(type, n - (length));                     \
    }

/* Do what sum_bands does, for a number of rows that is a constant wherever this is inlined. */
GFB_INLINE void sum_bands_of(const REAL *restrict src, index_t stride, index_t rows, index_t bands,
                             REAL *restrict out, index_t out_stride, index_t n)
{
    if (n >= VLEN) {
        GFB_SUM_BANDS(vec_t, VLEN)
    } else if (n >= HALF_VLEN) {
        GFB_SUM_BANDS(half_vec_t, HALF_VLEN)
    } else if (n >= MIN_VLEN) {
        GFB_SUM_BANDS(min_vec_t, MIN_VLEN)
    } else {
        GFB_SUM_BANDS(REAL, 1)
    }
}

/* Add up each band of `rows` >= 1 rows of a matrix src (bands * rows, n), row-major with a stride:
 * out[b * out_stride + i] = the sum over r < rows of src[(b * rows + r) * stride + i]. */
static void sum_bands(const REAL *src, index_t stride, index_t rows, index_t bands, REAL *out,
                      index_t out_stride, index_t n)
{
    switch (rows) {
    case 1: sum_bands_of(src, stride, 1, bands, out, out_stride, n); break;
    case 2: sum_bands_of(src, stride, 2, bands, out, out_stride, n); break;
    case 4: sum_bands_of(src, stride, 4, bands, out, out_stride, n); break;
    default: sum_bands_of(src, stride, rows, bands, out, out_stride, n);
    }
}

/* copies and fills ---------------------------------------------------------------------------- */

/* out[0 .. n) = src[0 .. n). */
static inline void copy_row(REAL *out, const REAL *src, index_t n)
{
    sum_bands_of(src, 0, 1, 1, out, 0, n);
}

/* Streaming (non-temporal) stores write to memory past the caches. Rows that follow each other in
 * memory fill whole cache lines between them, wherever a line is cut. */
#if defined(__SSE2__)
static void stream_words(char *to, const char *from, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 4) {
        int word;
        memcpy(&word, from + i, 4);
        _mm_stream_si32((int *)(void *)(to + i), word);
    }
}

/* Stream a vec_t; `to` is aligned to its size. */
static inline void stream_vec(void *to, const void *from)
{
#if defined(__AVX512F__)
    _mm512_stream_si512(to, _mm512_loadu_si512(from));
#elif defined(__AVX__)
    _mm256_stream_si256(to, _mm256_loadu_si256(from));
#else
    _mm_stream_si128(to, _mm_loadu_si128(from));
#endif
}

/* out[0 .. n) = src[0 .. n) by streaming stores: words up to the first aligned vector, vectors,
 * and words again. */
static void stream_row(REAL *out, const REAL *src, index_t n)
{
    char *to = (char *)out;
    const char *from = (const char *)src;
    size_t bytes = (size_t)n * sizeof(REAL), at = (size_t)(-(size_t)to) % sizeof(vec_t);
    at = at < bytes ? at : bytes;
    stream_words(to, from, at);
    for (; at + sizeof(vec_t) <= bytes; at += sizeof(vec_t))
        stream_vec(to + at, from + at);
    stream_words(to + at, from + at, bytes - at);
}
#else
#define stream_row copy_row
#endif

/* out[0 .. n) = src[0 .. n), by streaming stores if asked for. */
static inline void store_row(REAL *out, const REAL *src, index_t n, int streaming)
{
    if (streaming)
        stream_row(out, src, n);
    else
        copy_row(out, src, n);
}

#define GFB_REPLICATE(type, length)                                \
    do {                                                           \
        index_t i = 0;                                             \
        for (; i + (length) <= n; i += (length)) {                 \
            type value = *(const type *)(src + i);                 \
            for (index_t row = 0; row < rows; row++)               \
                *(type *)(out + row * stride + i) = value;         \
        }                                                          \
        if (i < n) {                                               \
            type value = *(const type *)(src + n - (length));      \
            for (index_t row = 0; row < rows; row++)               \
                *(type *)(out + row * stride + n - (length)) = value; \
        }                                                          \
    } while (0)

/* Write src[0 .. n) to each row of a matrix out (rows, n), row-major with a stride. */
static inline void replicate_row(REAL *out, index_t stride, index_t rows, const REAL *src,
                                 index_t n, int streaming)
{
    if (streaming)
        for (index_t row = 0; row < rows; row++)
            stream_row(out + row * stride, src, n);
    else if (n >= VLEN)
        GFB_REPLICATE(vec_t, VLEN);
    else if (n >= HALF_VLEN)
        GFB_REPLICATE(half_vec_t, HALF_VLEN);
    else if (n >= MIN_VLEN)
        GFB_REPLICATE(min_vec_t, MIN_VLEN);
    else
        GFB_REPLICATE(REAL, 1);
}

/* partial vectors ----------------------------------------------------------------------------- */

/* Return from[0 .. n) in a vector, n <= VLEN; the lanes after them are 0. */
GFB_INLINE vec_t load_partial(const REAL *from, index_t n)
{
    vec_t value = {0};
    if (n == VLEN)
        return *(const vec_t *)from;
    for (index_t c = 0; c < n; c++)
        value[c] = from[c];
    return value;
}

/* to[0 .. n) = the first n <= VLEN lanes. Streaming needs n = VLEN and an aligned address. */
GFB_INLINE void store_partial(REAL *to, vec_t value, index_t n, int streaming)
{
#if defined(__SSE2__)
    if (streaming) {
        stream_vec(to, &value);
        return;
    }
#endif
    if (n == VLEN)
        *(vec_t *)to = value;
    else
        for (index_t c = 0; c < n; c++)
            to[c] = value[c];
}

/* to[0 .. n) += the first n <= VLEN lanes. */
GFB_INLINE void add_partial(REAL *to, vec_t value, index_t n)
{
    store_partial(to, load_partial(to, n) + value, n, 0);
}

#endif
