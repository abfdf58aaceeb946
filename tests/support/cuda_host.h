/* What the macros of gradient_filter.cu mean on a processor: blocks and threads are loops.
 *
 * A kernel becomes a function name(params, blocks, parts) that runs the blocks one after the other,
 * and in each step of a block the threads one after the other. The arithmetic of indices and
 * elements is that of the source.
 */

#include <math.h>
#include <stdint.h>
#include <string.h>

#define KERNEL(name) \
    static void name##_block(params_t params, int BLOCK, int PART); \
    void name(const params_t *params, int blocks, int parts) \
    { \
        for (int part = 0; part < parts; part++) \
            for (int block = 0; block < blocks; block++) \
                name##_block(*params, block, part); \
    } \
    static void name##_block(params_t params, int BLOCK, int PART)
#define FUNCTION static inline
#define SHARED
#define UNROLL
#define EACH_THREAD(t) for (int t = 0; t < THREADS; t++)
#define FETCH(address) (*(address))

#ifdef REAL_F16
static inline float float_of_half(uint16_t bits)
{
    int exponent = bits >> 10 & 31, fraction = bits & 1023;
    float value = exponent == 0    ? ldexpf((float)fraction, -24)
                  : exponent < 31  ? ldexpf((float)(fraction + 1024), exponent - 25)
                  : fraction       ? NAN
                                   : INFINITY;
    return bits >> 15 ? -value : value;
}

/* To the nearest half, ties to even, as cvt.rn.f16.f32 does. */
static inline uint16_t half_of_float(float value)
{
    uint16_t sign = signbit(value) ? 0x8000 : 0;
    float size = fabsf(value);
    int exponent;
    if (isnan(value))
        return 0x7fff;
    if (size >= 65520.0f) /* halfway from the greatest half to the next power of two */
        return sign | 0x7c00;
    if (size < ldexpf(1, -14)) /* subnormal; rounding up to the least normal gives its bits too */
        return sign | (uint16_t)nearbyintf(ldexpf(size, 24));
    frexpf(size, &exponent);
    long steps = (long)nearbyintf(ldexpf(size, 11 - exponent)); /* 1024 .. 2048 */
    return sign | (uint16_t)(((exponent + 14) << 10) + (steps - 1024));
}
#endif
