/* Sums, fills and copies of rows of numbers, in vectors as wide as the processor's.
 *
 * Vectors are the extension that gcc and clang share. A row that does not end with a whole
 * vector gets a last one that overlaps the one before: nothing is read or written outside.
 */

#ifndef GFBENCH_ROWS_H
#define GFBENCH_ROWS_H

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
    LANES = 16,  /* channels that are done together; also the slack of a scratch row */
    CELLS = 256, /* patches of a block, per channel */
    AHEAD = 5120 / sizeof(REAL), /* how far rows are fetched before they are read */
    TILE = 2048, /* pixels of a scratch row: 8 or 16 KiB, so that it stays in the L1 cache */
#if defined(__AVX512F__)
    WIDE = 64 / sizeof(REAL),
#elif defined(__AVX__)
    WIDE = 32 / sizeof(REAL),
#else
    WIDE = 16 / sizeof(REAL), /* 128 bits: SSE and NEON */
#endif
    BROAD = 2 * (int)WIDE /* cells of a panel: see panels.h */
};

#define VECTOR(lanes) \
    __attribute__((vector_size((lanes) * sizeof(REAL)), aligned(sizeof(REAL)), may_alias))
enum { NARROW = 16 / sizeof(REAL), MIDDLE = (int)WIDE / 2 < (int)NARROW ? NARROW : WIDE / 2 };
typedef REAL wide_t VECTOR(WIDE);
typedef REAL middle_t VECTOR(MIDDLE);
typedef REAL narrow_t VECTOR(NARROW);

#define INLINE static inline __attribute__((always_inline))

static inline index_t least(index_t a, index_t b) { return a < b ? a : b; }
static inline index_t divided(index_t number, index_t by) { return (number + by - 1) / by; }

static double total(const REAL *values, index_t n)
{
    wide_t lanes[2] = {{0}, {0}};
    index_t i = 0;
    for (; i + 2 * WIDE <= n; i += 2 * WIDE)
        for (int k = 0; k < 2; k++)
            lanes[k] += *(const wide_t *)(values + i + k * WIDE);
    lanes[0] += lanes[1];
    double sum = 0;
    for (int k = 0; k < WIDE; k++)
        sum += lanes[0][k];
    for (; i < n; i++)
        sum += values[i];
    return sum;
}

/* Sums that go on from row to row: in the lanes of a vector, and what no vector took. */
typedef struct {
    wide_t lanes;
    double rest;
} running_t;

static inline double ended(const running_t *running)
{
    double sum = running->rest;
    for (int k = 0; k < WIDE; k++)
        sum += running->lanes[k];
    return sum;
}

/* Add the products of n numbers each. */
static void add_products(const REAL *a, const REAL *b, index_t n, running_t *running)
{
    index_t i = 0;
    for (; i + WIDE <= n; i += WIDE)
        running->lanes += *(const wide_t *)(a + i) * *(const wide_t *)(b + i);
    for (; i < n; i++)
        running->rest += a[i] * b[i];
}

/* Add n numbers to the running sum and scale them, unless by 0. */
static void add_and_scale(REAL *values, index_t n, REAL scale, running_t *running)
{
    index_t i = 0;
    wide_t lanes = running->lanes;
    for (; i + WIDE <= n; i += WIDE) {
        wide_t value = *(const wide_t *)(values + i);
        lanes += value;
        if (scale != 0)
            *(wide_t *)(values + i) = value * scale;
    }
    running->lanes = lanes;
    for (; i < n; i++) {
        running->rest += values[i];
        values[i] *= scale != 0 ? scale : 1;
    }
}

/* One vector of every band: bands are `rows` rows of src and one of out. */
#define ADD_BAND(type, at)                                        \
    do {                                                          \
        type sum = *(const type *)(from + (at));                  \
        for (index_t row = 1; row < rows; row++)                  \
            sum += *(const type *)(from + row * stride + (at));   \
        *(type *)(to + (at)) = sum;                               \
    } while (0)

#define ADD_BANDS(type, lanes)                                    \
    for (index_t band = 0; band < bands; band++) {                \
        const REAL *from = src + band * rows * stride;            \
        REAL *to = out + band * pitch;                            \
        index_t i = 0;                                            \
        for (; i + (lanes) <= n; i += (lanes))                    \
            ADD_BAND(type, i);                                    \
        if (i < n)                                                \
            ADD_BAND(type, n - (lanes));                          \
    }

INLINE void add_columns(const REAL *restrict src, index_t stride, index_t rows, index_t bands,
                        REAL *restrict out, index_t pitch, index_t n)
{
    if (n >= WIDE) {
        ADD_BANDS(wide_t, WIDE)
    } else if (n >= MIDDLE) {
        ADD_BANDS(middle_t, MIDDLE)
    } else if (n >= NARROW) {
        ADD_BANDS(narrow_t, NARROW)
    } else {
        ADD_BANDS(REAL, 1)
    }
}

/* out[band * pitch + i] = the sum over rows >= 1 of src[band * rows + row][i]; the usual numbers
 * are unrolled. */
static void add_bands(const REAL *src, index_t stride, index_t rows, index_t bands, REAL *out,
                      index_t pitch, index_t n)
{
    switch (rows) {
    case 1: add_columns(src, stride, 1, bands, out, pitch, n); break;
    case 2: add_columns(src, stride, 2, bands, out, pitch, n); break;
    case 4: add_columns(src, stride, 4, bands, out, pitch, n); break;
    default: add_columns(src, stride, rows, bands, out, pitch, n);
    }
}

static inline void copy(REAL *out, const REAL *src, index_t n)
{
    add_columns(src, 0, 1, 1, out, 0, n);
}

/* Copy past the caches. Rows that follow each other fill lines together, however they are cut. */
#if defined(__SSE2__)
static void stream_words(char *to, const char *from, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 4) {
        int word;
        memcpy(&word, from + i, 4);
        _mm_stream_si32((int *)(void *)(to + i), word);
    }
}

static inline void stream_wide(void *to, const void *from)
{
#if defined(__AVX512F__)
    _mm512_stream_si512(to, _mm512_loadu_si512(from));
#elif defined(__AVX__)
    _mm256_stream_si256(to, _mm256_loadu_si256(from));
#else
    _mm_stream_si128(to, _mm_loadu_si128(from));
#endif
}

static void stream(REAL *out, const REAL *src, index_t n)
{
    char *to = (char *)out;
    const char *from = (const char *)src;
    size_t bytes = (size_t)n * sizeof(REAL), at = (size_t)(-(size_t)to) % sizeof(wide_t);
    at = at < bytes ? at : bytes;
    stream_words(to, from, at);
    for (; at + sizeof(wide_t) <= bytes; at += sizeof(wide_t))
        stream_wide(to + at, from + at);
    stream_words(to + at, from + at, bytes - at);
}
#else
#define stream copy
#endif

static inline void put(REAL *out, const REAL *src, index_t n, int streaming)
{
    if (streaming)
        stream(out, src, n);
    else
        copy(out, src, n);
}

#define PUT_ROWS(type, lanes)                                     \
    do {                                                          \
        index_t i = 0;                                            \
        for (; i + (lanes) <= n; i += (lanes)) {                  \
            type value = *(const type *)(src + i);                \
            for (index_t row = 0; row < rows; row++)              \
                *(type *)(out + row * stride + i) = value;        \
        }                                                         \
        if (i < n) {                                              \
            type value = *(const type *)(src + n - (lanes));      \
            for (index_t row = 0; row < rows; row++)              \
                *(type *)(out + row * stride + n - (lanes)) = value; \
        }                                                         \
    } while (0)

/* Write a row to each of `rows` rows. */
static inline void put_rows(REAL *out, index_t stride, index_t rows, const REAL *src, index_t n,
                            int streaming)
{
    if (streaming)
        for (index_t row = 0; row < rows; row++)
            stream(out + row * stride, src, n);
    else if (n >= WIDE)
        PUT_ROWS(wide_t, WIDE);
    else if (n >= MIDDLE)
        PUT_ROWS(middle_t, MIDDLE);
    else if (n >= NARROW)
        PUT_ROWS(narrow_t, NARROW);
    else
        PUT_ROWS(REAL, 1);
}

/* n <= WIDE numbers, zeros after them. */
INLINE wide_t take(const REAL *from, index_t n)
{
    wide_t value = {0};
    if (n == WIDE)
        return *(const wide_t *)from;
    for (index_t c = 0; c < n; c++)
        value[c] = from[c];
    return value;
}

INLINE void give(REAL *to, wide_t value, index_t n, int streaming)
{
#if defined(__SSE2__)
    if (streaming) {
        stream_wide(to, &value);
        return;
    }
#endif
    if (n == WIDE)
        *(wide_t *)to = value;
    else
        for (index_t c = 0; c < n; c++)
            to[c] = value[c];
}

INLINE void join(REAL *to, wide_t value, index_t n) { give(to, take(to, n) + value, n, 0); }

#endif
