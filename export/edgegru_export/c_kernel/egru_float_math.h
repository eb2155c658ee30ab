/* e^v, tanh, the sigmoids, logarithm and inverse root of float32 models, without a library of mathematics; results are
 * within a few units in the last place.
 */
#ifndef EGRU_FLOAT_MATH_H
#define EGRU_FLOAT_MATH_H

#include <stdint.h>
#include <string.h>

/* Activations. */
#define EGRU_LINEAR 0
#define EGRU_RELU 1
#define EGRU_TANH 2
#define EGRU_SIGMOID 3
#define EGRU_HARD_SIGMOID_5 4
#define EGRU_HARD_SIGMOID_6 5

/* 2^k e^r, k = round(v log2 e): log 2 in two parts, Taylor's polynomial of degree 6 for |r| <= log(2) / 2. */
static inline float egru_exp(float v) {
    float k, r, p;
    uint32_t bits;
    int32_t whole;
    if (!(v == v))
        return v; /* not a number stays none, and the step is not taken */
    v = v > 88.0f ? 88.0f : v < -87.3f ? -87.3f : v;
    k = v * 1.44269504f;
    whole = (int32_t)(k < 0.0f ? k - 0.5f : k + 0.5f);
    r = v - (float)whole * 0.693359375f;
    r = r + (float)whole * 2.12194440e-4f;
    p = 1.0f / 720.0f;
    p = p * r + 1.0f / 120.0f;
    p = p * r + 1.0f / 24.0f;
    p = p * r + 1.0f / 6.0f;
    p = p * r + 0.5f;
    p = (p * r) * r + r;
    p = p + 1.0f;
    bits = (uint32_t)(whole + 127) << 23;
    memcpy(&k, &bits, 4);
    return p * k;
}

/* tanh, a sigmoid, relu, or the number itself. */
static inline float egru_activated(float v, unsigned activation) {
    float e;
    switch (activation) {
    case EGRU_LINEAR:
        return v;
    case EGRU_RELU:
        return v < 0.0f ? 0.0f : v;
    case EGRU_TANH:
        e = egru_exp(v < 0.0f ? 2.0f * v : -2.0f * v);
        e = (1.0f - e) / (1.0f + e);
        return v < 0.0f ? -e : e;
    case EGRU_SIGMOID:
        return 1.0f / (1.0f + egru_exp(-v));
    default:
        v = v * (activation == EGRU_HARD_SIGMOID_5 ? 1.0f / 5.0f : 1.0f / 6.0f) + 0.5f;
        return v > 1.0f ? 1.0f : v < 0.0f ? 0.0f : v;
    }
}
#endif
