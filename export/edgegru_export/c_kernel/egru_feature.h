/* A feature becomes an operand, floor(a v + b) as single precision computes it, in integers: a is `slope`, of 24 bits, and
 * b `offset`, both in units of 2^-shift once the feature's 16 fractional bits and 14 more are counted in.
 */
#ifndef EGRU_FEATURE_H
#define EGRU_FEATURE_H

#include "egru_arithmetic.h"

/* Rounded to 24 significant bits, ties to even. */
static inline int64_t egru_single(int64_t v) {
    uint64_t bits = v < 0 ? 0 - (uint64_t)v : (uint64_t)v, half;
    unsigned shift = 0;
    while (bits >> shift >> 24)
        shift++;
    if (shift) {
        half = (uint64_t)1 << (shift - 1);
        bits += half - 1 + ((bits >> shift) & 1);
        bits = bits >> shift << shift;
    }
    return v < 0 ? -(int64_t)bits : (int64_t)bits;
}

static int32_t egru_feature_operand(int32_t feature, int32_t slope, int64_t offset, unsigned shift, int32_t limit,
                                    uint32_t *saturated) {
    int64_t v = egru_single(egru_single((int64_t)feature * slope) * 16384 + offset);
    v = egru_floor64(v, shift);
    if (v > limit || v < -limit) {
        ++*saturated;
        return v < 0 ? -limit : limit;
    }
    return (int32_t)v;
}
#endif
