/* W v + b of float32 numbers. Four sums a row do not wait for each other, and err less than one. */
#ifndef EGRU_FLOAT_PRODUCT_H
#define EGRU_FLOAT_PRODUCT_H

#include <stdint.h>

static inline float egru_row_product(const float *w, const float *v, uint32_t columns, float bias) {
    float s0 = 0.0f, s1 = 0.0f, s2 = 0.0f, s3 = 0.0f;
    for (; columns >= 4; columns -= 4, w += 4, v += 4) {
        s0 += w[0] * v[0];
        s1 += w[1] * v[1];
        s2 += w[2] * v[2];
        s3 += w[3] * v[3];
    }
    for (; columns; columns--)
        s0 += *w++ * *v++;
    return ((s0 + s1) + (s2 + s3)) + bias;
}
#endif
