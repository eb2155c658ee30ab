/* Samples become operands.
 *
 *   EGRU_FLOAT_IO   1: floats come in; 0: operands
 *   EGRU_EMBEDDING  0: none; 8, 16: the rows of a table, operands of so many bits
 */
#ifndef EGRU_INPUT_H
#define EGRU_INPUT_H

#include "egru_product.h"

#if EGRU_FLOAT_IO
#include "egru_sample.h"

/* q = clamp(floor(a x + b)), product and sum rounded one by one whatever the compiler may contract; counts saturations. */
static inline void egru_standardise(const float *a, const float *b, const float *x, uint32_t size, int32_t limit,
                                    int16_t *q, uint32_t *clipped) {
    for (uint32_t i = 0; i < size; i++) {
        volatile float product = a[i] * egru_saturated(x[i], clipped);
        volatile float v = product + b[i];
        int32_t integer = -limit;
        if (v >= (float)limit + 1.0f) {
            integer = limit;
            ++*clipped;
        } else if (v < (float)-limit) {
            ++*clipped;
        } else {
            integer = (int32_t)v;
            integer -= (float)integer > v;
        }
        q[i] = (int16_t)integer;
    }
    egru_pad(q, size);
}
#else
static inline void egru_take(const EGRU_INPUT *x, uint32_t size, int32_t limit, int16_t *q, uint32_t *clipped) {
    for (uint32_t i = 0; i < size; i++) {
        if (x[i] < -limit) /* the one integer that is no operand */
            ++*clipped;
        q[i] = (int16_t)(x[i] < -limit ? -limit : x[i]);
    }
    egru_pad(q, size);
}
#endif

#if EGRU_EMBEDDING
/* Which row a number means: floor(x + 1/2), or the nearest there is. */
#if EGRU_FLOAT_IO
static inline uint32_t egru_row(float x, uint32_t rows, uint32_t *clipped) {
    volatile float sum = egru_saturated(x, clipped) + 0.5f;
    if (sum >= 0.0f && sum < (float)rows)
        return (uint32_t)sum;
    ++*clipped;
    return sum >= 0.0f ? rows - 1 : 0;
}
#else
static inline uint32_t egru_row(int32_t x, uint32_t rows, uint32_t *clipped) {
    if (x >= 0 && (uint32_t)x < rows)
        return (uint32_t)x;
    ++*clipped;
    return x >= 0 ? rows - 1 : 0;
}
#endif

#if EGRU_EMBEDDING == 8
static inline void egru_embed(const int8_t *table, uint32_t row, uint32_t size, int16_t *q) {
    for (uint32_t i = 0; i < size; i++)
        q[i] = table[row * size + i];
    egru_pad(q, size);
}
#else
/* Weights of 8 bits and a multiplier for each row. */
static inline void egru_embed(const int8_t *table, const int32_t *m, unsigned shift, uint32_t row, uint32_t size,
                              int16_t *q) {
    for (uint32_t i = 0; i < size; i++)
        q[i] = (int16_t)egru_clamp(egru_rounded((int64_t)table[row * size + i] * m[row], shift), 32767);
    egru_pad(q, size);
}
#endif
#endif
#endif
