/* The nodes of float32 models but for the GRU.
 *
 *   EGRU_EMBEDDING, EGRU_STANDARDISE, EGRU_NORMALISATION, EGRU_*_HEAD  1 where a model has such a node
 */
#ifndef EGRU_FLOAT_LAYERS_H
#define EGRU_FLOAT_LAYERS_H

#include "egru_float_math.h"
#include "egru_float_product.h"
#include "egru_sample.h"

#if EGRU_STANDARDISE
static inline void egru_standardise(const float *mean, const float *std, const float *x, uint32_t size, float *value,
                                    uint32_t *clipped) {
    for (uint32_t i = 0; i < size; i++)
        value[i] = (egru_saturated(x[i], clipped) - mean[i]) / std[i];
}
#endif

#if EGRU_EMBEDDING
/* Row floor(x + 1/2) of a table, or the nearest there is. */
static inline void egru_embed(const float *table, uint32_t rows, uint32_t size, float x, float *value, uint32_t *clipped) {
    const float sum = egru_saturated(x, clipped) + 0.5f;
    uint32_t row = sum >= 0.0f ? rows - 1 : 0;
    if (sum >= 0.0f && sum < (float)rows)
        row = (uint32_t)sum;
    else
        ++*clipped;
    memcpy(value, table + row * size, size * sizeof *value);
}
#endif

/* A linear layer, or a convolution over what egru_taps has gathered. bias: NULL for zeros. */
static inline void egru_linear(const float *weight, const float *bias, const float *v, uint32_t rows, uint32_t columns,
                               unsigned activation, float *value) {
    for (uint32_t i = 0; i < rows; i++, weight += columns)
        value[i] = egru_activated(egru_row_product(weight, v, columns, bias ? bias[i] : 0.0f), activation);
}

static inline void egru_add(const float *a, const float *b, uint32_t size, float *value) {
    for (uint32_t i = 0; i < size; i++)
        value[i] = a[i] + b[i];
}

static inline void egru_multiply(const float *a, const float *b, uint32_t size, float *value) {
    for (uint32_t i = 0; i < size; i++)
        value[i] = a[i] * b[i];
}

#if EGRU_NORMALISATION
/* 1 / sqrt(v) for v > 0: a guess from its bits, and Newton's steps, each of which doubles the digits that are right. */
static inline double egru_inverse_root(double v) {
    uint64_t bits;
    double root;
    memcpy(&bits, &v, 8);
    bits = 0x5fe6eb50c7b537a9u - (bits >> 1);
    memcpy(&root, &bits, 8);
    for (int i = 0; i < 4; i++)
        root *= 1.5 - 0.5 * v * root * root;
    return root;
}

static inline void egru_normalise(const float *weight, const float *bias, double epsilon, const float *v, uint32_t size,
                                  float *value) {
    double mean = 0.0, squares = 0.0;
    for (uint32_t i = 0; i < size; i++)
        mean += (double)v[i];
    mean /= size;
    for (uint32_t i = 0; i < size; i++)
        squares += ((double)v[i] - mean) * ((double)v[i] - mean);
    squares = egru_inverse_root(squares / size + epsilon);
    for (uint32_t i = 0; i < size; i++)
        value[i] = (float)(((double)v[i] - mean) * squares) * weight[i] + bias[i];
}
#endif

#if EGRU_IDENTITY_HEAD
static inline void egru_identity(const float *value, uint32_t size, float *y) {
    memcpy(y, value, size * sizeof *y);
}
#endif

#if EGRU_SIGMOID_HEAD
static inline void egru_sigmoid(const float *value, uint32_t size, float *y) {
    for (uint32_t i = 0; i < size; i++)
        y[i] = egru_activated(value[i], EGRU_SIGMOID);
}
#endif

#if EGRU_SOFTMAX_HEAD || EGRU_LOG_SOFTMAX_HEAD
static inline float egru_largest(const float *value, uint32_t size) {
    float largest = value[0];
    for (uint32_t i = 1; i < size; i++)
        largest = value[i] > largest ? value[i] : largest;
    return largest;
}
#endif

#if EGRU_SOFTMAX_HEAD
static inline void egru_softmax(const float *value, uint32_t size, float *y) {
    const float largest = egru_largest(value, size);
    float total = 0.0f;
    for (uint32_t i = 0; i < size; i++)
        total += y[i] = egru_exp(value[i] - largest);
    for (uint32_t i = 0; i < size; i++)
        y[i] /= total;
}
#endif

#if EGRU_LOG_SOFTMAX_HEAD
/* ln v for v from 1 on: the exponent, and a series in (m - 1) / (m + 1) for the mantissa. */
static inline float egru_log(float v) {
    uint32_t bits;
    int32_t exponent;
    float s, squared, sum = 0.320598896f;
    memcpy(&bits, &v, 4);
    if (bits >= 0x7f800000u)
        return v; /* what is not finite stays so, and the step is not taken */
    exponent = (int32_t)(bits >> 23) - 127;
    bits = (bits & 0x007fffffu) | 0x3f800000u;
    memcpy(&v, &bits, 4);
    if (v >= 1.41421356f) {
        v = 0.5f * v;
        exponent++;
    }
    s = (v - 1.0f) / (v + 1.0f);
    squared = s * s;
    sum = sum * squared + 0.412198583f;
    sum = sum * squared + 0.577078016f;
    sum = sum * squared + 0.961796694f;
    sum = sum * squared + 2.88539008f;
    return ((float)exponent + s * sum) * 0.693147181f;
}

static inline void egru_log_softmax(const float *value, uint32_t size, float *y) {
    const float largest = egru_largest(value, size);
    double sum = 0.0; /* rounded once: nothing is left to its order */
    float total;
    for (uint32_t i = 0; i < size; i++)
        sum += (double)egru_exp(value[i] - largest);
    total = egru_log((float)sum);
    for (uint32_t i = 0; i < size; i++)
        y[i] = (value[i] - largest) - total;
}
#endif
#endif
